"""The archive of a container, a tar file, is verified from the file alone and digested while it is written."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from bascule.guest.io import archive, archive_digest

CONFIG = b"arch: amd64\nrootfs: local:100/vm-100-disk-0.raw,size=1G\n"


def made(format: int = tarfile.PAX_FORMAT, config: bool = True) -> bytes:
    """An archive as vzdump has tar write it: the config first, then the files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        entries = [("./etc/vzdump/pct.conf", CONFIG)] if config else []
        for name, data in [*entries, ("./srv/" + "long/" * 30 + "grüße", b"x" * 70_000), ("./empty", b"")]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.pax_headers = {"SCHILY.xattr.user.note": "kept"} if format == tarfile.PAX_FORMAT else {}
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("./again")
        link.type, link.linkname, link.size = tarfile.LNKTYPE, "./empty", 4096
        tar.addfile(link)
        folder = tarfile.TarInfo("./var")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    return out.getvalue()


def packed(data: bytes, ending: str) -> bytes:
    if ending == "tar.gz":
        return gzip.compress(data)
    if ending == "tar.zst":
        assert shutil.which("zstd"), "zstd is not installed: make packages"
        return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout
    return data


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.zst"])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_whole_archive_is_proved_by_its_digest(tmp_path: Path, ending: str, format: int) -> None:
    path = tmp_path / f"vzdump-lxc-100-2026_12_02-06_00_00.{ending}"
    path.write_bytes(packed(made(format), ending))
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    found = archive.verify_archive(str(path), wanted)
    assert (found.result, found.container, found.report.problems) == ("proved", ending, ())
    assert found.report.configs == {"pct.conf": len(CONFIG)}
    assert found.report.extents >= 5
    assert found.report.length == len(made(format))
    other = archive.verify_archive(str(path), "0" * 64)
    assert other.result == "damaged"


@pytest.mark.parametrize("ending", ["tar", "tar.zst"])
def test_an_archive_that_was_cut_is_damaged(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cut.{ending}"
    whole = packed(made(), ending)
    for length in (len(whole) // 3, len(whole) - 10_240 if ending == "tar" else len(whole) - 20):
        path.write_bytes(whole[:length])
        assert archive.verify_archive(str(path)).result == "damaged", length


def test_a_header_that_was_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "vzdump-lxc-100-x.tar"
    data = bytearray(made())
    data[3] ^= 1
    path.write_bytes(data)
    (problem,) = archive.verify_archive(str(path)).report.problems
    assert str(problem) == "byte 0: the checksum of a header is wrong"


def test_a_tar_file_that_is_no_container_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vzdump-lxc-100-x.tar"
    path.write_bytes(made(config=False))
    (problem,) = archive.verify_archive(str(path)).report.problems
    assert "there is no etc/vzdump/pct.conf" in str(problem)


def test_large_members_are_counted_in_binary(tmp_path: Path) -> None:
    header = bytearray(made(tarfile.GNU_FORMAT)[:512])
    header[124:136] = b"\x80" + (9 << 30).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "vzdump-lxc-100-x.tar"
    path.write_bytes(bytes(header) + b"short")
    (problem,) = archive.verify_archive(str(path)).report.problems
    assert f"a member of {9 << 30} bytes ends after 5" in str(problem)


def test_large_members_are_counted_by_their_pax_record(tmp_path: Path) -> None:
    """As GNU tar writes them with --xattrs: the size stands in a record before, and the member's own header says 0."""
    info = tarfile.TarInfo("./srv/large")
    info.size = 9 << 30
    path = tmp_path / "vzdump-lxc-100-x.tar"
    path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + b"short")
    (problem,) = archive.verify_archive(str(path)).report.problems
    assert f"a member of {9 << 30} bytes ends after 5" in str(problem)
    small = tarfile.TarInfo("./srv/file")
    small.pax_headers = {"comment": "size=7\n9 size=3", "size": "70000"}
    member = small.tobuf(tarfile.PAX_FORMAT) + b"x" * 70_000 + bytes(-70_000 % 512)
    path.write_bytes(member + made())
    found = archive.verify_archive(str(path)).report
    assert (found.problems, found.configs) == ((), {"pct.conf": len(CONFIG)})


@pytest.mark.parametrize("ending", ["tar.zst", "tar.gz", "tar"])
def test_it_is_digested_while_it_is_written(tmp_path: Path, ending: str) -> None:
    stem = "vzdump-lxc-100-2026_12_02-06_00_00"
    growing = tmp_path / f"{stem}.tar.dat"
    growing.write_bytes(b"first")
    (tmp_path / "vzdump-lxc-1001-2026_12_02-06_00_00.tar.zst").write_bytes(b"another guest's")
    (tmp_path / f"{stem}.log").write_bytes(b"no archive")
    assert [path.name for path in archive_digest.candidates(tmp_path, 100)] == [growing.name]

    def later(seconds: float) -> None:
        if growing.exists():
            with growing.open("ab") as file:
                file.write(b" and last")
            growing.rename(tmp_path / f"{stem}.{ending}")

    job = {"folder": str(tmp_path), "vmid": 100, "known": [], "seconds": 30}
    found = archive_digest.follow(job, sleep=later)
    assert found is not None
    assert found["path"] == str(tmp_path / f"{stem}.{ending}")
    assert found["sha256"] == hashlib.sha256(b"first and last").hexdigest()
