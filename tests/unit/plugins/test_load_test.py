"""The load test of verify in a real ansible-playbook, with the real k6 against a server on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import PLAN, World, have_moved
from tests.unit.run.test_load_test import ALL, serving


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def declare(world: World, text: str) -> None:
    """Declare a load test."""
    (world.path / "inventory/group_vars/all/plan.yml").write_text(f"{PLAN}plan_load_test: {{{text}}}\n")


def samples(world: World) -> dict[str, bool]:
    """Return what the gates of load in the journal say, the last of each."""
    found = {str(one["data"]["name"]): bool(one["data"]["go"]) for one in world.entries if one["kind"] == "sample"}
    return {name: go for name, go in found.items() if name.startswith("load_")}


def test_a_verify_puts_its_load_on_the_entrance_last(world: World) -> None:
    have_moved(world)
    world.environment["ANSIBLE_STDOUT_CALLBACK"] = "bascule_progress"
    asked: list[str] = []

    def answer(path: str) -> tuple[float, int]:
        asked.append(path)
        return 0.0, 200 if "lost" not in path else 404

    with serving(answer) as url:
        declare(world, f"url: '{url}', users: 20, duration_seconds: 1, paths: [/lost]")
        rc, output = world.move("70_verify.yml", "--check")
        assert rc == 0, output
        assert f"no load test with --check: 20 requests would go to {url}/lost" in output
        assert asked == []
        rc, output = world.move("70_verify.yml")
        assert rc == 2
        assert "NO-GO: load_errors: 100 is above 1" in output
        assert set(samples(world)) == ALL
        assert samples(world)["load_errors"] is False
        declare(world, f"url: '{url}', users: 20, duration_seconds: 1, paths: [/]")
        rc, output = world.move("70_verify.yml", "-e", '{"gate_overrides": {"load_generator_cpu": "a busy machine"}}')
    assert rc == 0, output
    assert "gate load_errors: GO, 0.0 % (max 1.0)" in output
    assert samples(world)["load_p95"] is True


def test_a_k6_that_fails_has_measured_nothing_and_that_is_no_go(world: World) -> None:
    have_moved(world)
    # It stands for a k6 that cannot run on this machine.
    (world.path / "bin/k6").write_text("#!/bin/sh\necho no such system >&2\nexit 126\n")
    (world.path / "bin/k6").chmod(0o755)
    declare(world, "url: 'http://127.0.0.1:9', users: 20")
    rc, output = world.move("70_verify.yml")
    assert rc == 2
    assert "load_p95: there is no sample" in output
    assert "exit status 126: no such system" in output
    assert samples(world) == dict.fromkeys(ALL, False)


def test_a_load_test_that_cannot_be_right_is_an_error_of_the_plan(world: World) -> None:
    have_moved(world)
    declare(world, "url: 'http://127.0.0.1:9', users: five")
    rc, output = world.move("70_verify.yml")
    assert rc == 2
    assert "plan_load_test" in output
    assert "users: no number above zero: 'five'" in output
    assert "nothing was changed at either site" in output
