"""The units by which systemd begins a phase again and again, for the user who runs the playbooks. Pure.

They begin `ansible-playbook` itself: nobody is there to follow, and systemd keeps what it prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import PlanError
from . import arguments
from .phases import phase

# What asks nobody, and may be begun at any time while users are served.
PHASES = ("sync", "monitor")
_EVERY = re.compile(r"[1-9][0-9]{0,3}(min|h|d)")
# A trial keeps nothing, and looks like a round.
_TRIAL = frozenset({"-C", "--check"})


def checked(options: Sequence[str]) -> tuple[str, ...]:
    """Return the options for `ansible-playbook` as a unit may have them.

    Raises:
        PlanError: something is no option, asks somebody, runs no whole phase, or may be a secret in the unit.
    """
    given = arguments.read(options)
    if given.asks_become or _TRIAL & arguments.names(options):
        raise _refused("options that ask nobody and try nothing", "-K" if given.asks_become else "--check")
    if any(not value.startswith("@") for value in arguments.variables(options)):
        # What was found may be a secret.
        raise _refused("-e @FILE, as everybody may read a unit and the arguments of a process", "-e with a value")
    return given.arguments


def units(
    name: str,
    every: str,
    program: str,
    project: str,
    directory: str,
    options: Sequence[str],
    environment: Mapping[str, str],
) -> dict[str, str]:
    """Return the text of each unit by its name.

    Args:
        name: the phase.
        every: how long after the end of one the next begins, such as 6h.
        program: the path of `ansible-playbook`.
        project: the folder that has the playbooks.
        directory: where it is run; relative paths of the options begin there.
        options: those of `ansible-playbook`.
        environment: variables that the playbook needs; no secret, as everybody may read a unit.

    Raises:
        PlanError: it is no phase of a timer, or no time.
    """
    if name not in PHASES or not _EVERY.fullmatch(every):
        raise _refused(
            f"one of {', '.join(PHASES)}, and --every with a number of min, h or d, such as 6h",
            f"{name} --every {every or '(nothing)'}",
        )
    wanted = phase(name)
    line = " ".join(_quoted(word) for word in (program, *options, f"{project}/{wanted.playbook}"))
    line = line.replace("$", "$$")
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


def _refused(expected: str, found: str) -> PlanError:
    return PlanError(
        expected=expected,
        found=found,
        state="no timer was made",
        next_command="bascule timer monitor --every 6h -i inventories/NAME",
    )


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: as it stands, whatever is in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./=@:,+-]", word) or not word else escaped
