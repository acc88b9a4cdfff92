"""A lost site is back, and later a guard is lost: the roles' own task files over the real guards of both sides.

The modules that stop a server, fence a tree or show a page are played by one stub, which does to the guard on its host
what they do; it runs nothing on a machine.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.guard.state import GuardState

from .test_lost import by_word
from .test_play import ROOT, World, never_left, world

__all__ = ["world"]
STUB = """
import os
from pathlib import Path
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from bascule.errors import BasculeError
from bascule.guard.io import store
from bascule.guard.state import GuardState, Receipt, Word

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args, component = self._task.args, task_vars["inventory_hostname"]
        side = args.get("side") or args["spec"]["side"]
        hosts = Path(os.environ["BASCULE_TEST_HOSTS"])
        if self._task.delegate_to != side:
            raise AnsibleActionFail(f"{self._task.action} about {side} runs at {self._task.delegate_to}")
        with open(hosts / "acted", "a") as acted:
            acted.write(f"{component} {side} {self._task.action} {args.get('state', '')}\\n")
        if args.get("state", "nothing") == os.environ.get("BASCULE_TEST_DIES"):
            raise AnsibleActionFail("the controller died here")
        try:
            return self._act(component, side, args, hosts / side / "guard")
        except BasculeError as error:
            raise AnsibleActionFail(error.message()) from error

    def _act(self, component, side, args, root):
        other = GuardState.from_dict(args["other_guard"]) if args.get("other_guard") else None
        receipt = None
        if args.get("state") == "settle":
            store.settled(component, side, other, root=root)
        elif args.get("state") == "reopen":
            given = Word.from_dict(args["word"]), Receipt.from_dict(args["receipt"]), other
            with store.reopening(component, side, *given, root=root) as opening:
                opening.opened()
        elif other is not None:
            with store.giving_way(component, side, other, args["epoch"], root=root) as closing:
                receipt = closing.closed({})
        elif "epoch" in args:
            with store.closing(component, side, args["epoch"], root=root) as closing:
                receipt = closing.closed({})
        guard = store.read(component, side, root=root).to_dict()
        return {"changed": True, "guard": guard, "receipt": receipt and receipt.to_dict()}
