"""What the mount table says about a tree, and which steps lead to the state that is wanted.

A tree is a file system of its own, mounted at its public path, where services reach it. Root's private path is a bind
mount of the same file system below a directory nobody else may enter. Two switches make the four states:

* the super block, read-only for everybody whatever path they take;
* the flag of each mount that is not root's private one, in every mount namespace.

A tree that is a part of a larger file system (see .part) has only the second: its super block is that of others, too.

Pure: texts of /proc come in, decisions go out; bascule.filetree.io.fence.mounts does the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from ..errors import BasculeError
from ..system.mountinfo import Mount, holder, mounted_at
from .part import inside

ACTIVE, FROZEN, CLOSED, PASSIVE = "active", "frozen", "closed", "passive"
# What no fence may make read-only.
SYSTEM = ("/", "/boot", "/etc", "/usr", "/var", "/var/lib/bascule", "/var/log")
STATES = (ACTIVE, FROZEN, CLOSED, PASSIVE)


class TreeError(BasculeError):
    """A tree is not in the state it should be in, or cannot be brought there."""


class TreeBusy(TreeError):
    """Somebody is writing; it may be over in a moment."""


@dataclass(frozen=True)
class Elsewhere:
    """A mount of the same file system in another mount namespace, with a process that lives there."""

    namespace: str
    pid: int
    command: str
    unit: str
    mount: Mount
    # What leads into a namespace that has no process.
    door: str = ""

    def describe(self) -> str:
        """Return the mount and who sees it."""
        if self.door:
            return f"{self.mount.path} in the mount namespace that {self.door} keeps alive"
        return f"{self.mount.path} in the mount namespace of {self.unit or self.command} (process {self.pid})"


@dataclass(frozen=True)
class View:
    """What this host's mounts say about a tree."""

    path: str
    private: str
    public_mount: Optional[Mount]
    private_mount: Optional[Mount]
    others: tuple[Mount, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()
    # Where further file systems are mounted inside the tree: they are neither carried nor fenced with it.
    nested: tuple[str, ...] = ()
    # Ways to write to it that no mount of it can forbid: overlays with their upper layer in it, processes that sit in a
    # mount which is in no table any more. Only a file system that is read-only as a whole stops these.
    beyond: tuple[str, ...] = ()
    # What else lies on the same file system and is in use: a fence, which makes all of it read-only, would hit it.
    shared: tuple[str, ...] = ()
    # Only a part of its file system is the tree: the flags of mounts are all there is to close it.
    part: bool = False

    @property
    def state(self) -> str:
        """Return the state the mounts are in; "absent" when nothing is mounted at the public path."""
        if self.public_mount is None:
            return "absent"
        if self.part and self.public_mount.read_only:
            # A frozen one looks the same: only the guard knows the difference.
            return PASSIVE if self.private_mount and not self.private_mount.read_only else CLOSED
        if self.public_mount.super_read_only:
            return CLOSED if self.public_mount.read_only else FROZEN
        return PASSIVE if self.public_mount.read_only else ACTIVE

    @property
    def writable(self) -> list[str]:
        """Return every way to write to the tree that is not root's private one."""
        if self.public_mount is None or self.public_mount.super_read_only:
            return []
        own = [mount.path for mount in (self.public_mount, *self.others) if not mount.read_only]
        return own + [one.describe() for one in self.elsewhere if not one.mount.read_only] + list(self.beyond)


def view_of(
    path: str,
    private: str,
    own: Iterable[Mount],
    elsewhere: Iterable[tuple[Mapping[str, str], Iterable[Mount]]] = (),
    beyond: Iterable[str] = (),
    part: bool = False,
) -> View:
    """Find a tree's mounts: `own` is this namespace, `elsewhere` pairs each other namespace with who lives there.

    Of a tree that is a `part`, a copy of the private mount in another namespace is as good as any other, and what shows
    more of the file system than the tree is none of its mounts.
    """
    mounts = list(own)
    public = mounted_at(mounts, path)
    if public is None:
        return View(path, private, None, None)
    device = public.device
    inner = mounted_at(mounts, private)
    # The part that all mounts of the tree have; a whole file system is inside itself.
    root = public.root if part else "/"
    others = tuple(m for m in mounts if m.device == device and m.path not in (path, private) and inside(root, m.root))
    away = [
        Elsewhere(who["namespace"], int(who["pid"]), who["command"], who["unit"], mount, who.get("door", ""))
        for who, there in elsewhere
        for mount in there
        if mount.device == device and (part or mount.path != private) and inside(root, mount.root)
    ]
    below = path.rstrip("/") + "/"
    return View(
        path,
        private,
        public,
        inner if inner and inner.device == device and (not part or inner.root == root) else None,
        others,
        tuple(away),
        nested=tuple(sorted({m.path for m in mounts if m.path.startswith(below)})),
        beyond=tuple(beyond),
        shared=() if part else tuple(_shared(public, mounts, away)),
        part=part,
    )


def _shared(public: Mount, own: Sequence[Mount], away: Iterable[Elsewhere]) -> list[str]:
    """Name what is in use on the tree's file system and lies outside the tree, or holds the system itself."""
    outside = [
        f"{mount.path} (its part {mount.root})"
        for mount in own
        if mount.device == public.device and not inside(public.root, mount.root)
    ]
    outside += [
        f"{one.describe()} (its part {one.mount.root})" for one in away if not inside(public.root, one.mount.root)
    ]
    system = [place for place in SYSTEM if (found := holder(own, place)) and found.device == public.device]
    return outside + [f"this host's {place}" for place in system]


@dataclass(frozen=True)
class Step:
    """One change of a mount: make the super block or one mount read-only or writable, or make the private mount."""

    what: str
    path: str = ""
    read_only: bool = False
    elsewhere: Optional[Elsewhere] = field(default=None)

    def describe(self) -> str:
        """Return the step for a message."""
        mode = "read-only" if self.read_only else "writable"
        if self.what == "private":
            return f"mount the tree at the private path {self.path}"
        if self.what == "super":
            return f"make the file system {mode}"
        return f"make the mount {self.elsewhere.describe() if self.elsewhere else self.path} {mode}"


def steps(view: View, wanted: str, opened_again: Iterable[tuple[str, str]] = ()) -> list[Step]:
    """Return the steps from what is to what is wanted, forbidding ones first; nothing when all is as it should be.

    `opened_again` names mounts, as pairs of namespace (empty: this one) and path, that closing had made read-only.
    """
    if wanted not in STATES:
        raise TreeError(expected=f"a state out of {', '.join(STATES)}", found=repr(wanted))
    if view.public_mount is None:
        raise TreeError(
            expected=f"a file system of its own mounted at {view.path}",
            found="no mount there",
            state="nothing was changed",
            next_command=f"findmnt {view.path}; mount it, then run the same playbook again",
        )
    if wanted == PASSIVE and view.beyond:
        raise TreeError(
            expected=f"a tree at {view.path} that can be made passive: writable for transfers alone",
            found=f"ways to write to it that no mount forbids: {'; '.join(view.beyond)}",
            state=f"{view.path} was {view.state}; nothing is received",
            next_command="unmount the overlays and end the processes named, then run the same playbook again",
        )
    plan: list[Step] = []
    if view.private_mount is None:
        plan.append(Step("private", view.private))
    private_ro = view.private_mount.read_only if view.private_mount else view.public_mount.read_only
    super_ro = view.public_mount.super_read_only
    if view.part:
        return plan + _steps_of_part(view, wanted, private_ro, opened_again)
    if wanted in (FROZEN, CLOSED) and not super_ro:
        plan.append(Step("super", view.private, read_only=True))
    if wanted in (CLOSED, PASSIVE):
        plan += [Step("mount", m.path, True) for m in (view.public_mount, *view.others) if not m.read_only]
        plan += [Step("mount", one.mount.path, True, one) for one in view.elsewhere if not one.mount.read_only]
    if wanted in (PASSIVE, ACTIVE) and (super_ro or private_ro):
        plan.append(Step("super", view.private))
    return plan + (_opening(view, opened_again) if wanted == ACTIVE else [])


def _opening(view: View, opened_again: Iterable[tuple[str, str]]) -> list[Step]:
    again = set(opened_again)
    own = [view.public_mount, *view.others] if view.public_mount else []
    plan = [Step("mount", m.path) for m in own if m.read_only and (m.path == view.path or ("", m.path) in again)]
    return plan + [
        Step("mount", one.mount.path, False, one)
        for one in view.elsewhere
        if one.mount.read_only and (one.namespace, one.mount.path) in again
    ]


def _steps_of_part(view: View, wanted: str, private_ro: bool, opened_again: Iterable[tuple[str, str]]) -> list[Step]:
    """The flags of all its mounts, root's private one among them: nothing here touches what the others use."""
    private = [Step("mount", view.private, wanted in (FROZEN, CLOSED))]
    public = view.public_mount
    # A btrfs of which a boot has mounted nothing but the closed tree is read-only as a whole; the kernel itself refuses
    # this step where that is because of an error.
    asleep = public is not None and public.super_read_only and public.kind == "btrfs"
    whole = [Step("super", view.private)] if asleep and wanted in (PASSIVE, ACTIVE) else []
    if wanted == ACTIVE:
        return whole + (private if private_ro else []) + _opening(view, opened_again)
    own = [view.public_mount, *view.others] if view.public_mount else []
    plan = [Step("mount", m.path, True) for m in own if not m.read_only]
    plan += [Step("mount", one.mount.path, True, one) for one in view.elsewhere if not one.mount.read_only]
    return plan + whole + (private if private_ro == (wanted == PASSIVE) else [])
