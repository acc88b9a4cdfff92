"""The role's own task files in a real ansible-playbook; each module is a stand-in that gives the answer of the test."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 900
STAND_IN = """
import json, os
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        name, at = self._task.action, self._task.delegate_to or ""
        answers = json.loads(os.environ["BASCULE_TEST_ANSWERS"])
        with open(os.environ["BASCULE_TEST_ACTED"], "a") as acted:
            acted.write(json.dumps([name, at, dict(self._task.args)], default=str) + "\\n")
        keys = (f"{name} {at} {self._task.args.get('expect', '')}".strip(), f"{name} {at}", name)
        answer = next((answers[key] for key in keys if key in answers), {})
        if answer.get("unreachable"):
            raise AnsibleConnectionFailure("no way there")
        return {"changed": False, **answer}
"""
INVENTORY = """
all:
  vars: {ansible_connection: local}
  hosts: {vpn: {}, vpn-a: {}, vpn-b: {}, trainer: {}}
"""
ACTIONS = (
    "guard", "word", "record", "gate", "vpn_info", "vpn_open", "vpn_probe", "vpn_reach", "vpn_mode",
)  # fmt: skip
OPEN, CLOSED = {"status": "open", "frozen": False}, {"status": "closed", "frozen": False}
ATTEMPT = {"handshake": True, "seconds": 0.1, "reached": ["10.1.0.20:443"], "reached_without": [], "silent": []}


def info(mode: str, guard: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return what bascule_vpn_info says."""
    empty = {"faults": [], "differences": [], "notes": [], "service": [], "interrupted": False}
    return {"vpn": {"mode": mode, "config": {"public_key": "k", "peers": {"p": {}}}}, "guard": guard, **empty, **more}


