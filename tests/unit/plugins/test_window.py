"""A real ansible-playbook says where its window went, and keeps it at both sites."""

from __future__ import annotations

import json

from .test_play import VERB, World, play, world

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
        ("freeze", "top"), ("freeze", "low"), ("switch", "low"), ("thaw", "low"), ("thaw", "top")
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
