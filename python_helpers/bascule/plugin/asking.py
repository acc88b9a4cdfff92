"""The question for the name of the site, at the terminal or at that of whoever follows."""

from __future__ import annotations

from collections.abc import Sequence

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.utils.display import Display

from ..run.io import command

QUESTION = "Type the name of the site that shall be active afterwards:"


def asked(lines: Sequence[str]) -> str:
    """Return what was typed; nothing where nobody can be asked, or who was asked has ended it.

    Args:
        lines: what has to be seen before it is answered.
    """
    if (started := command.current()) is not None:
        return started.ask(QUESTION, lines)
    try:
        return bytes(Display().prompt_until(QUESTION)).decode("utf-8", "replace").rstrip("\r\n")
    except (AnsiblePromptInterrupt, AnsiblePromptNoninteractive):
        return ""
