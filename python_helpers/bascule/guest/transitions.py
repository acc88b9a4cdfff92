"""Freeze, thaw, close and open one side of a guest: the guard's decisions, carried out through the API."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional, Union

from ..errors import GuardRefused
from ..guard import lost as guard_lost
from ..guard import state as guard
from ..guard.state import Epoch, GuardState, Receipt, Word
from ..guard.todo import Todo
from ..system import moments
from . import config as guest_config
from . import down, lost, prepare, protection, serving, tasks
from .decisions import STATELESS
from .errors import ProxmoxError
from .guest import Config, Guest
from .lost import Copies, no_copies
from .observed import agent_enabled, look

Result = dict[str, Any]


def freeze(
    guest: Guest,
    force: bool,
    check: bool = False,
    other: Optional[Guest] = None,
    copies: Copies = no_copies,
    waits: bool = True,
) -> Result:
    """Shut the active guest down and keep it down over a reboot of its node; the permit stays.

    That this side is not the active one has to be known: from its guard, or from that of the other side. A shutdown
    that this does not wait for goes on at the node, and is proved by `stopped`, which is told `outside`.
    """
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is None or state.status in (guard.UNKNOWN, guard.CLOSED):
        lost.must_be_known(guest, other, copies)
        return _said(False, state, f"{guest.side.machine} is not the active side ({state.status})")
    running = guest.running()
    if check:
        return _said(running or not state.frozen, state, "would be shut down")
    served = down.outside_before(guest, running)
    changed = False
    if state.status == guard.OPEN:
        changed = guest.change(lambda c: _described(guest, c, guard.freeze, onboot=0))
    if not waits and state.status == guard.OPEN:
        changed = bool(guest.begin_shut_down(force)) or changed
        said = "is being shut down; nothing is switched before it has stopped"
        return {**_said(changed, guest.guard(guest.config()), said), "outside": served}
    changed = guest.shut_down(force) or changed
    return _said(changed, guest.guard(guest.config()), down.proved_down(guest, served))


def stopped(guest: Guest, force: bool, outside: str, check: bool = False) -> Result:
    """Wait until the guest that a freeze has begun to shut down is stopped, and prove it; others are left as they are.

    `outside` is why its silence proves nothing, as the freeze has found it; empty where it answered before.
    """
    config = guest.config_if_any()
    state = guest.guard(config)
    if check or state.status != guard.OPEN or not state.frozen:
        return _said(False, state, f"{guest.side.machine} is not frozen")
    changed = guest.shut_down(force)
    return _said(changed, state, down.proved_down(guest, outside))


def thaw(
    guest: Guest,
    onboot: Optional[bool],
    check: bool = False,
    other: Optional[Guest] = None,
    copies: Copies = no_copies,
) -> Result:
    """Start the guest at the side that holds the permit, wait until it serves, and let it start with its node again."""
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is None or state.status == guard.UNKNOWN:
        lost.must_be_known(guest, other, copies)
        if other is not None and other.guard(other.config_if_any()).status == guard.OPEN:
            if check:
                return _said(True, state, "would be started after the switch has opened this side")
            guard.thaw(state)  # refuses: the other side holds the permit
        return _said(False, state, "prepare has not run: nothing was ever frozen")
    if check and state.status != guard.OPEN:
        return _said(True, state, "would be started after the switch has opened this side")
    guard.thaw(state)  # refuses a side without a live permit
    if not guest_config.links_up(config):
        raise GuardRefused(
            expected=f"the active guest at {guest.side.machine} connected",
            found="its link is down although the guard says open: somebody changed the config by hand",
            state=state.describe(),
            next_command="look at the guest's interfaces, then run the same command again",
        )
    running = guest.running()
    if check:
        return _said(state.frozen or not running, state, "would be started")
    wanted = _onboot(onboot) if state.frozen or onboot is not None else {}
    changed = guest.change(lambda c: _described(guest, c, guard.thaw, **wanted))
    changed = guest.start() or changed
    serving.wait(guest, config)
    return _said(changed, guest.guard(guest.config()), "runs and serves")


def close_begin(guest: Guest, epoch: Epoch, force: bool, other: Optional[GuardState] = None) -> Result:
    """End this side's permit durably, then really close it: no start with the node, link down, stopped.

    A side that is back after `other` has given it up closes for good.
    """
    before = guest.guard(guest.config())

    def decide(config: Config) -> Mapping[str, Any]:
        def rule(state: GuardState) -> GuardState:
            return guard.promise(state, epoch) if other is None else guard_lost.give_way(state, other, epoch)

        return {**_described(guest, config, rule, onboot=0), **_links(config, up=False)}

    changed = guest.change(decide)
    # A passive guest that runs is a proof boot nobody ended: cut from the network, its disk of no value.
    stopped = guest.stop() if before.status == guard.CLOSED else guest.shut_down(force)
    changed = changed or stopped
    down.prove_stopped(guest)
    config = guest.config()
    if guest_config.links_up(config) or str(config.get("onboot", "0")) == "1":
        raise ProxmoxError(
            expected=f"the guest at {guest.side.machine} cut from its network and not started with its node",
            found="the config says otherwise right after it was set: somebody else changes it",
            state="closing; nothing was opened",
            next_command="find out who changes the guest's config, then run the same command again",
        )
    return _said(changed, guest.guard(config), "closed: stopped, link down, not started with its node")


def close_finish(guest: Guest, epoch: Epoch, position: Mapping[str, str], now: str) -> Result:
    """Give the receipt: closed for this epoch, with these disks."""
    down.prove_stopped(guest)

    def decide(config: Config) -> Mapping[str, Any]:
        return _described(guest, config, lambda s: guard.closed(s, epoch, position, now)[0])

    changed = guest.change(decide)
    state = guest.guard(guest.config())
    if state.receipt is None or state.receipt.epoch != epoch:
        raise GuardRefused(
            expected=f"a receipt for epoch {epoch}",
            found=state.describe(),
            state="closed without a receipt; nothing was opened",
            next_command="run the same command again",
        )
    return {**_said(changed, state, "receipt given"), "receipt": state.receipt.to_dict()}


def give_way(guest: Guest, epoch: Epoch, other: GuardState) -> Result:
    """Close a side that is back for good, for the `other` one that was opened instead."""
    close_begin(guest, epoch, True, other)
    return close_finish(guest, epoch, {}, moments.now_in_seconds())


def settle(guest: Guest, other: GuardState) -> Result:
    """Tell a side that was opened by a person's word that the `other` one has given way to it; nothing else changes."""
    changed = guest.change(lambda c: _described(guest, c, lambda s: guard_lost.settle(s, other)))
    return _said(changed, guest.guard(guest.config()), f"{other.side} has given way")


