"""The units by which systemd begins a phase again and again, for the user who runs the playbooks. Pure.

They begin `ansible-playbook` itself: nobody is there to follow, and systemd keeps what it prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import PlanError
from . import arguments
from .last_round import span
from .phases import phase

# What asks nobody, and may be begun at any time while users are served.
PHASES = ("sync", "monitor")
_EVERY = re.compile(r"[1-9][0-9]{0,3}(min|h|d)")
_SECONDS = {"min": 60, "h": 3600, "d": 86400}
# Seconds that a first round, or a late one, is waited for before it is missed.
_GRACE = 900.0
# What is asked of systemd, which answers with a line for each.
ASKED = (
    *("Id", "LoadState", "ActiveState", "UnitFileState", "Result", "ExecMainStatus"),
    *("ActiveEnterTimestamp", "ExecMainExitTimestamp"),
)
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


def faults(name: str, text: str, shown: str, now: float, lingers: bool = True) -> list[str]:
    """Return why a phase that is to be begun by a timer is not, or not well; nothing where all is well.

    Args:
        name: the phase.
        text: the unit of the timer that was installed.
        shown: what systemd says of its timer and its service (`systemctl show --timestamp=unix`, ASKED).
        now: the time, in seconds since the epoch.
        lingers: whether units of this user go on when nobody is logged in.
    """
    units = {one.get("Id", ""): one for one in map(_properties, shown.strip().split("\n\n"))}
    timer, service = (units.get(f"bascule-{name}.{kind}", {}) for kind in ("timer", "service"))
    every = next(iter(re.findall(r"^OnUnitInactiveSec=(\S+)", text, re.M)), "")
    if timer.get("LoadState") != "loaded":
        return [
            f"systemd has not read the timer ({timer.get('LoadState') or 'no answer'}): systemctl --user daemon-reload"
        ]
    start = f"systemctl --user enable --now bascule-{name}.timer"
    if timer.get("ActiveState") != "active":
        stands = f"{timer.get('ActiveState') or 'unknown'}, {timer.get('UnitFileState') or 'unknown'}"
        return [f"the timer does not run ({stands}): nothing begins it any more; {start}"]
    found = []
    log = f"journalctl --user -u bascule-{name}.service"
    if timer.get("UnitFileState") != "enabled":
        found.append(
            f"the timer is {timer.get('UnitFileState') or 'unknown'}: it does not come back by itself; {start}"
        )
    begun, ended = (
        _moment(unit.get(key)) for unit, key in ((timer, "ActiveEnterTimestamp"), (service, "ExecMainExitTimestamp"))
    )
    is_at_work = service.get("ActiveState") in ("activating", "active", "deactivating")
    if ended is None and not is_at_work and (begun is None or now - begun > _GRACE):
        found.append(f"it has never run{f', {span(now - begun)} after the timer was started' if begun else ''}; {log}")
    if ended is not None and service.get("Result") not in ("success", None):
        why = f"{service.get('Result')}, status {service.get('ExecMainStatus') or 'unknown'}"
        found.append(f"its last round, {span(now - ended)} ago, has failed ({why}); {log}")
    late = _seconds(every)
    if ended is not None and not is_at_work and late is not None and now - ended > 2 * late + _GRACE:
        found.append(f"it has run last {span(now - ended)} ago, and was to be begun every {every}; {log}")
    if not lingers:
        found.append("it ends when you log out; loginctl enable-linger")
    return found


def _properties(block: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}


def _moment(text: str | None) -> float | None:
    """Return a time as systemd writes it with --timestamp=unix; None where it is never."""
    digits = (text or "").removeprefix("@")
    return float(digits) if digits.isdecimal() else None


def _seconds(every: str) -> float | None:
    found = re.fullmatch(r"(\d+)(min|h|d)", every)
    return float(found[1]) * _SECONDS[found[2]] if found else None


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: as it stands, whatever is in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./=@:,+-]", word) or not word else escaped
