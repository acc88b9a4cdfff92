"""The units by which systemd begins a phase again and again, for the user who runs the playbooks. Pure.

They begin `ansible-playbook` itself: nobody is there to follow, and systemd keeps what it prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import PlanError
from .phases import phase

# What asks nobody, and may be begun at any time while users are served.
PHASES = ("sync", "monitor")
_EVERY = re.compile(r"[1-9][0-9]{0,3}(min|h|d)")


def units(
    name: str, every: str, program: str, directory: str, options: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return the text of each unit by its name.

    Args:
        name: the phase.
        every: how long after the end of one the next begins, such as 6h.
        program: the path of `ansible-playbook`.
        directory: the project's.
        options: those of `ansible-playbook`.
        environment: variables that the playbook needs; no secret, as everybody may read a unit.

    Raises:
        PlanError: it is no phase of a timer, or no time.
    """
    if name not in PHASES or not _EVERY.fullmatch(every):
        raise PlanError(
            expected=f"one of {', '.join(PHASES)}, and --every with a number of min, h or d, such as 6h",
            found=f"{name} --every {every or '(nothing)'}",
            state="no timer was made",
            next_command="bascule timer monitor --every 6h",
        )
    wanted = phase(name)
    line = " ".join(_quoted(word) for word in (program, *options, wanted.playbook))
    variables = "".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in environment.items())
    return {
        f"bascule-{name}.service": (
            f"[Unit]\nDescription=Bascule: {wanted.what}\n\n"
            f"[Service]\nType=oneshot\nWorkingDirectory={directory.replace('%', '%%')}\n{variables}ExecStart={line}\n"
            # What is cut short in the middle would look like one that has died.
            "KillSignal=SIGINT\nTimeoutStopSec=120\nNice=5\n"
        ),
        # From the end of one to the beginning of the next, whether it came through or not.
        f"bascule-{name}.timer": (
            f"[Unit]\nDescription=Bascule: {name} every {every}\n\n"
            f"[Timer]\nOnActiveSec=1min\nOnBootSec=5min\nOnUnitInactiveSec={every}\n\n"
            "[Install]\nWantedBy=timers.target\n"
        ),
    }


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: as it stands, whatever is in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./=@:,+-]", word) or not word else escaped