class Play:
    """A run of one task file of the role, from vpn-a to vpn-b."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Any] = {
            "bascule_vpn_info vpn-a": info("open", OPEN),
            "bascule_vpn_info vpn-b": info("closed", CLOSED),
            "bascule_vpn_probe": {"seen": "silent", "faults": [], "sampled_at": 1},
            "bascule_vpn_probe vpn-a closed": {"seen": "refused", "faults": [], "sampled_at": 1},
            "bascule_vpn_reach trainer": {"attempt": ATTEMPT, "endpoint": []},
            "bascule_word": {"word": {"by": "Nadia"}, "epoch": "1001.w"},
            "bascule_guard": {"guard": CLOSED},
        }
        for name in ACTIONS:
            (path / f"bascule_{name}.py").write_text(STAND_IN)
        (path / "inventory.yml").write_text(INVENTORY)
        (path / "ansible.cfg").write_text("[defaults]\n")

    def __call__(self, tasks: str, **variables: Any) -> str:
        """Run it and return the output; what was asked of the modules is kept in `acted`."""
        role = {"name": "vpn_switchover", "tasks_from": tasks}
        declared = {
            "bascule_from": "vpn-a", "bascule_to": "vpn-b", "bascule_direction": "forward",
            "vpn_switchover_trainer": "trainer",
            "vpn_switchover_addresses": {"vpn-a": "192.0.2.1", "vpn-b": "192.0.2.2"},
            "vpn_switchover_behind": [{"address": "10.1.0.20", "port": 443}], **variables,
        }  # fmt: skip
        play = {"hosts": "vpn", "gather_facts": False, "vars": declared}
        play["tasks"] = [{"name": "Go", "ansible.builtin.include_role": role}]
        (self.path / "play.yml").write_text(json.dumps([play]))
        acted = self.path / "acted"
        acted.write_text("")
        environment = {
            **os.environ, "ANSIBLE_CONFIG": str(self.path / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(ROOT / "roles"),
            "ANSIBLE_ACTION_PLUGINS": str(self.path), "ANSIBLE_LIBRARY": str(ROOT / "plugins/modules"),
            "ANSIBLE_STDOUT_CALLBACK": "default", "BASCULE_TEST_ANSWERS": json.dumps(self.answers),
            "BASCULE_TEST_ACTED": str(acted), "ANSIBLE_LOCAL_TEMP": str(self.path / "tmp"),
        }  # fmt: skip
        argv = ["ansible-playbook", "-i", str(self.path / "inventory.yml"), str(self.path / "play.yml")]
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        self.acted = [json.loads(line) for line in acted.read_text().splitlines()]
        self.ok = done.returncode == 0
        return done.stdout + done.stderr

    def asked(self, action: str) -> list[dict[str, Any]]:
        """Return the arguments of each call of an action."""
        return [args for name, _, args in self.acted if name == f"bascule_{action}"]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """A run in a directory of the test."""
    return Play(tmp_path)


@pytest.mark.parametrize(
    ("answer", "opens", "said"),
    [
        ({"attempt": ATTEMPT}, False, "trainer had one after 0.1 s"),
        ({"attempt": {**ATTEMPT, "handshake": False}}, True, ""),
        ({"unreachable": True}, True, "was not tried: "),
        ({"failed": True, "msg": "no such file"}, True, "was not tried: no such file"),
    ],
)
def test_no_word_opens_beside_a_server_that_lets_a_trainer_in(
    play: Play, answer: dict[str, Any], opens: bool, said: str
) -> None:
    play.answers["bascule_vpn_reach trainer"] = answer
    told = play("take_over")
    assert play.ok == opens, told
    assert said in " ".join(told.split())
    assert bool(play.asked("vpn_open")) == bool(play.asked("word")) == opens
    assert play.asked("vpn_reach")[0]["address"] == "192.0.2.1"


def test_the_gate_hears_who_does_not_serve_and_what_could_not_be_proved(play: Play) -> None:
    play("check")
    assert (play.ok, play.asked("gate")[0]["value"]) == (True, True)
    assert play.asked("vpn_info")[1]["other_guard"] == OPEN
    play.answers["bascule_vpn_info vpn-b"] = info("closed", CLOSED, service=["nobody serves"])
    play.answers["bascule_vpn_probe vpn-b"] = {"seen": "silent", "faults": ["no fence"], "sampled_at": 1}
    play("check")
    gate = play.asked("gate")[0]
    assert (gate["value"], gate["detail"]) == (False, "nobody serves; no fence")
    play.answers["bascule_vpn_info vpn-b"] = info("closed", CLOSED, service=["nobody serves"], interrupted=True)
    play.answers["bascule_vpn_probe vpn-b"] = play.answers["bascule_vpn_probe"]
    play("check")
    assert play.asked("gate")[0]["value"] is True
    assert not play.asked("vpn_reach"), "nobody is to be let in"


@pytest.mark.parametrize(
    ("side", "found", "recorded"),
    [
        ("vpn-b", info("closed", CLOSED), True),
        ("vpn-b", info("stopped", CLOSED, service=["its server is stopped"]), True),
        ("vpn-a", info("open", OPEN, faults=["ip_forward is off"]), True),
        ("vpn-a", info("closed", CLOSED), False),
        ("vpn-b", info("open", {"status": "unknown", "frozen": False}), False),
    ],
)
def test_a_verification_wants_one_that_serves_without_a_fault(
    play: Play, side: str, found: dict[str, Any], recorded: bool
) -> None:
    play.answers[f"bascule_vpn_info {side}"] = found
    faults = found["service"] + found["faults"]
    told = play("verify")
    assert bool(play.asked("record")) == recorded, told
    assert play.ok == (recorded and not faults)
    if recorded:
        data = play.asked("record")[0]["data"]
        assert (data["active_side"], data["active_mode"], data["active_faults"]) == ("vpn-a", "open", faults)
        assert (data["passive_mode"], data["fence_refused"]) == (
            play.answers["bascule_vpn_info vpn-b"]["vpn"]["mode"],
            1,
        )


def test_a_name_that_leads_elsewhere_is_recorded_and_fails(play: Play) -> None:
    play.answers["bascule_vpn_reach trainer"]["endpoint"] = ["vpn.example.org is 192.0.2.2 here, not 192.0.2.1"]
    assert "vpn.example.org is 192.0.2.2 here" in " ".join(play("verify").split())
    assert not play.ok
    assert play.asked("record")[0]["data"]["active_faults"] == play.answers["bascule_vpn_reach trainer"]["endpoint"]
    assert [args.get("passive_address") for args in play.asked("vpn_reach")] == ["192.0.2.2", None]


def test_an_audit_refuses_two_servers_that_run(play: Play) -> None:
    assert "changed=0" in play("audit")
    assert play.ok
    play.answers["bascule_vpn_info vpn-b"] = info("open", CLOSED)
    assert "modes open and open" in " ".join(play("audit").split())
    assert not play.ok


def test_a_freeze_begins_with_whether_the_other_side_could_start(play: Play) -> None:
    play.answers |= {
        "bascule_guard vpn-a": {"guard": OPEN},
        "bascule_vpn_mode vpn-b": {"failed": True, "msg": "no key"},
    }
    play("freeze")
    assert not play.ok
    assert [args["state"] for args in play.asked("vpn_mode")] == ["ready"]
    play.answers["bascule_guard vpn-b"] = {"guard": {"status": "open", "frozen": True}}
    play("freeze")
    assert [args["state"] for args in play.asked("vpn_mode")] == ["frozen"], "it was never closed"


@pytest.mark.parametrize(("direction", "expect"), [("forward", "open"), ("back", "any")])
def test_a_server_that_has_died_keeps_nobody_from_going_back(play: Play, direction: str, expect: str) -> None:
    play.answers["bascule_guard vpn-a"] = {"guard": OPEN}
    play("freeze", bascule_direction=direction)
    assert play.ok
    assert next(args["expect"] for args in play.asked("vpn_probe")) == expect
