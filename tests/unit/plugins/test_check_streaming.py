"""What a check of the standby stops and an override of its gate lets pass, in a real ansible-playbook."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bascule.guard import state as rule
from bascule.guard.state import GuardState

TASKS = Path(__file__).parents[3] / "roles/postgresql_replication/tasks/check_streaming.yml"
REFUSED = "expected: a standby that streams"
TOLD = "no standby that streams: PostgreSQL of b does not run"


def side(name: str, guard: GuardState, **more: Any) -> dict[str, Any]:
    """What a side says of itself; at neither a standby streams."""
    return {"side": name, "guard": guard.to_dict(), "prepared": True, "timeline": 1, "running": False, **more}


def check(path: Path, overrides: Any) -> tuple[int, str]:
    """Run the check without the gate itself, which is asked elsewhere."""
    tasks = [task for task in yaml.safe_load(TASKS.read_text()) if "bascule_gate" not in task]
    known = {
        "__postgresql_replication_from": {"state": side("a", rule.adopt_open(GuardState("x", "a")), running=True)},
        "__postgresql_replication_to": {"state": side("b", rule.adopt_closed(GuardState("x", "b")))},
    }
    play = path / "play.yml"
    play.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": known, "tasks": tasks}]))
    inventory = path / "hosts.yml"
    inventory.write_text("all: {hosts: {localhost: {ansible_connection: local}}}\n")
    given = [] if overrides is None else ["-e", json.dumps({"gate_overrides": overrides})]
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory), *given, str(play)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "overrides", [{"link_rate": "agreed", "replication_lag": " "}, pytest.param(None, marks=pytest.mark.long)]
)
def test_a_standby_that_does_not_stream_stops_the_check(tmp_path: Path, overrides: Any) -> None:
    rc, output = check(tmp_path, overrides)
    assert rc == 2
    assert REFUSED in output
    assert TOLD not in output


def test_an_override_of_the_gate_lets_it_pass_and_the_words_stay(tmp_path: Path) -> None:
    rc, output = check(tmp_path, {"replication_lag": "agreed with Nadia"})
    assert rc == 0, output
    assert REFUSED not in output
    assert TOLD in output
    assert "agreed with Nadia" in output
