"""That nobody watches is said by whoever asks: a round that does not come sends no alarm."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from bascule.run import monitor
from bascule.run.last_round import said, span
from bascule.run.monitor import Wanted

SWITCHED = 1_796_250_000.0
WANT = Wanted(max_age=3600)


def entry(moment: float, kind: str, phase: str = "", verb: str = "", **data: Any) -> dict[str, Any]:
    """Return an entry of the journal."""
    time = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).isoformat(timespec="milliseconds")
    return {
        "time": time, "run": "r", "controller": "c", "epoch": f"d{moment}", "n": 1, "kind": kind, "phase": phase,
        "verb": verb, "component": "db", "data": data, "prev": "", "hash": str(moment),
    }  # fmt: skip


def seen(at: float, *verdicts: str) -> dict[str, Any]:
    """Return what a round has left."""
    series = [{"key": f"db.s{number}", "verdict": verdict} for number, verdict in enumerate(verdicts)]
    return entry(at, "state", "monitor", event=monitor.EVENT, at=at, series=series)


SWITCH = entry(SWITCHED, "end", "cutover", "switch", result="ok")


@pytest.mark.parametrize(
    ("entries", "after", "expected"),
    [
        ([], 9e9, ("", True)),
        ([seen(SWITCHED - 10, "within")], 9e9, ("", True)),
        ([SWITCH], 3600, ("", True)),
        ([SWITCH], 3660, ("NOBODY WATCHES: no round since the switch, 61 min ago", False)),
        ([SWITCH, seen(SWITCHED + 60, "within", "within")], 90, ("all 2 series within their limits, 30 s ago", True)),
        ([SWITCH, seen(SWITCHED + 60, *["over"] * 5, "within")], 90, (
            "ALARM 30 s ago: 5 of 6 series: db.s0 over, db.s1 over, db.s2 over and 2 more", True
        )),
        ([SWITCH, seen(SWITCHED + 60)], 90, ("ALARM 30 s ago: 0 of 0 series: no series", True)),
        ([SWITCH, seen(SWITCHED, "within")], 3700, (
            "NOBODY WATCHES: the last round was 61 min ago; 60 min are allowed", False
        )),
        ([SWITCH, entry(SWITCHED + 9, "decision", "commit", decision="COMMIT")], 9000, ("", True)),
        ([SWITCH, entry(SWITCHED + 9, "begin", "rollback", "switch")], 9000, ("", True)),
    ],
)  # fmt: skip
def test_how_monitoring_stands(entries: list[Any], after: float, expected: tuple[str, bool]) -> None:
    assert said(entries, WANT, SWITCHED + after, True) == expected


def test_where_no_plan_asks_for_it_one_round_is_enough_to_be_missed() -> None:
    assert said([SWITCH], WANT, SWITCHED + 9000, False) == ("", True)
    line, watched = said([SWITCH, seen(SWITCHED, "within")], WANT, SWITCHED + 9000, False)
    assert (line.startswith("NOBODY WATCHES: the last round"), watched) == (True, False)


def test_times_are_said_as_people_say_them() -> None:
    assert [span(one) for one in (-5, 119, 120, 7199, 7200, 11_100, 172_800)] == [
        "0 s", "119 s", "2 min", "119 min", "2 h", "3 h 5 min", "2 days"
    ]  # fmt: skip
