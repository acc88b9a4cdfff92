"""What a plan shows: the graph, the steps, the window from two sides, the way back from it."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.report import expectation, planning
from bascule.report.forecast import Known

DEPENDS_ON = {"db": [], "tree": [], "guest": ["db", "tree"], "entrance": ["guest"], "names": ["entrance"]}
ROLES = {
    "db": "postgresql_replication",
    "tree": "rsync_delta_sync",
    "guest": "proxmox_guest",
    "entrance": "web_entrance",
    "names": "dns_switchover",
}
DB = Known("postgresql_replication", variables={"postgresql_replication_switch_budget": 5})
TREE = Known("rsync_delta_sync", samples={"file_delta": 25_000_000, "link_rate": "100"})
ENTRANCE = Known("web_entrance", ("db", "tree"), variables={"web_entrance_drain_timeout": 20})


def entry(kind: str, time: int, component: str = "", **data: Any) -> dict[str, Any]:
    return {"kind": kind, "time": f"{time}", "component": component, "data": data}


def window(phase: str, time: int, seconds: float, db: float) -> dict[str, Any]:
    data: dict[str, Any] = {
        "event": "window",
        "phase": phase,
        "window_seconds": seconds,
        "components": {"db": {"work_seconds": db}},
    }
    return entry("state", time, **data)


def test_the_graph_names_layers_and_what_each_waits_for() -> None:
    assert planning.graph(ROLES, DEPENDS_ON) == [
        "layer 0  db (postgresql_replication)",
        "layer 0  tree (rsync_delta_sync)",
        "layer 1  guest (proxmox_guest)  after db, tree",
        "layer 2  entrance (web_entrance)  after guest",
        "layer 3  names (dns_switchover)  after entrance",
    ]
    # Who takes no part is in brackets.
    assert planning.graph({"guest": "proxmox_guest"}, DEPENDS_ON) == [
        "layer 0  guest (proxmox_guest)  after (db), (tree)"
    ]


def test_what_closes_goes_backwards_and_what_points_comes_last() -> None:
    told = planning.steps(ROLES, DEPENDS_ON, ["names"])
    assert [line.split(":")[0] for line in told] == [
        "1 check    db, tree > guest > entrance",
        "2 capture  all",
        "3 freeze   entrance > guest > db, tree",
        "4 sync     each after its own freeze",
        "5 switch   db, tree > guest > entrance",
        "6 thaw     db, tree > guest > entrance",
        "7 point    names",
    ]
    assert planning.steps(["names"], DEPENDS_ON, ["names"]) == ["1 point    names"]


def test_ten_thousand_are_laid_out_in_layers() -> None:
    names = [f"n{number}" for number in range(10_000)]
    depends_on = {name: [names[place - 100]] if place >= 100 else [] for place, name in enumerate(names)}
    assert len(planning.layers(names, depends_on)) == 100
    assert all(len(line) < 250 for line in planning.steps(names, depends_on, []))


def test_the_worst_of_all_samples_is_pessimistic_and_the_last_is_expected() -> None:
    entries = [
        entry("sample", 1, "tree", name="link_rate", value=50),
        entry("sample", 2, "tree", name="file_delta", value="50000000"),
        entry("sample", 3, "tree", name="file_delta", value="none"),
    ]
    found = expectation.outlook({"db": DB, "tree": TREE, "entrance": ENTRANCE}, entries)
    assert (found.expected.seconds, found.pessimistic.seconds) == (5.0, 28.0)
    assert found.pessimistic.parts["tree"].seconds == 8.0
    assert found.pessimistic.chain == ("tree", "entrance")
    assert (found.back, found.back_pessimistic, found.measured) == (5.0, 28.0, False)
    assert expectation.lines(found, 40)[-2:] == [
        "fits: the plan allows 40 s",
        "there and back DO NOT FIT into that at worst: a return would end after it",
    ]
    assert expectation.lines(found, 60)[-1].endswith("a return begins no later than 32 s after the freeze")
    assert "NOT at worst" in expectation.lines(found, 20)[-2]


def test_what_was_measured_is_expected_of_a_database_and_of_the_way_back() -> None:
    entries = [window("cutover", 1, 9.0, 0.5), window("rollback", 2, 40.0, 0.75)]
    found = expectation.outlook({"db": DB}, entries)
    assert (found.expected.seconds, found.pessimistic.seconds) == (0.75, 5.0)
    assert (found.back, found.back_pessimistic, found.measured) == (40.0, 40.0, True)
    dumped = Known("postgresql_replication", variables={"postgresql_replication_method": "dump_restore"})
    assert expectation.outlook({"db": dumped}, entries).unknown == ["db"]


@pytest.mark.parametrize(
    ("limit", "fits", "said"),
    [
        (4, False, "DOES NOT FIT: the plan allows 4 s"),
        (5, True, "fits: the plan allows 5 s"),
        (None, True, "the plan allows the outage any time"),
    ],
)
def test_the_plan_fits_or_does_not(limit: Any, fits: bool, said: str) -> None:
    found = expectation.outlook({"db": DB}, [])
    assert expectation.fits(found, limit) is fits
    assert said in "\n".join(expectation.lines(found, limit))


def test_with_no_figure_nothing_is_promised() -> None:
    found = expectation.outlook({"db": DB, "toy": Known("toy")}, [])
    said = expectation.lines(found, 60)
    assert said[-1] == "fits as far as it is known, with no figure of toy: the plan allows 60 s"
    assert "at least" in said[-2]
    assert expectation.lines(found, 4)[-2] == "DOES NOT FIT: the plan allows 4 s"