def open_side(
    guest: Guest,
    epoch: Epoch,
    receipt: Optional[Receipt],
    reached: Union[bool, str],
    onboot: Optional[bool],
    leads: bool,
    stateless: bool = False,
    seen: Optional[str] = None,
    cut: Collection[str] = (),
    word: Optional[Word] = None,
    protect: bool = False,
) -> Result:
    """Open this side by the rule: permit and link in one change that the node refuses when the config has moved on.

    Where disks were compared, `seen` is the digest of the config before that; each boot since then has changed it.
    Interfaces that somebody had `cut` while the guest served stay cut. Where the other side is lost, a person's `word`
    takes the place of its receipt. `protect` says that the guest that served until now is protected.
    """
    wanted = _onboot(onboot)
    compared = not leads and not stateless

    def decide(config: Config) -> Mapping[str, Any]:
        def rule(state: GuardState) -> GuardState:
            if state.status in (guard.OPENING, guard.OPEN) and state.promised == epoch:
                return state
            if word is not None:
                return guard_lost.open_by_word(state, epoch, word)
            if compared:
                _must_be_as_compared(guest, config, seen)
            return guard.may_open(state, epoch, receipt, reached)

        values = {**_described(guest, config, rule, onboot=0), **_links(config, up=True, cut=cut)}
        return protection.when_open(config, values, protect)

    changed = guest.change(decide)
    changed = guest.start() or changed
    waited = serving.wait(guest, guest.config())
    done = guest.change(lambda c: _described(guest, c, lambda s: guard.opened(s, epoch), **wanted))
    return {**_said(changed or done, guest.guard(guest.config()), "open: connected, running, serving"), **waited}


def _must_be_as_compared(guest: Guest, config: Config, seen: Optional[str]) -> None:
    running = guest.running()
    if not running and seen in (None, config["digest"]):
        return
    raise GuardRefused(
        expected=f"the guest at {guest.side.machine} as it was when its disks were compared, stopped since then",
        found="it runs: somebody has booted it"
        if running
        else "its config was changed since, by a proof boot or by hand",
        state="closed at the other side; nothing was opened",
        next_command="look that no other run is under way, then run the same playbook again: it compares anew",
    )


def reached(
    position: Mapping[str, str], found: Mapping[str, str], leads: bool, stateless: bool = False
) -> Union[bool, str]:
    """Say whether this side's disks are at the receipt's position, or why not.

    A side that holds the latest data has nothing to reach: the other side's disks are older copies of its own. A guest
    declared stateless has nothing to carry over, and its receipt has to say the same.
    """
    if leads:
        return True
    if stateless:
        return STATELESS in position or "the receipt does not say that the guest is stateless"
    if not position:
        return "the receipt names no disk"
    different = [name for name in sorted({*position, *found}) if position.get(name) != found.get(name)]
    if not different:
        return True
    return "; ".join(f"{name} is {found.get(name, 'missing')}, not {position.get(name, 'known')}" for name in different)


