"""What a playbook printed, for the message of a failing test."""

from __future__ import annotations


def failures(output: str) -> str:
    """Return the lines that say what failed, with the task of each."""
    heading, found = "", []
    for line in output.splitlines():
        if line.startswith("TASK ["):
            heading = line.rstrip("* ")
        elif line.startswith(("fatal:", "failed:")):
            found.append(f"{heading} {line[:1200]}")
    return "\n".join(found)
