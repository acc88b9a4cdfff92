"""Do one thing with a guest through the Proxmox API, from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_guest
short_description: Do one thing with a guest through the Proxmox API
description:
  - Runs on the controller. Which guest, where, and with which token is read from the variables of the role
    C(proxmox_guest); which side is left and which is entered from the facts of M(bascule_begin). The token never passes
    through the arguments of a task.
  - Every operation reads the truth of the nodes first and changes only what is not as it should be.
options:
  operation:
    description:
      - V(guards) reads the guards of both sides, and says which node did not answer. V(state) reads everything about
        both sides. V(plan_prepare) does the same and refuses what must not be prepared. V(plan_sync) and
        V(plan_switch) also say what that verb has to do now, and why. V(ready) names what would stop the move in the
        window, or be lost in it, and changes nothing.
      - V(audit) measures both sides. V(adopt) takes over the serving guest. V(backup) makes or finds the archive.
        V(leftover) says which lock an interrupted restore has left there. V(restore) makes the passive guest.
      - V(quiesce) stops a passive guest that a proof boot left running, V(keep_fence) also keeps what its disks hold,
        V(may_write) asks once more whether they may be written. V(proof_boot) boots it cut from the network and stops
        it, if it is not moved warm; V(boot) and V(stand_by) leave it running, the latter waits for it.
      - V(freeze), V(close_begin) and V(close_finish) work on the side that is left, V(open) and V(thaw) on the other.
        V(stopped) waits for what a freeze has only begun to shut down (C(proxmox_guest_stops_beside)).
      - V(take_over) opens the side that is entered by O(word), V(give_way) closes O(machine), which was given up, and
        V(settle) tells O(machine), which was opened instead.
      - V(left_behind) follows a migration that still runs, and says whether one has left its number locked.
        V(put_aside) frees the number at the side that is entered, V(remote_migrate) lets Proxmox send the guest there.
      - V(unfinished) says whether an interrupted copy may have taken a guard away or left a lock, and gives a lifted
        protection back. V(left_locked) says where a lock is left, V(take_back) gives the side its closed guard back.
      - V(set_backup_jobs) switches scheduled backups of one node; V(freeze) and V(thaw) say where there are any.
        V(verify) compares the disks of the last switch and asks the active guest. V(retire) archives and removes the
        guest at the side that was left.
    type: str
    required: true
    choices: [guards, state, ready, plan_prepare, plan_sync, plan_switch, audit, adopt, backup, leftover, restore,
      left_behind, unfinished, left_locked, take_back, put_aside, remote_migrate, set_backup_jobs,
      quiesce, keep_fence, may_write, boot, stand_by, proof_boot, freeze, stopped, close_begin, close_finish, open,
      take_over, give_way, settle, thaw, verify, retire]
  epoch:
    description: The epoch of the switch.
    type: str
  word:
    description: A person's word that the other side is lost, as M(bascule_word) made it.
    type: dict
  other_guard:
    description: With V(give_way), the guard of the side that was opened instead; with V(settle), of the other.
    type: dict
  position:
    description: Digests of the closed side's disks; with V(verify) as they are now.
    type: dict
  receipt:
    description: The closed side's receipt.
    type: dict
  reached:
    description: Digests of the disks at the side to open.
    type: dict
  leads:
    description: The side to open holds the latest data already, so that nothing has to be reached.
    type: bool
    default: false
  onboot:
    description: Whether the active guest starts with its node, as captured. Not given means not captured.
    type: bool
  seen:
    description: With V(open), the digest of the config before the disks at the side to open were digested.
    type: str
    default: ""
  switched:
    description: Receipt and digests that the last switch has kept at the active side.
    type: dict
  archive:
    description: Volume name of the archive at the side that is entered.
    type: str
  began:
    description: An earlier run has begun to restore into this number while it was free.
    type: bool
    default: false
  replace:
    description: With V(restore), restore over the passive guest; with V(put_aside), remove what a migration has left.
    type: bool
    default: false
  kept:
    description: The guard that side had when an earlier run began to restore over it.
    type: dict
  gone:
    description: The machine whose guard is gone, as V(unfinished) has found it.
    type: str
    default: ""
  locked:
    description: The machine at which a migration has left the guest locked, as V(unfinished) has found it.
    type: str
    default: ""
  home:
    description: What was the guest's own at that side (networks, addresses, protection) before it was to be replaced.
    type: dict
  protect:
    description: With V(open) and V(take_over), that the guest which served until now is protected; so is this one then.
    type: bool
    default: false
  captured:
    description: How the guest was while it served; interfaces that somebody had cut stay cut.
    type: dict
  mark:
    description: Names the state of the stopped guest's disks; with V(backup), the archive of that very state.
    type: str
    default: ""
  machine:
    description: The node of V(set_backup_jobs), by the inventory name of its machine; V(thaw) asks it alone.
    type: str
  jobs:
    description: The jobs of V(set_backup_jobs).
    type: list
    elements: str
    default: []
  enabled:
    description: Whether V(set_backup_jobs) switches them on.
    type: bool
    default: false
  measured:
    description: What earlier transfers have shown (bytes per second; bytes), for the forecast of V(audit).
    type: dict
  fresh:
    description: With V(backup), make a new archive when the one there is has become old.
    type: bool
    default: false
  returns:
    description: With V(guards), name what would stop a return that is about to begin.
    type: bool
    default: false
  at_once:
    description:
      - With V(freeze), shut down only where nothing has to be done before; otherwise say where, and shut down nothing.
        With V(plan_switch), also close a stateless guest that is to be switched, and give its receipt.
    type: bool
    default: false
  outside:
    description: With V(stopped), why the guest's silence proves nothing, as V(freeze) has found it.
    type: str
    default: ""
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Read both sides
  bascule_guest:
    operation: state
"""

