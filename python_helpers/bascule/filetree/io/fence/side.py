"""One side of a file tree, on its own host: where things lie, how its mounts reach a state, and the proof of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import fence_settings, store
from ....system.io import storage
from ...mounts import ACTIVE, CLOSED, FROZEN, PASSIVE, Step, TreeBusy, TreeError, View, steps
from ...transfer import NUMBERS
from . import durable, mounts

BASE = Path("/var/lib/bascule")
FLIPS = Path("/run/bascule")
KIND = "files"
_ROUNDS = 5
BUSY_WAIT = 4.0
# What a link carried longer ago is measured again.
_LINK_KEPT_SECONDS = 86400
# Which guard states may be in which state of the mounts: what lets writes in is checked under the lock that changes it.
_PERMITS = {
    ACTIVE: (rule.OPEN, rule.OPENING),
    PASSIVE: (rule.CLOSED, rule.CLOSING),
    # A boot closes a side whose opening was cut short, or whose guard tells nothing.
    CLOSED: (rule.CLOSED, rule.CLOSING, rule.OPENING, rule.UNKNOWN),
}


@dataclass(frozen=True)
class Side:
    """Where one side of a component's tree lies."""

    component: str
    name: str
    path: str
    sentinel: str
    base: Path = BASE
    # Whether a recorder tells which names have changed; without one every transfer looks at the whole tree.
    recorder: bool = True
    # How owners travel and are compared; both sides have the same.
    owners: str = NUMBERS
    # Whether the tree is a part of a larger file system, closed by the flags of its mounts alone.
    part: bool = False
    # Whom each side lets the other in by.
    account: str = "root"

    @property
    def home(self) -> Path:
        """Root's own directory; nobody else enters."""
        return self.base / self.component

    @property
    def tree(self) -> str:
        """The private path of the tree."""
        return str(self.home / "tree")

    @property
    def kept(self) -> Path:
        """What transfers replaced after this side was active."""
        return self.home / "kept"

    @property
    def manifest(self) -> Path:
        """The last manifest, which is the cache of digests as well."""
        return self.home / "manifest" / "own.jsonl"

    @property
    def identity(self) -> Path:
        """The key with which this side reaches the other."""
        return self.home / "ssh" / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The other side's pinned host keys."""
        return self.home / "ssh" / "known_hosts"

    def guard(self) -> rule.GuardState:
        """Return what this side has promised."""
        return store.read(self.component, self.name, root=self.base / "guard")