def quiesce(guest: Guest, check: bool = False) -> Result:
    """Stop a passive guest that a proof boot left running, so that its disk may be written."""
    # In this order: what runs already is not opened by anybody, so that the guard read after it holds.
    running = guest.running()
    config = guest.config()
    state = guest.guard(config)
    if not running:
        return _said(False, state, "stopped already")
    if state.status != guard.CLOSED or guest_config.links_up(config):
        raise GuardRefused(
            expected=f"the guest at {guest.side.machine} passive and cut from its network before it is stopped hard",
            found=f"{state.describe()}, link {'up' if guest_config.links_up(config) else 'down'}",
            state="it runs; nothing was stopped",
            next_command="ansible-playbook playbooks/status.yml",
        )
    if check:
        return _said(True, state, "would be stopped")
    guest.stop()
    return _said(True, state, "stopped")


def keep_fence(guest: Guest, check: bool = False) -> Result:
    """Keep what the disks of a passive guest hold since its fence, where no copy of a file does, before they change."""
    said = quiesce(guest, check)
    if check:
        if not prepare.keeps_by_archive(guest, look(guest)):
            return said
        return {**said, "changed": True, "reason": "its disks as they were at the fence would be kept by an archive"}
    kept = prepare.keep_fence(guest)
    if kept is None:
        return said
    marked = guest.change(lambda config: _overwritten(guest, config))
    if not kept["changed"]:
        return {**said, "changed": said["changed"] or marked}
    return {**said, "changed": True, "reason": "its disks as they were at the fence are kept by an archive"}


def _overwritten(guest: Guest, config: Config) -> Mapping[str, Any]:
    """Mark the disks as no longer those of the fence, unless something has written to them before."""
    _must_be_passive(guest, config, guest.guard(config), "nothing was written to its disks")
    description = config.get("description")
    marked = guest_config.is_marked(description)
    return {} if marked else {"description": guest_config.with_mark(description, prepare.BLOCKS)}


def must_take_blocks(guest: Guest, check: bool = False) -> Result:
    """Read the passive guest once more right before its disks are written: minutes may lie since the decision."""
    config = guest.config_if_any()
    state = guest.guard(config)
    if check:
        return _said(False, state, "changed blocks would be carried")
    running = config is not None and guest.running()
    lock = str((config or {}).get("lock", ""))
    if config is None or state.status != guard.CLOSED or guest_config.links_up(config) or running or lock:
        found = "no guest"
        if config is not None:
            link = "up" if guest_config.links_up(config) else "down"
            found = f"{state.describe()}, {'running' if running else 'stopped'}, link {link}, lock '{lock}'"
        raise GuardRefused(
            expected=f"the guest at {guest.side.machine} closed, stopped, cut from its network and without a lock, "
            "right before its disks are written",
            found=found,
            state="nothing was written to its disks",
            next_command="look that no other run and no backup is under way (ansible-playbook playbooks/status.yml), "
            "then run the same command again",
        )
    return _said(False, state, "takes changed blocks")


def boot_apart(guest: Guest, check: bool = False) -> Result:
    """Boot the passive guest cut from its network and leave it running: a warm move connects it later."""
    config = guest.config_if_any()
    state = guest.guard(config)
    _must_be_passive(guest, config, state)
    if guest.running() or check:
        return _said(not guest.running(), state, "runs, cut from its network" if guest.running() else "would be booted")
    prepare.keep_fence(guest)
    guest.report("booting, cut from the network")
    guest.start()
    return _said(True, state, "booted, cut from its network")


def stand_by(guest: Guest, serving_guest: Guest, check: bool = False) -> Result:
    """Boot a passive guest ahead of its switch; wait until it has come up, where the other one still serves its users.

    What does not come up is no failure here: the switch waits for it, and says what to do.
    """
    said = boot_apart(guest, check)
    if check or not agent_enabled(guest.config()):
        return said
    if not serving_guest.serves_within(down.OUTSIDE_SECONDS) and serving_guest.not_up():
        return {**said, "reason": "booted; users of the other side wait already, so nobody waits for it here"}
    try:
        return {**said, "reason": f"up after {guest.wait_up():.0f} s, cut from its network"}
    except ProxmoxError as error:
        return {**said, "reason": f"booted, and not up yet: {error.message()}"}


