"""vzdump and restore of stopped guests: the archive, the words of the log, what failures leave behind."""

from __future__ import annotations

import fcntl
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pve.pve_standin import qemu, vzdump, vzdump_write
from pve.pve_standin.errors import ApiError, Failure
from pve.pve_standin.node import Node
from pve.pve_standin.vzdump_text import clock, human, progress, whole_size
from pve.pve_standin.vzdump_write import clusters

from .parts import DISK, SCHEMAS, Ask, need_zstd

Finished = Callable[[str], tuple[str, list[str]]]
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
# The grammar of the recorded logs, one pattern per line.
GRAMMAR = [
    r"INFO: starting new backup job: vzdump [\d ]+ .*",
    r"INFO: (Starting|Finished) Backup of VM \d+ (\(qemu\)|\(\d\d:\d\d:\d\d\))",
    rf"INFO: Backup (started|finished) at {STAMP}",
    r"INFO: status = (running|stopped)",
    r"INFO: backup mode: (snapshot|suspend|stop)",
    r"INFO: ionice priority: 7",
    r"INFO: VM Name: \S+",
    r"INFO: include disk '\w+' '[^']+' \d+[KMGT]",
    r"INFO: creating vzdump archive '.*/dump/vzdump-qemu-\d+-\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d\.vma(\.zst)?'",
    r"INFO: (starting|stopping) kvm (to execute|after) backup task",
    r"INFO: (stopping virtual guest|resuming VM again( after \d+ seconds)?|aborting backup job)",
    r"INFO: skipping guest-agent 'fs-freeze', agent configured but not running\?",
    r"INFO: QEMU Guest Agent is not running - VM \d+ qmp command 'guest-ping' failed - .*",
    r"INFO: started backup task '[0-9a-f-]{36}'",
    r"INFO: +\d+% \([\d.]+ \w+ of [\d.]+ \w+\) in \d+s, read: [\d.]+ \w+/s, write: [\d.]+ \w+/s",
    r"INFO: backup is sparse: [\d.]+ \w+ \(\d+%\) total zero data",
    r"INFO: transferred [\d.]+ \w+ in \d+ seconds \([\d.]+ \w+/s\)",
    r"INFO: archive file size: [\d.]+\w+",
    r"INFO: adding notes to backup",
    r"INFO: (marking backup as protected|prune older backups with retention: keep-last=\d+)",
    r"INFO: Backup job finished (successfully|with errors)",
    rf"INFO: Failed at {STAMP}",
    r"ERROR: (Backup of VM \d+ failed|Backup job failed) - .*",
    r"ERROR: interrupted by signal",
    r"ERROR: can't acquire lock '/var/run/vzdump.lock' \(wait = 0\)",
    r"TASK (OK|ERROR: .*)",
]


def follows_grammar(line: str) -> bool:
    return any(re.fullmatch(pattern, line) for pattern in GRAMMAR)


@pytest.fixture(autouse=True)
def _zstd() -> None:
    need_zstd()


def back_up(ask: Ask, **values: str) -> str:
    upid: str = ask("POST", "/nodes/pve1/vzdump", **{"storage": "local", "compress": "zstd", **values})
    return upid


def archive_of(ask: Ask) -> str:
    (found,) = ask("GET", "/nodes/pve1/storage/local/content", content="backup")
    return str(found["volid"])


