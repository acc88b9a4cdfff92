"""The screen that an audit ends with."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import pytest

from bascule.report.audited import Audited, audited, screen
from bascule.report.forecast import Known, forecast

GUEST: dict[str, Any] = {
    "forecast": {"chosen": "delta", "ways": {"delta": {"seconds": 60.0, "bytes": 2e6}}, "assumed": ["changed blocks"]},
    "notes": ["the guest agent does not answer"],
    "refusals": ["the disk scsi0 is qcow2", "the token lacks VM.Backup on /vms/100"],
}
ENTRANCE: dict[str, Any] = {"faults": {"gw-mtp": [], "gw-tls": ["no backend be_forward"]}}
OUTLOOK = forecast({"guest": Known("proxmox_guest", (), GUEST)})
OK = Audited("ok", "", {"notes": []})


def entry(kind: str, component: str, phase: str = "audit", **data: Any) -> dict[str, Any]:
    return {"kind": kind, "phase": phase, "component": component, "data": data}


def test_a_plan_that_fits_leads_on() -> None:
    lines = screen("mine", {"guest": Audited("ok", "", GUEST)}, ["guest"], OUTLOOK, 7200, "-i inventories/mine")
    assert lines == [
        "AUDIT of plan mine: fits",
        "  forecast of the outage: 60 s; the plan allows 7200 s",
        "    guest                60 s  delta, 2.0 MB over the link; assumed: changed blocks",
        "  to be known:",
        "    - guest: the guest agent does not answer",
        "  not looked at:",
        "    - guest: assumed, not measured: changed blocks",
        "  next: ansible-playbook -i inventories/mine playbooks/20_prepare.yml --check --diff",
    ]


def test_what_a_role_could_not_look_at_is_told_and_is_no_refusal() -> None:
    found = {**GUEST, "not_looked_at": ["how fast the link is, as no free port is let through"]}
    lines = screen("mine", {"guest": Audited("ok", "", found)}, ["guest"], OUTLOOK, 7200)
    assert lines[0] == "AUDIT of plan mine: fits"
    told = lines[lines.index("  not looked at:") + 1]
    assert told == "    - guest: how fast the link is, as no free port is let through"


def test_what_cannot_move_is_named_with_each_reason() -> None:
    why = "Parity | Refuse what stands in the way: expected: two clusters; found: 15 and 17; state now: nothing"
    seen = {
        "db": Audited("failed", why),
        "guest": Audited("failed", "expected: a guest; found: all in one line", GUEST),
        "entrance": Audited("failed", "", ENTRANCE),
        "names": OK,
    }
    lines = screen("mine", seen, list(seen), OUTLOOK, None)
    assert lines[:8] == [
        "AUDIT of plan mine: DOES NOT FIT, 3 of 4 components cannot move as declared",
        "  db cannot move:",
        "    - 15 and 17",
        "  guest cannot move:",
        "    - the disk scsi0 is qcow2",
        "    - the token lacks VM.Backup on /vms/100",
        "  entrance cannot move:",
        "    - gw-tls: no backend be_forward",
    ]
    assert "    - db: nothing was measured, as it ended before" in lines
    assert lines[-1] == (
        "  next: mend what is named, then ansible-playbook playbooks/10_audit.yml --limit db,guest,entrance"
    )


def test_a_plan_that_takes_too_long_does_not_fit() -> None:
    lines = screen("mine", {"guest": Audited("ok", "", GUEST)}, ["guest"], OUTLOOK, 30)
    assert lines[0] == "AUDIT of plan mine: DOES NOT FIT, the outage would be longer than the plan allows"
    assert lines[-1].endswith("then ansible-playbook playbooks/10_audit.yml")


def test_a_figure_that_nobody_has_is_part_of_the_verdict() -> None:
    outlook = forecast({"guest": Known("proxmox_guest", (), GUEST), "tree": Known("rsync_delta_sync")})
    lines = screen("mine", {"guest": OK, "tree": OK}, ["guest", "tree"], outlook, 7200)
    assert lines[0] == "AUDIT of plan mine: fits as far as it is known, with no figure yet of tree"
    assert lines[1] == "  forecast of the outage: 60 s at least; the plan allows 7200 s"


def test_what_was_left_out_is_no_part_of_the_verdict() -> None:
    lines = screen("mine", {"guest": Audited("ok", "", GUEST)}, ["guest", "names"], OUTLOOK, None)
    assert lines[0] == "AUDIT of plan mine: fits as far as it was looked at, without names"
    assert "    - names: left out by --limit" in lines
    assert lines[-1] == "  next: ansible-playbook playbooks/10_audit.yml"


def test_it_stays_one_screen() -> None:
    many = {"refusals": [f"reason {number} " + "x" * 300 for number in range(50)]}
    lines = screen("mine", {"guest": Audited("failed", "", many)}, ["guest"], OUTLOOK, None)
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 150
    assert "    … and 42 more: runs/latest/facts/COMPONENT.audit.json" in lines


def test_what_is_longer_than_a_line_goes_on_in_the_next_and_loses_nothing() -> None:
    reason = f"the volume cannot be read: {' '.join(f'word-{n}' for n in range(60))}; type: pvesm set {'x' * 200} --end"
    for seen in (Audited("failed", "", {"refusals": [reason]}), Audited("failed", f"found: {reason}; state now: none")):
        lines = screen("mine", {"guest": seen}, ["guest"], OUTLOOK, None)
        head = lines.index("  guest cannot move:")
        told = list(takewhile(lambda line: line.startswith("    "), lines[head + 1 :]))
        assert "".join("".join(told).split()) == "".join(f"- {reason}".split())
        assert told[0].startswith("    - the volume")
        assert all(line.startswith("      ") for line in told[1:]), "it is seen where a reason begins"
        assert max(map(len, told)) <= 150
        assert not any("…" in line for line in lines)


def test_where_nothing_was_recorded_the_rest_of_the_reasons_is_in_the_journal() -> None:
    message = "found: " + "\n".join(f"- reason {number}" for number in range(10))
    lines = screen("mine", {"guest": Audited("failed", message)}, ["guest"], OUTLOOK, None)
    assert "    … and 2 more: runs/latest/journal.jsonl" in lines


@pytest.mark.parametrize(
    ("message", "reasons"),
    [
        ("", ["it did not come to its end"]),
        ("no answer", ["no answer"]),
        ("A: expected: a; found: b; state now: c", ["b"]),
        ("A: expected: a; found: 2 findings\n- b\n- c; state now: d", ["2 findings", "b", "c"]),
    ],
)
def test_a_failure_without_findings_says_what_ansible_said(message: str, reasons: list[str]) -> None:
    assert Audited("failed", message).refusals == reasons


def test_the_journal_tells_what_became_of_each() -> None:
    entries = [
        entry("state", "", event="start"),
        entry("begin", "db"),
        entry("begin", "guest"),
        entry("begin", "names"),
        entry("state", "guest", event="audit", found=GUEST),
        entry("end", "guest", result="ok"),
        entry("end", "db", result="failed", message="no answer"),
        entry("begin", "other", phase="prepare"),
    ]
    assert audited(entries) == {
        "db": Audited("failed", "no answer"),
        "guest": Audited("ok", "", GUEST),
        "names": Audited(""),
    }
    assert audited(entries[-1:]) == {}
