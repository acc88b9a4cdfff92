"""`bascule verify-archive` on archives that the node's vzdump wrote: what proves the payload, what is found without."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pve.pve_standin.node import Node

from bascule.cli.main import COMMANDS, main
from bascule.errors import BasculeError
from bascule.guest.io import archive
from bascule.guest.io.archive import verify_archive
from bascule.guest.vma import EXTENT, verify

from .parts import DISK, Ask, need_zstd

Finished = Callable[[str], tuple[str, list[str]]]
Make = Callable[[str], Path]


@pytest.fixture(autouse=True, params=["library", "program"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Zstd by the system's library, and by the program where there is none."""
    if request.param == "program":
        monkeypatch.setattr("bascule.guest.io.zstd.load", lambda: None)
    return str(request.param)


@pytest.fixture
def made(ask: Ask, node: Node, guest: int, finished: Finished, tmp_path: Path) -> Make:
    """Back the guest up with a compression; returns a copy of the archive."""
    need_zstd()

    def back_up(compress: str) -> Path:
        assert finished(ask("POST", "/nodes/pve1/vzdump", vmid="100", storage="local", compress=compress))[0] == "OK"
        (found,) = ask("GET", "/nodes/pve1/storage/local/content", content="backup")
        return Path(shutil.copy(node.paths.volume(found["volid"]), tmp_path))

    return back_up


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def payload_of(path: Path) -> int:
    """A byte of the payload of a plain archive."""
    header = int(struct.unpack_from(">I", path.read_bytes(), 56)[0])
    return header + EXTENT + 2


@pytest.mark.parametrize(
    ("compress", "ending", "proof"),
    [
        ("zstd", ".vma.zst", ("the checksum of the zstd stream (XXH64)",)),
        ("gzip", ".vma.gz", ("the checksum of the gzip stream (CRC-32)",)),
        ("0", ".vma", ()),
    ],
)
def test_a_whole_archive(made: Make, compress: str, ending: str, proof: tuple[str, ...]) -> None:
    path = made(compress)
    assert path.name.endswith(ending)
    verdict = verify_archive(str(path))
    assert (verdict.damage, verdict.report.problems, verdict.payload) == ((), (), proof)
    assert verdict.result == ("proved" if proof else "payload not proved")
    assert [(disk.name, disk.size, disk.found) for disk in verdict.report.disks] == [("drive-scsi0", len(DISK), 16)]
    assert list(verdict.report.configs) == ["qemu-server.conf"]
    proved = verify_archive(str(path), digest(path))
    assert proved.payload == (*proof, "the digest taken at the source (SHA-256)")
    assert proved.result == "proved"
    assert proved.digest == digest(path)


@pytest.mark.parametrize(
    ("compress", "words"), [("zstd", "doesn't match checksum"), ("gzip", "CRC check failed")], ids=["zstd", "gzip"]
)
def test_a_flipped_payload_bit_is_found_by_the_streams_own_check(
    made: Make, node: Node, compress: str, words: str
) -> None:
    # What cannot be compressed stands in the file as it is: a flipped bit of the file is one of the payload.
    (node.paths.images / "100/vm-100-disk-0.raw").write_bytes(random.Random(1).randbytes(len(DISK)))
    path = made(compress)
    before = digest(path)
    flip(path, path.stat().st_size // 2)
    verdict = verify_archive(str(path))
    assert verdict.result == "damaged"
    assert words in verdict.damage[0]
    assert verify_archive(str(path), before).damage[0].startswith(f"the file's digest is {digest(path)}; at the source")


def test_a_flipped_payload_bit_without_compression(made: Make) -> None:
    path = made("0")
    before = digest(path)
    flip(path, payload_of(path))
    assert verify_archive(str(path)).result == "payload not proved"
    verdict = verify_archive(str(path), before)
    assert verdict.result == "damaged"
    assert verdict.damage == (f"the file's digest is {digest(path)}; at the source it was {before}",)


@pytest.mark.parametrize(
    ("compress", "words"),
    [("zstd", "premature end"), ("gzip", "ended before the end"), ("0", "the archive ends inside extent")],
)
def test_a_truncated_archive(made: Make, compress: str, words: str) -> None:
    path = made(compress)
    os.truncate(path, path.stat().st_size - 30)
    verdict = verify_archive(str(path))
    assert verdict.result == "damaged"
    assert words in " ".join([*verdict.damage, *map(str, verdict.report.problems)])


def test_a_file_that_carries_no_checksum(made: Make, tmp_path: Path) -> None:
    plain = made("0")
    bare = tmp_path / "bare.vma.zst"
    subprocess.run(["zstd", "-q", "--no-check", "-o", str(bare), str(plain)], check=True)
    assert verify_archive(str(bare)).result == "payload not proved"
    assert verify_archive(str(bare), digest(bare)).result == "proved"


def test_a_file_that_changes_meanwhile(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made("zstd")

    def grow(stream: Any) -> Any:
        report = verify(stream)
        with path.open("ab") as out:
            out.write(b"x")
        return report

    monkeypatch.setitem(archive._CHECKS, "vma", grow)
    assert verify_archive(str(path)).damage == ("the file changed while it was read",)


def test_what_cannot_be_read_is_said(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str) -> None:
    path = made("zstd")
    with pytest.raises(BasculeError, match=r"expected: to read the archive .*No such file"):
        verify_archive(str(tmp_path / "none.vma"))
    with pytest.raises(BasculeError, match=r"a digest such as sha256:.*nothing was read"):
        verify_archive(str(path), "md5:00")
    lzo = tmp_path / "x.vma.lzo"
    lzo.write_bytes(b"\x89LZO\0")
    with pytest.raises(BasculeError, match="compressed with LZO"):
        verify_archive(str(lzo))
    damaged = tmp_path / "y.vma.gz"
    damaged.write_bytes(b"not gzip")
    assert "Not a gzipped file" in verify_archive(str(damaged)).damage[0]
    if reader == "library":
        return
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BasculeError, match="expected: the program zstd"):
        verify_archive(str(path))


def test_the_command(made: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = made("0")
    good = digest(path)

    def run(*words: str) -> tuple[int, str]:
        status = main(["verify-archive", str(path), *words])
        return status, capsys.readouterr().out

    status, out = run()
    assert (status, out.splitlines()[0]) == (2, f"payload not proved: {path}")
    status, out = run("--digest", good)
    assert (status, out.splitlines()[0]) == (0, f"proved: {path}")
    assert "  disk       drive-scsi0: 1048576 bytes, 16 of 16 clusters" in out
    status, out = run("--digest", "sha256:12", "--json")
    assert (status, json.loads(out)["result"]) == (2, "not read")
    header = int(struct.unpack_from(">I", path.read_bytes(), 56)[0])
    flip(path, header + 50)
    status, out = run("--json")
    found = json.loads(out)
    assert (status, found["result"], found["problems"][0]["position"]) == (1, "damaged", header)
    status, out = run()
    assert f"  wrong      byte {header}: the md5 of extent 1 does not fit" in out


def test_the_command_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "verify-archive" in capsys.readouterr().out
    assert main([]) == 2
    assert main(["nonsense"]) == 2
    for name in COMMANDS:
        try:
            status = main([name, "--help"])
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        assert status == 0, name
