"""Digests of disks, what is kept aside, and the way between the nodes: on real files, without any node."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guest.chunks import CHUNK, PREFIX, Tree
from bascule.guest.io import disk_source, disks, health, ssh_key
from bascule.guest.io import pull as guest_pull
from bascule.system import rsync
from bascule.system.io.process import Result


def _plain(content: bytes) -> str:
    """The digest as its documentation says, computed the long way."""
    root = hashlib.sha256(b"bascule disk 1" + len(content).to_bytes(8, "big"))
    for start in range(0, len(content), CHUNK):
        root.update(hashlib.sha256(content[start : start + CHUNK]).digest())
    return PREFIX + root.hexdigest()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 4096])
def test_a_digest_counts_content_not_holes(tmp_path: Path, size: int) -> None:
    content = bytearray(size)
    for offset in range(0, size, CHUNK + 12345):
        content[offset : offset + 3] = b"abc"[: size - offset]
    dense, sparse = tmp_path / "dense", tmp_path / "sparse"
    dense.write_bytes(content)
    with sparse.open("wb") as handle:
        handle.truncate(size)
        for offset in range(0, size, CHUNK + 12345):
            handle.seek(offset)
            handle.write(content[offset : offset + 3])
    assert (
        disk_source.digest({"path": str(dense)}) == disk_source.digest({"path": str(sparse)}) == _plain(bytes(content))
    )


def test_a_digest_of_holes_alone(tmp_path: Path) -> None:
    empty = tmp_path / "disk"
    with empty.open("wb") as handle:
        handle.truncate(5 * CHUNK + 512)
    assert disk_source.digest({"path": str(empty)}) == _plain(bytes(5 * CHUNK + 512))


def test_one_flipped_bit_is_another_digest(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(2 * CHUNK + 100)
    path = tmp_path / "disk"
    path.write_bytes(content)
    before = disk_source.digest({"path": str(path)})
    with path.open("r+b") as handle:
        handle.seek(CHUNK + 7)
        handle.write(bytes([content[CHUNK + 7] ^ 1]))
    assert disk_source.digest({"path": str(path)}) != before


def test_a_tree_takes_every_chunk_once() -> None:
    tree = Tree(CHUNK + 1)
    with pytest.raises(ValueError, match="is due"):
        tree.data(b"short")
    tree.zeros()
    with pytest.raises(ValueError, match="were taken"):
        tree.digest()


def test_a_disk_that_a_process_has_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * 100)
    disks.must_be_quiet(str(path))
    script = "import sys; f = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BasculeError, match=f"process {holder.pid}"):
            disks.must_be_quiet(str(path))
        assert holder.stdin is not None
        holder.stdin.close()
    disks.must_be_quiet(str(path))


def test_the_state_at_the_fence_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "vm-100-disk-0.raw"
    path.write_bytes(b"at the fence")
    assert disks.keep_aside(str(path), "3.aa") is True
    path.write_bytes(b"written in the other direction")
    assert disks.keep_aside(str(path), "3.aa") is False
    kept = Path(disks.kept_path(str(path)))
    assert kept.read_bytes() == b"at the fence"
    assert disks.keep_aside(str(path), "5.bb") is True
    assert kept.read_bytes() == b"written in the other direction"
    assert disks.drop_kept(str(path)) is True
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    assert disks.drop_kept(str(path)) is False


READABLE = ["/var/lib/vz"]
ASKED = "rsync --server --sender -e.LsfxCIvu --inplace -B16384 --compress-choice=zstd . "


def _job(**values: Any) -> rsync.Job:
    return rsync.Job.from_dict(
        {
            "component": "courses_guest",
            "name": "delta",
            "address": "198.18.1.30",
            "port": 22,
            "user": "root",
            "pairs": [{"source": "/var/lib/vz/a", "target": "/var/lib/vz/b"}],
            "compress": True,
            "block_size": 16384,
            "bwlimit": 0,
            "disks": True,
            **values,
        }
    )


@pytest.mark.parametrize("values", [{}, {"compress": False, "disks": False}, {"bwlimit": 1000}])
def test_what_our_rsync_asks_is_permitted(tmp_path: Path, values: dict[str, Any]) -> None:
    """The other end's own words, as rsync really sends them, pass the forced command; the file arrives."""
    vz = tmp_path / "vz"
    vz.mkdir()
    source, target, said = vz / "a", tmp_path / "b", tmp_path / "said"
    source.write_bytes(os.urandom(200_000))
    shell = tmp_path / "ssh"
    # Stands in for ssh: drops `-l root ADDRESS`, notes what is asked, and runs it here.
    shell.write_text(f'#!/bin/sh\nshift 3\necho "$*" > {said}\nexec "$@"\n')
    shell.chmod(0o755)
    command = rsync.rsync_command(_job(**values), str(source), str(target))
    command[command.index("-e") + 1] = str(shell)
    subprocess.run(command, check=True, capture_output=True)
    assert target.read_bytes() == source.read_bytes()
    assert rsync.permitted(said.read_text().strip(), [str(vz)])[-1] == str(source)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "cat /var/lib/vz/x",
        "rsync --server -e.LsfxCIvu . /var/lib/vz/x",
        "rsync --server --sender --daemon . /var/lib/vz/x",
        "rsync --server --sender -e.LsfxCIvu --remove-source-files . /var/lib/vz/x",
        "rsync --server --sender -e.LsfxCIvu --files-from=/etc/shadow . /var/lib/vz/x",
        ASKED + "/etc/shadow",
        ASKED + "/var/lib/vz/../../../etc/shadow",
        ASKED + "/var/lib/vz",
        ASKED + "/var/lib/vz/",
        ASKED + "/var/lib/vzother/x",
        ASKED + "/var/lib/vz/a /etc/shadow",
    ],
)
def test_anything_else_is_refused(command: str) -> None:
    with pytest.raises(BasculeError, match="state now: refused"):
        rsync.permitted(command, READABLE)


