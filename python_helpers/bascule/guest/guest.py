"""One guest at one node: its truth, its guard, and the few changes a move makes to it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Optional

from ..guard.state import GuardState
from ..system import polling
from . import config as guest_config
from . import kinds, tasks
from .api import Api
from .errors import (
    AgentSilent,
    ApiRefused,
    ConfigChanged,
    GuestLocked,
    NodeUnreachable,
    NoSuchGuest,
    NotPermitted,
    ProxmoxError,
    TaskFailed,
    TaskLate,
)

Config = Mapping[str, Any]
Decide = Callable[[Config], Optional[Mapping[str, Any]]]
Probe = Callable[[str], str]

# What Proxmox answers instead of asking the agent, or the container: it has no process, or its config has no agent.
_STOPPED = re.compile(r"\b(?:VM|CT) \d+ (?:is )?not running\b|No QEMU guest agent configured")


@dataclass(frozen=True)
class Side:
    """Where one side of the guest lives, as the inventory declares it."""

    machine: str
    node: str
    vmid: int
    storage: str
    backup_storage: str = ""
    # Storage at the other side → storage here, for disks that are not to lie on `storage`.
    storages: Mapping[str, str] = field(default_factory=dict)
    # For every interface that is not named in `cards`.
    bridge: str = ""
    tag: Optional[str] = None
    # Interface → its `bridge` and `tag` at this side, and of a container its addresses, where these are declared.
    cards: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    health_url: str = ""

    def declared(self, option: str, card: str) -> Optional[str]:
        """Return the `bridge` or `tag` declared for an interface at this side; None when none is."""
        own = self.cards.get(card, {})
        if option in own:
            return own[option]
        return (self.bridge or None) if option == "bridge" else self.tag

    def addresses_of(self, card: str) -> dict[str, str]:
        """Return the addresses and gateways declared for an interface of a container at this side."""
        return {name: value for name, value in self.cards.get(card, {}).items() if name in guest_config.ADDRESSES}

    def storage_for(self, name: str) -> str:
        """Return the storage here for disks that lie on the storage of this name at the other side."""
        return self.storages.get(name, self.storage)

    def bridge_for(self, card: str, net: str) -> str:
        """Return the bridge that an interface is plugged into at this side."""
        return self.declared("bridge", card) or guest_config.bridge_of(net)


@dataclass(frozen=True)
class Limits:
    """How long things may take, in seconds."""

    task: float = 3600
    shutdown: float = 60
    agent: float = 120
    health: float = 120
    lock: float = 60


class Guest:
    """A guest at one side. Reads always ask the node; nothing is remembered."""

    def __init__(
        self,
        api: Api,
        side: Side,
        component: str,
        limits: Limits = Limits(),
        report: Callable[[str], None] = lambda text: None,
        probe: Probe = lambda url: "",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        journal: Callable[[str, str], None] = lambda component, text: None,
    ) -> None:
        self.api = api
        self.side = side
        self.component = component
        self.limits = limits
        self.sleep = sleep
        self.clock = clock
        self._report = report
        self._probe = probe
        self._journal = journal
        self._kind: Optional[kinds.Kind] = None

    @property
    def kind(self) -> kinds.Kind:
        """Return what the guest of this number is, as its node says; a virtual machine where there is none."""
        if self._kind is None:
            self.config_if_any()
        return self._kind or kinds.QEMU

    def like(self, other: kinds.Kind) -> None:
        """Take the number for one of this kind: what else has it, is somebody else's, and is found by `elsewhere`."""
        self._kind = other

    @property
    def place(self) -> str:
        """Return where guests of its kind are made in the API."""
        return f"nodes/{self.side.node}/{self.kind.name}"

    @property
    def path(self) -> str:
        """Return the guest's place in the API."""
        return f"{self.place}/{self.side.vmid}"

    def report(self, text: str) -> None:
        """Tell the operator how far things are."""
        self._report(f"{self.component} at {self.side.machine}: {text}")

    def record(self, text: str) -> None:
        """Write into the run's journal what is about to be done to the guest, or was; and tell the operator."""
        self._journal(self.component, f"the guest {self.side.vmid} at {self.side.machine}: {text}")
        self.report(text)

    # ---- truth

    def config(self, current: bool = False) -> Config:
        """Return the guest's config with its digest.

        Changes that wait for the next start count as made, unless it is asked for what holds now (`current`).
        """
        if self._kind is None and not current and (found := self.config_if_any()) is not None:
            return found
        data: Config = self.api.get(f"{self.path}/config", **({"current": True} if current else {}))
        return data

    def config_if_any(self) -> Optional[Config]:
        """Return the config, or None when the number is free at this node.

        Until it is known what has the number, each kind is asked for: a number has one guest only.
        """
        for kind in (self._kind,) if self._kind else kinds.ALL:
            try:
                data: Config = self.api.get(f"nodes/{self.side.node}/{kind.name}/{self.side.vmid}/config")
            except NoSuchGuest:
                continue
            self._kind = kind
            return data
        return None

    def elsewhere(self) -> str:
        """Return what has this number in the cluster; empty when the number is free.

        Asked where this node has no such guest of that number: it may have moved inside its cluster.
        """
        rows = self.api.get("cluster/resources", type="vm") or []
        nouns = {kind.name: f"the {kind.noun}" for kind in kinds.ALL}
        for row in rows:
            if str(row.get("vmid", "")) == str(self.side.vmid):
                noun = nouns.get(str(row.get("type")), str(row.get("type")))
                return f"{noun} '{row.get('name', '')}' at the node {row.get('node', '?')}"
        return ""

    def current(self) -> Mapping[str, Any]:
        """Return the guest's running state as the node sees it now."""
        data: Mapping[str, Any] = self.api.get(f"{self.path}/status/current")
        return data

    def running(self) -> bool:
        """Say whether a process of this guest exists; anything but a clear answer is an error."""
        status = self.current().get("status")
        if status not in ("running", "stopped"):
            raise ProxmoxError(
                expected=f"the guest {self.side.vmid} to be running or stopped",
                found=repr(status),
                state="unknown",
                next_command=f"look at the guest at {self.side.machine}",
            )
        return bool(status == "running")

    def snapshots(self) -> list[str]:
        """Return the names of the guest's snapshots; the config names only one of them, and not always."""
        rows = self.api.get(f"{self.path}/snapshot") or []
        return sorted(str(row["name"]) for row in rows if row.get("name") != "current")

    def guard(self, config: Optional[Config]) -> GuardState:
        """Return the guard state kept in the guest's description."""
        if config is None:
            return GuardState(component=self.component, side=self.side.machine)
        return guest_config.guard_of(config.get("description"), self.component, self.side.machine)

    def agent_answers(self) -> str:
        """Return an empty text when the guest agent answers a ping, else the reason why it does not."""
        try:
            self.api.post(f"{self.path}/agent/ping")
        except (AgentSilent, ApiRefused) as error:
            return error.reason
        except NodeUnreachable as error:
            return error.found
        return ""

    def interfaces(self) -> list[str]:
        """Return the interfaces that exist inside a container now; a stopped one has none, not even its loopback."""
        rows = self.api.get(f"{self.path}/interfaces") or []
        return sorted(str(row.get("name", "?")) for row in rows)

    def not_up(self) -> str:
        """Return an empty text when the guest has come up as far as its node can see, else what is missing.

        A virtual machine's agent answers. A container has its interfaces, and nobody inside can be asked.
        """
        if self.kind.agent:
            return self.agent_answers()
        wanted = {guest_config.options(net).get("name", "") for net in guest_config.nets(self.config()).values()}
        missing = sorted({"lo", *wanted} - {"", *self.interfaces()})
        return f"the container has no interface {', '.join(missing)} yet" if missing else ""

    def refusal_when_stopped(self) -> str:
        """Return the node's own word, beside its status, that nothing of the guest runs; empty when something answered.

        It refuses to talk to a stopped guest's agent; inside a stopped container there is no interface. Only the node's
        word that the guest does not run counts, and, of a guest without an agent, that it has none: a node that cannot
        be reached, a timeout or an agent that is silent inside a running guest are raised.
        """
        try:
            if not self.kind.agent:
                return "" if self.interfaces() else "no interface of it exists"
            self.api.post(f"{self.path}/agent/ping")
        except NodeUnreachable:
            raise
        except ApiRefused as error:
            if error.status >= 500 and _STOPPED.search(error.reason):
                return error.reason
            raise ProxmoxError(
                expected=f"the node to say that nothing of the guest at {self.side.machine} runs",
                found=f"{error.status} {error.reason}",
                state="not closed; nothing was opened: this answer is no proof that the guest is stopped",
                next_command="look at the guest, then run the same command again",
            ) from error
        return ""

    # ---- changes

    def change(self, decide: Decide, tries: int = 5) -> bool:
        """Read the config, let `decide` say what to set, and set it with the digest that was read.

        When somebody else changed the config in between, or no answer came, everything is read and decided afresh:
        nobody's change is overwritten and nothing is applied twice.
        """
        changed = False
        for number in range(1, tries + 1):
            config = self.config()
            wanted = decide(config)
            values = {k: v for k, v in (wanted or {}).items() if not guest_config.same(config.get(k), v)}
            if not values:
                return changed
            try:
                self.api.put(f"{self.path}/config", **values, digest=config["digest"])
                return True
            except ConfigChanged:
                if number == tries:
                    raise
            except GuestLocked:
                if number == tries:
                    raise
                self.wait_unlocked()
            except NodeUnreachable:
                if number == tries:
                    raise
                changed = True
            self.sleep(0.2 * number)
        raise AssertionError("unreachable")

    def wait_unlocked(self) -> None:
        """Wait until the guest carries no lock; name its holder while waiting and when giving up."""
        deadline = self.clock() + self.limits.lock
        said = ""
        while True:
            lock = self.config().get("lock")
            if not lock:
                return
            holder = self.lock_holder(str(lock))
            if holder != said:
                said = holder
                self.report(f"waiting for the lock '{holder}'")
            if self.clock() >= deadline:
                raise ProxmoxError(
                    expected=f"the guest {self.side.vmid} without a lock within {self.limits.lock:g} s",
                    found=f"locked: {holder}",
                    state="nothing was changed",
                    next_command=self._advice(holder != lock),
                )
            self.sleep(1)

    def lock_holder(self, lock: str) -> str:
        """Return the lock's name and the task that holds it, as far as the token may see."""
        names = tasks.holders(self.api, self.side.node, self.side.vmid)
        return f"{lock} ({', '.join(names)})" if names else lock

    def _advice(self, held: bool) -> str:
        vmid, machine, tool = self.side.vmid, self.side.machine, self.kind.tool
        if held:
            return (
                f"wait for the job, or look at it ('{tool} config {vmid}' at {machine}), then run the same command "
                "again"
            )
        return (
            f"no task can be seen that holds it: look for its job at {machine}, and only if that is dead take the "
            f"lock away ('{tool} unlock {vmid}' there), then run the same command again"
        )

    def run_task(self, upid: Any, timeout: Optional[float] = None) -> tasks.Outcome:
        """Wait for a task of this guest's node."""
        outcome = tasks.wait(
            self.api, upid, timeout or self.limits.task, report=self.report, sleep=self.sleep, clock=self.clock
        )
        if outcome.warnings:
            self.report(f"task {upid} ended with {outcome.warnings} warnings")
        return outcome

    def start(self) -> bool:
        """Start the guest; return whether it had to be started. The truth is read again afterwards."""
        self.end_shut_down()
        if self.running():
            return False
        self.wait_unlocked()
        self.run_task(self.api.post(f"{self.path}/status/start"), timeout=self.limits.agent)
        self._must_be(True)
        return True

    def begin_shut_down(self, force: bool) -> str:
        """Return the task of a clean shutdown that has begun, by us or before; nothing where the guest is stopped."""
        if not self.running():
            return ""
        # A second one would only wait for the first one's lock.
        if upid := self._shutdown_under_way():
            return upid
        self.wait_unlocked()
        self.report("clean shutdown")
        how = {"timeout": int(self.limits.shutdown), "forceStop": force}
        return str(self.api.post(f"{self.path}/status/shutdown", **how))

    def end_shut_down(self) -> None:
        """Wait until a shutdown that is under way has ended: until then its lock refuses a start."""
        if upid := self._shutdown_under_way():
            with suppress(TaskFailed, TaskLate):
                self.run_task(upid, timeout=int(self.limits.shutdown) + 30)

    def _shutdown_under_way(self) -> str:
        return tasks.under_way(self.api, self.side.node, self.side.vmid, self.kind.shutdown)

    def shut_down(self, force: bool) -> bool:
        """Let the guest shut down cleanly; a forced stop only where the plan says so."""
        upid = self.begin_shut_down(force)
        if not upid:
            return False
        seconds = int(self.limits.shutdown)
        try:
            self.run_task(upid, timeout=seconds + 30)
        except TaskFailed as error:
            if self.running():
                raise ProxmoxError(
                    expected=f"the guest {self.side.vmid} to shut down cleanly within {seconds} s",
                    found=f"{error.words or error.exitstatus}; it still runs",
                    state="the guest runs; nothing was forced",
                    next_command="look at the guest's console; to stop it hard, set proxmox_guest_force_stop: true "
                    "and run the same command again",
                ) from error
        self._must_be(False)
        return True

    def stop(self) -> bool:
        """Stop the guest hard: only for a guest whose disk is about to be overwritten."""
        if not self.running():
            return False
        self.wait_unlocked()
        self.run_task(self.api.post(f"{self.path}/status/stop"), timeout=self.limits.shutdown + 30)
        self._must_be(False)
        return True

    def wait_up(self) -> float:
        """Wait until the guest has come up as far as its node can see (`not_up`); return the seconds it took."""
        what = "the guest agent to answer" if self.kind.agent else "the container to have its interfaces"
        return self._wait_for(what, self.limits.agent, self.not_up)

    def wait_command(self, command: Sequence[str]) -> float:
        """Wait until a command inside the guest, run by its agent, ends well; return the seconds it took."""
        if not self.kind.agent:
            raise ProxmoxError(
                expected="proxmox_guest_proof_command for a guest with an agent",
                found=f"{self.side.vmid} at {self.side.machine} is a container, inside which no API runs a command",
                state="it was started; nothing was run in it",
                next_command="take proxmox_guest_proof_command away for this component",
            )
        what = f"'{shlex.join(command)}' to end well inside the guest"
        return self._wait_for(what, self.limits.health, lambda: self._command_fails(command))

    def _command_fails(self, command: Sequence[str]) -> str:
        """Run a command by the guest's agent once; return an empty text, or how it ended and what it said."""
        try:
            pid = self.api.post(f"{self.path}/agent/exec", command=list(command))["pid"]
            deadline = self.clock() + self.limits.health
            while True:
                ended = self.api.get(f"{self.path}/agent/exec-status", pid=pid)
                if str(ended.get("exited", 0)) == "1":
                    break
                if self.clock() >= deadline:
                    return f"it still runs (process {pid})"
                self.sleep(0.3)
        except NotPermitted:
            raise
        except (AgentSilent, ApiRefused) as error:
            return error.reason
        status = ended.get("exitcode")
        words = " ".join(str(ended.get("err-data") or ended.get("out-data") or "").split())[-200:]
        return "" if str(status) == "0" else f"it ended with {status}" + (f": {words}" if words else "")

    def wait_health(self) -> float:
        """Wait until the application answers at the side's health address."""
        if not self.side.health_url:
            return 0.0
        return self._wait_for(f"{self.side.health_url} to answer 200", self.limits.health, self.health)

    def health(self) -> str:
        """Ask the side's health address once; return an empty text, or what came instead."""
        return self._probe(self.side.health_url) if self.side.health_url else ""

    def serves_within(self, seconds: float) -> bool:
        """Whether the side's health address answers 200 so soon."""
        asking = ThreadPoolExecutor(1)
        try:
            return not asking.submit(self._probe, self.side.health_url).result(seconds)
        except FutureTimeout:
            return False
        finally:
            asking.shutdown(wait=False)

    def volume(self, drive: guest_config.Drive) -> Mapping[str, Any]:
        """Return a volume's path, format and size as the node states them."""
        data: Mapping[str, Any] = self.api.get(f"nodes/{self.side.node}/storage/{drive.storage}/content/{drive.volid}")
        return data

    def _wait_for(self, what: str, limit: float, ask: Callable[[], str]) -> float:
        began = self.clock()
        said = -1
        while True:
            reason = ask()
            spent = self.clock() - began
            if not reason:
                return spent
            if spent >= limit:
                raise ProxmoxError(
                    expected=f"{what} within {limit:g} s",
                    found=reason,
                    state=f"the guest {self.side.vmid} at {self.side.machine} was started",
                    next_command="look at the guest's console, then run the same command again",
                )
            if int(spent) // 5 != said:
                said = int(spent) // 5
                self.report(f"waiting for {what} ({int(spent)} s)")
            self.sleep(polling.pause(spent, 0.3))

    def _must_be(self, running: bool) -> None:
        if self.running() is not running:
            raise ProxmoxError(
                expected=f"the guest {self.side.vmid} to be {'running' if running else 'stopped'}",
                found=f"the task ended well, but the node says {'stopped' if running else 'running'}",
                state="the node's word counts, not the task's",
                next_command=f"look at the guest at {self.side.machine}, then run the same command again",
            )


def at(machine: str, *sides: Guest) -> Guest:
    """Return the side at that machine; the last one when it is at none."""
    return next((side for side in sides if side.side.machine == machine), sides[-1])
