"""From accounts to figures, and from figures to a verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.report.figures import LegInput, acknowledged_idents, fact_sum, guests_moved, leg_figures
from bascule.report.judge import leg_reasons, verdict
from bascule.report.records import Leg, Lookup, client_account, committed_from, probe_account

WALL = 1_800_000_000.0
LIMITS = {"write_outage_seconds": 120.0, "largest_probe_gap_seconds": 10.0}
FACTS: dict[str, dict[str, Any]] = {
    "accounts_db": {
        "role": "postgresql_replication", "opened": "1.d", "rows_compared": 1000, "rows_different": 0,
        "rows_not_proved": 0, "fence_admitted": 0, "fence_refused": 70, "digested": {"fast": 12}, "mode": "fast",
        "details": [], "not_proved": [], "service": True, "safety_dump": "proved",
        "not_compared": {"foreign table courses.app.far": "its rows lie at another server"},
    },
    "course_files": {
        "role": "rsync_delta_sync", "opened": "1.d", "files_compared": 50, "files_different": 0, "files_not_proved": 0,
        "fence_from_outside": "refused", "not_proved": [], "not_compared": {"time of birth": "50 entries have it"},
    },
    "courses_guest": {
        "role": "proxmox_guest", "opened": "1.d", "disks_compared": 1, "disks_different": 0, "way": "delta",
        "details": [], "active_side": "pve-tls", "asked": ["guest agent"],
        "not_compared": {},
    },
    "names": {
        "role": "dns_switchover", "opened": "1.d", "answers_checked": 12, "active_side": "ns-tls", "details": [],
        "servers": ["192.0.2.53"],
    },
}  # fmt: skip


def client_line(op: str, number: int, at: float, outcome: str = "ack", **more: Any) -> str:
    """A line as the client writes it; its monotonic clock began at 500."""
    record = {
        "op": op, "n": number, "kind": "login" if op == "write" else "course", "outcome": outcome,
        "sent": 500 + at, "answered": 500.05 + at, "sent_wall": WALL + at, "answered_wall": WALL + at + 0.05,
    }  # fmt: skip
    if op == "write":
        record |= {"id": f"w{number}", "committed": {"system_id": "77", "timeline": 1, "db": "courses"}}
    return json.dumps(record | more) + "\n"


def probe_line(kind: str, side: str, at: float, result: str) -> str:
    record = {
        "op": "probe", "kind": kind, "side": side, "id": f"p-{kind}-{side}-{at}", "result": result,
        "start": 90 + at, "end": 90.01 + at, "start_wall": WALL + at, "end_wall": WALL + at + 0.01,
    }  # fmt: skip
    return json.dumps(record) + "\n"


def good_run(seconds: float = 60.0, pause: tuple[float, float] = (30.0, 35.0)) -> tuple[list[str], list[str]]:
    """A leg with a pause in it, in which the client gets the maintenance page and nobody takes a probe."""
    client, probes = ['{"op":"start"}\n'], []
    for number in range(int(seconds * 10)):
        at = number / 10
        paused = pause[0] <= at < pause[1]
        client.append(client_line("write", number, at, "maintenance" if paused else "ack"))
        if number % 4 == 0:
            client.append(client_line("read", number, at, "maintenance" if paused else "ack"))
        if number % 2 == 0:
            for kind in ("db", "files", "guest"):
                probes.append(probe_line(kind, "mtp", at, "accept" if at < pause[0] else "refuse"))
                probes.append(probe_line(kind, "tls", at, "accept" if at >= pause[1] else "refuse"))
    return client, probes


def data_line(number: int, at: float, outcome: str = "ack", timeline: int = 1, **more: Any) -> str:
    """A line of the client of the database alone; its monotonic clock began at 70."""
    record = {
        "op": "write", "kind": "data", "n": number, "id": f"d{number}", "outcome": outcome,
        "sent": 70 + at, "answered": 70.01 + at, "sent_wall": WALL + at, "answered_wall": WALL + at + 0.01,
        "committed": {"system_id": "77", "timeline": timeline, "db": "courses"},
    }  # fmt: skip
    return json.dumps(record | more) + "\n"


def data_run(begin: float = 10.0, end: float = 60.0, pause: tuple[float, float] = (30.0, 30.8)) -> list[str]:
    """The client of the database alone comes when there is a pooler, and is held back for a moment."""
    moments = [number / 10 for number in range(int(begin * 10), int(end * 10))]
    return [data_line(n, at) for n, at in enumerate(moments) if not pause[0] <= at < pause[1]]


def leg_input(client: Iterable[str], probes: Iterable[str], **changes: Any) -> LegInput:
    account, attempts = client_account(client), probe_account(probes)
    leg = changes.pop("leg", Leg("forward", WALL, WALL + 60))
    data = client_account(changes.pop("data", data_run()))
    idents = acknowledged_idents(account, attempts, leg, data)
    given_input: dict[str, Any] = {
        "leg": leg, "client": account, "probes": attempts, "facts": FACTS, "data": data,
        "lookup": Lookup("tls", idents), "phases": {"cutover": {"expected": 60.0, "measured": 5.0}},
    }  # fmt: skip
    return LegInput(**(given_input | changes))


def test_a_good_leg() -> None:
    figures = leg_figures(leg_input(*good_run()))
    assert leg_reasons("forward", figures, LIMITS) == []
    assert figures["write_outage_seconds"] == pytest.approx(5.1, abs=0.01)
    assert figures["data_layer_seconds"] == pytest.approx(0.9, abs=0.01)
    assert figures["data_layer_writes"] == 492
    assert figures["data_layer_errors"] == 0
    assert figures["acknowledged_writes"] == 550 + 492
    assert figures["lost_writes"] == 0
    assert figures["read_errors"] == 0
    assert figures["maintenance_pages"] == 50 + 13
    assert figures["two_writers_seconds"] == 0.0
    assert figures["probes"] == 1800
    assert figures["largest_probe_gap_seconds"] == pytest.approx(0.2, abs=0.01)
    assert figures["guests_moved"] == {"delta": 1}
    assert figures["rows_compared"] == 1000


def test_nothing_measured_is_null_and_null_is_a_failure() -> None:
    figures = leg_figures(leg_input([], [], facts={}, lookup=None, data=[]))
    for name in (
        "write_outage_seconds", "data_layer_seconds", "read_errors", "maintenance_pages", "acknowledged_writes",
        "lost_writes", "unknown_writes", "divergent_writes", "data_layer_writes", "two_writers_seconds",
        "largest_probe_gap_seconds", "rows_compared", "files_compared", "disks_compared", "guests_moved",
    ):  # fmt: skip
        assert figures[name] is None, name
    reasons = leg_reasons("forward", figures, LIMITS)
    assert {reason.figure for reason in reasons} >= {"write_outage_seconds", "lost_writes", "rows_different"}
    assert verdict(reasons) == "invalid"


def test_a_missing_part_of_a_write_is_a_lost_write() -> None:
    client, probes = good_run()
    whole = leg_input(client, probes)
    assert whole.lookup is not None
    lookup = Lookup("tls", whole.lookup.looked_up, {"w3": ("row", "local"), "p-files-mtp-0.0": ("file",)})
    figures = leg_figures(leg_input(client, probes, lookup=lookup))
    assert figures["lost_writes"] == 2
    assert verdict(leg_reasons("forward", figures, LIMITS)) == "failed"


def test_a_write_that_was_not_looked_up_is_not_proved() -> None:
    client, probes = good_run()
    whole = leg_input(client, probes)
    assert whole.lookup is not None
    lookup = Lookup("tls", whole.lookup.looked_up - {"w3"})
    assert leg_figures(leg_input(client, probes, lookup=lookup))["lost_writes"] is None


def test_writes_of_the_leg_before_must_come_back_too() -> None:
    client, probes = good_run()
    carried = frozenset({"earlier"})
    assert leg_figures(leg_input(client, probes, carried=carried))["lost_writes"] is None
    whole = leg_input(client, probes)
    assert whole.lookup is not None
    lookup = Lookup("mtp", whole.lookup.looked_up | carried, {"earlier": ("row",)})
    assert leg_figures(leg_input(client, probes, carried=carried, lookup=lookup))["lost_writes"] == 1


def test_a_data_layer_that_never_came_back_is_out_to_the_end() -> None:
    client, probes = good_run()
    lines = [*data_run(end=30.0), *(data_line(9000 + n, 30 + n / 10, "not_sent", problem="x") for n in range(20))]
    figures = leg_figures(leg_input(client, probes, data=lines))
    assert figures["data_layer_seconds"] == pytest.approx(30.1, abs=0.02)
    assert figures["data_layer_errors"] == 20
    reasons = leg_reasons("forward", figures, {"data_layer_seconds": 3.0})
    assert [reason.figure for reason in reasons] == ["data_layer_seconds"]


def test_a_lost_row_of_the_data_layer_is_a_lost_write() -> None:
    client, probes = good_run()
    whole = leg_input(client, probes)
    assert whole.lookup is not None
    lookup = Lookup("tls", whole.lookup.looked_up, {"d7": ("row",)})
    assert leg_figures(leg_input(client, probes, lookup=lookup))["lost_writes"] == 1
    unasked = Lookup("tls", whole.lookup.looked_up - {"d7"})
    assert leg_figures(leg_input(client, probes, lookup=unasked))["lost_writes"] is None


def test_a_row_committed_on_a_history_that_was_left_diverges() -> None:
    client, probes = good_run()
    lines = [*data_run(end=30.0), data_line(8000, 31.0, timeline=2), data_line(8001, 31.5, timeline=1)]
    assert leg_figures(leg_input(client, probes, data=lines))["divergent_writes"] == 1


def test_fewer_than_500_acknowledged_writes_are_no_valid_run() -> None:
    leg = Leg("forward", WALL, WALL + 40)
    figures = leg_figures(leg_input(*good_run(seconds=40.0), leg=leg, data=data_run(end=12.0)))
    assert figures["acknowledged_writes"] == 350 + 20
    reasons = leg_reasons("forward", figures, LIMITS)
    assert [reason.figure for reason in reasons] == ["acknowledged_writes"]
    assert verdict(reasons) == "invalid"
    assert "at least 500" in reasons[0].text()


@pytest.mark.parametrize("outcome", ["refused", "error", "unknown"])
def test_a_failed_read_is_a_read_error(outcome: str) -> None:
    client, probes = good_run()
    client.append(client_line("read", 999, 20.0, outcome))
    assert leg_figures(leg_input(client, probes))["read_errors"] == 1


def test_unknown_writes_are_counted_apart() -> None:
    client, probes = good_run()
    client.append(client_line("write", 9999, 29.9, "unknown"))
    figures = leg_figures(leg_input(client, probes))
    assert figures["unknown_writes"] == 1
    assert figures["acknowledged_writes"] == 550 + 492


def test_an_outage_that_lasts_to_the_end_is_counted() -> None:
    client, probes = good_run(pause=(55.0, 90.0))
    assert leg_figures(leg_input(client, probes))["write_outage_seconds"] == pytest.approx(5.05, abs=0.02)


def test_components_add_what_they_found_on_the_closed_side() -> None:
    facts = FACTS | {"accounts_db": FACTS["accounts_db"] | {"divergent_writes": 3}}
    assert leg_figures(leg_input(*good_run(), facts=facts))["divergent_writes"] == 3


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ({"divergent_bytes": 8192}, 1),
        ({"divergent_bytes": 0}, 0),
        ({"kept_side_as_at_its_receipt": False}, 1),
        ({"kept_side_as_at_its_receipt": True}, 0),
        ({"kept_side_as_at_its_receipt": None}, 0),
    ],
)
def test_something_on_the_closed_side_is_divergence(said: dict[str, Any], count: int) -> None:
    facts = FACTS | {"accounts_db": FACTS["accounts_db"] | said}
    assert leg_figures(leg_input(*good_run(), facts=facts))["divergent_writes"] == count


def test_a_timeline_is_a_number_or_stands_as_in_a_wal_file() -> None:
    for said, number in (("0000000A", 10), ("00000010", 16), (12, 12), ("7", 7)):
        committed = committed_from({"system_id": "77", "timeline": said, "db": "courses"})
        assert committed is not None
        assert committed.timeline == number
    assert committed_from({"system_id": "77", "timeline": "first"}) is None
    assert committed_from({"system_id": "77"}) is None
    assert committed_from("77") is None


def test_a_half_line_is_counted_and_passed_over() -> None:
    client, _ = good_run()
    account = client_account([*client, '{"op":"write","id":"w', "[]\n", "\n"])
    assert account.unreadable == 2
    assert len(account.operations) == 600 + 150


@given(st.floats(-1e6, 1e6), st.floats(0.0, 1e9))
def test_the_offset_of_the_clocks_does_not_matter(mono: float, wall: float) -> None:
    lines, probes = good_run(seconds=5.0, pause=(2.0, 3.0))
    moved = []
    for line in lines[1:]:
        record = json.loads(line)
        for name in ("sent", "answered"):
            record[name] += mono
            record[f"{name}_wall"] += wall
        moved.append(json.dumps(record))
    plain = leg_figures(leg_input(lines, probes, leg=Leg("forward", WALL, WALL + 5)))
    other = leg_figures(leg_input(moved, probes, leg=Leg("forward", WALL + wall, WALL + wall + 5)))
    assert other["write_outage_seconds"] == pytest.approx(plain["write_outage_seconds"], abs=0.01)


def test_a_fact_that_is_no_number_is_no_figure() -> None:
    assert fact_sum([{"rows_compared": 3}, {"rows_compared": 4}, {}], "rows_compared") == 7
    assert fact_sum([{"rows_compared": 3}, {"rows_compared": None}], "rows_compared") is None
    assert fact_sum([{"rows_compared": True}], "rows_compared") is None
    assert fact_sum([{}], "rows_compared") is None


def test_guests_are_counted_by_way() -> None:
    assert guests_moved([{"guests_moved": {"delta": 2, "backup": 1}}, {"way": "delta"}]) == {"delta": 3, "backup": 1}


def test_limits_belong_to_the_plan() -> None:
    figures = leg_figures(leg_input(*good_run()))
    reasons = leg_reasons("back", figures, {"largest_probe_gap_seconds": 0.001})
    assert [reason.text() for reason in reasons] == [
        f"back.largest_probe_gap_seconds: {figures['largest_probe_gap_seconds']}, the plan's limit is 0.001"
    ]
    assert verdict(reasons) == "failed"
    # How fast it was is reported; the machine has its part in it.
    assert figures["unended_outages"] == []
    assert leg_reasons("back", figures, {"write_outage_seconds": 3.0}) == []
    assert leg_reasons("back", figures | {"write_outage_seconds": float("nan")}, {})[0].rule == "missing"
