"""`bascule commit`: refused while anything speaks against it, kept at both sites, asked for by a decommission."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.test_phases import CONFIRM, at_terminal, bascule, status
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, World, have_moved, never_left

from bascule.run import chain
from bascule.run.commits import missing
from bascule.run.outcome import Status

OBSERVED = PLAN + "plan_observation_seconds: 3600\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world after a move, where the verbs answer."""
    made = World(tmp_path)
    made.state = ELSEWHERE
    made.answer_verbs()
    have_moved(made)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def commit(world: World, *words: str) -> tuple[int, str]:
    """Run the command."""
    code, said = bascule(world, "commit", "-i", "inventory", *CONFIRM, *words)
    return code, " ".join(said.split())


def commits(world: World, host: str) -> list[dict[str, str]]:
    """Return what a journal host holds of commits, by what each says is open."""
    return [e["data"]["opened"] for e in world.copy(host) if e["data"].get("decision") == "COMMIT"]


def test_nothing_is_committed_before_it_is_proved_equal_since_the_switch(world: World) -> None:
    code, said = commit(world)
    assert code == Status.NO_GO, said
    assert "nothing was verified" in said
    assert "nothing was decided; a way back is open" in said
    # A trial leaves nothing that counts, whatever it lets pass.
    before = chain.lacking(world.entries, [])
    passed = {"proof_overrides": {f"{name}.verify": "only tried" for name in ("low", "top")}}
    assert commit(world, "--check", "-e", json.dumps(passed))[0] == Status.NO_GO
    assert chain.lacking(world.entries, []) == before
    assert bascule(world, "run", "verify", "-i", "inventory")[0] == Status.DONE
    # What has been proved is another switch.
    have_moved(world, decision="e")
    code, said = commit(world)
    assert code == Status.NO_GO, said
    assert "epoch 1.d was verified, the side was opened under 1.e" in said
    never_left(world, frozen=False)
    code, said = commit(world)
    assert code == Status.NO_GO, said
    assert "low: a-tls closed, not open to users" in said
    assert commits(world, "j-mtp") == []


def test_a_commit_that_a_site_cannot_keep_is_taken_back(world: World) -> None:
    assert bascule(world, "run", "verify", "-i", "inventory")[0] == Status.DONE
    ssh = world.path / "bin/ssh"
    whole = ssh.read_text()
    refused = '[ $host != j-mtp ] || case $script in *"cat >>"*) echo No space left >&2; exit 1;; esac\n'
    ssh.write_text(whole.replace("mkdir -p", f"{refused}mkdir -p", 1))
    code, said = commit(world)
    assert code == Status.PERSON, said
    assert "No space left" in said
    assert "nothing was decided; a way back is open" in said
    made, taken_back = {"low": "1.d", "top": "1.d"}, {"low": "", "top": ""}
    assert commits(world, "j-tls") == [made, taken_back]
    assert missing(world.copy("j-tls"), made) == ["low", "top"]
    ssh.write_text(whole)
    assert commit(world)[0] == Status.DONE
    assert missing(world.copy("j-mtp"), made) == []


def test_a_person_commits_at_the_terminal_after_the_sheet(world: World) -> None:
    assert bascule(world, "run", "verify", "-i", "inventory")[0] == Status.DONE
    for answer, wanted in (("montpellier", Status.NO_GO), ("toulouse", Status.DONE)):
        terminal = at_terminal(world, "commit", "-i", "inventory")
        terminal.expect("commit: the active site afterwards is toulouse")
        terminal.expect("take part: low, top")
        terminal.expect("DECISION SHEET: stay at toulouse")
        terminal.expect("verification_age +low +GO")
        terminal.expect("the plan asks for no observation")
        terminal.expect("nobody looks now whether it serves, the verification did: low, top")
        terminal.expect("Type the name of the site")
        terminal.sendline(answer)
        assert status(terminal) == wanted
    opened = {"low": "1.d", "top": "1.d"}
    assert [commits(world, host) for host in ("j-mtp", "j-tls")] == [[opened], [opened]]
    (sheet,) = (world.path / "runs/latest/sheets").glob("commit-*.txt")
    assert "serves" in sheet.read_text()


def test_a_plan_with_an_observation_is_committed_before_it_is_decommissioned(world: World) -> None:
    (world.path / "inventory/group_vars/all/plan.yml").write_text(OBSERVED)
    assert bascule(world, "run", "verify", "-i", "inventory")[0] == Status.DONE
    code, said = bascule(world, "run", "decommission", "-i", "inventory", *CONFIRM)
    assert code == Status.NO_GO, said
    assert "none of low, top" in " ".join(said.split())
    code, said = commit(world)
    assert code == Status.NO_GO, said
    assert "observation of low: there is no sample" in said
    # A look decides nothing, and a site that is silent keeps anybody from deciding.
    override = ("-e", json.dumps({"gate_overrides": {"observation": "watched since Saturday"}}))
    assert commit(world, *override, "--check")[0] == Status.NOTHING
    world.are_down("j-mtp")
    code, said = commit(world, *override)
    assert code == Status.NO_GO, said
    assert "the journal at mtp is silent" in said
    (world.hosts / "j-mtp.down").unlink()
    code, said = commit(world, *override)
    assert code == Status.DONE, said
    assert "override: observation: watched since Saturday" in said
    code, said = bascule(world, "run", "decommission", "-i", "inventory", *CONFIRM)
    assert code == Status.DONE, said