def load(component: str, base: Path = BASE) -> Side:
    """Return this host's side of a component, as prepare wrote it down."""
    data = fence_settings.read(component, base)
    if data is None or data.get("kind") != KIND:
        raise TreeError(
            expected=f"a file tree called {component} on this host",
            found="none that prepare has set up",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    place = (component, data["side"], data["controls"], data["sentinel"], base)
    more = (bool(data.get("recorder", True)), str(data.get("owners", NUMBERS)), bool(data.get("part", False)))
    return Side(*place, *more, str(data.get("account", "root")))


def owners_set(side: Side) -> str:
    """Return how prepare has set this side up to tell owners; empty when it was not set up."""
    known = fence_settings.read(side.component, side.base)
    return str(known.get("owners", NUMBERS)) if known is not None else ""


def part_set(component: str, base: Path = BASE) -> Optional[bool]:
    """Return whether prepare has set the tree up as a part of a larger file system; None when it was not set up."""
    known = fence_settings.read(component, base)
    return bool(known.get("part", False)) if known is not None else None


def account_set(component: str, base: Path = BASE) -> str:
    """Return the account by which prepare has let the other side in; root where nothing else is said."""
    return str((fence_settings.read(component, base) or {}).get("account", "root"))


def save(side: Side, check: bool = False) -> bool:
    """Write down what a boot and a transfer must know; return whether that changed anything."""
    if not check:
        storage.make_directory(side.home)
        os.chmod(side.home, 0o700)
    return fence_settings.keep(
        side.component,
        side.name,
        KIND,
        side.path,
        base=side.base,
        check=check,
        sentinel=side.sentinel,
        recorder=side.recorder,
        owners=side.owners,
        # Written down only where it is so: who was prepared before stays as he is.
        **({"part": True} if side.part else {}),
        **({"account": side.account} if side.account != "root" else {}),
    )


def facts(side: Side) -> dict[str, Any]:
    """Return what this side noted about itself: when it opened, when it last pushed, whether it received since."""
    found = storage.read_json(side.home / "side.json")
    return dict(found) if isinstance(found, dict) else {}


def note(side: Side, **values: Any) -> None:
    """Note facts durably."""
    with storage.locked(side.home / "side.lock"):
        before = facts(side)
        after = {**before, **values}
        if after != before:
            storage.write_json(side.home / "side.json", after)


def forget(side: Side, name: str, when: Callable[[Any], bool]) -> None:
    """Take one fact away durably, if it is what is meant."""
    with storage.locked(side.home / "side.lock"):
        known = facts(side)
        if when(known.get(name)):
            del known[name]
            storage.write_json(side.home / "side.json", known)


def link_mbit(side: Side, address: str) -> float:
    """Return what the link to this address was measured to carry lately; 0 when it was not."""
    known = facts(side).get("link")
    if not isinstance(known, dict) or known.get("address") != address:
        return 0.0
    return float(known["mbit"]) if 0 <= time.time() - float(known["at"]) < _LINK_KEPT_SECONDS else 0.0


def look(side: Side, deep: bool = False) -> View:
    """Return the mounts of the tree; `deep`: and who gets round them, which only a passive tree has to fear."""
    return mounts.look(side.path, side.tree, deep, side.part)


def _deep(side: Side, wanted: str) -> bool:
    """Tell whether a state has somebody to fear who gets round the flags of mounts."""
    return wanted == PASSIVE or (side.part and wanted != ACTIVE)


def plan(side: Side, wanted: str) -> list[str]:
    """Return, in words, what would be done to bring the mounts into a state."""
    view = look(side, _deep(side, wanted))
    return [
        *[step.describe() for step in steps(view, wanted, _flips(side))],
        *(_hold(side, check=True) if wanted in (CLOSED, PASSIVE) else durable.release(side.component, check=True)),
    ]


def ready(side: Side) -> bool:
    """Tell whether the passive side can receive as it is."""
    if side.guard().status != rule.CLOSED:
        return False
    view = look(side, deep=True)
    if view.public_mount is None or view.beyond or steps(view, PASSIVE, _flips(side)):
        return False
    return bool(durable.held(side.component))


def apply(side: Side, wanted: str) -> list[str]:
    """Bring the mounts into a state, now and at every boot, and prove it by trying to write; return what was done.

    What keeps a tree closed at boot stands before a closing can give its receipt, and goes while an opening is only
    permitted: it never outlives the moment at which this side counts as open.
    """
    done: list[str] = []
    storage.make_directory(side.home)
    os.chmod(side.home, 0o700)
    with storage.locked(side.home / "fence.lock"):
        permitted = _PERMITS.get(wanted)
        guard = side.guard()
        if permitted and guard.status not in permitted:
            raise TreeError(
                expected=f"a guard that lets the tree be {wanted} ({' or '.join(permitted)})",
                found=guard.describe(),
                state=f"{side.path} is {look(side).state}; nothing was changed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        try:
            if wanted in (ACTIVE, FROZEN) and guard.status in _PERMITS[ACTIVE]:
                done += _release(side)
            _reach(side, wanted, done)
            prove(side, wanted)
            if wanted in (CLOSED, PASSIVE):
                done += _hold(side)
        except TreeError:
            view = look(side)
            if wanted == PASSIVE and view.private_mount is not None and view.state == PASSIVE:
                # Read-only as a whole it refuses everybody, unless a transfer is on its way already. Of a part only
                # the way of transfers can be closed: what was found to lead past it is another's.
                with contextlib.suppress(TreeError):
                    mounts.take(Step("mount" if side.part else "super", side.tree, read_only=True), view)
            raise
        if wanted == ACTIVE:
            _flips_path(side).unlink(missing_ok=True)
    return done


def is_closed(side: Side) -> bool:
    """Tell whether a side that is not open refuses everybody's writes, now and after a reboot."""
    return look(side).state in (CLOSED, PASSIVE) and not _hold(side, check=True)


def come_up_open(side: Side, *, check: bool = False) -> list[str]:
    """Take away what would keep an open side closed at the next boot; return what was done."""
    if check or not durable.held(side.component):
        return durable.release(side.component, check=True)
    with storage.locked(side.home / "fence.lock"):
        return durable.release(side.component) if side.guard().status == rule.OPEN else []


def _hold(side: Side, check: bool = False) -> list[str]:
    others = [one.path for one in look(side).others]
    return durable.hold(side.component, side.path, others, check=check)


def _release(side: Side) -> list[str]:
    for path in durable.held_paths(side.component):
        # It came up read-only, so no step has made it so since the boot.
        _remember(side, Step("mount", path, True))
    return durable.release(side.component)


def _reach(side: Side, wanted: str, done: list[str]) -> None:
    for number in range(_ROUNDS):
        view = look(side, wanted == PASSIVE and number == 0)
        todo = steps(view, wanted, _flips(side))
        if not todo:
            return
        for step in todo:
            _take(step, view)
            _remember(side, step)
            done.append(step.describe())
    raise TreeError(
        expected=f"{side.path} to become {wanted}",
        found=f"still to do after {_ROUNDS} rounds: {'; '.join(s.describe() for s in todo)}",
        state=f"{side.path} is {look(side).state}",
    )


def _take(step: Step, view: View) -> None:
    """Do a step; a request that is just being served may keep a file open for a moment."""
    deadline = time.monotonic() + BUSY_WAIT
    while True:
        try:
            mounts.take(step, view)
            return
        except TreeBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def apply_private(side: Side) -> list[str]:
    """Make sure of root's private path, whatever state the tree is in."""
    view = look(side)
    if view.public_mount is None or view.private_mount is not None:
        return []
    storage.make_directory(side.home)
    os.chmod(side.home, 0o700)
    with storage.locked(side.home / "fence.lock"):
        step = Step("private", side.tree)
        mounts.take(step, look(side))
    return [step.describe()]


def prove(side: Side, wanted: str) -> None:
    """Try to write by both paths; raise when the outcome is not what the state means."""
    outcome = {
        "the public path": "refused" if mounts.refused(side.path) else "accepted",
        "the private path": "refused" if mounts.refused_unnamed(side.tree) else "accepted",
    }
    refused = {"the public path": "refused", "the private path": "refused"}
    meant = {
        ACTIVE: {"the public path": "accepted", "the private path": "accepted"},
        FROZEN: refused,
        CLOSED: refused,
        PASSIVE: {"the public path": "refused", "the private path": "accepted"},
    }[wanted]
    view = look(side, _deep(side, wanted))
    ways = view.writable if wanted != ACTIVE else []
    if side.part and wanted != ACTIVE:
        for path in dict.fromkeys(one.path for one in view.others):
            outcome[path] = "refused" if mounts.refused_at(path) else "accepted"
            meant[path] = "refused"
    if outcome != meant or ways:
        raise TreeError(
            expected=f"a tree that is {wanted}: a write by " + ", by ".join(f"{k} {v}" for k, v in meant.items()),
            found="a write by "
            + ", by ".join(f"{k} {v}" for k, v in outcome.items())
            + (f"; still writable: {', '.join(ways)}" if ways else ""),
            state=f"{side.path} is {look(side).state}",
            next_command="ansible-playbook playbooks/status.yml",
        )


def undo_freeze(side: Side) -> None:
    """Let writes in again at a part that could not be proved to be frozen; its guard is open all the while."""
    with contextlib.suppress(BasculeError, OSError), storage.locked(side.home / "fence.lock"):
        if side.guard().status == rule.OPEN:
            _reach(side, ACTIVE, [])
            _flips_path(side).unlink(missing_ok=True)


def still_read_only(side: Side) -> list[dict[str, str]]:
    """Return who still sees an active tree read-only: its mount namespace was made while the tree was passive."""
    return [
        {"unit": one.unit, "process": f"{one.command} ({one.pid})", "path": one.mount.path}
        for one in look(side).elsewhere
        if one.mount.path == side.path and one.mount.read_only
    ]


def check_source(side: Side, root: str) -> None:
    """Raise unless the tree is mounted and has its sentinel: an empty or wrong tree never empties the other side."""
    view = look(side)
    if view.public_mount is None or not os.path.isfile(os.path.join(root, side.sentinel)):
        raise TreeError(
            expected=f"the tree of {side.component} at {side.path}, with its sentinel {side.sentinel}",
            found="no file system mounted there" if view.public_mount is None else "no sentinel",
            state="nothing was transferred and nothing deleted at the other side",
            next_command=f"look at {side.path} on {side.name}: is the right file system mounted?",
        )
    check_nested(side, view)


def check_alone(side: Side, view: View) -> None:
    """Raise when others use the file system of the tree: a fence would make all of it read-only, for them as well."""
    if view.shared:
        raise TreeError(
            expected=f"a file system that holds the tree at {side.path} on {side.name} and nothing else that is in use",
            found=f"it also holds {'; '.join(view.shared)}",
            state=f"{side.path} is {view.state}; nothing was changed",
            next_command="give the tree a file system of its own, or unmount the others; findmnt --output "
            f"TARGET,SOURCE,FSROOT '{view.public_mount.source if view.public_mount else side.path}' shows them",
        )


def check_nested(side: Side, view: View) -> None:
    """Raise when further file systems are mounted inside the tree: what lies there would stay behind, unfenced."""
    if view.nested:
        raise TreeError(
            expected=f"a tree at {side.path} on {side.name} without further file systems in it",
            found=f"mounted inside it: {', '.join(view.nested)}",
            state=f"{side.path} is {view.state}; nothing was changed",
            next_command=f"findmnt --submounts {side.path}; unmount them, or move them as components of their own, "
            "then run the same playbook again",
        )


def backup_dir(side: Side) -> str:
    """Return where the next transfer must keep what it replaces; empty when this side was never active."""
    guard = side.guard()
    if guard.opened is None:
        return ""
    epoch = str(guard.receipt.epoch) if guard.receipt else str(guard.opened)
    # What an earlier transfer kept is older, hence what the fence stood at: a later one must not replace it.
    return str(next_number(side.kept / epoch))


def next_number(directory: Path) -> Path:
    """Return what the next transfer that keeps something there has for itself."""
    used = [int(entry.name) for entry in storage.children(directory) if entry.name.isdigit()]
    return directory / f"{max(used, default=0) + 1:04d}"


def repair_dir(side: Side) -> str:
    """Return where what was found to differ is kept at a side that was never active."""
    return str(side.kept / f"{int(time.time())}.repair" / "0001")


@contextlib.contextmanager
def receiving(side: Side) -> Iterator[None]:
    """Hold, together with other receivers, the lock that an opening waits for; a child that is executed keeps it."""
    with _receive_lock(side, fcntl.LOCK_SH, 10):
        yield


@contextlib.contextmanager
def no_receiver(side: Side) -> Iterator[None]:
    """Wait until nobody writes into the passive tree any more, and keep it so."""
    with _receive_lock(side, fcntl.LOCK_EX, 30):
        yield


@contextlib.contextmanager
def _receive_lock(side: Side, how: int, wait: float) -> Iterator[None]:
    storage.make_directory(side.home)
    descriptor = os.open(side.home / "receive.lock", os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)
    deadline = time.monotonic() + wait
    try:
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise TreeError(
                        expected=f"no transfer into {side.path} within {wait:g} s",
                        found="one is still running" if how == fcntl.LOCK_EX else "this side is being opened",
                        state=f"{side.path} is {look(side).state}",
                        next_command=f"fuser -v {side.home}/receive.lock; then run the same playbook again",
                    ) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _flips_path(side: Side) -> Path:
    base = FLIPS if side.base == BASE else side.base / "run"
    return base / f"{side.component}.mounts.json"


def _flips(side: Side) -> list[tuple[str, str]]:
    return [(str(a), str(b)) for a, b in storage.read_json(_flips_path(side)) or []]


def _remember(side: Side, step: Step) -> None:
    """Remember which further mounts were made read-only, so that opening makes exactly these writable again."""
    if step.what != "mount" or not step.read_only or (step.elsewhere is None and step.path == side.path):
        return
    entry = [step.elsewhere.namespace if step.elsewhere else "", step.path]
    before = [list(one) for one in _flips(side)]
    if entry not in before:
        storage.write_json(_flips_path(side), [*before, entry])


def fence(component: str) -> str:
    """Bring a tree's mounts back to what its guard says, at boot, before any service starts.

    Receiving is switched on again by whoever transfers next, never by a boot. Only when the tree is mounted once more
    while a transfer runs, that transfer goes on, and nobody else can write.

    Returns:
        what was done, a line each.
    """
    side = load(component)
    guard = side.guard()
    if guard.status == rule.OPEN:
        done = apply(side, FROZEN) if guard.frozen else apply_private(side)
    else:
        try:
            done = apply(side, CLOSED)
        except TreeBusy:
            done = apply(side, PASSIVE)
    return "\n".join(done)
