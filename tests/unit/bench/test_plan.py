"""A plan that is ten times as large takes about ten times as long, not a hundred times."""

from __future__ import annotations

import time
from typing import Any

from benchmarks import bench_plan
from benchmarks.bench_plan import FEW, MANY, ROW, checked, declared

from bascule.report import forecast
from bascule.report.forecast import Part
from bascule.run.components import layers_of

# Ten times as many take ten times as long; what grows with the square takes a hundred times as long.
_MOST = 30


def seconds(given: dict[str, dict[str, Any]]) -> float:
    """Return the least of three measurements of the processor's time: others on the machine do not count."""
    found = []
    for _ in range(3):
        began = time.process_time()
        checked(given)
        found.append(time.process_time() - began)
    return min(found)


def test_ten_times_as_many_components_take_about_ten_times_as_long() -> None:
    few, many = declared(FEW), declared(MANY)
    assert (len(few), len(many)) == (FEW, MANY)
    assert seconds(many) < _MOST * seconds(few)


def test_all_of_a_large_plan_is_checked_layered_and_forecast() -> None:
    given = declared(MANY)
    components, findings, outlook, shown = checked(given)
    assert findings == []
    assert outlook.unknown == []
    assert components[-1].layer == MANY // ROW + 7
    # Every database waits for the one before, 20 s each; then the six guests of the last application, 21 s each.
    assert outlook.expected.seconds == 20 * (MANY // ROW) + 6 * 21
    assert outlook.expected.chain[:2] == ("app0_db", "app1_db")
    assert len([line for line in shown if line.startswith("layer ")]) == MANY
    # What is wrong in one of ten thousand is found.
    given["app7_files"]["rsync_delta_sync_path"] = f"{given['app107_files']['rsync_delta_sync_path']}/below"
    given["app9_db"]["postgresql_replication_port"] = given["app11_db"]["postgresql_replication_port"]
    found = sorted(one.subject for one in checked(given)[1])
    assert found == ["app11_db and app9_db", "app7_files"]


def test_a_row_of_ten_thousand_has_as_many_layers() -> None:
    needs = {"c0": [], **{f"c{number}": [f"c{number - 1}"] for number in range(1, MANY)}}
    layers, circle = layers_of(needs)
    assert (layers["c0"], layers[f"c{MANY - 1}"], circle) == (0, MANY - 1, [])
    found = forecast.chained({name: Part(1.0, "") for name in needs}, needs)
    assert (found.seconds, found.chain[0], found.chain[-1], len(found.chain)) == (MANY, "c0", f"c{MANY - 1}", MANY)
    needs["c0"] = [f"c{MANY - 1}"]
    layers, circle = layers_of(needs)
    assert (layers, len(circle), circle[0], circle[-1]) == ({}, MANY + 1, "c0", "c0")
    assert all(after in needs[before] for before, after in zip(circle, circle[1:], strict=False))
    assert bench_plan.BENCHMARK.limit < _MOST / 10
