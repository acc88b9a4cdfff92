"""An audit without root says what it could not look at, looks at all else, and is green by nothing it has not seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.report import audited
from bascule.run.preflight import PHASES

from .test_audit import AUDIT, screen
from .test_play import COMPONENTS, INVENTORY, ROOT, World

OTHER = "  other: {component_role: toy, source_host: j-mtp, target_host: j-tls, depends_on: []}\n"
# Who logs in at a-mtp gets no further than that.
BOUND = "a-mtp: {ansible_user: ops, ansible_become: false}"
SHUT = """#!/bin/sh
for word; do host=$script; script=$word; done
if [ "$host" = a-mtp ]; then echo "Permission denied" >&2; exit 255; fi
exit 0
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world in which one machine of two components lets nobody become root."""
    made = World(tmp_path)
    (tmp_path / "inventory/hosts.yml").write_text(INVENTORY.replace("a-mtp: {}", BOUND))
    (tmp_path / "inventory/components.yml").write_text(COMPONENTS + OTHER)
    for verb in PHASES["audit"]:
        (tmp_path / f"roles/toy/tasks/{verb}.yml").write_text("[]\n")
    (tmp_path / "roles/toy/tasks/audit.yml").write_text(AUDIT)
    (tmp_path / "roles/toy/tasks/check.yml").write_text(made.verb)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_it_says_what_it_could_not_look_at_and_looks_at_the_rest(world: World) -> None:
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 0, output
    lines = screen(output)
    assert lines[0] == "AUDIT of plan toy: fits as far as it was looked at, without low, top"
    for name in ("low", "top"):
        assert f"    - {name}: a-mtp: what needs root there: all of its audit" in lines
        assert f"    - {name}: a-tls: not looked at either: both sides are looked at together" in lines
        assert not (world.path / f"runs/latest/facts/{name}.audit.json").exists()
    assert "    - other: other should be known" in lines
    assert "  next: ansible-playbook -i inventory playbooks/10_audit.yml" in lines
    assert (world.path / "runs/latest/facts/other.audit.json").exists()
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml", arguments=("-e", "fail_at=other"))
    assert rc == 2, "one that fails is no less a failure"
    assert screen(output)[0] == "AUDIT of plan toy: DOES NOT FIT, 1 of 3 components cannot move as declared"


@pytest.mark.parametrize("playbook", ["50_plan.yml", "10_audit.yml"])
def test_who_does_not_get_in_at_all_is_an_error_as_is_a_plan_without_root(world: World, playbook: str) -> None:
    if playbook == "10_audit.yml":
        (world.path / "bin/ssh").write_text(SHUT)
    rc, output = world.run(playbook=ROOT / "playbooks" / playbook)
    assert rc == 2
    found = "expected true, or its user to be root" if playbook == "50_plan.yml" else "Permission denied"
    assert "found: 1 finding\n- a-mtp: ansible_" in output
    assert found in output


def test_what_needs_root_is_told_by_machine() -> None:
    begin = {"kind": "begin", "phase": "audit", "component": "db", "data": {}}
    machines = {"a": "what needs root there: x", "b": "what needs root there: x"}
    said = {**begin, "kind": "state", "data": {"event": "not_looked_at", "machines": machines}}
    one = audited.audited([begin, said, {**begin, "kind": "end", "data": {"result": "ok"}}])["db"]
    assert (one.hidden, one.found, one.refusals) == (machines, None, [])
