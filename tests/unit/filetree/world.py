"""A host with a tree whose mounts are simulated: the rest (files, guard, manifests) is real."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

import pytest

from bascule.filetree import changes, closed_at_boot
from bascule.filetree.boot_order import Order
from bascule.filetree.changes import Changes, Log, Mark
from bascule.filetree.io import audit, boot, transitions
from bascule.filetree.io.fence import durable, mounts
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.durable import MountUnit
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.recorder import client
from bascule.filetree.mounts import Elsewhere, Step, TreeBusy, View
from bascule.guard.io import store
from bascule.system.io import storage, units
from bascule.system.io.process import Result
from bascule.system.mountinfo import Mount

COMPONENT = "course_files"


def mount(path: str, read_only: bool = False, super_read_only: bool = False, mount_id: int = 1) -> Mount:
    """Return a mount of the tree's file system."""
    mode, super_mode = ("ro" if flag else "rw" for flag in (read_only, super_read_only))
    return Mount(mount_id, "7:0", "/", path, (mode, "relatime"), "ext4", "/dev/loop0", (super_mode,))


@dataclass
class Kernel:
    """What the mounts of the tree are."""

    side: Side
    mounted: bool = True
    super_ro: bool = False
    public_ro: bool = False
    private: bool = False
    busy: list[str] = field(default_factory=list)
    elsewhere: list[Elsewhere] = field(default_factory=list)
    nested: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    # How the tree's mount is configured for a boot; nothing when systemd does not mount it.
    configuration: tuple[str, ...] = ("[Mount]\nWhat=/dev/loop0\nOptions=noatime,nofail\n",)
    # What systemd says of the mount's place at boot.
    order: Order = field(default_factory=lambda: Order("srv-courses.mount"))
    taken: list[str] = field(default_factory=list)
    # The recorder of this side: whether it runs, and where it stands.
    recording: bool = False
    generation: str = "g1"
    log: Log = field(default_factory=lambda: Log(1 << 20))
    # A kernel that says yes to a remount and does nothing: the proof must find out.
    deaf: bool = False

    def look(self, path: str, private: str, deep: bool = False, part: bool = False) -> View:
        if not self.mounted:
            return View(path, private, None, None)
        inner = mount(private, self.super_ro, self.super_ro, 2) if self.private else None
        away = tuple(self.elsewhere)
        beyond = self.beyond if deep else ()
        public = mount(path, self.public_ro, self.super_ro)
        return View(path, private, public, inner, (), away, self.nested, beyond, self.shared)

    def take(self, step: Step, view: View) -> None:
        self.taken.append(step.describe())
        if step.read_only and self.busy:
            raise TreeBusy(expected=step.describe(), found=f"files are open for writing: {', '.join(self.busy)}")
        if self.deaf:
            return
        if step.what == "private":
            self.private = True
            if not os.path.lexists(step.path):
                os.symlink(self.side.path, step.path)
        elif step.what == "super":
            self.super_ro = step.read_only
        elif step.elsewhere:
            mode = ("ro" if step.read_only else "rw", "relatime")
            self.elsewhere = [
                replace(one, mount=replace(one.mount, options=mode)) if one == step.elsewhere else one
                for one in self.elsewhere
            ]
        else:
            self.public_ro = step.read_only

    def drain(self, component: str, forget: Optional[Mark] = None) -> dict[str, Any]:
        if not self.recording:
            return {}
        if forget and forget.generation == self.generation:
            self.log.forget(forget.sequence)
        return {"recording": True, "generation": self.generation, "sequence": self.log.sequence, "ended": {}}

    def since(self, component: str, reference: Optional[Mark]) -> tuple[Changes, Optional[Mark]]:
        now = Mark.from_any(self.drain(component))
        if now is None:
            return changes.doubt("the recorder does not answer"), None
        journal = [self.log.records()]
        return changes.read(journal, self.generation, reference, now.sequence, self.log.forgotten), now

    def start(self, side: Side, *, check: bool = False) -> list[str]:
        before, self.recording = self.recording, not check or self.recording
        return [] if before else ["start the recorder"]

    def stop(self, component: str, *, check: bool = False) -> list[str]:
        before, self.recording = self.recording, check and self.recording
        return ["stop the recorder"] if before else []

    def install(self, side: Side, *, recording: bool, check: bool = False) -> list[str]:
        return self.start(side, check=check) if recording else self.stop(side.component, check=check)

    def systemctl(self, argv: Sequence[str], **_: Any) -> Result:
        """Enable a unit as systemctl does."""
        if "reenable" in argv:
            wants = self.units / f"{self.order.unit}.wants"
            wants.mkdir(parents=True, exist_ok=True)
            (wants / argv[-1]).symlink_to(self.units / argv[-1])
        return Result(tuple(argv), 0, "", "")

    def mount_units(self, component: str, paths: Sequence[str]) -> list[MountUnit]:
        return [MountUnit(self.order.unit, path, self.configuration) for path in paths]

    @property
    def units(self) -> Path:
        """Where systemd looks for what a boot does."""
        return self.side.base.parent / "units"

    def boot(self) -> None:
        """Start this machine without the host agent: systemd mounts the tree as its unit and drop-ins say."""
        options = closed_at_boot.options_of(
            [*self.configuration, *(path.read_text() for path in durable.held(self.side.component))]
        )
        asked = [path for path in self.units.glob("sysinit.target.d/*") if "Wants=bascule" in path.read_text()]
        self.public_ro = self.super_ro = closed_at_boot.is_read_only(options) or bool(asked)
        self.private = False
        Path(self.side.tree).unlink(missing_ok=True)

    def refused(self, path: str) -> bool:
        return self.super_ro or (path == self.side.path and self.public_ro)


