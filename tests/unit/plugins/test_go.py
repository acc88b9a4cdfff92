"""GO in real playbooks: what is said before the answer, an answer at a real terminal, and a look that asks nobody."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, ROOT, World, never_left, verbs_said

from bascule.run import chain

CUTOVER = ROOT / "playbooks/60_cutover.yml"
QUESTION = "Type the name of the site that shall be active afterwards"
BANNER = "CHECK: nothing will be changed at either site."


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world whose plan allows two hours."""
    made = World(tmp_path)
    (tmp_path / "inventory/group_vars/all/plan.yml").write_text(PLAN + "plan_limits: {write_outage_seconds: 7200}\n")
    # Where nothing of a role's is skipped with --check.
    made.state = ELSEWHERE
    made.answer_verbs()
    never_left(made, frozen=False)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def at_a_terminal(world: World, answer: str, *arguments: str, playbook: Path = CUTOVER) -> tuple[int, str]:
    """Run a playbook at a terminal of its own and type the answer when the question is there."""
    terminal, its_end = pty.openpty()
    # A session of its own makes the terminal the one that it is asked at.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "ansible-playbook", "-i", "inventory", str(playbook), *arguments],
        cwd=world.path,
        env=world.surroundings(),
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
    )
    os.close(its_end)
    output, typed, deadline = "", False, time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            output += os.read(terminal, 65536).decode("utf-8", "replace")
        except OSError:
            # The other end is closed.
            break
        if QUESTION in output and not typed:
            # What was typed before the question is thrown away.
            time.sleep(1.0)
            os.write(terminal, f"{answer}\r".encode())
            typed = True
    status = process.wait(timeout=30)
    os.close(terminal)
    return status, output.replace("\r", "")


def test_what_takes_part_is_shown_before_the_question_and_the_name_is_the_go(world: World) -> None:
    rc, output = at_a_terminal(world, "toulouse", "--limit", "low")
    assert rc == 0, output
    shown, _, after = output.partition(QUESTION)
    assert "  cutover: the active site afterwards is toulouse\n" in shown
    assert "  take part: low\n" in shown
    assert "  left out by --limit: top\n" in shown
    assert "  forecast of the outage: not known; the plan allows 7200 s\n" in shown
    assert "toulouse" in after
    assert ("low", "switch") in verbs_said(output)
    assert BANNER not in output


# What else is no GO stands in tests/unit/run/test_approval.py, this answer among it.
@pytest.mark.parametrize("answer", ["toulouse ", pytest.param("Toulouse", marks=pytest.mark.long)])
def test_any_other_answer_changes_nothing(world: World, answer: str) -> None:
    rc, output = at_a_terminal(world, answer)
    assert rc == 2, output
    assert "NO-GO: nothing was changed" in " ".join(output.split())
    assert verbs_said(output) == []
    assert not (world.path / "runs/latest").exists()


def test_where_nobody_can_be_asked_nothing_is_changed(world: World) -> None:
    rc, output = world.run(playbook=CUTOVER)
    assert rc == 2
    assert "the name of the site that shall be active after cutover, exactly: toulouse; found: nothing" in " ".join(
        output.split()
    )
    assert verbs_said(output) == []


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("60_cutover", "toulouse"),
        ("90_decommission", "toulouse"),
        ("rollback", "montpellier"),
    ],
)
def test_a_name_in_the_inventory_is_nobodys_go(world: World, name: str, site: str) -> None:
    (world.path / "inventory/group_vars/all/go.yml").write_text(f"confirm: {site}\n")
    rc, output = world.run(playbook=ROOT / f"playbooks/{name}.yml")
    assert rc == 2
    assert f"exactly: {site}; found: nothing; state now: NO-GO" in " ".join(output.split())
    assert verbs_said(output) == []


@pytest.mark.parametrize("limit", ["'{{ nowhere }}'", "soon"])
def test_a_forecast_that_cannot_be_made_keeps_nobody_from_going_back(world: World, limit: str) -> None:
    plan = PLAN + f"plan_limits: {{write_outage_seconds: {limit}}}\n"
    (world.path / "inventory/group_vars/all/plan.yml").write_text(plan)
    rc, output = world.move("rollback.yml")
    assert rc == 0, output
    assert "forecast of the outage: not known" in output
    assert ("'nowhere' is undefined" if "nowhere" in limit else "the plan's limit is no number: soon") in output


