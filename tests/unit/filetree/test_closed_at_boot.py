"""A tree that is not open comes up read-only without the host agent, Python or /var; one that is open does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree import closed_at_boot
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import durable, mounts, side
from bascule.filetree.mounts import ACTIVE, CLOSED, PASSIVE, Step, TreeError, View
from bascule.guard import state as rule
from bascule.system.io import storage
from bascule.system.io.process import Result

from .world import COMPONENT, Kernel, adopt, fill, host, mount, use


@pytest.fixture
def active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The side that serves."""
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one")
    adopt(kernel.side, "open")
    return kernel


@pytest.fixture
def passive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The other side, with the same content."""
    kernel = host(tmp_path, monkeypatch, "files-tls")
    fill(kernel.side, a="one")
    adopt(kernel.side, "closed")
    return kernel


def state(kernel: Kernel) -> str:
    return side.look(kernel.side).state


def close(kernel: Kernel, epoch: str = "1.a", **more: Any) -> dict[str, Any]:
    return transitions.close(COMPONENT, kernel.side.name, epoch, **more)


def drop_in(kernel: Kernel) -> Path:
    return kernel.units / "srv-courses.mount.d" / f"zzz-bascule-{COMPONENT}.conf"


def test_a_side_that_gave_its_receipt_comes_up_closed_without_the_agent(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(active, monkeypatch)
    active.boot()
    assert state(active) == ACTIVE
    would = close(active, check=True)["done"]
    assert f"write {drop_in(active)}: {active.side.path} comes up read-only at every boot" in would
    assert not active.units.exists()
    receipt = close(active)["receipt"]
    active.boot()
    assert state(active) == CLOSED
    # The way back opens it again, and a boot finds it as its own options say.
    use(passive, monkeypatch)
    back = close(passive, "2.b")["receipt"]
    use(active, monkeypatch)
    would = transitions.open_(COMPONENT, active.side.name, "2.b", back, check=True)["done"]
    assert f"remove {drop_in(active)}: the tree comes up writable at every boot" in would
    assert drop_in(active).exists()
    assert receipt is not None
    transitions.open_(COMPONENT, active.side.name, "2.b", back)
    assert not active.units.joinpath("srv-courses.mount.d").exists()
    active.boot()
    assert state(active) == ACTIVE


def test_no_receipt_is_given_before_the_tree_stays_closed_at_boot(
    active: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write_durably

    def full(path: Any, *rest: Any) -> None:
        if Path(path).suffix == ".conf":
            raise OSError(30, "Read-only file system")
        write(path, *rest)

    monkeypatch.setattr(storage, "write_durably", full)
    with pytest.raises(TreeError, match=r"which say how .* comes up at boot; found: .*Read-only file system"):
        close(active)
    assert active.side.guard().receipt is None
    monkeypatch.setattr(storage, "write_durably", write)
    assert close(active)["receipt"]


def test_a_frozen_side_holds_its_permit_and_boots_as_ever(active: Kernel) -> None:
    """Its fence is the boot fence alone: no fault of ours may keep an open side from serving."""
    transitions.freeze(COMPONENT, active.side.name, True)
    assert durable.held(COMPONENT) == []
    active.boot()
    assert state(active) == ACTIVE


def test_an_opening_that_was_cut_short_is_closed_again_by_a_boot_with_the_agent(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(active, monkeypatch)
    receipt = close(active)["receipt"]
    use(passive, monkeypatch)
    transitions.make_ready(COMPONENT, passive.side.name)
    passive.deaf = True
    with pytest.raises(TreeError):
        transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert passive.side.guard().status == rule.OPENING
    passive.deaf = False
    side.fence(COMPONENT)
    assert drop_in(passive).exists()
    passive.boot()
    assert state(passive) == CLOSED
    transitions.open_(COMPONENT, passive.side.name, "1.a", receipt)
    assert durable.held(COMPONENT) == []


def test_a_side_that_was_prepared_before_is_not_ready_until_it_stays_closed(passive: Kernel) -> None:
    transitions.make_ready(COMPONENT, passive.side.name)
    assert side.ready(passive.side)
    drop_in(passive).unlink()
    assert not side.ready(passive.side)
    transitions.make_ready(COMPONENT, passive.side.name)
    assert state(passive) == PASSIVE
    assert drop_in(passive).exists()


def test_an_open_side_is_never_closed_by_a_fence_that_comes_late(active: Kernel) -> None:
    """A fence reads the guard, an opening goes through, and only then the fence acts."""
    with pytest.raises(TreeError, match="a guard that lets the tree be closed"):
        side.apply(active.side, CLOSED)
    assert (state(active), durable.held(COMPONENT)) == (ACTIVE, [])


def test_what_systemd_does_not_mount_is_made_read_only_before_services(
    active: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    active.configuration = ()
    close(active)
    unit = active.units / f"bascule-{COMPONENT}-closed.service"
    assert f'ExecStart=/bin/mount -o remount,ro "{active.side.path}"' in unit.read_text().splitlines()
    assert "Before=sysinit.target shutdown.target" in unit.read_text().splitlines()
    asked = active.units / "sysinit.target.d" / f"zzz-bascule-{COMPONENT}.conf"
    assert asked.read_text().endswith(f"[Unit]\nWants={unit.name}\n")
    active.boot()
    assert state(active) == CLOSED
    durable.release(COMPONENT)
    assert [path for path in active.units.rglob("*") if path.is_file()] == []


def test_a_further_mount_is_closed_at_boot_and_writable_after_an_opening(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, further = active.look, {"ro": True}

    def with_export(path: str, private: str, *more: bool) -> Any:
        return replace(look(path, private, *more), others=(mount("/export", further["ro"], active.super_ro, 9),))

    def take(step: Step, view: View) -> None:
        if step.path != "/export":
            return active.take(step, view)
        further["ro"] = step.read_only
        return None

    def units(component: str, paths: Any) -> list[durable.MountUnit]:
        name = closed_at_boot.path_of
        return [durable.MountUnit(unit, name(unit), active.configuration) for unit in ("srv.mount", "export.mount")]

    def back_at_work() -> None:
        use(active, monkeypatch)
        monkeypatch.setattr(mounts, "look", with_export)
        monkeypatch.setattr(mounts, "take", take)
        monkeypatch.setattr(durable, "mount_units", units)

    use(passive, monkeypatch)
    receipt = close(passive, "2.b")["receipt"]
    back_at_work()
    close(active)
    assert durable.held_paths(COMPONENT) == ["/export", "/srv"]
    # A boot forgets what the steps before it have made read-only; the files do not.
    storage.remove(side._flips_path(active.side))
    transitions.open_(COMPONENT, active.side.name, "2.b", receipt)
    assert further == {"ro": False}


@pytest.mark.parametrize(
    ("configuration", "options"),
    [
        (["[Mount]\nWhat=/dev/x\n"], "ro"),
        (["[Mount]\nOptions=defaults,nofail\n"], "defaults,nofail,ro"),
        (["[Mount]\nOptions=rw,noatime,\\\n  acl\n"], "noatime,acl,ro"),
        (["[Unit]\nOptions=no\n[Mount]\nOptions = a\n", "[Mount]\nOptions=b,x=%%d\n"], "b,x=%%d,ro"),
        (["[Mount]\nOptions=a\n", "[Mount]\nOptions=\n"], "ro"),
    ],
)
def test_the_mounts_own_options_are_kept(configuration: list[str], options: str) -> None:
    name, text = closed_at_boot.drop_in("c", "srv-a.mount", "/srv/a", closed_at_boot.options_of(configuration))
    assert name == "srv-a.mount.d/zzz-bascule-c.conf"
    assert text.endswith(f"\n[Mount]\nOptions={options}\n")
    assert closed_at_boot.is_read_only(closed_at_boot.options_of([*configuration, text]))


def test_the_last_word_of_options_counts() -> None:
    assert [closed_at_boot.is_read_only(text) for text in ("ro,rw", "rw,ro", "", "errors=remount-ro")] == [
        False, True, False, False,
    ]  # fmt: skip


def test_a_mount_point_is_known_by_its_unit() -> None:
    assert closed_at_boot.path_of("srv-courses.mount") == "/srv/courses"
    assert closed_at_boot.path_of(r"srv-my\x2dfiles-caf\xc3\xa9.mount") == "/srv/my-files/café"
    assert closed_at_boot.path_of("-.mount") == "/"


def test_a_path_is_quoted_as_systemd_reads_it() -> None:
    unit = dict(closed_at_boot.remount("c", '/srv/a b%"$'))["bascule-c-closed.service"]
    assert r'ExecStart=/bin/mount -o remount,ro "/srv/a b%%\"$$"' in unit.splitlines()


def test_the_configuration_of_a_mount_is_what_the_system_itself_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "UNITS", tmp_path)
    fragment, theirs, ours = (
        tmp_path / name for name in ("srv.mount", "srv.mount.d/a.conf", "srv.mount.d/zzz-bascule-c.conf")
    )
    theirs.parent.mkdir()
    for path in (fragment, theirs, ours):
        path.write_text(path.name)
    shown = f"Id=srv.mount\nFragmentPath={fragment}\nDropInPaths={theirs} {ours}\n\nId=export.mount\nFragmentPath=\n"
    found = durable.mount_units("c", ["/srv", "/export"], lambda argv, **_: Result(tuple(argv), 0, shown, ""))
    assert found == [
        durable.MountUnit("srv.mount", "/srv", ("srv.mount", "a.conf")),
        durable.MountUnit("export.mount", "/export", ()),
    ]