"""
STUBS = (
    "bascule_guard", "bascule_postgresql_state", "bascule_postgresql_lost", "bascule_postgresql_follow",
    "bascule_filetree_state", "bascule_filetree_close", "bascule_entrance_close", "bascule_vpn_close",
    "bascule_firewall_switch",
)  # fmt: skip
VARIABLES = """
__postgresql_replication_spec_from: {side: "{{ bascule_from }}"}
__postgresql_replication_spec_to: {side: "{{ bascule_to }}"}
postgresql_replication_method: streaming
rsync_delta_sync_path: /srv/x
rsync_delta_sync_sentinel: x
rsync_delta_sync_owners: number
rsync_delta_sync_part_allowed: false
rsync_delta_sync_account: root
__rsync_delta_sync_address_of_to: x
__rsync_delta_sync_address_of_from: x
rsync_delta_sync_port: 8730
__web_entrance_at_from: {}
__vpn_switchover_vpn: {}
__web_entrance_at_to: {}
web_entrance_drain_timeout: 1
web_entrance_drain_cut: false
"""
LOST, SURVIVOR = "a-mtp", "a-tls"
ROLES = ("postgresql_replication", "rsync_delta_sync", "web_entrance", "vpn_switchover", "firewall")
by_role = pytest.mark.parametrize("role", ROLES)


def plays(world: World, role: str) -> None:
    """Let the components be of that role, the survivor be open by a word, and the lost side be back as it was."""
    toy = world.path / "roles/toy"
    for name in ("give_way", "give_way_closed", "state", "reopen"):
        source = ROOT / "roles" / role / "tasks" / f"{name}.yml"
        if source.is_file():
            shutil.copy(source, toy / "tasks" / f"{name}.yml")
    for name in ("vars", "action_plugins"):
        (toy / name).mkdir()
    (toy / "vars/main.yml").write_text(VARIABLES)
    for name in STUBS:
        (toy / f"action_plugins/{name}.py").write_text(STUB.lstrip())
    never_left(world)
    for name in ("low", "top"):
        world.stands(SURVIVOR, name, by_word(rule.adopt_closed(GuardState(name, SURVIVOR))))


def root(world: World, host: str) -> Path:
    """Return where a host keeps its guards."""
    return world.hosts / host / "guard"


def guards(world: World, component: str) -> tuple[GuardState, GuardState]:
    """Return the guards of the side that was lost and of the survivor."""
    back, survivor = (store.read(component, host, root=root(world, host)) for host in (LOST, SURVIVOR))
    return back, survivor


def site_back(world: World) -> tuple[int, str]:
    """Run it."""
    return world.run(playbook=ROOT / "playbooks/site_back.yml")


def guard_lost(world: World, component: str) -> tuple[int, str]:
    """Switch to the side that was back, lose its guard, and say that it is the latest."""
    back, survivor = guards(world, component)
    epoch = rule.next_epoch(back, survivor, "s")
    with store.closing(component, SURVIVOR, epoch, root=root(world, SURVIVOR)) as closing:
        receipt = closing.closed({})
    with store.opening(component, LOST, epoch, receipt, reached=True, root=root(world, LOST)) as opening:
        opening.opened()
    (root(world, LOST) / f"{component}.json").unlink()
    given = {"site": "toulouse", "by": "Nadia", "fenced": "timeline 4 there", "confirm": "montpellier"}
    arguments = ("--limit", component, "-e", json.dumps(given))
    return world.run(playbook=ROOT / "playbooks/guard_lost.yml", arguments=arguments)


@by_role
def test_a_guard_that_is_lost_after_a_site_was_back_is_taken_over_again(world: World, role: str) -> None:
    plays(world, role)
    rc, output = site_back(world)
    assert rc == 0, output
    for name in ("low", "top"):
        back, survivor = guards(world, name)
        assert (back.status, survivor.status) == ("closed", "open")
        assert survivor.word is not None
        assert survivor.word.settled == back.gave_way == back.promised
    kept = guards(world, "low"), guards(world, "top")
    rc, output = site_back(world)
    assert rc == 0, output
    assert (guards(world, "low"), guards(world, "top")) == kept, "a second time nothing is left to do"
    rc, output = guard_lost(world, "top")
    assert rc == 0, output
    back, survivor = guards(world, "top")
    assert (back.status, survivor.status) == ("open", "closed")
    lost.must_be_known(back, survivor)


def test_a_guard_that_is_lost_before_the_survivor_was_told_is_not_taken_over(world: World) -> None:
    plays(world, "web_entrance")
    world.environment["BASCULE_TEST_DIES"] = "settle"
    rc, output = site_back(world)
    assert rc == 2, output
    assert guards(world, "top")[0].gave_way is not None
    del world.environment["BASCULE_TEST_DIES"]
    rc, output = guard_lost(world, "top")
    assert rc == 2, output
    assert f"{SURVIVOR} has given up {LOST}; state now: nothing was opened" in output
    assert guards(world, "top")[0].status == "unknown"


@pytest.mark.parametrize("dies", ["watched", "settle"])
def test_what_an_interrupted_return_has_left_out_is_done_by_the_next(world: World, dies: str) -> None:
    """Of a database the record of the fence begins anew: verify reads there whom the side that was back let in."""
    plays(world, "postgresql_replication")
    world.environment["BASCULE_TEST_DIES"] = dies
    rc, output = site_back(world)
    assert rc == 2, output
    assert "the controller died here" in output
    del world.environment["BASCULE_TEST_DIES"]
    (world.hosts / "acted").unlink()
    rc, output = site_back(world)
    assert rc == 0, output
    acted = (world.hosts / "acted").read_text().splitlines()
    for component in ("top", "low"):
        assert f"{component} {SURVIVOR} bascule_postgresql_lost watched" in acted
        assert f"{component} {LOST} bascule_postgresql_follow " in acted
        survivor = guards(world, component)[1]
        assert survivor.word is not None
        assert survivor.word.settled
