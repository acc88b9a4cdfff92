"""The four ways to move a guest, and what `sync` and `switch` have to do for each, from both sides as they are now.

| way | before the window | in the window |
|---|---|---|
| archive | a proof restore | vzdump, transfer, restore |
| delta | vzdump, transfer, restore | changed blocks |
| warm | the same, and booted cut from its network | nothing: a declared stateless guest is connected |
| remote_migrate | nothing | Proxmox's own migration to another cluster, offline |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import GuardRefused
from ..guard import lost as guard_lost
from ..guard import state as guard
from ..guard.state import Epoch, GuardState, Receipt
from ..guard.todo import NOTHING, Todo
from . import disk_kinds, lost, prepare
from .errors import ProxmoxError
from .lost import Copies, no_copies
from .observed import Disk, View, efi_seen, leading

ARCHIVE = "archive"
DELTA = "delta"
WARM = "warm"
REMOTE = "remote_migrate"
WAYS = (ARCHIVE, DELTA, WARM, REMOTE)

# What the receipt of a stateless guest says instead of the digests of its disks.
STATELESS = "stateless"
DROPPED = {STATELESS: "local writes are not carried over"}
# What it says of a side that was not opened since the other one closed, which a return before any opening closes again.
UNOPENED = "unopened"
# Beside that: under which epoch its disks were carried over to the side that opened since; their digests go with it.
MOVED = "moved"


@dataclass(frozen=True)
class GuestTodo(Todo):
    """What a verb has to do with a guest.

    digests: the receipt names the digests of the disks. stateless: nothing of the old side is needed.
    unopened: the side that closes was not opened since the other one did, so that it has nothing of its own.
    position: what its receipt says then; where an opening is done again, also what was carried under the first one.
    pairs: the disks whose files are made the same, as paths at both nodes.
    blocks: the disks whose changed blocks travel from one volume to another kind of it, each as it is at both nodes.
    """

    digests: bool = False
    stateless: bool = False
    unopened: bool = False
    position: Mapping[str, str] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    blocks: tuple[tuple[Disk, Disk], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            **super().to_dict(),
            "pairs": [{"source": here, "target": there} for here, there in self.pairs],
            "blocks": [{"source": vars(here).copy(), "target": vars(there).copy()} for here, there in self.blocks],
        }


def must_be_declared(way: str, stateless: bool) -> None:
    """Refuse to move a guest warm that nobody has declared stateless: what it wrote locally would be dropped."""
    if way == WARM and not stateless:
        raise ProxmoxError(
            expected="proxmox_guest_stateless: true for a guest that is moved warm",
            found="it is not declared stateless; what it writes on its own disks would be dropped",
            state="nothing was changed",
            next_command="declare it, or choose proxmox_guest_move: delta",
        )


def must_fit(source: View, way: str) -> None:
    """Refuse a way by which this kind of guest is not moved, before anything is carried."""
    if why := source.kind.refused(way):
        raise ProxmoxError(
            expected=f"a way by which a {source.kind.noun} is moved: {ARCHIVE} or {DELTA}",
            found=f"{way}; {why}",
            state="nothing was changed",
            next_command="set proxmox_guest_move: archive for this component",
        )


def must_be_known(source: View, target: View, copies: Copies = no_copies) -> None:
    """Refuse to go on by a guess when the guard of one side is gone and the other side holds no permit."""
    guard_lost.must_have_given_way(source.guard, target.guard)
    found = lost.of(source.guard, target.guard)
    if found is not None:
        gone, other = found
        side = source if gone.side == source.machine else target
        raise lost.refusal(gone, other, side.exists, side.elsewhere, copies)


def may_prepare(source: View, target: View, copies: Copies = no_copies) -> None:
    """Refuse, before anything is archived, to make a passive guest over, or beside, one that may be active."""
    must_be_known(source, target, copies)
    if source.guard.status == guard.UNKNOWN and target.guard.status == guard.OPEN:
        raise GuardRefused(
            expected=f"the guest at {source.machine}, which is taken over, to be the one that serves",
            found=target.guard.describe(),
            state="nothing was changed",
            next_command="ansible-playbook playbooks/status.yml",
        )
    if target.elsewhere:
        raise ProxmoxError(
            expected=f"the number of the guest at {target.machine} free in its cluster, or the guest at that node",
            found=f"{target.elsewhere} has it",
            state="nothing was changed",
            next_command="if that is this component's guest, set node in proxmox_guest_sides to where it is; else "
            "choose another vmid for this side",
        )


def sync_todo(source: View, target: View, way: str = DELTA, copies: Copies = no_copies) -> GuestTodo:
    """Decide what has to travel from `source` to `target` now.

    Nothing is ever written into the disk of a side that is, or may be, open.
    """
    if source.guard.status == guard.UNKNOWN and target.guard.status == guard.UNKNOWN:
        return GuestTodo(NOTHING, "prepare has not run")
    must_be_known(source, target, copies)
    if leading(source, target) == target.machine:
        return GuestTodo(NOTHING, f"{target.machine} holds the latest data")
    if target.guard.status == guard.UNKNOWN and way in (DELTA, WARM):
        if target.disks and not target.lock:
            raise GuardRefused(
                expected=f"the passive guest of this component at {target.machine}",
                found=lost.why(target.machine, target.exists, ""),
                state="nothing was copied; the guest that serves was not touched",
                next_command=f"look at the guest at {target.machine}: put its guard line back, or remove it where it "
                "is only a stopped copy; then ansible-playbook playbooks/20_prepare.yml",
            )
        return GuestTodo(NOTHING, f"there is no guest of this component at {target.machine} yet: prepare makes it")
    must_fit(source, way)
    _must_be_passive(target)
    if way == WARM:
        return _warm(source, target)
    if source.running:
        return GuestTodo(NOTHING, f"guest runs at {source.machine}: its disk is copied when it has been shut down")
    latest = f"{source.machine} holds the latest data and is stopped"
    if way == DELTA:
        both = _both(source, target)
        blocks = tuple((here, there) for here, there in both if not _is_same_file(here, there))
        pairs = tuple((here.path, there.path) for here, there in both if _is_same_file(here, there))
        return GuestTodo("blocks" if blocks else "delta", latest, pairs=pairs, blocks=blocks)
    return GuestTodo("archive" if way == ARCHIVE else "remote", latest)


def _must_be_passive(target: View) -> None:
    if target.guard.status not in (guard.CLOSED, guard.UNKNOWN):
        raise GuardRefused(
            expected=f"a closed side at {target.machine}, into whose disks changed blocks may be written",
            found=target.guard.describe(),
            state="nothing was copied",
            next_command="ansible-playbook playbooks/status.yml",
        )
    if target.guard.status == guard.CLOSED and target.links_up:
        raise GuardRefused(
            expected=f"the passive guest at {target.machine} cut from its network",
            found="its link is up although the guard says closed: somebody changed the config by hand",
            state="nothing was copied",
            next_command=f"set link_down=1 on its interfaces at {target.machine} after looking at the guest",
        )


def _warm(source: View, target: View) -> GuestTodo:
    # One that is frozen may still be shutting down: in the window nothing is carried over.
    if source.running and not source.guard.frozen:
        return GuestTodo("refresh", f"the copy at {target.machine} takes what has changed in the guest, when it is old")
    if target.running:
        return GuestTodo(NOTHING, f"stateless: the guest runs at {target.machine} already, cut from its network")
    return GuestTodo("boot", f"stateless: the guest at {target.machine} is booted, cut from its network")


def _both(source: View, target: View) -> list[tuple[Disk, Disk]]:
    """Return each disk as it is at both sides; refuse what changed blocks cannot make the same."""
    matched, both = {disk.name: disk for disk in target.disks}, []
    seen = efi_seen(source, target)
    strangers = [
        f"{disk.name} ({disk.volid}) of the guest {side.vmid} at {side.machine}"
        for side in (source, target)
        for disk in side.disks
        if not disk_kinds.is_owned(disk.volid, side.vmid)
    ]
    if strangers:
        raise ProxmoxError(
            expected="disks that Proxmox counts as the guest's own, by the number in their name",
            found=", ".join(strangers),
            state="nothing was copied",
            next_command="look whose disk that is; move it to another storage and back (Hardware, Disk Action), which "
            "gives it the guest's number, then run the same command again",
        )
    for disk in source.disks:
        other = matched.pop(disk.name, None)
        fits = other is not None and disk_kinds.is_large_enough(disk.name, disk.size, other.size, seen)
        if other is None or not fits or not disk.length:
            raise ProxmoxError(
                expected=f"the disk {disk.name} at {target.machine} as large as the one at {source.machine} "
                f"({disk.size} bytes), or larger by what its storage rounds up",
                found="no such disk" if other is None else f"{other.volid} with {other.size} bytes",
                state="nothing was copied",
                next_command=f"remove the guest at {target.machine} and run playbooks/20_prepare.yml again",
            )
        both.append((disk, other))
    if matched:
        raise ProxmoxError(
            expected=f"the disks of {source.machine} only",
            found=f"{', '.join(sorted(matched))} at {target.machine}, which {source.machine} does not have",
            state="nothing was copied",
            next_command=f"look at the guest at {target.machine}",
        )
    others = [
        f"{disk.name} ({disk.volid}, {disk.format}) at {side.machine}"
        for side in (source, target)
        for disk in side.disks
        if disk.format not in disk_kinds.CARRIED or disk_kinds.is_another_image(disk.volid, disk.format)
    ]
    if others:
        raise ProxmoxError(
            expected=f"disks of a format whose changed blocks can be written ({', '.join(disk_kinds.CARRIED)})",
            found=", ".join(others),
            state="nothing was copied",
            next_command="set proxmox_guest_move: archive for this guest, then run the same command again",
        )
    return both


def _is_same_file(here: Disk, there: Disk) -> bool:
    """Say whether the disk lies at both sides in a file of its own, which the same bytes make the same disk."""
    whole = all(disk_kinds.is_whole_file(disk.volid, disk.path) for disk in (here, there))
    return whole and (here.format, here.size) == (there.format, there.size)


def switch_todo(source: View, target: View, way: str = DELTA, copies: Copies = no_copies) -> GuestTodo:
    """Decide what a switch from `source` to `target` has to do."""
    if source.guard.status == guard.UNKNOWN and target.guard.status == guard.UNKNOWN:
        return GuestTodo(NOTHING, "prepare has not run: nothing was ever taken over")
    must_be_known(source, target, copies)
    if target.guard.status == guard.OPEN:
        if source.guard.status == guard.UNKNOWN and source.running:
            raise GuardRefused(
                expected=f"no guest to run at {source.machine}, as {target.guard.describe()}",
                found=f"one that has no guard line runs there, link {'up' if source.links_up else 'down'}",
                state="nothing was closed and nothing was opened",
                next_command=f"look at the guest at {source.machine} and stop it, then run the same command again",
            )
        if source.guard.status == guard.UNKNOWN:
            return GuestTodo(
                NOTHING, f"{target.machine} holds the permit; {source.machine} has no guard, and is not running"
            )
        if source.guard.status == guard.CLOSED:
            return GuestTodo(NOTHING, f"{target.machine} holds the permit and {source.machine} is closed")
        return GuestTodo("close", f"{target.machine} holds the permit; {source.machine} is to be closed for good")
    for side in (source, target):
        # Asked before anything is closed: a switch that cannot end is not begun.
        if side.guard.status == guard.UNKNOWN or not side.exists:
            raise GuardRefused(
                expected=f"a guest at {side.machine} that prepare has taken over",
                found=lost.why(side.machine, side.exists, side.elsewhere),
                state="nothing was closed and nothing was opened",
                next_command="ansible-playbook playbooks/20_prepare.yml",
            )
        if side.ha_managed:
            raise GuardRefused(
                expected=f"a guest at {side.machine} that nothing else starts",
                found="it is managed by Proxmox HA",
                state="nothing was closed and nothing was opened",
                next_command=f"take the guest out of HA at {side.machine}",
            )
    if leading(source, target) == target.machine:
        # Beside a side that a person's word has opened, the other one may have what was never carried over.
        words = (source.guard.word, target.guard.word)
        unopened = words == (None, None)
        position = _unopened(source.guard, target.guard) if unopened else {}
        return GuestTodo(
            "switch", f"{target.machine} holds the latest data already", unopened=unopened, position=position
        )
    if way == WARM:
        return GuestTodo("switch", f"stateless: {target.machine} needs nothing of {source.machine}", stateless=True)
    _must_hold(source, target)
    return GuestTodo("switch", f"{source.machine} holds the latest data", digests=True)


def moved_under(receipt: Receipt) -> str:
    """Return the epoch under which what a receipt names was carried over; empty when it names nothing that was."""
    if UNOPENED in receipt.position or not receipt.position:
        return receipt.position.get(MOVED, "")
    return str(receipt.epoch)


def _unopened(closing: GuardState, opening: GuardState) -> dict[str, str]:
    """Return what a side says that was not opened since the other one closed.

    Where the other one has begun to open from this side's last position, that position goes on to count: the opening
    is done again, or comes after a return that opened nothing, and what it began with has still to be proved.
    """
    said = {UNOPENED: "not opened since the other side closed"}
    receipt, under = closing.receipt, guard.last_open(opening)
    moved = moved_under(receipt) if receipt else ""
    if receipt is None or under is None or not moved or under < Epoch.parse(moved):
        return said
    return {**receipt.position, **said, MOVED: moved}


def _must_hold(source: View, target: View) -> None:
    """Refuse a copy whose disks are not large enough: only what both volumes have is compared."""
    found = prepare.disks_differ(source, target)
    if found:
        raise GuardRefused(
            expected=f"the guest at {target.machine} with the disks of the one at {source.machine}",
            found="; ".join(f"disk {line}" for line in found),
            state="nothing was closed and nothing was opened",
            next_command="run the same playbook again: it carries the guest over anew; if it says the same, "
            "ansible-playbook playbooks/status.yml",
        )