@pytest.mark.parametrize("name", ["60_cutover", "rollback"])
def test_a_look_asks_nobody_and_says_would(world: World, name: str) -> None:
    rc, output = at_a_terminal(world, "nobody asks", "--check", playbook=ROOT / f"playbooks/{name}.yml")
    assert rc == 0, output
    assert QUESTION not in output
    assert output.index(BANNER) < output.index("would take part: low, top")
    assert f"the active site afterwards would be {'montpellier' if name == 'rollback' else 'toulouse'}\n" in output
    assert "forecast of the outage: not known" in output
    assert "from freeze to thaw" not in output, "a window that was not"


@pytest.mark.parametrize(
    ("name", "site", "more"),
    [
        ("90_decommission", "toulouse", ()),
        ("80_commit", "toulouse", ()),
        ("site_lost", "montpellier", ("toulouse",)),
        ("guard_lost", "montpellier", ("toulouse",)),
    ],
)
def test_a_look_at_any_decision_asks_nobody_says_would_and_leaves_latest(
    world: World, name: str, site: str, more: tuple[str, ...]
) -> None:
    """Whatever it comes to: none of these can be carried out where this world stands, but for the lost site."""
    (world.path / "roles/toy/tasks/reopen.yml").write_text("[]\n")
    if name == "site_lost":
        silent = ELSEWHERE.replace("/a-tls/guard/", "/a-mtp/guard/")
        unread = "- ansible.builtin.set_fact: {__toy_silent: {unread: {a-tls: no route}}}\n"
        (world.path / "roles/toy/tasks/state.yml").write_text(silent + unread)
        world.are_down("a-tls", "j-tls")
    word = tuple(part for lost in more for part in ("-e", f"site={lost} by=me fenced=cut"))
    _, output = world.run(playbook=ROOT / f"playbooks/{name}.yml", arguments=("--check", "--limit", "low", *word))
    told = " ".join(output.split())
    assert f"the active site afterwards would be {site} would take part: low left out by --limit: top" in told, output
    assert output.index(BANNER) < output.index("would take part")
    assert f"exactly: {site}" not in told
    assert not (world.path / "runs/latest").exists()


def test_a_look_and_the_question_say_what_the_window_is_expected_to_cost(world: World) -> None:
    """A figure that is known, as of a database's budget; the forecast of all roles stands in test_forecast.py."""
    shutil.copytree(world.path / "roles/toy", world.path / "roles/postgresql_replication")
    (world.path / "roles/postgresql_replication/defaults").mkdir()
    (world.path / "roles/postgresql_replication/defaults/main.yml").write_text(
        "postgresql_replication_switch_budget: 7\n"
    )
    components = (world.path / "inventory/components.yml").read_text()
    (world.path / "inventory/components.yml").write_text(
        components.replace("low: {component_role: toy", "low: {component_role: postgresql_replication")
    )
    for arguments in (("--check",), ("-e", "confirm=no")):
        _, output = world.run(playbook=CUTOVER, arguments=arguments)
        assert "  forecast of the outage: 7 s at least; the plan allows 7200 s\n" in output
        assert "    low                   7 s  at most: the switch's budget" in output
        assert "    top             not known  the role toy has no forecast" in output


def test_a_look_moves_nothing(world: World) -> None:
    rc, output = world.move("60_cutover.yml", "-e", "fail_at=top.switch")
    assert rc == 2, output
    before = os.readlink(world.path / "runs/latest")
    left = {path: path.read_bytes() for path in world.hosts.rglob("*") if path.is_file()}
    facts = (world.path / "runs/latest/facts/low.verify.json").read_bytes()
    for given in ({}, {"BASCULE_RUN": "another"}):
        world.environment = dict(given)
        rc, output = world.run(playbook=CUTOVER, arguments=("--check", "-e", '{"seen": 9}'))
        assert rc == 0, output
        assert os.readlink(world.path / "runs/latest") == before
        assert {path: path.read_bytes() for path in world.hosts.rglob("*") if path.is_file()} == left
    assert (world.path / "runs/latest/facts/low.verify.json").read_bytes() == facts, "what was found for real stays"
    assert (world.path / "runs/latest/facts/check/low.verify.json").exists()
    tried = chain.parse((world.path / "runs/another/journal.jsonl").read_text()).entries
    assert {bool(entry["data"].get("check_mode")) for entry in tried if entry["kind"] == "begin"} == {True}


def test_what_is_alone_would_only_be_let_in(world: World) -> None:
    world.are_down("a-tls", "j-tls")
    rc, output = world.run(playbook=ROOT / "playbooks/rollback.yml", arguments=("--check",))
    assert rc == 0, output
    assert re.search(
        r"low is open at a-mtp, and a-tls or a site's journal does not answer: it would only be let", output
    )
