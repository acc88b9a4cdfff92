"""The report of a real run in a real ansible-playbook: made after every one, and made again by an operator."""

from __future__ import annotations

import datetime
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, ROOT, World, have_moved, never_left
from tests.unit.report.test_figures import WALL, data_line, good_run

from bascule.report import evidence
from bascule.report.io import verify
from bascule.run import chain, seals
from bascule.run.io import identity, signing

# Of the toy's verbs, as of a real role's, one alone records what was verified.
ONLY = "  when: bascule_verb == 'verify'\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world whose role has what its verification needs."""
    made = World(tmp_path)
    made.verb = made.verb.replace("rows_compared: 3", "rows_compared: 3, rows_different: 0") + ONLY
    # So that a look with --check reads the guards as well.
    made.state = ELSEWHERE
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def summary(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world.path / "runs/latest/summary.json").read_text())
    return found


def moved(world: World) -> str:
    """Move there; return what was said."""
    never_left(world, frozen=False)
    rc, output = world.move("60_cutover.yml")
    assert rc == 0, output
    have_moved(world, decision=[e["epoch"] for e in world.entries if e["verb"] == "switch"][-1])
    return output


def test_every_real_run_ends_with_its_report_and_the_command_that_makes_it_again(world: World) -> None:
    never_left(world, frozen=False)
    rc, output = world.move("60_cutover.yml", "--check")
    assert rc == 0, output
    rc, output = world.move("70_verify.yml")
    assert rc == 0, output
    assert "Report" not in output, "what was only tried has none, nor has what has not moved"
    assert not list(world.path.glob("runs/*/summary.json"))

    output = moved(world)
    run = (world.path / "runs/latest").resolve().name
    assert re.search(rf"Report: runs/{run}/report\.md: INVALID: it proves too little", output)
    assert f"Report again: ansible-playbook -i inventory playbooks/report.yml -e run={run}\n" in output
    assert summary(world)["active_site"] == "toulouse"

    rc, output = world.move("70_verify.yml")
    assert rc == 0, output
    assert f"Report: runs/{run}/report.md: PROVED, nobody outside measured" in output
    made = summary(world)
    assert made["reasons"] == ["forward: nobody outside measured"]
    assert made["forward"]["rows_compared"] == 6
    assert set(made["forward"]["phases"]) >= {"cutover", "verify"}
    assert made["journal"] == chain.heads(world.entries), "the report is made from all that the journal holds"
    seal = world.entries[-1]
    assert (seal["data"]["event"], seal["data"]["last"]) == ("sealed", True)
    assert seal in world.copy("j-tls")
    assert seal in world.copy("j-mtp")
    page = (world.path / "runs/latest/report.html").read_text()
    proved = [e for e in world.entries if e["component"] == "top" and e["data"].get("event") == "verify"][-1]
    assert f'<a class="line" href="#{proved["epoch"]}.{proved["n"]}">' in page
    assert isinstance(made["forward"]["window_seconds"], float)
    assert proved_to_the_end(world) == []
    before = (world.path / "runs/latest/summary.json").read_bytes()
    rc, output = world.move("report.yml", "--check")
    assert rc == 0, output
    assert "Report: " not in output
    assert (world.path / "runs/latest/summary.json").read_bytes() == before

    rc, output = world.roll_back("-e", "fail_at=low.switch")
    assert rc == 2
    assert "back: rollback/switch of low did not come through" in output
    assert f"Report: runs/{run}/report.md: FAILED" in output
    assert summary(world)["active_site"] is None
    rc, output = world.roll_back()
    assert rc == 0, output
    made = summary(world)
    assert [made["active_site"], list(made["legs"])] == ["montpellier", ["forward", "back"]]
    assert made["forward"]["rows_compared"] == 6
    assert made["back"]["rows_compared"] is None


def proved_to_the_end(world: World) -> list[str]:
    """Pack the journals of real playbooks as evidence; return what of it is not proved, or wrong."""
    runs, run = world.path / "runs", (world.path / "runs/latest").resolve()
    copies = {"here": (run / "journal.jsonl").read_text()}
    for host in ("j-mtp", "j-tls"):
        kept = sorted((world.hosts / host).glob("journal/*/*.jsonl"))
        copies[f"{host.removeprefix('j-')}.{host}"] = "".join(path.read_text() for path in kept)
    about = {"run": run.name, "plan": "toy", "controller": identity.controller()}
    report = {f"report/{path.name}": path.read_bytes() for path in run.glob("*") if path.suffix in (".json", ".html")}
    files = evidence.contents(about, copies, report, [], [], "")
    files[verify.SIGNERS] = signing.signers(runs, identity.controller()).encode()
    sums = evidence.digests(files)
    files[verify.SUMS] = sums.encode()
    files[verify.SIGNATURE] = signing.sign(runs, identity.controller(), sums, signing.EVIDENCE).encode()
    found, _ = verify.verify(files, [seals.fingerprint(signing.public(runs, identity.controller()))])
    assert f"samples, decisions, proofs and windows of {verify.EXTRACT} stand so in the journal" in str(found.proved)
    return [*found.unproved, *found.wrong]