def proof_boot(guest: Guest, stays: bool = False, command: Sequence[str] = ()) -> Result:
    """Boot the passive guest cut from its network, see that it comes up, and stop it again (unless it `stays` up).

    Its agent has to answer, and to run the command with success: it asks the application from inside, as nobody can
    from outside. The boot changes the passive disk; the final delta repairs that, digests are compared after the delta.
    What the disks held at the side's fence is kept before.
    """
    config = guest.config_if_any()
    state = guest.guard(config)
    if config is not None and state.status == guard.OPEN:
        reason = guest.not_up() if guest.running() else "it is the active guest, and it is stopped"
        return {"changed": False, "boots": not reason, "reason": reason, "seconds": 0.0}
    _must_be_passive(guest, config, state)
    if not stays:
        quiesce(guest)
    if not guest.running():
        prepare.keep_fence(guest)
    reason = ""
    seconds = 0.0
    try:
        guest.report("proof boot, cut from the network")
        if not stays:
            guest.wait_unlocked()
            _mark_boot(guest, "begins")
        guest.start()
        if not stays:
            _mark_boot(guest, "has begun")
        seconds = guest.wait_up()
        if command:
            seconds += guest.wait_command(command)
    except ProxmoxError as error:
        reason = error.message()
    finally:
        if not stays:
            reason = "; ".join(filter(None, (reason, _end_proof(guest, state))))
    return {"changed": False, "boots": not reason, "reason": reason, "seconds": round(seconds, 1)}


def _must_be_passive(
    guest: Guest, config: Optional[Config], state: GuardState, said: str = "nothing was booted"
) -> None:
    if config is None or state.status != guard.CLOSED or guest_config.links_up(config):
        raise GuardRefused(
            expected=f"a passive guest at {guest.side.machine}, cut from its network",
            found="no guest" if config is None else f"{state.describe()}, link up: {guest_config.links_up(config)}",
            state=said,
            next_command="ansible-playbook playbooks/20_prepare.yml",
        )


def _mark_boot(guest: Guest, word: str) -> None:
    mark = f"proof boot {word} {uuid.uuid4()}"

    def decide(config: Config) -> Mapping[str, Any]:
        _must_be_passive(guest, config, guest.guard(config))
        return {"description": guest_config.with_mark(config.get("description"), mark)}

    guest.change(decide)


def _taken_over(guest: Guest, before: GuardState) -> str:
    """Say who the running guest belongs to when it is not the proof boot's any more; asked after it was seen to run."""
    config = guest.config_if_any()
    state = guest.guard(config)
    same = config is not None and state.status == guard.CLOSED and state.promised == before.promised
    if same and not guest_config.links_up(config or {}):
        return ""
    return f"another run has taken the guest over during its proof boot ({state.describe()}); it was left as it is"


def _end_proof(guest: Guest, before: GuardState) -> str:
    """Stop what the proof boot has started, and only that; say why it was left."""
    # A start that could not be followed may still be under way.
    deadline = guest.clock() + guest.limits.lock
    start = f"{guest.kind.start} "
    while any(who.startswith(start) for who in tasks.holders(guest.api, guest.side.node, guest.side.vmid)):
        if guest.clock() >= deadline:
            break
        guest.sleep(0.3)
    if not guest.running():
        return ""
    if others := _taken_over(guest, before):
        return others
    try:
        guest.shut_down(force=False)
    except ProxmoxError:
        if not guest.running() or not (others := _taken_over(guest, before)):
            guest.stop()
    return others


def _described(guest: Guest, config: Config, transition: Any, **values: Any) -> dict[str, Any]:
    state: GuardState = transition(guest.guard(config))
    return {"description": guest_config.with_guard(config.get("description"), state), **values}


def _links(config: Config, up: bool, cut: Collection[str] = ()) -> dict[str, str]:
    return {
        name: guest_config.with_link(net, up and name not in cut) for name, net in guest_config.nets(config).items()
    }


def must_know_onboot(todo: Todo, onboot: Optional[bool]) -> None:
    """Refuse a switch that could not end with the guest as it was captured, before anything is closed."""
    if todo.action == "switch":
        _onboot(onboot)


def _onboot(onboot: Optional[bool]) -> dict[str, int]:
    if onboot is None:
        raise ProxmoxError(
            expected="the captured setting 'onboot' of the active guest",
            found="nothing was captured on either node (/var/lib/bascule/<component>/captured.json)",
            state="nothing was opened",
            next_command="set proxmox_guest_onboot (whether the guest starts with its node: true or false) for the "
            "component in the inventory, then run the same command again; it connects every interface: cut again "
            "what is to stay cut",
        )
    return {"onboot": int(onboot)}


def _said(changed: bool, state: GuardState, reason: str) -> Result:
    return {"changed": changed, "guard": state.to_dict(), "reason": reason}
