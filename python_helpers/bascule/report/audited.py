"""What an audit ends with: one screen that says whether the plan fits, what it would cost, what was not seen. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from ..run.progress import OK
from . import forecast
from .forecast import Forecast

PHASE = "audit"
# A screen has some forty lines, so each list of it has at most these.
_MOST = 8
_WIDEST = 150
# Where all is that an audit has recorded, and what stands in the way where it has recorded nothing.
_FACTS, _JOURNAL = "runs/latest/facts/COMPONENT.audit.json", "runs/latest/journal.jsonl"
# Where the roles' audits keep what stands in the way, what should be known, and what they could not look at.
_REFUSALS = ("refusals", "differences", "wrong", "faults")
_NOTES = "notes"
_NOT_LOOKED_AT = "not_looked_at"


@dataclass(frozen=True)
class Audited:
    """What an audit has come to with a component.

    result: how the verb ended; nothing where it has not.
    message: why it failed, as Ansible said it.
    found: what it has recorded; None where it came to nothing.
    items: of a loop that failed, `item` and `message` of each.
    """

    result: str
    message: str = ""
    found: Optional[Mapping[str, Any]] = None
    items: Sequence[Mapping[str, str]] = ()
    # The machines on which nobody becomes root, each with what was not looked at for that.
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def refusals(self) -> list[str]:
        """Return what stands in the way, each reason for itself."""
        if self.result == OK:
            return []
        told = [line for name in _REFUSALS for line in _texts((self.found or {}).get(name))]
        if told:
            return list(dict.fromkeys(told))
        if self.items:
            return [f"{one['item']}: {line}" for one in self.items for line in _reasons(one["message"])]
        return _reasons(self.message) or ["it did not come to its end"]


def audited(entries: Iterable[Mapping[str, Any]], phase: str = PHASE) -> dict[str, Audited]:
    """Return what the audit of one decision has come to, by its entries of the phase; nothing where it had none."""
    found: dict[str, Mapping[str, Any]] = {}
    ends: dict[str, Mapping[str, Any]] = {}
    begun: dict[str, None] = {}
    hidden: dict[str, Mapping[str, str]] = {}
    for entry in entries:
        if entry["phase"] != phase or not entry["component"]:
            continue
        name, data = str(entry["component"]), entry["data"]
        begun[name] = None
        if entry["kind"] == "end":
            ends[name] = data
        elif entry["kind"] == "state" and data.get("event") == forecast.AUDIT:
            found[name] = data["found"]
        elif entry["kind"] == "state" and data.get("event") == _NOT_LOOKED_AT:
            hidden[name] = data["machines"]
    return {
        name: Audited(
            str(ends.get(name, {}).get("result", "")),
            str(ends.get(name, {}).get("message", "")),
            found.get(name),
            tuple(ends.get(name, {}).get("items", ())),
            hidden.get(name, {}),
        )
        for name in begun
    }


def screen(
    plan: str,
    seen: Mapping[str, Audited],
    components: Sequence[str],
    outlook: Forecast,
    limit: Any,
    options: str = "",
) -> list[str]:
    """Return the screen.

    Args:
        plan: the plan's name.
        seen: what the audit has come to, by component.
        components: all of the plan, in their order; one that is not in `seen` was not looked at.
        outlook: the forecast of a window of all of them.
        limit: the seconds that the plan allows, or nothing.
        options: what the next command needs beside the playbook, as it was typed for this one (`-i inventories/mine`).
    """
    # As the plan has them, in whatever order they came to their end.
    seen = {name: seen[name] for name in components if name in seen}
    refused = {name: one.refusals for name, one in seen.items() if one.result != OK}
    absent = [name for name in components if name not in seen or seen[name].hidden]
    slow = forecast.too_long(outlook, limit)
    lines = [f"AUDIT of plan {plan}: {_verdict(len(components), refused, absent, slow, outlook.unknown)}"]
    for name, reasons in refused.items():
        rest = _FACTS if seen[name].found else _JOURNAL
        lines += _listed(f"  {name} cannot move:", [f"    - {reason}" for reason in reasons], rest)
    lines += [f"  {line}" for line in forecast.lines(outlook, limit)]
    notes = [
        f"    - {name}: {note}" for name, one in seen.items() for note in _texts((one.found or {}).get(_NOTES)) if note
    ]
    lines += _listed("  to be known:", notes)
    lines += _listed("  not looked at:", _unseen(seen, absent))
    again = f" --limit {','.join(refused)}" if refused and len(refused) < len(seen) else ""
    command = f"ansible-playbook {options + ' ' if options else ''}playbooks/"
    if refused:
        return [*lines, f"  next: mend what is named, then {command}10_audit.yml{again}"]
    if slow:
        return [*lines, f"  next: another way for what takes longest, or a longer window; then {command}10_audit.yml"]
    return [*lines, f"  next: {command}{'10_audit.yml' if absent else '20_prepare.yml --check --diff'}"]


def _verdict(count: int, refused: Mapping[str, Any], absent: Sequence[str], slow: bool, unknown: Sequence[str]) -> str:
    if refused:
        return f"DOES NOT FIT, {len(refused)} of {count} components cannot move as declared"
    if slow:
        return "DOES NOT FIT, the outage would be longer than the plan allows"
    if absent:
        return f"fits as far as it was looked at, without {', '.join(absent)}"
    return f"fits as far as it is known, with no figure yet of {', '.join(unknown)}" if unknown else "fits"


def _unseen(seen: Mapping[str, Audited], absent: Sequence[str]) -> list[str]:
    """Return what the audit could not look at, or has not."""
    lines = [f"    - {name}: left out by --limit" for name in absent if name not in seen]
    for name, one in seen.items():
        found = one.found
        if one.hidden:
            lines += [f"    - {name}: {host}: {what}" for host, what in one.hidden.items()]
            continue
        if found is None:
            lines.append(f"    - {name}: nothing was measured, as it ended before")
            continue
        told = found.get("forecast")
        assumed = _texts(told.get("assumed")) if isinstance(told, Mapping) else []
        lines += [f"    - {name}: {line}" for line in _texts(found.get(_NOT_LOOKED_AT))]
        lines += [f"    - {name}: assumed, not measured: {line}" for line in assumed]
    return lines


def _listed(head: str, lines: Sequence[str], rest: str = _FACTS) -> list[str]:
    """Return a list below its head, of as many as fit on a screen, each whole; nothing where there is nothing.

    `rest` names the file in which those are that do not fit.
    """
    if not lines:
        return []
    told = [part for line in lines[:_MOST] for part in _wrapped(line)]
    more = len(lines) - _MOST
    return [head, *told, *([f"    … and {more} more: {rest}"] if more > 0 else [])]


def _wrapped(line: str) -> list[str]:
    """Return a line in as many as it takes; a command that it names is parted at its blanks alone, if it can be."""
    return textwrap.wrap(line, _WIDEST, subsequent_indent="      ", break_on_hyphens=False)


def _reasons(message: str) -> list[str]:
    """Return what a message says was found, line by line; all of it where it names nothing so."""
    _, _, after = message.partition("found: ")
    words = (after or message).partition("; state now")[0].strip()
    return [line.removeprefix("- ") for line in words.splitlines()]


def _texts(value: Any) -> list[str]:
    """Return the lines of a list, or of a table of lists by machine."""
    if isinstance(value, Mapping):
        return [f"{name}: {line}" for name, lines in value.items() for line in _texts(lines)]
    if isinstance(value, (list, tuple)):
        return [str(line) for line in value]
    return [value] if isinstance(value, str) and value else []
