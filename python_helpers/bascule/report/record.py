"""The eleven fields of a migration's record (date, stack, description, steps, tests, problems, rollback, status,
responsible, evidence, comment), filled by the run. Pure.

A field is a list of lines. A line is `say`, a sentence of `record_words`, what is put into it, and the lines of the
journal that it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..run import chain, seals
from ..run.progress import OK
from ..run.verbs import POINTING
from .legs import BACK_LEG
from .proof import VERIFY
from .references import Entry, name

FIELDS = (
    "date", "stack", "description", "steps", "tests", "problems", "rollback", "status", "responsible", "evidence",
    "comment",
)  # fmt: skip
# "Not proved" is a verdict of its own: neither good nor bad.
STATUS = {"ok": "OK", "failed": "KO"}
UNPROVED = "NOT_PROVED"
STACKS = {
    "postgresql_replication": "DB", "mysql_replication": "DB", "rsync_delta_sync": "files", "proxmox_guest": "guests",
    "web_entrance": "entrance", "dns_switchover": "network", "vpn_switchover": "network", "firewall": "network",
}  # fmt: skip
# The phases of a move from its beginning, and the verbs of each that a component has to come through.
EXPECTED: Mapping[str, Sequence[str]] = {
    "audit": ("audit",), "prepare": ("prepare",), "sync": ("sync",), "pretest": ("check",),
    "cutover": ("check", "capture", "freeze", "sync", "switch", "thaw"), "verify": ("verify",),
    "rollback": ("freeze", "sync", "switch", "thaw"), "commit": (), "decommission": ("retire",),
}  # fmt: skip
# What opens a side: a proof from before it says nothing of it.
_OPENING = frozenset({"switch", "thaw", "take_over", "reopen"})
_POINTING = frozenset({"audit", "prepare", "sync", "check", "capture", "thaw", "verify", "retire"})
Line = dict[str, Any]


def record(summary: Mapping[str, Any], entries: Iterable[Entry]) -> dict[str, list[Line]]:
    """Return the eleven fields.

    Args:
        summary: the summary of the run, judged.
        entries: its journal, all copies.
    """
    known = real(entries)
    begun = [entry for entry in known if entry["kind"] == "begin"]
    roles = {str(entry["component"]): str(entry["data"].get("role") or "") for entry in begun}
    back = [entry for entry in begun if entry["phase"] == "rollback"]
    times = [str(entry["time"])[:19].replace("T", " ") for entry in known]
    status = STATUS.get(str(summary["result"]), UNPROVED)
    found: dict[str, list[Line]] = {
        "date": [_line("times", begin=times[0], end=times[-1])] if times else [],
        "stack": _stack(roles),
        "description": [_line("move", plan=summary["plan"], count=len(roles), site=summary["active_site"] or "?")],
        "steps": [*_steps(known, roles), *_unrun(known, summary)],
        "tests": [*_gates(known), *_verified(known, summary)],
        "problems": [*_failures(known), *(_line("reason", reason=text) for text in summary["reasons"])],
        "rollback": [_line("back" if BACK_LEG in summary["legs"] else "begun_back", back[:1] + back[-1:])]
        if back
        else [_line("no_back")],
        "status": [_line(f"status_{status}")],
        "responsible": _decided(known),
        "evidence": _evidence(known, summary),
        "comment": _passed(known),
    }
    return {field: lines or [_line("none")] for field, lines in found.items()}


def _line(say: str, rests_on: Iterable[Entry] = (), **values: Any) -> Line:
    return {"say": say, "with": values, "journal": list(dict.fromkeys(map(name, rests_on)))}


def real(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of chains that were not only tried, in the order in which they were written."""
    known = list(entries)
    tried = {(one["controller"], one["epoch"]) for one in known if one["data"].get("check_mode")}
    return [one for one in chain.in_order(known) if (one["controller"], one["epoch"]) not in tried]


def _stack(roles: Mapping[str, str]) -> list[Line]:
    found: dict[str, list[str]] = {}
    for component, role in roles.items():
        found.setdefault(STACKS.get(role, "other"), []).append(component)
    return [_line(f"stack_{stack}", names=", ".join(names)) for stack, names in found.items()]


