"""`bascule plan`, and a cutover that is bound to its plan: used once, by any controller, and refused when stale."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.test_phases import CONFIRM, at_terminal, bascule, go_on, status, waits
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, World, never_left

from bascule.plugin import sheets, standing
from bascule.plugin.action import Scope
from bascule.run import chain, plans
from bascule.run.outcome import Status

LIMITED = PLAN + "plan_limits: {write_outage_seconds: 7200}\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world before any move, where the verbs answer, the audit included."""
    made = World(tmp_path)
    made.state = ELSEWHERE
    made.answer_verbs()
    (tmp_path / "roles/toy/tasks/audit.yml").write_text(made.verb.replace("kind: verify", "kind: audit"))
    (tmp_path / "inventory/group_vars/all/plan.yml").write_text(LIMITED)
    never_left(made, frozen=False)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def planned(world: World, *words: str) -> Path:
    """Make a plan and return its file."""
    code, said = bascule(world, "plan", "-i", "inventory", *words)
    assert code == Status.DONE, said
    (file,) = (world.path / "runs/latest/plans").glob("*.json")
    return file


def cut_over(world: World, file: Path, *words: str) -> tuple[int, str]:
    """Run a cutover that is bound to a plan."""
    code, said = bascule(world, "run", "cutover", "--plan", str(file), "-i", "inventory", *CONFIRM, *words)
    return code, " ".join(said.split())


def test_a_plan_shows_what_would_happen_and_is_used_once_by_whichever_controller(world: World) -> None:
    code, said = bascule(world, "plan", "-i", "inventory")
    assert code == Status.DONE, said
    for line in (
        "PLAN toy: cutover to toulouse",
        "layer 0  low (toy)",
        "layer 1  top (toy)  after low",
        "3 freeze   top > low",
        "5 switch   low > top",
        "fits as far as it is known, with no figure of low, top: the plan allows 7200 s",
        "DECISION SHEET: cutover to toulouse",
    ):
        assert line in said
    (file,) = (world.path / "runs/latest/plans").glob("*.json")
    assert file.stat().st_mode & 0o077 == 0
    kept = world.path / "carried.json"
    shutil.copy(file, kept)
    made = [e for e in world.copy("j-tls") if e["data"].get("decision") == "plan made"]
    assert [e["data"]["checksum"] for e in made] == [json.loads(file.read_text())["checksum"]]
    assert world.copy("j-mtp") == world.copy("j-tls")
    # Another controller knows nothing of this one.
    run = (world.path / "runs/latest").resolve().name
    shutil.rmtree(world.path / "runs")
    code, told = cut_over(world, kept)
    assert code == Status.DONE, told
    assert ("switch", "top", "ok") in world.outcomes()
    (sheet,) = (world.path / "runs" / run / "sheets").glob("cutover-*.txt")
    assert "DECISION SHEET: cutover to toulouse" in sheet.read_text()
    assert "decides: " in sheet.read_text()
    shutil.rmtree(world.path / "runs")
    never_left(world, frozen=False)
    code, told = cut_over(world, kept)
    assert code == Status.REFUSED, told
    assert "was USED" in told
    assert "bascule run cutover, without --plan" in told


def test_what_has_changed_since_the_plan_is_named(world: World) -> None:
    file = planned(world)
    (world.path / "inventory/hosts.yml").open("a").write("# edited\n")
    (world.path / "inventory/group_vars/all/plan.yml").write_text(LIMITED.replace("min: 5", "min: 4"))
    code, told = cut_over(world, file, "-e", "other=1")
    assert code == Status.REFUSED, told
    for line in (
        "it is STALE",
        "inventory/hosts.yml has changed",
        "inventory/group_vars/all/plan.yml has changed",
        "plan_gates has changed",
        "-e other is new",
    ):
        assert line in told
    assert not [e for e in world.entries if e["phase"] == "cutover"]


def test_what_stands_elsewhere_since_the_plan_is_named_after_the_go_and_nothing_is_closed(world: World) -> None:
    file = planned(world)
    never_left(world, frozen=True)
    code, told = cut_over(world, file)
    assert code == Status.NO_GO, told
    assert "low at a-mtp was open 0.adopted and is open 0.adopted, frozen" in told
    assert not [e for e in world.entries if e["kind"] == "begin" and e["phase"] == "cutover"]
    # A NO-GO of a gate uses no plan up, and no look does.
    never_left(world, frozen=False)
    override = json.dumps({"gate_overrides": {}})
    assert cut_over(world, file, "-e", override, "--check")[0] == Status.NOTHING
    assert not [e for e in world.entries if e["data"].get("decision") == "plan used"]


