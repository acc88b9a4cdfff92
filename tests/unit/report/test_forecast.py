"""The forecast of a window: the longest chain, and what nobody knows is named."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.report.forecast import (
    Known,
    forecast,
    last_found,
    last_samples,
    last_window,
    lines,
    part,
    too_long,
)

GUEST: dict[str, Any] = {
    "forecast": {"chosen": "delta", "ways": {"delta": {"seconds": 60.0, "bytes": 2e6}}, "assumed": ["changed blocks"]}
}
DB = Known("postgresql_replication", variables={"postgresql_replication_switch_budget": 5})
TREE = Known("rsync_delta_sync", samples={"file_delta": 25_000_000, "link_rate": "100"})


def entry(kind: str, time: str, component: str = "", **data: Any) -> dict[str, Any]:
    return {"kind": kind, "time": time, "component": component, "data": data}


def test_the_longest_chain_is_the_forecast() -> None:
    found = forecast(
        {
            "db": DB,
            "tree": TREE,
            "guest": Known("proxmox_guest", ("db", "tree"), GUEST),
            "entrance": Known("web_entrance", ("guest",), variables={"web_entrance_drain_timeout": 20}),
            "names": Known("dns_switchover", ("entrance",)),
        }
    )
    assert found.seconds == 5 + 60
    assert found.chain == ("db", "guest")
    assert found.unknown == []
    assert found.parts["tree"].seconds == 2.0
    assert lines(found, 7200, ("rollback", 41.25)) == [
        "forecast of the outage: 65 s; the plan allows 7200 s",
        "  db                    5 s  at most: the switch's budget; beyond it the old side serves again",
        "  tree                  2 s  25.0 MB changed at the last pretest, 100 Mbit/s",
        "  guest                60 s  delta, 2.0 MB over the link; assumed: changed blocks",
        "  entrance              0 s  closes first, opens last; requests under way may take up to 20 s",
        "  names                 0 s  moves when everybody is in",
        "  one after the other: db, guest",
        "  the last window of this run (rollback) took 41.2 s",
    ]
    assert not too_long(found, 65)
    assert too_long(found, "64")
    assert not too_long(found, None)


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (Known("proxmox_guest"), "no audit of this run has measured it"),
        (Known("proxmox_guest", found={"refusals": ["no guest"]}), "no audit of this run has measured it"),
        (Known("rsync_delta_sync", found={"link": {"mbit": 90}}), "a pretest says how much has changed"),
        (Known("rsync_delta_sync", samples={"file_delta": 5}), "the link was not measured"),
        (Known("rsync_delta_sync", samples={"file_delta": ""}), "a pretest says how much has changed"),
        (
            Known("postgresql_replication", variables={"postgresql_replication_method": "dump_restore"}),
            "no rehearsal was proved yet",
        ),
        (Known("toy"), "the role toy has no forecast"),
        (
            Known("web_entrance", variables={"web_entrance_kind": "manual", "web_entrance_drain_timeout": 20}),
            "people's time, once to close and once to open: a person drives both balancers; and 20 s for requests",
        ),
    ],
)
def test_what_nobody_knows_is_not_nothing(known: Known, why: str) -> None:
    assert part(known).seconds is None
    assert part(known).why.startswith(why)
    found = forecast({"db": DB, "other": known})
    assert found.unknown == ["other"]
    assert lines(found, None)[0] == "forecast of the outage: 5 s at least"
    assert lines(forecast({"other": known}), 60)[0] == "forecast of the outage: not known; the plan allows 60 s"


def test_a_rehearsed_dump_and_a_rate_that_only_the_audit_has_measured_count() -> None:
    told = {"postgresql_replication_method": "dump_restore", "postgresql_replication_switch_budget": 5}
    dump = Known("postgresql_replication", samples={"dump_window": 900.0}, variables=told)
    assert part(dump).seconds == 900
    tree = Known("rsync_delta_sync", found={"link": {"mbit": 200}}, samples={"file_delta": 25_000_000})
    assert part(tree).seconds == 1.0


def test_what_does_not_take_part_is_waited_for_by_nobody() -> None:
    assert forecast({"guest": Known("proxmox_guest", ("db",), GUEST)}).seconds == 60
    assert forecast({}).seconds == 0
    assert forecast({"vpn": Known("vpn_switchover")}).unknown == []
    assert forecast({"a": Known("web_entrance", ("b",)), "b": Known("web_entrance", ("a",))}).seconds == 0


def test_the_newest_word_of_a_journal_counts_in_whatever_order_it_comes() -> None:
    entries = [
        entry("state", "2", "guest", event="audit", found={"new": 1}),
        entry("state", "1", "guest", event="audit", found={"old": 1}),
        entry("state", "3", "guest", event="verify", found={"other": 1}),
        entry("sample", "5", "tree", name="file_delta", value=7),
        entry("sample", "4", "tree", name="file_delta", value=9),
        entry("sample", "6", "tree", name="file_delta", go=False),
        entry("state", "9", event="window", phase="cutover", window_seconds=3.5),
        entry("state", "8", event="window", phase="rollback", window_seconds=9.5),
    ]
    assert last_found(entries) == {"guest": {"new": 1}}
    assert last_samples(entries) == {"tree": {"file_delta": 7}}
    assert last_window(entries) == ("cutover", 3.5)
    assert last_window(entries[:3]) is None
