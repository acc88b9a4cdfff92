"""The modules hand their arguments to the helpers and their results out; check mode touches nothing."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guest import kinds, session
from bascule.guest.errors import ProxmoxError
from bascule.guest.guest import Limits
from bascule.guest.io import archive_digest, disk_digest, pull, ssh_key
from bascule.guest.io.proxmox_api import connect


def call(name: str, /, check: bool = False, **params: Any) -> dict[str, Any]:
    """Run a module's main."""
    module = importlib.import_module(name)
    result: dict[str, Any] = module.main(SimpleNamespace(params=params, check_mode=check))
    return result


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The component's folder."""
    modules = [pull, ssh_key, importlib.import_module("bascule_guest_note")]
    for module in modules:
        monkeypatch.setattr(module, "directory", lambda component: str(tmp_path / component))
    return tmp_path


def _digest(disks: list[dict[str, str]], check: bool = False, **params: Any) -> dict[str, Any]:
    given = {"component": "courses_guest", "disks": disks, "stamp": False, "begin": False, "job_id": None}
    given |= {"readable": False, **params}
    return call("bascule_guest_disk_digest", check=check, **given)


def test_digest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(disk_digest, "end_others", ended.append)
    (place / "disk").write_bytes(b"abc")
    disks = [{"name": "scsi0", "path": str(place / "disk")}]
    found = _digest(disks)
    assert found["changed"] is False
    assert found["position"]["disk:scsi0"].startswith("tree-sha256:")
    assert ended == ["courses_guest"]
    again = _digest(disks, check=True)
    assert again["position"] == found["position"]
    assert ended == ["courses_guest"]


def test_digest_that_is_taken_beside_others(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_digest, "begin", lambda component, wanted: f"job of {component}")
    monkeypatch.setattr(disk_digest, "collect", lambda component, wanted, job_id: {"disk:scsi0": job_id})
    disks = [{"name": "scsi0", "path": str(place / "disk")}]
    assert _digest(disks, check=True, begin=True) == {"changed": False}
    begun = _digest(disks, begin=True)
    assert begun == {"changed": False, "job_id": "job of courses_guest"}
    assert _digest(disks, job_id=begun["job_id"])["position"] == {"disk:scsi0": "job of courses_guest"}


def test_keep(place: Path) -> None:
    path = place / "disk"
    path.write_bytes(b"abc")
    other = place / "other"
    other.write_bytes(b"def")
    given = [{"path": str(each), "volid": f"local:100/{each.name}"} for each in (path, other)]
    arguments: dict[str, Any] = {"disks": given, "mark": "3.aa", "state": "kept"}
    assert call("bascule_guest_disk_keep", check=True, **arguments)["changed"] is True
    assert sorted(p.name for p in place.iterdir()) == ["disk", "other"]
    assert call("bascule_guest_disk_keep", **arguments)["changed"] is True
    assert (place / "disk.bascule-kept").read_bytes() == b"abc"
    assert call("bascule_guest_disk_keep", **arguments)["changed"] is False
    arguments |= {"state": "absent", "mark": None}
    assert call("bascule_guest_disk_keep", **arguments)["changed"] is True
    assert sorted(p.name for p in place.iterdir()) == ["disk", "other"]
    assert call("bascule_guest_disk_keep", **arguments)["changed"] is False


@pytest.mark.parametrize(
    ("volid", "path"),
    [
        ("local-lvm:vm-100-disk-0", "/dev/pve/vm-100-disk-0"),
        ("ceph:vm-100-disk-0", "rbd:vms/vm-100-disk-0:conf=/etc/pve/ceph.conf"),
        ("fast:100/vm-100-disk-0.raw", "{}/images/100/vm-100-disk-0/disk.raw"),
    ],
)
def test_a_disk_whose_copy_would_not_outlive_it_is_left_alone_and_named(place: Path, volid: str, path: str) -> None:
    disks = [{"path": path.format(place), "volid": volid}]
    kept = call("bascule_guest_disk_keep", disks=disks, mark="3.aa", state="kept")
    assert kept == {"changed": False, "kept": [], "not_copied": [volid]}
    assert call("bascule_guest_disk_keep", disks=disks, mark=None, state="absent")["changed"] is False


def _archive(**params: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"path": None, "sha256": None, "component": None, "follow": None, **params}
    return call("bascule_guest_archive", **given)


def test_archive(place: Path) -> None:
    path = place / "a.vma"
    assert _archive(path=str(path))["exists"] is False
    with pytest.raises(BasculeError, match="nothing was restored"):
        _archive(path=str(path), sha256="00")
    path.write_bytes(b"abc")
    found = hashlib.sha256(b"abc").hexdigest()
    assert _archive(path=str(path))["sha256"] == found
    with pytest.raises(BasculeError, match=f"sha256 {found}"):
        _archive(path=str(path), sha256=found)  # the right digest of something that is no archive
    with pytest.raises(BasculeError, match="the archive is not used; nothing was restored"):
        _archive(path=str(path), sha256="0" * 64)


def test_archive_that_is_followed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(archive_digest, "begin", lambda *given: begun.append(given))
    monkeypatch.setattr(archive_digest, "digest_of", lambda component, path: ("12ab", True))
    assert _archive(component="c", follow={"folder": "/x", "vmid": "100", "seconds": 60}) == {"changed": False}
    assert begun == [("c", "/x", 100, 60.0)]
    path = place / "a.vma"
    path.write_bytes(b"abc")
    assert _archive(component="c", path=str(path)) == {
        "changed": False, "exists": True, "sha256": "12ab", "followed": True,
    }  # fmt: skip