def test_a_plan_that_another_controller_uses_meanwhile_is_not_used_twice(world: World) -> None:
    file = planned(world)
    waits(world)
    terminal = at_terminal(world, "run", "cutover", "--plan", str(file), "-i", "inventory", *CONFIRM)
    terminal.expect("put fresh samples to the gates")
    plan = json.loads(file.read_text())
    used = {"decision": plans.USED, "id": plan["id"], "checksum": plan["checksum"], "by": "nadia on elsewhere"}
    fields = {"time": "2026-12-01T22:00:00.000+00:00", "run": plan["run"], "controller": "elsewhere", "epoch": "d2"}
    about = {"kind": "decision", "phase": "cutover", "verb": "", "component": "", "data": used}
    copy = world.hosts / "j-tls/journal" / plan["run"] / "elsewhere-d2.jsonl"
    copy.write_text(chain.line(chain.make(None, {**fields, **about})))
    go_on(world)
    terminal.expect("was USED 2026-12-01T22:00:00Z by nadia on elsewhere")
    assert status(terminal) == Status.NO_GO
    assert {entry["verb"] for entry in world.entries if entry["kind"] == "begin"} == {"audit", "check"}


def test_a_plan_that_is_too_old_edited_or_none_is_refused(world: World) -> None:
    (world.path / "inventory/group_vars/all/plan.yml").write_text(LIMITED + "plan_max_age_seconds: 0.001\n")
    file = planned(world)
    code, told = cut_over(world, file)
    assert code == Status.REFUSED, told
    assert "0 s are allowed (plan_max_age_seconds)" in told
    plan = json.loads(file.read_text())
    for text, why in (
        (json.dumps({**plan, "made": plan["made"] + 9e9}), "its checksum is another one"),
        ("{}", "which is none"),
    ):
        file.write_text(text)
        code, told = cut_over(world, file)
        assert (code, why in told) == (Status.REFUSED, True), told
    code, told = cut_over(world, world.path / "nowhere.json")
    assert (code, "no /" in told) == (Status.REFUSED, True), told
    code, told = bascule(world, "run", "sync", "--plan", str(file), "-i", "inventory", "-e", "word=s3cret")
    assert (code, "bascule run cutover --plan FILE" in told) == (Status.REFUSED, True), told
    assert "s3cret" not in told
    # A plan that was meant, and is empty, is not gone on without.
    code, told = bascule(world, "run", "cutover", "-i", "inventory", *CONFIRM, "-e", "with_plan=")
    assert (code, "name the file" in told) == (Status.REFUSED, True), told


def test_no_plan_is_written_of_what_cannot_move(world: World) -> None:
    never_left(world, frozen=True)
    code, said = bascule(world, "plan", "-i", "inventory")
    assert code == Status.NO_GO, said
    assert "low at a-mtp is open and frozen" in " ".join(said.split())
    never_left(world, frozen=False)
    code, said = bascule(world, "plan", "-i", "inventory", "-e", "fail_at=top.audit")
    assert code == Status.NO_GO, said
    assert "the test wants it state now: no plan was written" in " ".join(said.split()), said
    assert not (world.path / "runs/latest/plans").exists()


def test_the_sheet_stands_before_the_question(world: World) -> None:
    code, said = bascule(world, "run", "pretest", "-i", "inventory")
    assert code == Status.DONE, said
    terminal = at_terminal(world, "run", "cutover", "-i", "inventory")
    terminal.expect("DECISION SHEET: cutover to toulouse")
    terminal.expect(r"speed +low +GO +7 x +min 5 ")
    terminal.expect("Type the name of the site")
    terminal.sendline("no")
    assert status(terminal) == Status.NO_GO


def test_a_sheet_that_cannot_be_made_is_said_and_refuses_no_cutover(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("an entry that is none")

    monkeypatch.setattr(standing, "journalled", lambda scope: ([], {}))
    monkeypatch.setattr(sheets, "made", broken)
    (said,) = sheets.before_cutover(Scope({"inventory_hostname": "low", "hostvars": {"low": {}}}), "toulouse")
    assert said == "the decision sheet is not known: ValueError: an entry that is none"