def _steps(known: Sequence[Entry], roles: Mapping[str, str]) -> list[Line]:
    """Return each verb of each phase as it was run last: who came through it, and who did not."""
    lines = []
    for phase, verbs in EXPECTED.items():
        mine = [entry for entry in known if entry["phase"] == phase and entry["verb"]]
        taking_part = list(dict.fromkeys(str(entry["component"]) for entry in mine if entry["kind"] == "begin"))
        for verb in verbs if mine else ():
            last = {str(e["component"]): e for e in mine if e["verb"] == verb and e["kind"] in ("begin", "end")}
            through = [one for one, e in last.items() if e["kind"] == "end" and e["data"].get("result") == OK]
            lacking = [
                one for one in taking_part if one not in through and (roles[one] not in POINTING or verb in _POINTING)
            ]
            if through:
                lines.append(
                    _line("done", [last[one] for one in through], phase=phase, verb=verb, names=", ".join(through))
                )
            if lacking:
                ended = [last[one] for one in lacking if one in last]
                lines.append(_line("not_done", ended, phase=phase, verb=verb, names=", ".join(lacking)))
    return lines


def _unrun(known: Sequence[Entry], summary: Mapping[str, Any]) -> list[Line]:
    """Return the phases of a move that were not run at all, and the components that took no part."""
    run = {str(entry["phase"]) for entry in known}
    decided = {str(entry["data"].get("decision")) for entry in known if entry["kind"] == "decision"}
    unrun = [one for one in EXPECTED if one not in {*run, *decided, "rollback"}]
    left = [str(one) for one in summary.get("not_moved") or ()]
    return [
        *(_line("not_run", phase=phase) for phase in unrun),
        *([_line("not_moved", names=", ".join(left))] if left else []),
    ]


def _gates(known: Sequence[Entry]) -> list[Line]:
    last = {(e["data"].get("name"), e["component"]): e for e in known if e["kind"] == "sample"}
    lines = []
    for (gate, component), entry in last.items():
        data = entry["data"]
        say = "go" if data.get("go") else "passed" if data.get("override") else "no_go"
        shown = {"gate": gate, "component": component, "reason": data.get("reason"), "why": data.get("override")}
        lines.append(_line(say, [entry], **shown))
    return lines


def _verified(known: Sequence[Entry], summary: Mapping[str, Any]) -> list[Line]:
    """Return of each component whether it was proved after the last move: proved, not proved, or not looked at."""
    last: dict[str, Entry] = {}
    moved: dict[str, Entry] = {}
    for entry in known:
        one = str(entry["component"])
        if entry["kind"] == "begin" and entry["verb"] in _OPENING:
            moved[one] = entry
            # What was proved before a side was opened says nothing of it.
            last.pop(one, None)
        elif entry["data"].get("event") == VERIFY:
            last[one] = entry
    legs = [leg for leg in summary["legs"] if summary.get(leg)]
    said = summary[legs[-1]].get("not_proved") if legs else None
    doubts = [str(one) for one in said or ()]
    lines = []
    for one in moved:
        mine = [doubt for doubt in doubts if doubt.startswith(f"{one}.")]
        rests_on = [last[one]] if one in last else []
        if not rests_on or not isinstance(said, list):
            lines.append(_line("unseen", rests_on, component=one))
        elif mine:
            lines.append(_line("unproved", rests_on, component=one, doubts=mine))
        else:
            lines.append(_line("proved", rests_on, component=one))
    return lines


def _failures(known: Sequence[Entry]) -> list[Line]:
    return [
        _line(
            "failed",
            [e],
            phase=e["phase"],
            verb=e["verb"],
            component=e["component"],
            why=e["data"].get("message") or "-",
        )
        for e in known
        if e["kind"] == "end" and e["data"].get("result") != OK
    ]


def _decided(known: Sequence[Entry]) -> list[Line]:
    return [
        _line(
            "by",
            [e],
            decision=e["data"]["decision"],
            phase=e["phase"] or "-",
            who=e["data"]["by"],
            at=str(e["time"])[:19],
        )
        for e in known
        if e["kind"] == "decision" and e["data"].get("by") and e["data"].get("decision")
    ]


def _evidence(known: Sequence[Entry], summary: Mapping[str, Any]) -> list[Line]:
    sealed = [entry for entry in known if entry["data"].get("event") == seals.EVENT]
    keys = sorted({seals.fingerprint(str(entry["data"]["key"])) for entry in sealed})
    return [
        _line(
            "journal", sealed[-1:], run=summary["run"], count=len(known), seals=len(sealed), keys=", ".join(keys) or "-"
        ),
        _line("archive", run=summary["run"]),
    ]


def _passed(known: Sequence[Entry]) -> list[Line]:
    """Return what persons have said: the reasons for which they let something pass."""
    given = [(e, e["data"].get("override")) for e in known if e["kind"] == "sample"]
    noted = [(e, note) for e in known if e["kind"] == "decision" for note in e["data"].get("given_up") or ()]
    return [
        _line("said", [e], what=e["data"].get("name") or e["data"].get("decision"), why=why)
        for e, why in given + noted
        if why
    ]
