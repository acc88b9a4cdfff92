"""A real ansible-playbook says where its window went, and keeps it at both sites."""

from __future__ import annotations

import json

import pytest

from bascule.guard import state as rule
from bascule.guard.state import GuardState

from .test_play import COMPONENTS, NAMES, VERB, World, never_left, play, world

__all__ = ["world"]
WORK = """
#!/usr/bin/python
from ansible.module_utils.bascule.plugin.module import run_module

if __name__ == "__main__":
    run_module({"seconds": {"type": "float"}}, lambda module: __import__("time").sleep(module.params["seconds"]) or {})
"""
WORKS = """
- name: Work
  toy_work: {seconds: 0.2}
  delegate_to: localhost
  vars: {ansible_connection: local}
"""


def test_where_the_window_went_is_printed_and_kept(world: World) -> None:
    library = world.path / "roles/toy/library"
    library.mkdir()
    (library / "toy_work.py").write_text(WORK.lstrip())
    (world.path / "roles/toy/tasks/verb.yml").write_text(VERB + WORKS)
    rc, output = world.run(play("freeze"), play("switch"), play("thaw"))
    assert rc == 0, output
    (kept,) = [e["data"] for e in world.entries if e["data"].get("event") == "window"]
    assert [(link["verb"], link["component"]) for link in kept["critical_path"]] == [
        ("freeze", "top"), ("freeze", "low"), ("switch", "low"), ("switch", "top"), ("thaw", "low"), ("thaw", "top")
    ]  # fmt: skip
    assert all(0.2 <= link["work_seconds"] < link["seconds"] for link in kept["critical_path"])
    assert 0 < kept["orchestration_seconds"] < kept["window_seconds"]
    assert all(share["work_seconds"] >= 0.6 for share in kept["components"].values())
    assert f"{kept['window_seconds']:.1f} s from freeze to thaw: " in output
    assert f"; load {kept['load']} on {kept['cores']} cores" in output
    assert "waiting for others" in output
    assert json.dumps(kept) in map(json.dumps, (e["data"] for e in world.copy("j-tls")))
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    assert "from freeze to thaw" not in output


def with_names(world: World) -> None:
    """Let there be names that point to what the others are."""
    role = world.path / "roles/dns_switchover/tasks"
    role.parent.mkdir()
    role.symlink_to(world.path / "roles/toy/tasks")
    (world.path / "inventory/components.yml").write_text(COMPONENTS + NAMES)
    never_left(world)
    for host, guard in (
        ("a-mtp", rule.adopt_open(GuardState("names", "a-mtp"))),
        ("a-tls", rule.adopt_closed(GuardState("names", "a-tls"))),
    ):
        world.stands(host, "names", guard)


def test_what_only_points_acts_in_thaw_alone(world: World) -> None:
    with_names(world)
    rc, output = world.move("60_cutover.yml")
    assert rc == 0, output
    verbs = [verb for verb, name, _ in world.outcomes() if name == "names"]
    assert verbs == ["check", "capture", "thaw"]
    assert [verb for verb, name, _ in world.outcomes() if name == "top"] == [
        "check", "capture", "freeze", "sync", "switch", "thaw"
    ]  # fmt: skip


# One that fails in an earlier verb stops the same: tests/unit/run/test_order.py.
@pytest.mark.parametrize("where", ["low.sync", pytest.param("low.freeze", marks=pytest.mark.long)])
def test_what_only_points_stays_when_a_move_does_not_come_through(world: World, where: str) -> None:
    with_names(world)
    rc, output = world.move("60_cutover.yml", "-e", f"fail_at={where}")
    assert rc != 0
    assert ("thaw", "names") not in [(verb, name) for verb, name, _ in world.outcomes()], output