def test_backup_and_restore(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    status, log = finished(back_up(ask, vmid="100", mode="snapshot", notes_template="{{guestname}} mig"))
    assert status == "OK"
    assert [line for line in log if not follows_grammar(line)] == []
    assert "INFO: backup mode: stop" in log, "a stopped guest is backed up in mode stop, whatever was asked"
    (found,) = ask("GET", "/nodes/pve1/storage/local/content", content="backup")
    assert (found["vmid"], found["format"], found["notes"]) == (100, "vma.zst", "vm1 mig")
    created = next(line for line in log if "creating vzdump archive" in line)
    assert found["volid"].removeprefix("local:backup/") in created
    assert "lock" not in ask("GET", "/nodes/pve1/qemu/100/config")
    assert not list(node.paths.dump.glob("*.dat"))
    archive = node.paths.volume(found["volid"])
    assert subprocess.run(["zstd", "-q", "-t", str(archive)], check=False).returncode == 0

    card = "virtio=BC:24:11:00:00:01,bridge=vmbr9,link_down=1"
    upid = ask("POST", "/nodes/pve1/qemu", vmid="200", archive=found["volid"], storage="local", net0=card, onboot="0")
    status, log = finished(upid)
    assert (status, log[-1]) == ("OK", "TASK OK")
    config, before = ask("GET", "/nodes/pve1/qemu/200/config"), ask("GET", "/nodes/pve1/qemu/100/config")
    assert (config["net0"], config["onboot"]) == (card, 0)
    assert config["scsi0"] == "local:200/vm-200-disk-0.raw,size=1M"
    assert config["memory"] == before["memory"]
    assert config.get("vmgenid") != before.get("vmgenid")
    disk = node.paths.images / "200/vm-200-disk-0.raw"
    assert disk.read_bytes() == DISK
    assert disk.stat().st_blocks * 512 < len(DISK), "holes stay holes"


def test_what_is_not_in_the_archive_is_a_comment_and_an_efi_disk_comes_through(
    ask: Ask, node: Node, guest: int, finished: Finished
) -> None:
    for number, content in ((1, b"left out"), (2, b"efi" + bytes(1 << 17))):
        (node.paths.images / f"100/vm-100-disk-{number}.raw").write_bytes(content)
    with node.paths.config(100).open("a") as config:
        config.write("scsi1: local:100/vm-100-disk-1.raw,backup=0,size=8\n")
        config.write("efidisk0: local:100/vm-100-disk-2.raw,efitype=4m,size=128K\n")
    assert finished(back_up(ask, vmid="100"))[0] == "OK"
    upid = ask("POST", "/nodes/pve1/qemu", vmid="200", archive=archive_of(ask), storage="local")
    assert finished(upid)[0] == "OK"
    found = ask("GET", "/nodes/pve1/qemu/200/config")
    assert "scsi1" not in found
    assert "scsi1: local:100/vm-100-disk-1.raw,backup=0,size=8" in found["description"]
    assert found["efidisk0"].startswith("local:200/vm-200-disk-")
    path = node.paths.volume(found["efidisk0"].partition(",")[0])
    assert path.read_bytes() == b"efi" + bytes(1 << 17)
    with pytest.raises(Failure, match="archives and restores efidisk0, and starts no guest that has one"):
        qemu.command_line(node.paths, 200, node.store.load(200))


def test_restore_refuses_an_existing_guest_unless_forced(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    finished(back_up(ask, vmid="100"))
    volid = archive_of(ask)
    with pytest.raises(ApiError, match=r"^unable to restore VM 100 - VM 100 already exists on node 'pve1'$"):
        ask("POST", "/nodes/pve1/qemu", vmid="100", archive=volid)
    (node.paths.images / "100/vm-100-disk-0.raw").write_bytes(b"changed")
    assert finished(ask("POST", "/nodes/pve1/qemu", vmid="100", archive=volid, force="1"))[0] == "OK"
    assert (node.paths.images / "100/vm-100-disk-0.raw").read_bytes() == DISK
    with pytest.raises(ApiError, match=r"volume 'local:backup/vzdump-qemu-1.vma' does not exist"):
        ask("POST", "/nodes/pve1/qemu", vmid="300", archive="local:backup/vzdump-qemu-1.vma")


def test_a_failed_restore_leaves_the_placeholder(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    finished(back_up(ask, vmid="100", compress="0"))
    volid = archive_of(ask)
    archive = node.paths.volume(volid)
    archive.write_bytes(archive.read_bytes()[:-1])
    status, log = finished(ask("POST", "/nodes/pve1/qemu", vmid="200", archive=volid))
    assert "failed: exit code" in status
    assert any("VM 200 state is NOT cleaned up" in line for line in log)
    config = ask("GET", "/nodes/pve1/qemu/200/config")
    config.pop("digest")
    assert config == {"memory": "128"}
    assert not list(node.paths.images.glob("200/*"))


def test_failures_follow_the_recordings(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    status, log = finished(ask("POST", "/nodes/pve1/vzdump", vmid="999", storage="local"))
    assert status == "job errors"
    assert log[:2] == [
        "INFO: starting new backup job: vzdump 999 --node pve1 --storage local",
        "ERROR: Backup of VM 999 failed - unable to find VM '999'",
    ]
    assert log[3:] == ["INFO: Backup job finished with errors", "TASK ERROR: job errors"]
    upid = ask("POST", "/nodes/pve1/vzdump", vmid="100,999", storage="local")
    assert ":vzdump::" in upid
    status, log = finished(upid)
    assert status == "job errors"
    assert any(line.startswith("INFO: Finished Backup of VM 100") for line in log)
    nope = "storage 'nope' does not exist"
    status, log = finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="nope"))
    assert status == (f"could not activate storage 'nope': {nope} could not get storage information for 'nope': {nope}")
    assert len(log) == 1
    node.store.change(100, lock="backup")
    status, log = finished(back_up(ask, vmid="100"))
    assert status == "job errors"
    assert "ERROR: Backup of VM 100 failed - VM is locked (backup)" in log
    assert ask("GET", "/nodes/pve1/qemu/100/config")["lock"] == "backup", "nobody else's lock is taken away"


def test_one_backup_at_a_time(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    with node.paths.vzdump_lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = finished(back_up(ask, vmid="100", lockwait="0"))
        assert ended == ("unexpected status", ["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"])
        waiting = back_up(ask, vmid="100")
    assert finished(waiting)[0] == "OK"


def test_an_interrupted_backup_leaves_nothing(
    ask: Ask, node: Node, guest: int, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slowly(path: Path, size: int) -> Iterator[tuple[int, bytes | None]]:
        for piece in clusters(path, size):
            begun.set()
            goes_on.wait(10)
            yield piece

    monkeypatch.setattr(vzdump_write, "clusters", slowly)
    upid = back_up(ask, vmid="100")
    assert begun.wait(10)
    assert ask("GET", "/nodes/pve1/qemu/100/config")["lock"] == "backup"
    ask("DELETE", f"/nodes/pve1/tasks/{upid}")
    goes_on.set()
    status, log = finished(upid)
    assert status == "interrupted by signal"
    assert log[-7:-4] == [
        "ERROR: interrupted by signal", "INFO: aborting backup job", "INFO: stopping kvm after backup task",
    ]  # fmt: skip
    assert log[-4] == "ERROR: Backup of VM 100 failed - interrupted by signal"
    assert log[-2:] == ["ERROR: Backup job failed - interrupted by signal", "TASK ERROR: interrupted by signal"]
    assert "lock" not in ask("GET", "/nodes/pve1/qemu/100/config")
    assert [path.suffix for path in node.paths.dump.iterdir()] == [".log"]


def test_a_full_storage(ask: Ask, node: Node, guest: int, finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "zstd: error 70 : Write error : cannot write block : No space left on device"
    failing = ["sh", "-c", f"head -c 1000 >/dev/null; echo '{said}' >&2; exit 70"]
    monkeypatch.setitem(vzdump.COMPRESSORS, "zstd", (".zst", failing))
    status, log = finished(back_up(ask, vmid="100"))
    assert status == "job errors"
    assert f"ERROR: Backup of VM 100 failed - {said}" in log
    assert [path.suffix for path in node.paths.dump.iterdir()] == [".log"]


def test_deleting_an_archive(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    finished(back_up(ask, vmid="100", notes_template="x"))
    volid = archive_of(ask)
    shown = ask("GET", f"/nodes/pve1/storage/local/content/{volid}")
    assert (shown["notes"], shown["format"]) == ("x", "vma.zst")
    assert finished(ask("DELETE", f"/nodes/pve1/storage/local/content/{volid}"))[0] == "OK"
    assert list(node.paths.dump.iterdir()) == []


def test_disks_are_read_past_their_holes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as out:
        out.truncate(10 << 20)
        out.seek(5 << 20)
        out.write(b"x" * 70_000)
    found = dict(clusters(disk, 10 << 20))
    assert sorted(found) == list(range(160))
    assert {number for number, data in found.items() if data} <= {80, 81}
    assert b"".join(data or bytes(65536) for _, data in sorted(found.items())) == disk.read_bytes()


def test_words_of_progress() -> None:
    assert progress(824 << 20, 1 << 30, 3.2, 274.8 * (1 << 20), 13.3 * (1 << 20)) == (
        " 80% (824.0 MiB of 1.0 GiB) in 3s, read: 274.8 MiB/s, write: 13.3 MiB/s"
    )
    assert [human(size) for size in (0, 1023, 1024, 5 << 40)] == ["0 B", "1023 B", "1.0 KiB", "5.0 TiB"]
    assert (clock(3725), whole_size(41983310), whole_size(900)) == ("01:02:05", "40MB", "900B")


def test_the_recorded_logs_follow_the_same_grammar() -> None:
    captures = SCHEMAS / "captures"
    if not captures.is_dir():
        pytest.skip(f"the recordings of Proxmox are not at hand ({captures}): set BASCULE_PVE_SCHEMAS")
    lines = [
        line.strip().removeprefix("| ")
        for name in ("backup_restore.txt", "errors.txt")
        for line in (captures / name).read_text().splitlines()
        if line.strip().startswith("| ")
    ]
    assert [line for line in lines if line != "trying to acquire lock..." and not follows_grammar(line)] == []


def test_two_disks(ask: Ask, node: Node, guest: int, finished: Finished) -> None:
    other = node.paths.images / "100/vm-100-disk-1.raw"
    other.write_bytes(b"second".ljust(70_000, b"\0"))
    node.store.change(100, virtio1="local:100/vm-100-disk-1.raw,size=70000")
    finished(back_up(ask, vmid="100"))
    assert finished(ask("POST", "/nodes/pve1/qemu", vmid="200", archive=archive_of(ask)))[0] == "OK"
    config = ask("GET", "/nodes/pve1/qemu/200/config")
    for key, expected in {"scsi0": DISK, "virtio1": other.read_bytes()}.items():
        assert node.paths.volume(config[key].partition(",")[0]).read_bytes() == expected
