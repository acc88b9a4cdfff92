"""Setting a side up and taking it down again: keys, permission, pinned host keys, sentinel, guard; each once."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError, GuardRefused
from bascule.filetree import audit
from bascule.filetree.boot_order import Order
from bascule.filetree.io import setup
from bascule.filetree.io.fence import durable, mounts, side
from bascule.filetree.io.transfer import ssh_key
from bascule.filetree.io.transfer.ssh_key import Peer
from bascule.filetree.mounts import PASSIVE, TreeError
from bascule.system.io.process import Result

from .world import COMPONENT, Kernel, fill, host

PEER = Peer("ssh-ed25519 AAAApeer", ["ssh-ed25519 AAAAhost", "ssh-rsa AAAArsa"], "192.0.2.2")


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = host(tmp_path, monkeypatch)
    keys = tmp_path / "root" / ".ssh" / "authorized_keys"
    for function in (ssh_key.admit, ssh_key.expel):
        assert function.__kwdefaults__ is not None
        monkeypatch.setitem(function.__kwdefaults__, "target", keys)
    return found


def set_up(kernel: Kernel, adopt: str, **more: Any) -> list[str]:
    return setup.set_up(kernel.side, PEER, adopt, **more)


def authorized(kernel: Kernel) -> str:
    path = kernel.side.base.parent.parent / "root" / ".ssh" / "authorized_keys"
    return path.read_text() if path.exists() else ""


def test_the_active_side_is_set_up_once(kernel: Kernel) -> None:
    (Path(kernel.side.path) / "page").write_text("x")
    assert set_up(kernel, "open", check=True)
    assert kernel.taken == []
    assert not kernel.side.home.exists()
    done = set_up(kernel, "open")
    assert "take the side over as open" in done
    assert (Path(kernel.side.path) / ".sentinel").read_text().startswith(COMPONENT)
    assert stat.S_IMODE(kernel.side.home.stat().st_mode) == 0o700
    assert kernel.side.known_hosts.read_text() == "course_files ssh-ed25519 AAAAhost\ncourse_files ssh-rsa AAAArsa\n"
    assert set_up(kernel, "open") == []


def test_a_tree_of_another_component_is_refused_before_anything_changes(kernel: Kernel) -> None:
    """Two guards for one tree: each would open what the other one keeps closed."""
    fill(kernel.side, page="x")
    set_up(kernel, "open")
    other = replace(kernel.side, component="archive_files")
    for check in (True, False):
        with pytest.raises(GuardRefused, match="course_files has control of it"):
            setup.set_up(other, PEER, "open", check=check)
    assert not other.home.exists()


def test_the_passive_side_becomes_passive(kernel: Kernel) -> None:
    assert "take the side over as closed" in set_up(kernel, "closed")
    assert side.look(kernel.side).state == PASSIVE
    assert set_up(kernel, "closed") == []


def test_a_filled_passive_tree_is_taken_over_only_when_asked(kernel: Kernel) -> None:
    fill(kernel.side, page="x")
    with pytest.raises(TreeError, match="rsync_delta_sync_adopt_filled"):
        set_up(kernel, "closed")
    assert authorized(kernel) == ""
    assert set_up(kernel, "closed", adopt_filled=True)


def test_an_empty_active_tree_is_refused(kernel: Kernel) -> None:
    os.mkdir(Path(kernel.side.path) / "lost+found")
    with pytest.raises(TreeError, match="an empty file system"):
        set_up(kernel, "open")
    assert kernel.side.guard().status == "unknown"


def test_a_lost_guard_does_not_make_two_open_sides(kernel: Kernel) -> None:
    (Path(kernel.side.path) / "page").write_text("x")
    other = {"component": COMPONENT, "side": "files-tls", "status": "open", "opened": "1.a", "promised": "1.a"}
    for status in ("open", "opening", "closed"):
        with pytest.raises(TreeError, match="the guard of files-mtp is lost"):
            set_up(kernel, "open", peer_guard={**other, "status": status})
    assert kernel.side.guard().status == "unknown"
    never = {"component": COMPONENT, "side": "files-tls", "status": "closed"}
    assert set_up(kernel, "open", peer_guard=never)


def test_a_sentinel_that_is_missing_later_is_never_made_again(kernel: Kernel) -> None:
    (Path(kernel.side.path) / "page").write_text("x")
    set_up(kernel, "open")
    (Path(kernel.side.path) / ".sentinel").unlink()
    with pytest.raises(TreeError, match="no sentinel"):
        set_up(kernel, "open")
    assert not (Path(kernel.side.path) / ".sentinel").exists()


def test_a_tree_without_a_file_system_of_its_own_is_refused(kernel: Kernel) -> None:
    kernel.mounted = False
    with pytest.raises(TreeError, match="a file system of its own"):
        set_up(kernel, "open")


def test_a_tree_that_is_mounted_too_late_to_be_fenced_is_refused(kernel: Kernel) -> None:
    (Path(kernel.side.path) / "page").write_text("x")
    kernel.order = Order("srv.mount", "it is mounted when somebody enters it", "take x-systemd.automount away")
    for check in (True, False):
        with pytest.raises(TreeError, match=r"before services start; found: it is mounted when.*take x-systemd"):
            set_up(kernel, "open", check=check)
    assert not kernel.side.home.exists()
    survey = {"rsync": "3", "b3sum": "1", "boot": kernel.order.advice}
    found = audit.faults("a", {"survey": survey}, "b", {}, room_percent=0, clock_difference=0, clock_limit=1)
    assert f"the tree on a could not be fenced after a reboot: {kernel.order.fault}: {kernel.order.mend}" in found


def test_a_file_system_that_others_share_is_refused_by_name(kernel: Kernel) -> None:
    (Path(kernel.side.path) / "page").write_text("x")
    kernel.shared = ("/ (its part /@)",)
    for check in (True, False):
        with pytest.raises(TreeError, match=r"nothing else that is in use; found: it also holds / \(its part /@\)"):
            set_up(kernel, "open", check=check)
    assert not kernel.side.home.exists()
    found = audit.faults(
        "a", {"survey": {"rsync": "3", "b3sum": "1", "shared": kernel.shared}}, "b", {},
        room_percent=0, clock_difference=0, clock_limit=1,
    )  # fmt: skip
    assert any("the file system of the tree on a also holds / (its part /@)" in one for one in found)


def test_a_side_that_is_taken_over_as_open_comes_up_open(kernel: Kernel) -> None:
    """What kept it closed at boot is of a guard that was lost."""
    (Path(kernel.side.path) / "page").write_text("x")
    durable.hold(COMPONENT, kernel.side.path)
    assert durable.held(COMPONENT)
    assert any("comes up writable at every boot" in one for one in set_up(kernel, "open", check=True))
    assert durable.held(COMPONENT)
    set_up(kernel, "open")
    assert durable.held(COMPONENT) == []


def test_a_unit_fences_the_tree_whenever_it_is_mounted(kernel: Kernel) -> None:
    kernel.order = Order("srv-a.mount", services=("web.service",))
    path = kernel.side.base.parent / "units" / f"bascule-{COMPONENT}-fence.service"
    set_up(kernel, "closed", check=True)
    assert not path.exists()
    assert f"write {path}: fences the tree whenever it is mounted" in set_up(kernel, "closed")
    lines = path.read_text().splitlines()
    assert {"After=srv-a.mount", "WantedBy=srv-a.mount"} <= set(lines)
    assert "Before=bascule-boot.service web.service shutdown.target" in lines
    assert f"ExecStart=/usr/bin/python3 /usr/local/lib/bascule/bascule.pyz boot {COMPONENT}" in lines
    assert set_up(kernel, "closed") == []


def test_the_other_sides_key_may_do_one_thing_from_one_place(kernel: Kernel) -> None:
    set_up(kernel, "closed")
    line = authorized(kernel).strip()
    assert line.startswith('from="192.0.2.2",restrict,command="/usr/bin/python3 ')
    assert "files_receive course_files" in line
    assert line.endswith("ssh-ed25519 AAAApeer bascule-course_files-peer")


def test_a_new_key_replaces_the_old_one_and_leaves_others_alone(kernel: Kernel) -> None:
    path = kernel.side.base.parent.parent / "root" / ".ssh" / "authorized_keys"
    path.parent.mkdir(parents=True)
    path.write_text("ssh-rsa AAAA admin\n")
    set_up(kernel, "closed")
    assert ssh_key.admit(kernel.side, Peer("ssh-ed25519 AAAAnew", [], "192.0.2.2"))
    lines = authorized(kernel).splitlines()
    assert lines[0] == "ssh-rsa AAAA admin"
    assert len(lines) == 2
    assert "AAAAnew" in lines[1]
    assert ssh_key.expel(COMPONENT)
    assert not ssh_key.expel(COMPONENT)
    assert authorized(kernel) == "ssh-rsa AAAA admin\n"


def test_retiring_removes_everything_but_the_tree_and_the_guard(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(kernel, "closed")
    kernel.side.kept.mkdir()
    removed: list[str] = []
    monkeypatch.setattr(mounts, "unmount", removed.append)
    assert setup.retire(COMPONENT, kernel.side.name, active=False, check=True)
    assert kernel.side.kept.exists()
    done = setup.retire(COMPONENT, kernel.side.name, active=False)
    assert f"unmount {kernel.side.tree}" in done
    assert removed == [kernel.side.tree]
    assert not kernel.side.kept.exists()
    assert authorized(kernel) == ""
    assert kernel.side.guard().status == "closed"
    assert durable.held(COMPONENT), "it stays closed, also at the next boot"
    kernel.private = False
    assert setup.retire(COMPONENT, kernel.side.name, active=False) == []


def test_a_key_is_made_once_and_read_afterwards(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def runner(argv: Any, **_: Any) -> Result:
        calls.append(list(argv))
        private = Path(argv[-1])
        private.write_text("secret")
        private.with_suffix(".pub").write_text("ssh-ed25519 AAAA comment\n")
        return Result(tuple(argv), 0, "", "")

    assert ssh_key.own_key("c", "a", check=True, base=tmp_path, runner=runner) == ("", True)
    assert ssh_key.own_key("c", "a", base=tmp_path, runner=runner) == ("ssh-ed25519 AAAA", True)
    assert ssh_key.own_key("c", "a", base=tmp_path, runner=runner) == ("ssh-ed25519 AAAA", False)
    assert len(calls) == 1
    (tmp_path / "c" / "ssh" / "id_ed25519.pub").write_text("")
    with pytest.raises(BasculeError, match="a public key"):
        ssh_key.own_key("c", "a", base=tmp_path, runner=runner)


def test_host_keys_are_read_without_their_comments(tmp_path: Path) -> None:
    (tmp_path / "ssh_host_rsa_key.pub").write_text("ssh-rsa AAAA root@host\n")
    (tmp_path / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 BBBB root@host\n")
    assert ssh_key.host_keys(tmp_path) == ["ssh-ed25519 BBBB", "ssh-rsa AAAA"]
    with pytest.raises(BasculeError, match="SSH host keys"):
        ssh_key.host_keys(tmp_path / "none")


@pytest.mark.parametrize(("adopted", "active"), [("open", False), ("closed", True)])
def test_a_side_that_is_not_what_it_is_said_to_be_is_not_retired(kernel: Kernel, adopted: str, active: bool) -> None:
    """A tree that never moved, or came back: what is kept there is the only way back."""
    if adopted == "open":
        fill(kernel.side, page="x")
    set_up(kernel, adopted)
    kernel.side.kept.mkdir()
    before = authorized(kernel)
    with pytest.raises(TreeError, match="nothing was removed"):
        setup.retire(COMPONENT, kernel.side.name, active=active)
    assert kernel.side.kept.exists()
    assert authorized(kernel) == before