def test_it_is_made_again_in_french_by_a_controller_that_has_seen_nothing(world: World) -> None:
    moved(world)
    assert world.move("70_verify.yml")[0] == 0
    run = (world.path / "runs/latest").resolve().name
    (world.path / "runs").rename(world.path / "runs-a")
    world.are_down("j-tls")
    rc, output = world.move("report.yml", "-e", f"run={run}", "-e", "report_language=fr")
    assert rc == 0, output
    assert f"Rapport\N{NO-BREAK SPACE}: runs/{run}/report.fr.md\N{NO-BREAK SPACE}: NON VALABLE" in output
    assert "journal : la copie de tls n'a pas été lue : " in output
    assert "Aller : personne n'a mesuré de l'extérieur" in output
    assert "The journal's copy at tls was not read" in output
    assert "Nobody outside measured" in (world.path / f"runs/{run}/report.md").read_text()
    # One that goes on with the run asks the sites for what it has not seen.
    (world.hosts / "j-tls.down").unlink()
    rc, output = world.move("70_verify.yml")
    assert rc == 0, output
    assert summary(world)["forward"]["phases"].keys() >= {"cutover"}
    plan = world.path / "inventory/group_vars/all/plan.yml"
    plan.write_text(PLAN.replace("plan_name: toy", "plan_name: techcorp"))
    # Each of these is refused for itself.
    for arguments, why in (
        ((f"run={run}",), "one of plan techcorp, as this inventory is; found: a run of plan toy"),
        (("run=another",), "expected: a run another, here or at a site"),
        (("report_language=de",), "expected: report_language: one of en, fr, ar; found: de"),
    ):
        rc, output = world.move("report.yml", *(word for one in arguments for word in ("-e", one)))
        assert rc == 2
        assert why in output


def test_an_account_from_outside_is_taken_when_it_is_given_and_not_lost_afterwards(world: World) -> None:
    moved(world)
    assert world.move("70_verify.yml")[0] == 0
    account = world.path / "account"
    account.mkdir()
    rc, output = world.move("report.yml", "-e", "client=account")
    assert rc == 2
    assert "found: no user.jsonl and no prober.jsonl in account" in output
    client, probes = good_run(300.0)
    data = [data_line(n, n / 10) for n in range(3000)]
    # It has begun before the first move, and goes on until after the last one.
    first = next(e["time"] for e in world.entries if e["kind"] == "begin" and e["verb"] == "freeze")
    shift = datetime.datetime.fromisoformat(first).timestamp() - 5 - WALL
    for name, lines in (("user", client), ("prober", probes), ("data", data)):
        told = [
            {key: at + shift if key.endswith("_wall") else at for key, at in json.loads(line).items()} for line in lines
        ]
        (account / f"{name}.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in told))
    (account / "legs.json").write_text(json.dumps({"forward": [WALL, WALL + 300]}))
    rc, output = world.move("report.yml", "-e", "client=account")
    assert rc == 0, output
    assert "the bounds given for this leg" in "".join(summary(world)["reasons"]), "it lies in another year"
    (account / "legs.json").write_text(json.dumps({"forward": [WALL + shift, WALL + shift + 300]}))
    rc, output = world.move("report.yml", "-e", "client=account")
    assert rc == 0, output
    made = summary(world)
    assert "forward.lost_writes: no sample stands behind it" in made["reasons"], "nobody has looked them up"
    assert made["forward"]["write_outage_seconds"] == pytest.approx(5.0, abs=0.2)
    idents = [json.loads(line)["id"] for line in client if '"id"' in line]
    idents += [json.loads(line)["id"] for line in probes] + [f"d{n}" for n in range(3000)]
    (account / "lookup.forward.json").write_text(json.dumps({"site": "tls", "looked_up": idents, "missing": {}}))
    rc, output = world.move("report.yml", "-e", "client=account")
    assert rc == 0, output
    assert summary(world)["result"] == "ok", output
    # The next phase makes one that rests on the journal alone: what was measured stays beside it.
    assert world.move("70_verify.yml")[0] == 0
    assert summary(world)["result"] == "inside"
    kept = json.loads((world.path / "runs/latest/summary.measured.json").read_text())
    assert kept["result"] == "ok"
    assert "**Result: OK.**" in (world.path / "runs/latest/report.measured.md").read_text()


def test_a_journal_that_was_changed_proves_nothing(world: World) -> None:
    moved(world)
    assert world.move("70_verify.yml")[0] == 0
    path = world.path / "runs/latest/journal.jsonl"
    entries = chain.parse(path.read_text()).entries
    (told,) = [e for e in entries if e["data"].get("event") == "verify" and e["component"] == "low"][:1]
    told["data"]["found"]["rows_compared"] = 3000
    path.write_text("".join(map(chain.line, entries)))
    rc, output = world.move("report.yml")
    assert rc == 0, output
    assert "journal: the chain is broken" in output
    assert summary(world)["result"] == "failed"


def test_the_report_is_no_task_of_a_window() -> None:
    for name in ("60_cutover", "rollback", "70_verify"):
        assert "bascule_report" not in (ROOT / f"playbooks/{name}.yml").read_text()
