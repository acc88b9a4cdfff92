"""The slot is sized from the measured rate, how long a side may be away, and its disk; and never becomes less."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.postgresql import conf, slots
from bascule.postgresql.io.standby import slot
from bascule.postgresql.spec import Spec

from .test_compatibility import GIB, cluster
from .test_files import make_spec

RATE = 1 << 20


def test_what_comes_in_the_time_is_doubled_and_a_quiet_day_says_little() -> None:
    assert slots.wanted(RATE, 12) == 12 * 3600 * 2 * RATE
    assert slots.wanted(0, 12) == slots.LEAST == 8 * GIB
    assert slots.wanted(10 * RATE, 0) == slots.LEAST


@pytest.mark.parametrize(
    ("size", "free", "known", "found"),
    [
        (8 * GIB, 1000 * GIB, 0, 8 * GIB),
        (8 * GIB + 1, 1000 * GIB, 0, 16 * GIB),
        # At most half of what is free.
        (84 * GIB, 256 * GIB, 0, 128 * GIB),
        (84 * GIB, 256 * GIB - 1, 0, 64 * GIB),
        (8 * GIB, 10 * GIB, 0, 4 * GIB),
        (8 * GIB, 0, 0, GIB),
        # What was set before does not become less, whatever today's rate and disk are.
        (8 * GIB, 1000 * GIB, 40 * GIB, 40 * GIB),
        (84 * GIB, 10 * GIB, 64 * GIB, 64 * GIB),
        (84 * GIB, 1000 * GIB, 64 * GIB, 128 * GIB),
    ],
)
def test_the_size(size: int, free: int, known: int, found: int) -> None:
    assert slots.sized(size, free, known) == found
    assert conf.bytes_of(slots.render(found)) == found


def test_a_size_that_is_no_whole_gigabyte_is_told_exactly() -> None:
    assert slots.render(32 << 20) == "32MB"


def sides(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two sides whose slots are yet to be sized."""
    known = {"log_kept_bytes": None, "log_known_bytes": 0, "slot_hours": 12, "size_bytes": 500 * GIB}
    source = cluster(**{**known, "free_bytes": 2000 * GIB, "wal_bytes_per_second": RATE, **changes})
    return source, cluster(**{**known, "side": "db-tls", "size_bytes": 0, "free_bytes": 600 * GIB})


def test_each_side_gets_what_its_disk_can_hold() -> None:
    source, target = sides()
    assert [one["log_kept_bytes"] for one in slots.settled(source, target, copied=True)] == [128 * GIB, 128 * GIB]
    # The data has yet to be copied there: 100 GiB are left.
    assert [one["log_kept_bytes"] for one in slots.settled(source, target, copied=False)] == [128 * GIB, 32 * GIB]
    source["log_kept_bytes"] = 1
    assert slots.settled(source, target, copied=True)[0]["log_kept_bytes"] == 1, "what a plan says stays"


def test_how_long_a_side_may_be_away_is_said() -> None:
    source, target = slots.settled(*sides(), copied=False)
    first, second = slots.notes(source, target)
    assert f"db-mtp keeps up to {128 * GIB} bytes of log for db-tls, which may be away for about 18.2 hours" in first
    assert "about 4.6 hours at twice the measured rate of 1048576 bytes/s: less than the declared 12" in second
    assert slots.notes({**source, "wal_bytes_per_second": 0}, target) == []


def test_prepare_keeps_the_size_that_came_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Spec, "config", property(lambda self: str(tmp_path)))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100 * GIB))
    server: Any = SimpleNamespace(value=lambda sql: RATE)
    plan = Spec.from_dict({**make_spec().to_dict(), "max_slot_wal_keep_size": "auto"})
    assert slot.open_ended(plan)
    active = slot.at_active(server, plan)
    assert active.max_slot_wal_keep_size == "32GB"
    assert slot.at_passive(plan, active.max_slot_wal_keep_size, 80 * GIB).max_slot_wal_keep_size == "8GB"
    # The next prepare finds it written; a quieter day changes nothing.
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / conf.BASE).write_text(conf.base(plan, {"max_slot_wal_keep_size": "32GB"}, {}))
    server.value = lambda sql: None
    assert slot.at_active(server, plan).max_slot_wal_keep_size == "32GB"
    assert slot.at_active(server, make_spec()) == make_spec()
    assert slot.at_passive(make_spec(), "32GB", 0) == make_spec()