def test_note(place: Path) -> None:
    arguments: dict[str, Any] = {
        "component": "courses_guest",
        "name": "restore",
        "merge": False,
        "clears": [],
        "adds": {},
    }
    assert call("bascule_guest_note", data=None, **arguments) == {"changed": False, "note": {}}
    assert call("bascule_guest_note", check=True, data={"vmid": 100}, **arguments)["changed"] is True
    assert list(place.iterdir()) == []
    assert call("bascule_guest_note", data={"vmid": 100}, **arguments)["changed"] is True
    assert call("bascule_guest_note", data={"vmid": 100}, **arguments)["changed"] is False
    assert call("bascule_guest_note", data=None, **arguments)["note"] == {"vmid": 100}


def test_a_note_that_adds_to_another_keeps_the_rest_of_it(place: Path) -> None:
    copied: dict[str, Any] = {"component": "courses_guest", "name": "copied", "merge": False, "clears": [], "adds": {}}
    switched = {**copied, "name": "switched", "adds": {"copied": {"opened": True}}, "data": {"receipt": {}}}
    call("bascule_guest_note", data={"archived": 7}, **copied)
    assert call("bascule_guest_note", check=True, **switched)["changed"] is True
    assert call("bascule_guest_note", data=None, **copied)["note"] == {"archived": 7}
    assert call("bascule_guest_note", **switched)["note"] == {"receipt": {}}
    assert call("bascule_guest_note", data=None, **copied)["note"] == {"archived": 7, "opened": True}
    assert call("bascule_guest_note", **switched)["changed"] is False


def test_a_note_that_makes_another_void_empties_it(place: Path) -> None:
    restore: dict[str, Any] = {
        "component": "courses_guest",
        "name": "restore",
        "merge": False,
        "clears": [],
        "adds": {},
    }
    switched = {**restore, "name": "switched", "clears": ["restore"], "data": {"receipt": {}}}
    call("bascule_guest_note", data={"vmid": 100}, **restore)
    assert call("bascule_guest_note", check=True, **switched)["changed"] is True
    assert call("bascule_guest_note", data=None, **restore)["note"] == {"vmid": 100}
    assert call("bascule_guest_note", **switched)["changed"] is True
    assert call("bascule_guest_note", data=None, **restore)["note"] == {}
    assert call("bascule_guest_note", **switched)["changed"] is False


def test_pull_in_check_mode_starts_nothing(place: Path) -> None:
    found = call("bascule_guest_pull", check=True, job={}, job_id=None, wait=1)
    assert found["changed"] is True
    assert list(place.iterdir()) == []


def test_a_failed_pull_speaks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = {"state": "failed", "error": "No space left on device"}
    monkeypatch.setattr(pull, "follow", lambda *given: status)
    job = {"component": "courses_guest", "name": "delta"}
    with pytest.raises(BasculeError, match="No space left on device"):
        call("bascule_guest_pull", job=job, job_id="x", wait=1)
    monkeypatch.setattr(pull, "follow", lambda *given: {"state": "done", "literal": 0})
    assert call("bascule_guest_pull", job=job, job_id="x", wait=1)["changed"] is False


def test_link_in_check_mode_makes_no_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = place / "etc"
    keys.mkdir()
    (keys / "ssh_host_ed25519_key.pub").write_text("ssh-ed25519 AAAA root@node\n")
    monkeypatch.setattr(ssh_key, "_HOST_KEYS", keys)
    found = call("bascule_guest_link", check=True, component="courses_guest", state="own")
    assert found["changed"] is True
    assert found["host_keys"] == ["ssh-ed25519 AAAA"]
    assert list(place.iterdir()) == [keys]


def test_what_an_earlier_run_has_left_writing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    def end(component: str) -> bool:
        ended.append(component)
        return True

    monkeypatch.setattr(pull, "end", end)
    given: dict[str, Any] = {"component": "courses_guest", "state": "end"}
    assert call("bascule_guest_link", check=True, **given)["changed"] is False
    assert ended == []
    assert call("bascule_guest_link", **given)["changed"] is True
    assert ended == ["courses_guest"]


def _settings(**values: Any) -> session.Settings:
    given = {
        "component": "courses_guest",
        "sides": {"pve-mtp": {"api_host": "192.0.2.1", "node": "pve1", "vmid": 100, "storage": "local"}},
        "token_id": "bascule@pve!move",
        "secrets": {"pve-mtp": "s3cr3t"},
        "ca_file": "",
        "limits": Limits(),
        "timeout": 5.0,
        **values,
    }
    return session.Settings(**given)


def test_settings_make_a_guest() -> None:
    guest = session.guest("pve-mtp", _settings(), connect, print, lambda url: "")
    # What the number is, only its node can say.
    guest.like(kinds.QEMU)
    assert guest.path == "nodes/pve1/qemu/100"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sides": {}}, "entries for no machine"),
        ({"sides": {"pve-mtp": {"node": "pve1"}}}, "vmid, storage, api_host for pve-mtp"),
        ({"secrets": {}}, "the token's secret for pve-mtp"),
        ({"secrets": "s3cr3t"}, "no dictionary"),
        ({"token_id": "bascule"}, "a token id such as bascule@pve!move"),
    ],
)
def test_what_is_missing_is_named_and_no_secret_told(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ProxmoxError, match=words) as caught:
        session.guest("pve-mtp", _settings(**values), connect, print, lambda url: "")
    assert "s3cr3t" not in str(caught.value)


def test_limits_that_are_not_given_keep_their_default() -> None:
    assert session.limits({"agent": "7"}) == Limits(agent=7)
