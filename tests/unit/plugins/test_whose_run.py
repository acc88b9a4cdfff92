"""What status says when copies, machines or whole runs are not as this controller left them, and which run goes on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import PLAN, ROOT, World, never_left, play, said

from bascule.run import chain


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_a_controller_that_has_seen_nothing_goes_on_with_the_run_of_the_sites(world: World) -> None:
    rc, output = world.run(play("freeze"), play("switch"), arguments=("-e", "fail_at=low.switch"))
    assert rc == 2
    (real,) = {path.name for path in (world.hosts / "j-mtp/journal").iterdir()}
    (world.path / "runs").rename(world.path / "runs-a")
    (world.hosts / "j-tls.down").touch()
    for look in (False, True):
        if look:
            rc, output = world.run(play("freeze"), play("switch"), arguments=("--check",))
            assert rc == 0, output
        rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
        assert rc == 0, output
        assert re.search(rf"Run {real}\nLast verb: cutover/switch of low.*FAILED", output), "also after a look"
        assert re.search(rf"going on with run {real}, which the\s+sites\s+hold", output), "loudly"
    (world.hosts / "j-tls.down").unlink()
    never_left(world)
    rc, output = world.roll_back("-e", "fail_at=top.sync")
    assert rc == 2
    # No run's name begins with a dot.
    assert [path.name for path in (world.path / "runs").glob("[!.]*") if not path.is_symlink()] == [real]
    heads = [e["data"]["heads"] for e in world.entries if not e["data"].get("check_mode") and "heads" in e["data"]]
    assert all(heads[0][site] for site in ("mtp", "tls")), "its chain is tied to the other controller's"
    (world.path / "runs").rename(world.path / "runs-b")
    (world.path / "runs-a").rename(world.path / "runs")
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert re.search(rf"Run {real}\nLast verb: rollback/sync of top.*FAILED", output), (
        "the first one sees what was done"
    )
    assert "going on with run" not in output
    assert "Next: ansible-playbook playbooks/rollback.yml -e confirm=montpellier" in output


def test_status_names_a_newer_run_of_another_controller(world: World) -> None:
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    other = world.hosts / "j-tls/journal/their-own/b-d2.jsonl"
    first = world.entries[0]
    content = {key: first[key] for key in chain.FIELDS if key not in ("n", "prev", "hash")}
    made = chain.make(
        None, {**content, "run": "their-own", "controller": "b", "epoch": "d2", "time": "2999-01-01T00:00"}
    )
    other.parent.mkdir()
    other.write_text(chain.line(made))
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    told = "ANOTHER RUN OF THIS PLAN IS NEWER: their-own, begun or joined last 2999-01-01T00:00Z by b; BASCULE_RUN"
    assert told in output
    assert "Last verb: cutover/freeze of" in output


def test_a_run_of_another_plan_is_not_taken_over(world: World) -> None:
    plan = world.path / "inventory/group_vars/all/plan.yml"
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    mine = (world.path / "runs/latest").resolve()
    plan.write_text(PLAN.replace("plan_name: toy", "plan_name: techcorp"))
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    assert "nothing was run yet" in output
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    assert (world.path / "runs/latest").resolve().name.endswith("-techcorp")
    world.environment["BASCULE_RUN"] = mine.name
    rc, output = world.run(play("freeze"))
    assert rc == 2
    assert (
        f"expected: run {mine.name} to be one of plan techcorp, as this inventory is; found: a run of plan toy"
        in output
    )
    assert said(output) == []
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert "IT IS A RUN OF PLAN toy, NOT OF techcorp" in output


def test_an_odd_line_in_one_copy_is_told_and_stops_nothing(world: World) -> None:
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    (path,) = (world.hosts / "j-tls/journal").glob("*/*.jsonl")
    lines = path.read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), "n": None})
    path.write_text("\n".join(lines) + "\n")
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    assert re.search(r"tls \d+ entries and 1 LINE THAT IS NO ENTRY; CHAIN BROKEN: tls: chain of .*missing", output)
    never_left(world)
    rc, output = world.roll_back()
    assert rc == 0, output
    (start,) = [e for e in world.entries if e["data"].get("broken")]
    assert start["data"]["broken"] == {"tls": 1}


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("[]\n", ""),
        ("- ansible.builtin.set_fact: {__toy_zone: {unread: {a-mtp: no answer, a-tls: no answer}}}\n", "no answer"),
        ("- ansible.builtin.fail: {msg: no way to the servers}\n  register: __toy_zone\n", "no way to the servers"),
    ],
)
def test_what_was_not_read_is_not_called_not_prepared(world: World, state: str, why: str) -> None:
    (world.path / "roles/toy/tasks/state.yml").write_text(state)
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    for name in ("low", "top"):
        assert re.search(rf"{name} +{f'a-mtp NOT READ: {why}; a-tls NOT READ: {why}' if why else 'not taken'}", output)
    wanted = "make the machine that was not read reachable" if why else "ansible-playbook playbooks/10_audit.yml"
    assert f"Next: {wanted}" in output
