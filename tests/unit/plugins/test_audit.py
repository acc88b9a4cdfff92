"""An audit in a real playbook ends with one screen, whatever has become of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import PLAN, ROOT, World, play

from bascule.run import chain
from bascule.run.preflight import PHASES

AUDIT = """
- name: Fail where the test wants it
  ansible.builtin.fail:
    msg: "expected: room; found: none; state now: nothing was changed; next safe command: make some"
  when: fail_at | default('') == inventory_hostname
- name: Fail for some of a loop
  ansible.builtin.fail:
    msg: "expected: {{ item }}; found: no {{ item }}; state now: nothing was changed; next safe command: make some"
  loop: [room, light]
  when: loop_at | default('') == inventory_hostname
- name: Record
  bascule_record:
    kind: audit
    data: {notes: ["{{ inventory_hostname }} should be known"], refusals: []}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world whose role has all verbs."""
    made = World(tmp_path)
    (tmp_path / "inventory/group_vars/all/plan.yml").write_text(PLAN + "plan_limits: {write_outage_seconds: 60}\n")
    for verb in PHASES["audit"]:
        (tmp_path / f"roles/toy/tasks/{verb}.yml").write_text("[]\n")
    (tmp_path / "roles/toy/tasks/audit.yml").write_text(AUDIT)
    (tmp_path / "roles/toy/tasks/check.yml").write_text(made.verb)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def screen(output: str) -> list[str]:
    """Return the screen, which is the end of what a playbook says."""
    assert output.count("AUDIT of plan toy: ") == 1, output
    return ("AUDIT of plan toy: " + output.split("AUDIT of plan toy: ")[1]).splitlines()


def test_it_says_that_the_plan_fits_and_what_comes_next(world: World) -> None:
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 0, output
    assert screen(output)[:8] == [
        "AUDIT of plan toy: fits as far as it is known, with no figure yet of low, top",
        "  forecast of the outage: not known; the plan allows 60 s",
        "    low             not known  the role toy has no forecast",
        "    top             not known  the role toy has no forecast",
        "  to be known:",
        "    - low: low should be known",
        "    - top: top should be known",
        "  next: ansible-playbook -i inventory playbooks/20_prepare.yml --check --diff",
    ]


def test_one_that_cannot_move_does_not_hide_the_rest(world: World) -> None:
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml", arguments=("-e", "fail_at=low"))
    assert rc == 2
    lines = screen(output)
    assert lines[:3] == [
        "AUDIT of plan toy: DOES NOT FIT, 1 of 2 components cannot move as declared",
        "  low cannot move:",
        "    - none",
    ]
    assert "    - low: nothing was measured, as it ended before" in lines
    command = "  next: mend what is named, then ansible-playbook -i inventory playbooks/10_audit.yml --limit low"
    assert command in lines


def test_what_fails_in_a_loop_is_named_with_each_reason(world: World) -> None:
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml", arguments=("-e", "loop_at=low"))
    assert rc == 2
    assert screen(output)[1:4] == ["  low cannot move:", "    - room: no room", "    - light: no light"]


def test_what_comes_after_an_audit_has_the_last_word(world: World) -> None:
    plays = play("audit").replace("phase: cutover", "phase: audit"), play("switch")
    (world.path / "roles/toy/tasks/verb.yml").write_text("[]\n")
    rc, output = world.run(plays[0])
    assert rc == 0, output
    assert screen(output)
    rc, output = world.run(*plays)
    assert any(entry["phase"] == "cutover" for entry in world.entries), output
    assert "AUDIT of plan" not in output


def test_a_forecast_that_cannot_be_made_keeps_no_screen_away(world: World) -> None:
    (world.path / "roles/toy/tasks/verb.yml").write_text("[]\n")
    (world.path / "inventory/group_vars/all/plan.yml").write_text(PLAN + "plan_limits: '{{ nowhere }}'\n")
    _, output = world.run(play("audit").replace("phase: cutover", "phase: audit"))
    lines = screen(output)
    assert "  forecast of the outage: not known" in lines
    assert any("'nowhere' is undefined" in line for line in lines)
    assert any(line.startswith("  next: ") for line in lines)


def test_a_declaration_that_is_refused_has_its_screen_too(world: World) -> None:
    (world.path / "inventory/group_vars/all/plan.yml").write_text(PLAN.replace("min: 5", "min: soon"))
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 2
    lines = screen(output)
    assert lines[0] == "AUDIT of plan toy: DOES NOT FIT, 2 of 2 components cannot move as declared"
    assert any("plan_gates.speed" in line for line in lines)
    assert "  next: mend what is named, then ansible-playbook -i inventory playbooks/10_audit.yml" in lines


def disks(world: World) -> list[tuple[str, int, int, bytes]]:
    """Return all that the machines hold: names, sizes, times of change and contents."""
    paths = [world.hosts, *sorted(world.hosts.rglob("*"))]
    known = [(path, path.stat()) for path in paths]
    return [
        (str(path), one.st_size, one.st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path, one in known
    ]


def test_it_writes_nothing_on_any_machine_and_the_next_phase_brings_its_journal(world: World) -> None:
    """Whatever is written at the sites lies below the folders of these machines, which a phase before has filled."""
    (world.path / "roles/toy/tasks/verb.yml").write_text("[]\n")
    for host in ("a-mtp", "a-tls", "j-mtp", "j-tls"):
        (world.hosts / host).mkdir()
    rc, output = world.run(play("switch"))
    assert rc == 0, output
    before = disks(world)
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 0, output
    assert disks(world) == before
    audits = [entry for entry in world.entries if entry["phase"] == "audit"]
    assert {entry["kind"] for entry in audits} == {"begin", "end", "state", "step"}
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert "LACKS" not in output
    rc, output = world.run(play("switch"))
    assert rc == 0, output
    for host in ("j-mtp", "j-tls"):
        copy = world.copy(host)
        assert chain.verify(copy) == []
        hashes = [entry["hash"] for entry in copy]
        assert all(hashes.count(entry["hash"]) == 1 for entry in audits), host


def test_what_follows_it_in_one_process_brings_it_once(world: World) -> None:
    """As in migrate.yml; the note of the controller comes to the sites with it, and not before."""
    (world.path / "roles/toy/tasks/verb.yml").write_text("[]\n")
    audit = (ROOT / "playbooks/10_audit.yml").read_text().removeprefix("---\n")
    rc, output = world.run(audit)
    assert rc == 0, output
    assert not list(world.hosts.rglob("*.json*"))
    rc, output = world.run(audit, play("switch"))
    assert rc == 0, output
    for host in ("j-mtp", "j-tls"):
        copy = world.copy(host)
        assert chain.verify(copy) == []
        hashes = [entry["hash"] for entry in copy]
        assert sorted(hashes) == sorted(entry["hash"] for entry in world.entries), host
        assert list((world.hosts / host / "controllers").rglob("*.json")), "its note"


def test_audits_beside_which_another_controller_has_begun_a_run_are_named(world: World) -> None:
    """They are not in its run; who goes on with that is told which run lies here alone, then and by every status."""
    (world.path / "roles/toy/tasks/verb.yml").write_text("[]\n")
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 0, output
    mine = (world.path / "runs/latest").readlink().name
    _, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert "lies here alone" not in output, "no site holds another one"
    world.environment["BASCULE_RUNS"] = str(world.path / "elsewhere")
    world.environment["BASCULE_RUN"] = "theirs"
    rc, output = world.run(play("switch"))
    assert rc == 0, output
    world.environment.clear()
    rc, output = world.run(play("switch"))
    assert rc == 0, output
    assert (world.path / "runs/latest").readlink().name == "theirs"
    told = " ".join(output.split())
    assert "going on with run theirs, which the sites hold" in told
    assert f"BASCULE_RUN={mine} shows what it was" in told
    _, output = world.run(playbook=ROOT / "playbooks/status.yml")
    lines = output.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"  run {mine}, begun or joined last "))
    assert "lies here alone and no site holds it" in lines[at]
    assert lines[at + 1].startswith("Next: ")