def test_a_link_out_of_the_readable_folders_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").symlink_to("/etc/passwd")
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", ASKED + str(tmp_path / "x"))
    with pytest.raises(BasculeError, match="leads to /etc/passwd"):
        ssh_key.serve([str(tmp_path)])


def test_the_way_between_the_nodes_is_tried(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one node asks is what the other one answers; anything else on the way is told in ssh's own words."""
    asked: list[Sequence[str]] = []

    def ssh(argv: Sequence[str], **options: Any) -> Result:
        asked.append(argv)
        monkeypatch.setenv("SSH_ORIGINAL_COMMAND", argv[-1])
        rc = ssh_key.serve(READABLE)
        return Result(tuple(argv), rc, capsys.readouterr().out, "")

    ssh_key.reach("courses_guest", "198.18.2.30", 2222, runner=ssh)
    assert asked[0][-2:] == ["root@198.18.2.30", "hello"]
    assert "StrictHostKeyChecking=yes" in asked[0]

    def denied(argv: Sequence[str], **options: Any) -> Result:
        return Result(tuple(argv), 255, "", "root@198.18.2.30: Permission denied (publickey).")

    with pytest.raises(BasculeError, match=r"Permission denied \(publickey\).*20_prepare.yml --limit courses_guest"):
        ssh_key.reach("courses_guest", "198.18.2.30", 22, runner=denied)

    def other_key(argv: Sequence[str], **options: Any) -> Result:
        return Result(tuple(argv), 0, "Welcome\n", "")

    with pytest.raises(BasculeError, match="found: Welcome"):
        ssh_key.reach("courses_guest", "198.18.2.30", 22, runner=other_key)


def test_rsyncs_words() -> None:
    text = "    123,456,789  47%   23.51MB/s    0:00:12\r  262,144,000  98%  716.71MB/s    0:00:00"
    assert rsync.progress(text) == "98% 716.71MB/s"
    assert rsync.progress("sending incremental file list") is None
    stats = "\nLiteral data: 1,234 bytes\nMatched data: 99 bytes\nTotal bytes sent: 5\nTotal bytes received: 1,300\n"
    assert rsync.statistics(stats) == {"literal": 1234, "matched": 99, "sent": 5, "received": 1300}
    with pytest.raises(BasculeError, match="'literal' in rsync's statistics"):
        rsync.statistics("")


class Units:
    """systemd in memory."""

    def __init__(self, active: bool = False) -> None:
        self.active = active
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], **options: Any) -> Result:
        self.commands.append(tuple(argv))
        if argv[0] == "systemd-run":
            self.active = True
        if argv[:2] == ["systemctl", "stop"]:
            self.active = False
        return Result(tuple(argv), 0, "active\n" if self.active else "inactive\n", "")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The component's folder, and a host agent."""
    agent = tmp_path / "bascule.pyz"
    agent.write_text("")
    monkeypatch.setattr(guest_pull, "AGENT", str(agent))
    for module in (guest_pull, ssh_key):
        monkeypatch.setattr(module, "directory", lambda component: str(tmp_path / component))
    return tmp_path / "courses_guest"