def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "files-mtp") -> Kernel:
    """Return a prepared host whose modules work on it."""
    base = tmp_path / name
    tree = base / "srv"
    tree.mkdir(parents=True)
    side = Side(COMPONENT, name, str(tree), ".sentinel", base / "lib")
    kernel = Kernel(side)
    use(kernel, monkeypatch)
    return kernel


def use(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modules work on this host."""
    base = kernel.side.base
    monkeypatch.setattr(transitions, "BASE", base)
    monkeypatch.setattr(fence_side, "BASE", base)
    monkeypatch.setattr(fence_side, "BUSY_WAIT", 0.2)
    monkeypatch.setattr(fence_side.load, "__defaults__", (base,))
    for name in ("look", "take", "refused"):
        monkeypatch.setattr(mounts, name, getattr(kernel, name))
    monkeypatch.setattr(mounts, "refused_unnamed", kernel.refused)
    monkeypatch.setattr(units, "stop", lambda unit: False)
    monkeypatch.setattr(units, "is_running", lambda unit: False)
    monkeypatch.setattr(units, "start", lambda unit, argv: None)
    for name in ("drain", "since", "start", "stop", "install"):
        monkeypatch.setattr(client, name, getattr(kernel, name))
    monkeypatch.setattr(client, "remove", kernel.stop)
    monkeypatch.setattr(boot, "order", lambda path, runner=None: kernel.order)
    monkeypatch.setattr(boot, "UNITS", kernel.units)
    monkeypatch.setattr(durable, "UNITS", kernel.units)
    monkeypatch.setattr(durable, "mount_units", kernel.mount_units)
    monkeypatch.setattr(durable, "reload", lambda: None)
    monkeypatch.setattr(boot.install, "__kwdefaults__", {"check": False, "runner": kernel.systemctl})
    monkeypatch.setattr(audit, "run", lambda *_, **__: (_ for _ in ()).throw(AssertionError("no process")))


def fill(side: Side, **content: str) -> None:
    """Put a sentinel and files into the tree."""
    for name, text in {side.sentinel: "sentinel", **content}.items():
        path = Path(side.path) / name
        path.write_text(text)
        os.utime(path, ns=(10**18, 10**18))
    os.utime(side.path, ns=(10**18, 10**18))


def adopt(side: Side, status: str) -> None:
    """Take a side over as prepare does."""
    storage.make_directory(side.home)
    fence_side.save(side)
    store.adopt(side.component, side.name, status, root=side.base / "guard")
