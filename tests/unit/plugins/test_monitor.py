"""Monitoring in a real ansible-playbook: samples of both machines, pages, alarms, and what a commit asks of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.plugins.test_play import PLAN, World, have_moved, never_left
from tests.unit.run.test_notices import SECRET, answering, serving

BUSY = "load: {max: 9999}, disk_used: {max: 100}"
WATCHED = PLAN + "plan_people: {system: Nadia}\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world after a move; the machine that the tests run on may be as busy and as full as it likes."""
    made = World(tmp_path)
    have_moved(made)
    declare(made, f"plan_monitor: {{limits: {{{BUSY}}}}}\n")
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def declare(world: World, more: str) -> None:
    """Declare what is watched, and how."""
    (world.path / "inventory/group_vars/all/plan.yml").write_text(WATCHED + more)


def rounds(world: World) -> list[dict[str, str]]:
    """Return the verdict of each series in each round that the journal of a site holds."""
    return [
        {one["key"]: one["verdict"] for one in entry["data"]["series"]}
        for entry in world.copy("j-tls")
        if entry["data"].get("event") == "monitor"
    ]


def test_samples_are_taken_judged_kept_and_shown(world: World) -> None:
    world.environment["ANSIBLE_STDOUT_CALLBACK"] = "bascule_progress"
    rc, output = world.move("75_monitor.yml", "--check")
    assert rc == 0, output
    assert not list(world.path.glob("runs/*/monitor"))
    rc, output = world.move("75_monitor.yml")
    assert rc == 0, output
    assert "8 series: OK: all 8 series are within their limits" in output
    machines = [
        f"{name}.{what}@{host}"
        for name in ("low", "top")
        for host in ("a-mtp", "a-tls")
        for what in ("disk_used", "load")
    ]
    assert rounds(world) == [dict.fromkeys(machines, "within")]
    folder = world.path / "runs/latest/monitor"
    (samples,) = folder.glob("*.jsonl")
    day = samples.stem
    assert len(samples.read_text().splitlines()) == 8
    assert {path.name for path in folder.iterdir()} == {samples.name} | {
        f"monitor-{day}{mark}.{kind}" for mark in ("", ".fr", ".ar") for kind in ("md", "html")
    }
    rc, output = world.move("75_monitor.yml")
    assert rc == 0, output
    assert len(samples.read_text().splitlines()) == 16


def test_a_series_over_its_limit_and_a_silent_machine_call_somebody(world: World) -> None:
    declare(world, f"plan_monitor: {{limits: {{{BUSY.replace('100', '0')}}}}}\n")
    world.are_down("a-mtp")
    rc, output = world.move("75_monitor.yml")
    assert rc == 2
    assert "low.disk_used@a-tls: over:" in output
    assert "low.load@a-mtp: unreadable: exit status 255: no route to a-mtp" in output
    assert "next safe command: call Nadia (system)" in output
    (found,) = rounds(world)
    assert found["top.disk_used@a-tls"] == "over"
    assert found["top.load@a-tls"] == "within"
    page = next((world.path / "runs/latest/monitor").glob("monitor-*.fr.md")).read_text()
    assert "ALERTE, 6 séries sur 8" in page


def test_who_is_called_is_told_and_the_address_stands_nowhere(world: World) -> None:
    posts: list[Any] = []
    with serving(answering(200, posts)) as port:
        address = f"json://user:{SECRET}@127.0.0.1:{port}/"
        limits = BUSY.replace("100", "0")
        declare(world, f"plan_monitor: {{limits: {{{limits}}}}}\nnotice_urls: {{system: ['{address}']}}\n")
        rc, output = world.move("75_monitor.yml", "--check")
        assert (rc, posts) == (2, [])
        rc, output = world.move("75_monitor.yml")
        assert rc == 2
    assert "low.disk_used@a-tls: over" in posts[0]["message"]
    assert "Nadia" in posts[0]["message"]
    rc, again = world.move("75_monitor.yml")
    assert "system: not told: a service has refused it" in again
    failed = [entry["data"]["failed"] for entry in world.copy("j-mtp") if entry["data"].get("event") == "notices"]
    assert sorted(failed) == [[], ["system: not told: a service has refused it"]]
    written = [path.read_text(errors="replace") for path in world.path.rglob("*") if path.is_file()]
    assert [text for text in written if SECRET in text and "notice_urls" not in text] == []
    assert SECRET not in output + again


def test_a_plan_that_cannot_be_right_is_refused_before_anybody_is_asked(world: World) -> None:
    declare(world, "plan_monitor: {limits: {disk: {max: 1}}}\nplan_observation_days: soon\n")
    rc, output = world.move("75_monitor.yml")
    assert rc == 2
    assert "limits.disk: no series" in output
    assert "plan_observation_days" in output
    assert "expected a number of days above zero; found 'soon'" in output
    assert rounds(world) == []


def test_a_commit_asks_for_full_days_and_for_what_was_seen_last(world: World) -> None:
    limits = f"plan_monitor: {{day_seconds: 3600, limits: {{{BUSY}}}}}\nplan_observation_days: 2\n"
    declare(world, limits)
    assert world.move("70_verify.yml")[0] == 0
    rc, output = world.move("80_commit.yml")
    assert rc == 2
    assert "monitor_days: nobody has seen users let in to low, top since the last switch" in output
    assert "monitor.low: there is no sample since users were let in" in output
    assert world.move("75_monitor.yml")[0] == 0
    passed = {"gate_overrides": {"monitor_days": "the lead has agreed to two hours"}}
    rc, output = world.move("80_commit.yml", "-e", json.dumps(passed))
    assert rc == 0, output


def test_a_round_while_users_wait_has_seen_nothing_and_says_so(world: World) -> None:
    never_left(world, frozen=True)
    world.answer_verbs()
    assert world.move("60_cutover.yml", "-e", "confirm=toulouse", "-e", "fail_at=top.sync")[0] == 2
    rc, output = world.move("75_monitor.yml")
    assert rc == 2
    assert "no samples: users wait (top, low)" in " ".join(output.split())
    assert rounds(world) == []