def _dict(job: rsync.Job) -> dict[str, Any]:
    pairs = [{"source": source, "target": target} for source, target in job.pairs]
    return {**vars(job), "pairs": pairs, "blocks": list(job.blocks)}


def test_a_transfer_of_an_archive_is_found_again(place: Path) -> None:
    job, units = _dict(_job(name="archive", disks=False)), Units()
    job_id, started = guest_pull.begin(job, units)
    assert started
    assert guest_pull.begin(job, units) == (job_id, False)


def test_a_transfer_of_disks_is_begun_afresh(place: Path) -> None:
    job, units = _dict(_job()), Units()
    first, _ = guest_pull.begin(job, units)
    second, started = guest_pull.begin(job, units)
    assert started
    assert first != second
    assert ("systemctl", "stop", "bascule-courses_guest-pull-delta.service") in units.commands


def test_a_unit_that_died_is_told(place: Path) -> None:
    units = Units()
    job_id, _ = guest_pull.begin(_dict(_job()), units)
    units.active = False
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(BasculeError, match="it has ended without one"):
        guest_pull.follow("courses_guest", "delta", job_id, 60, units, lambda: now[0], sleep)
    units.active = True
    assert guest_pull.follow("courses_guest", "delta", job_id, 3, units, lambda: now[0], sleep)["state"] == "running"
    (place / "pull-delta.status.json").write_text(f'{{"job_id": "{job_id}", "state": "done", "literal": 7}}')
    assert guest_pull.follow("courses_guest", "delta", job_id, 3, units, lambda: now[0], sleep)["literal"] == 7


def test_a_missing_agent_is_told(place: Path) -> None:
    (place.parent / "bascule.pyz").unlink()
    with pytest.raises(BasculeError, match="it installs the host agent"):
        guest_pull.begin(_dict(_job()), Units())


def test_trust_is_one_line_that_is_replaced(place: Path, tmp_path: Path) -> None:
    authorized = tmp_path / "authorized_keys"
    authorized.write_text("ssh-ed25519 AAAAold somebody\n")

    def trust(key: str, check: bool = False) -> bool:
        return ssh_key.trust("courses_guest", "198.18.2.30", 22, ["ssh-ed25519 HOST"], key, READABLE, check, authorized)

    assert trust("ssh-ed25519 AAAA1 x", check=True) is True
    assert authorized.read_text() == "ssh-ed25519 AAAAold somebody\n"
    assert trust("ssh-ed25519 AAAA1 x") is True
    assert trust("ssh-ed25519 AAAA1 x") is False
    assert trust("ssh-ed25519 AAAA2 x") is True
    lines = authorized.read_text().splitlines()
    assert lines[0] == "ssh-ed25519 AAAAold somebody"
    assert len(lines) == 2
    assert lines[1].startswith('restrict,command="python3 ')
    assert lines[1].endswith(
        'guest_serve --component=courses_guest /var/lib/vz" ssh-ed25519 AAAA2 bascule courses_guest'
    )
    assert (place / "ssh" / "known_hosts").read_text() == "198.18.2.30 ssh-ed25519 HOST\n"
    assert ssh_key.forget("courses_guest", True, authorized) is True
    assert len(authorized.read_text().splitlines()) == 2
    assert ssh_key.forget("courses_guest", False, authorized) is True
    assert authorized.read_text() == "ssh-ed25519 AAAAold somebody\n"
    assert not (place / "ssh" / "known_hosts").exists()
    assert ssh_key.forget("courses_guest", False, authorized) is False


def test_health_of_nothing_is_told() -> None:
    assert "refused" in health.ask("http://127.0.0.1:1/healthz", 2)
    assert "not an http" in health.ask("file:///etc/passwd")
