"""Set up one side of a file tree in prepare, and remove what was set up in decommission."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

from ...guard import state as rule
from ...guard.io import fence_settings, store
from ...guard.state import GuardState
from ...system.io import storage, units
from ..boot_order import Order
from ..mounts import CLOSED, PASSIVE, TreeError
from . import boot, own_mount
from .fence import mounts
from .fence import side as fence_side
from .fence.side import Side
from .recorder import client
from .transfer import ssh_key
from .transfer.ssh_key import Peer

_OWN = ("lost+found",)


def set_up(
    side: Side,
    peer: Peer,
    adopt: str,
    *,
    peer_guard: Optional[Mapping[str, Any]] = None,
    adopt_filled: bool = False,
    part_allowed: bool = False,
    check: bool = False,
) -> list[str]:
    """Bring a side into the state in which transfers can begin; return what was, or would be, changed.

    `part_allowed`: a tree that is a part of a larger file system is taken, and mounted on itself.
    """
    other = GuardState.from_dict(peer_guard) if peer_guard else None
    side = _as_part(side, part_allowed)
    _check_adoption(side, adopt, other)
    if not side.part:
        _check_path(side)
    fence_settings.refuse_shared(side.component, side.name, fence_side.KIND, side.path, side.base)
    if side.part and own_mount.is_by_us(side.component, side.path):
        boot.check_holder(side)
    if side.part and own_mount.make(side, check=True):
        if side.guard().status == rule.UNKNOWN and adopt == rule.CLOSED:
            _check_empty(side, adopt_filled)
        done = own_mount.make(side, check=check)
        if check:
            return [*done, "set the side up"]
    else:
        done = []
    order = boot.check(side)
    if check:
        return done + _set_up(side, peer, adopt, order, adopt_filled, other, check=True)
    storage.make_directory(side.home)
    with storage.locked(side.home / "setup.lock"):
        return done + _set_up(side, peer, adopt, order, adopt_filled, other, check=False)


def _as_part(side: Side, allowed: bool) -> Side:
    """Return the side as a part of a larger file system where it is one and may be; which of both it is stays so.

    A part has no recorder: the kernel would tell it of everything that happens on the larger file system. A subvolume
    has none, as the kernel watches a btrfs as a whole only.
    """
    known = fence_side.part_set(side.component, side.base)
    part = own_mount.is_part(side.path) if known is None else known
    if part and allowed:
        return replace(side, part=True, recorder=False)
    public = fence_side.look(side).public_mount
    return replace(side, recorder=False) if public is not None and public.unwatched else side


def retire(component: str, name: str, *, active: bool, check: bool = False) -> list[str]:
    """Remove keys, permission, private mount and what was kept; the tree and the guard stay as they are.

    Refuses with TreeError, before anything is removed, when this is not the side it is said to be: the open one
    (`active`), or the closed one.
    """
    home = fence_side.BASE / component
    done = []
    prepared = fence_settings.read(component, fence_side.BASE) is not None
    side = fence_side.load(component) if prepared else None
    if side is not None:
        _is_as_said(side, name, rule.OPEN if active else rule.CLOSED)
    if ssh_key.expel(component, name=fence_side.account_set(component, fence_side.BASE), check=check):
        done.append("take the other side's permission away")
    if side is None:
        return done
    done += client.remove(component, check=check)
    for operation in ("push", "verify", "repair", "links", "seal"):
        unit = f"bascule-{component}-{operation}"
        if units.is_running(unit):
            done.append(f"stop {unit}")
            if not check:
                units.stop(unit)
    if fence_side.look(side).private_mount is not None:
        done.append(f"unmount {side.tree}")
        if not check:
            with fence_side.no_receiver(side):
                mounts.unmount(side.tree)
    if active:
        # The bind of a side that stays closed is what keeps it so.
        done += own_mount.remove(side, check=check)
    for directory in ("ssh", "kept", "jobs", "manifest", "links", "links.new", "receiving", "scratch", "scratch.out"):
        if (home / directory).exists():
            done.append(f"remove {home / directory}")
            if not check:
                shutil.rmtree(home / directory)
    return done


def _is_as_said(side: Side, name: str, status: str) -> None:
    if side.name != name:
        raise TreeError(expected=f"the side {name} of {side.component} on this host", found=side.name)
    guard = side.guard()
    if guard.status != status:
        raise TreeError(
            expected=f"{side.component} at {name} to be {status}",
            found=guard.describe(),
            state="nothing was removed",
            next_command="ansible-playbook playbooks/status.yml",
        )


def _set_up(
    side: Side,
    peer: Peer,
    adopt: str,
    order: Order,
    adopt_filled: bool,
    other: Optional[GuardState],
    *,
    check: bool,
) -> list[str]:
    done = []
    guard = side.guard()
    fresh = guard.status == rule.UNKNOWN
    if _tells_owners_anew(side, guard):
        done.append(f"forget what was compared before: owners are told by {side.owners} from now on")
        if not check:
            _forget(side)
    if fresh and adopt == rule.CLOSED:
        _check_empty(side, adopt_filled)
    before = fence_side.account_set(side.component, side.base)
    if before != side.account and ssh_key.expel(side.component, name=before, check=check):
        done.append(f"take the other side's permission away from {before}")
    if fence_side.save(side, check=check):
        done.append("write down what a boot must know")
    done += boot.install(side, order, check=check)
    if ssh_key.admit(side, peer, check=check):
        done.append("let the other side's key in")
    if ssh_key.pin(side, peer, check=check):
        done.append("pin the other side's host keys")
    if fresh and adopt == rule.OPEN and _write_sentinel(side, check=check):
        done.append(f"write the sentinel {side.sentinel}")
    guard, adopted = store.adopt(
        side.component, side.name, adopt, other=other, empty=not _names(side), root=side.base / "guard", check=check
    )
    if adopted:
        done.append(f"take the side over as {adopt}")
    if guard.status == rule.CLOSED and not fence_side.is_closed(side):
        wanted = CLOSED if fence_side.look(side).state == CLOSED else PASSIVE
        done += fence_side.plan(side, wanted) if check else fence_side.apply(side, wanted)
    elif fence_side.look(side).private_mount is None:
        done += [f"mount the tree at the private path {side.tree}"] if check else fence_side.apply_private(side)
    if guard.status == rule.OPEN:
        # Of a component that was retired here, or a guard that was lost: whoever is open comes up open.
        done += fence_side.come_up_open(side, check=check)
    if not fresh and guard.status == rule.OPEN:
        fence_side.check_source(side, side.path)
    return done + client.install(side, recording=guard.status == rule.OPEN, check=check)


def _tells_owners_anew(side: Side, guard: GuardState) -> bool:
    """Tell whether this side has told owners in the other way; refused once the component has been switched.

    What a receipt says of a tree stands in the form of its time, and could not be compared any more.
    """
    before = fence_side.owners_set(side)
    if before in ("", side.owners):
        return False
    if guard.receipt is not None or guard.opened not in (None, rule.ADOPTED):
        raise TreeError(
            expected=f"owners by {before}, as when {side.component} was switched",
            found=f"rsync_delta_sync_owners: {side.owners}",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {side.component} "
            f"-e rsync_delta_sync_owners={before}",
        )
    return True


def _forget(side: Side) -> None:
    """Have the next transfer look at the whole tree, and read all of it, at this side."""
    for operation in ("push", "verify", "repair"):
        units.stop(f"bascule-{side.component}-{operation}")
    fence_side.note(side, reference={}, agreed="", touched=True)
    for name in ("reread.json", "verify.state.json", "verify.different"):
        storage.remove(side.home / "jobs" / name)
    if side.manifest.parent.exists():
        shutil.rmtree(side.manifest.parent)


def _check_adoption(side: Side, adopt: str, other: Optional[GuardState]) -> None:
    """Refuse to take a side over that may be the latest, or may have a second open side beside it."""
    # Asked first in check mode: nothing is changed before it is known that the guard lets this side be taken over.
    store.adopt(
        side.component, side.name, adopt, other=other, empty=not _names(side), root=side.base / "guard", check=True
    )
    if adopt == rule.CLOSED and side.guard().status == rule.UNKNOWN and (other is None or other.status != rule.OPEN):
        _check_unknown(side)


def _check_unknown(side: Side) -> None:
    """Refuse a tree that was a side of this component before, where nobody says that the other side is the latest."""
    if os.path.lexists(os.path.join(side.path, side.sentinel)):
        raise TreeError(
            expected=f"a tree at {side.path} on {side.name} that was never a side of {side.component}",
            found=f"its sentinel {side.sentinel}, and no guard at either side: both were lost, and this tree may be "
            "the latest",
            state="nothing was changed",
            next_command="docs/runbooks/guard_lost.md says how to find out which tree is the latest; one that is not, "
            "and may be replaced, has its sentinel removed by hand",
        )


def _check_path(side: Side) -> None:
    view = fence_side.look(side)
    if view.public_mount is None or (view.public_mount.root != "/" and view.public_mount.kind != "btrfs"):
        raise TreeError(
            expected=f"a file system of its own mounted at {side.path}",
            found="nothing mounted there"
            if view.public_mount is None
            else f"a part ({view.public_mount.root}) of another",
            state="nothing was changed",
            next_command=f"give the tree a file system of its own at {side.path} on {side.name}: only a whole file "
            "system can be made read-only for everybody; or take the weaker proof of a mount of its own, with "
            "rsync_delta_sync_part_allowed: true",
        )
    fence_side.check_alone(side, view)


def _names(side: Side) -> list[str]:
    return sorted(set(os.listdir(side.path)) - set(_OWN)) if os.path.isdir(side.path) else []


def _check_empty(side: Side, adopt_filled: bool) -> None:
    names = _names(side)
    if names and not adopt_filled:
        raise TreeError(
            expected=f"an empty file system at {side.path} on the passive side {side.name}",
            found=f"{len(names)} entries, {', '.join(ascii(name) for name in names[:5])} among them",
            state="nothing was changed",
            next_command="empty it, or, when it may be replaced and what the active side does not have deleted, run "
            "again with -e rsync_delta_sync_adopt_filled=true",
        )


def _write_sentinel(side: Side, *, check: bool) -> bool:
    """Write the sentinel once, when the tree is taken over; one that is missing later is never made again."""
    path = os.path.join(side.path, side.sentinel)
    if os.path.lexists(path):
        return False
    if not set(os.listdir(side.path)) - set(_OWN):
        raise TreeError(
            expected=f"a tree with files in it at {side.path} on the active side {side.name}",
            found="an empty file system: is the right one mounted?",
            state="nothing was changed",
            next_command=f"mount the tree, or make {path} by hand if it really is empty",
        )
    if not check:
        text = f"{side.component} {secrets.token_hex(8)}\nShows that the right tree is mounted here. Do not delete.\n"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        storage.sync_directory(side.path)
    return True