RETURN = r"""
guard:
  description: The guard of the side worked on.
  returned: for operations on one side
  type: dict
reason:
  description: Why something was done, or was not.
  returned: for most operations
  type: str
guards:
  description: The guard of each side whose node has answered, by machine.
  returned: with operation V(guards)
  type: dict
gone:
  description: The machine whose guard is gone while the other side holds no permit; empty when there is none.
  returned: with operation V(guards)
  type: str
asked:
  description: Whether there was anything to ask; not when the side entered holds the latest data, nor in a window.
  returned: with operation V(ready)
  type: bool
refusals:
  description: What would stop the move once the guest is shut down.
  returned: with operation V(ready)
  type: list
  elements: str
differences:
  description: Settings that were changed since the copy was made.
  returned: with operation V(ready)
  type: list
  elements: str
before:
  description: Machines at which something has to be done before the guest is shut down; empty where it was.
  returned: with operation V(freeze)
  type: list
  elements: str
scheduled:
  description: Machines at which backups run by a schedule; C(unasked) is the one left, where silent or not asked.
  returned: with operation V(thaw)
  type: list
  elements: str
stops:
  description: What would stop a return once the guest is shut down.
  returned: with operation V(guards)
  type: list
  elements: str
unread:
  description: Why the guard of a side could not be read, by machine.
  returned: with operation V(guards)
  type: dict
source:
  description: The side that is left, for V(state).
  returned: with operation V(state)
  type: dict
target:
  description: The side that is entered, for V(state).
  returned: with operation V(state)
  type: dict
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from bascule.errors import BasculeError
from bascule.guard import state as guard
from bascule.guard.state import Epoch, Receipt
from bascule.guard.todo import NOTHING
from bascule.guest import (
    at_once,
    audit,
    backup_jobs,
    decisions,
    leftovers,
    observed,
    prepare,
    ready,
    recover,
    remote,
    serving,
    session,
    transitions,
    verify,
)
from bascule.guest import config as guest_config
from bascule.guest.guest import Guest, at
from bascule.guest.io import health
from bascule.guest.io.proxmox_api import connect, fingerprint
from bascule.plugin.values import plain
from bascule.run.io import guard_copy, identity
from bascule.system import moments, work


def _tell(text: str) -> None:
    Display().display(f"    {text}")


SPEC: dict[str, dict[str, Any]] = yaml_load(DOCUMENTATION)["options"]
UNTRIED = ("proof_boot", "close_begin", "close_finish", "open", "take_over", "give_way", "settle")
REQUIRED_IF = [
    ("operation", "close_begin", ["epoch"]),
    ("operation", "close_finish", ["epoch", "position"]),
    ("operation", "open", ["epoch", "receipt"]),
    ("operation", "take_over", ["word"]),
    ("operation", "give_way", ["machine", "other_guard", "epoch"]),
    ("operation", "settle", ["machine", "other_guard"]),
    ("operation", "restore", ["archive"]),
    ("operation", "set_backup_jobs", ["machine", "jobs", "enabled"]),
]


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Do the operation."""
        super().run(tmp, task_vars)
        operations: dict[str, Callable[[Guest, Guest, Mapping[str, Any]], dict[str, Any]]] = {
            "guards": lambda source, target, args: ready.guards(
                source, target, self._way, args["kept"] if args["began"] else None, args["returns"]
            ),
            "state": lambda source, target, args: self._state(source, target)[0],
            "plan_prepare": self._plan_prepare,
            "ready": self._ready,
            "plan_sync": self._plan_sync,
            "plan_switch": self._plan_switch,
            "audit": self._audit,
            "adopt": lambda source, target, args: prepare.adopt(source, self._check),
            "backup": lambda source, target, args: prepare.back_up(
                source,
                time.time() - self._refresh_after if args["fresh"] else 0,
                args["mark"],
                self._check,
                plain=self._way == decisions.WARM,
            ),
            "restore": lambda source, target, args: prepare.restore(
                target, source, args["archive"], args["began"], self._check, args["replace"], args["kept"], args["home"]
            ),
            "left_behind": lambda source, target, args: remote.left_behind(source, target, args["began"]),
            "unfinished": lambda source, target, args: recover.unfinished(source, target, self._way, self._check),
            "left_locked": lambda source, target, args: recover.left_locked(
                source, target, args["gone"], args["locked"], args["began"]
            ),
            "take_back": self._take_back,
            "put_aside": self._put_aside,
            "remote_migrate": lambda source, target, args: remote.migrate(
                source,
                target,
                session.endpoint(target.side.machine, self._known, fingerprint),
                args["kept"],
                self._check,
                args["home"],
            ),
            "set_backup_jobs": lambda source, target, args: backup_jobs.set_enabled(
                at(args["machine"], source, target), args["jobs"], args["enabled"], self._check
            ),
            "leftover": lambda source, target, args: leftovers.locked_by_restore(target, args["began"], source),
            "quiesce": lambda source, target, args: transitions.quiesce(target, self._check),
            "keep_fence": lambda source, target, args: transitions.keep_fence(target, self._check),
            "may_write": lambda source, target, args: transitions.must_take_blocks(target, self._check),
            "stand_by": lambda source, target, args: transitions.stand_by(target, source, self._check),
            "boot": lambda source, target, args: transitions.boot_apart(target, self._check),
            "proof_boot": lambda source, target, args: transitions.proof_boot(
                target, stays=self._way == decisions.WARM, command=self._proof_command
            ),
            "freeze": lambda source, target, args: at_once.freeze(
                source, target, self._way, self._force, self._copies, self._check, not self._beside, args["at_once"]
            ),
            "stopped": lambda source, _, args: transitions.stopped(source, self._force, args["outside"], self._check),
            "close_begin": lambda source, _, args: transitions.close_begin(
                source, Epoch.parse(args["epoch"]), self._force
            ),
            "close_finish": lambda source, target, args: transitions.close_finish(
                source, Epoch.parse(args["epoch"]), args["position"], moments.now_in_seconds()
            ),
            "open": self._open,
            "take_over": self._take_over,
            "give_way": self._give_way,
            "settle": lambda source, target, args: transitions.settle(
                at(args["machine"], source, target), guard.GuardState.from_dict(args["other_guard"])
            ),
            "thaw": lambda source, target, args: {
                **self._kept(transitions.thaw(target, args["onboot"], self._check, source, self._copies)),
                **backup_jobs.after_thaw(args["machine"], source, target),
            },
            "verify": self._verify,
            "retire": lambda source, target, args: prepare.retire(
                source, target.guard(target.config_if_any()), self._check
            ),
        }
        spec = {name: {k: v for k, v in option.items() if k != "description"} for name, option in SPEC.items()}
        _, args = self.validate_argument_spec(spec, required_if=REQUIRED_IF)
        if self._check and args["operation"] in UNTRIED:
            return {"changed": True, "reason": f"{args['operation']}: not in check mode"}
        try:
            settings = self._known = session.settings(
                str(task_vars["inventory_hostname"]), lambda name: self._variable(task_vars, f"proxmox_guest_{name}")
            )
            self._force = bool(self._variable(task_vars, "proxmox_guest_force_stop"))
            self._way = str(self._variable(task_vars, "proxmox_guest_move"))
            self._stateless = bool(self._variable(task_vars, "proxmox_guest_stateless"))
            self._beside = self._way == decisions.WARM and bool(self._variable(task_vars, "proxmox_guest_stops_beside"))
            self._refresh_after = float(self._variable(task_vars, "proxmox_guest_refresh_after"))
            self._proof_command = [str(word) for word in self._variable(task_vars, "proxmox_guest_proof_command")]
            self._window = float(self._variable(task_vars, "proxmox_guest_window"))
            self._block = int(self._variable(task_vars, "proxmox_guest_transfer_block_size"))
            self._link = task_vars.get("plan_link")
            decisions.must_be_declared(self._way, self._stateless)
            source, target = (
                session.guest(self._variable(task_vars, key), settings, connect, _tell, health.ask, guard_copy.say)
                for key in ("bascule_from", "bascule_to")
            )
            result = work.measured(lambda: operations[args["operation"]](source, target, plain(args)))
            return self._kept(result)
        except BasculeError as error:
            raise AnsibleActionFail(
                error.message(), result={**error.fields(), "error": type(error).__name__}
            ) from error

    def _kept(self, result: dict[str, Any]) -> dict[str, Any]:
        if result.get("changed") and result.get("guard") and not self._check:
            guard_copy.keep(guard_copy.of_run(), self._known.component, result["guard"])
        return result

    @property
    def _check(self) -> bool:
        return bool(self._task.check_mode)

    def _ready(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        return ready.ready(source, target, *self._look(source, target), self._way, self._block)

    def _look(self, source: Guest, target: Guest) -> tuple[observed.View, observed.View]:
        return observed.look_at_both(source, target, by_files=self._way == decisions.ARCHIVE)

    def _state(self, source: Guest, target: Guest) -> tuple[dict[str, Any], observed.View, observed.View]:
        left, entered = self._look(source, target)
        sides = {"source": left.to_dict(), "target": entered.to_dict()}
        return {"changed": False, **sides, "leader": guard.leader(left.guard, entered.guard) or ""}, left, entered

    def _audit(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        # Only here: a figure of the plan that cannot be read holds up no return.
        link = plain(self._templar.template(self._link or {}))
        measured = {**(args["measured"] or {}), "planned": float(link.get("rate_mbit") or 0) * 1e6 / 8}
        views = observed.look_at_both(source, target, all_disks=False)
        found = audit.audit(
            source, target, *views, self._way, self._stateless, measured, self._window, bool(self._proof_command)
        )
        found["refusals"] += serving.unaskable(source, target, source.config_if_any())
        if self._way == decisions.REMOTE:
            try:
                endpoint = session.endpoint(target.side.machine, self._known, fingerprint)
                found["fingerprint"] = endpoint.fingerprint
            except BasculeError as error:
                found["refusals"].append(f"{target.side.machine}: {error.message()}")
        return {"changed": False, "audit": found}

    def _take_back(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        here, other = (source, target) if args["gone"] == source.side.machine else (target, source)
        return recover.take_back(here, other, args["began"], args["kept"], self._copies, self._check)

    def _put_aside(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        # All that a migration needs is asked before the passive guest makes room for it.
        session.endpoint(target.side.machine, self._known, fingerprint)
        remote.may_be_sent(source, target, args["kept"])
        return remote.put_aside(target, args["began"], args["replace"], self._check, source)

    def _plan_prepare(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        state, left, entered = self._state(source, target)
        decisions.must_fit(left, self._way)
        decisions.may_prepare(left, entered, self._copies)
        if self._way != decisions.REMOTE:
            prepare.must_be_copy(source, target, left, entered)
        return state

    def _copies(self, machine: str) -> guard.GuardState | None:
        return guard_copy.last(guard_copy.of_run(), self._known.component, machine)

    def _plan_sync(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        state, left, entered = self._state(source, target)
        todo = decisions.sync_todo(left, entered, self._way, self._copies)
        if todo.action == NOTHING:
            _tell(f"skipped: {todo.reason}")
        if entered.exists and todo.action not in (NOTHING, "boot"):
            leftovers.must_have_no_snapshots(target)
        return {**state, **todo.to_dict()}

    def _plan_switch(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        state, left, entered = self._state(source, target)
        todo = decisions.switch_todo(left, entered, self._way, self._copies)
        if todo.action == NOTHING:
            _tell(f"unchanged: {todo.reason}")
        if self._check:
            return {**state, **todo.to_dict()}
        transitions.must_know_onboot(todo, args["onboot"])
        closed = {}
        if args["at_once"]:
            closed = at_once.close_stateless(source, left, entered, todo, identity.current(), self._force, self._kept)
        return {**state, **todo.to_dict(), **closed}

    def _verify(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        left, entered = self._look(source, target)
        found = verify.compare(left, entered, args["switched"] or {}, args["position"] or {}, self._way)
        active, passive = (target, source) if entered.machine == found["active_side"] else (source, target)
        return {"changed": False, "proof": serving.asked(active, passive, found)}

    def _open(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        receipt = Receipt.from_dict(args["receipt"])
        # Only what the plan declares counts, never an argument of a task.
        stateless = self._way == decisions.WARM and self._stateless and not args["leads"]
        return transitions.open_side(
            target,
            Epoch.parse(args["epoch"]),
            receipt,
            transitions.reached(receipt.position, args["reached"] or {}, args["leads"], stateless),
            args["onboot"],
            args["leads"],
            stateless,
            args["seen"],
            guest_config.cut(args["captured"] or {}),
            protect=args["protect"],
        )

    def _take_over(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        word, cut = guard.Word.from_dict(args["word"]), guest_config.cut(args["captured"] or {})
        return transitions.open_side(
            target, word.epoch, None, True, args["onboot"], True, cut=cut, word=word, protect=args["protect"]
        )

    def _give_way(self, source: Guest, target: Guest, args: Mapping[str, Any]) -> dict[str, Any]:
        other = guard.GuardState.from_dict(args["other_guard"])
        return transitions.give_way(at(args["machine"], source, target), Epoch.parse(args["epoch"]), other)

    def _variable(self, task_vars: Mapping[str, Any], name: str) -> Any:
        if name in ("bascule_from", "bascule_to") and name not in task_vars:
            # The state of both sides is also read outside of a verb, where no direction has been announced.
            name = {"bascule_from": "source_host", "bascule_to": "target_host"}[name]
        if name not in task_vars:
            raise BasculeError(expected=f"the variable {name}", found="it is not set", state="nothing was changed")
        return plain(self._templar.template(task_vars[name]))
