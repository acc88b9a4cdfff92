"""The verifier of archives beside decompressing the same file into nothing: the least anybody can do with it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import HIGHER, Benchmark, Measurement, Settings, alternate

# The lab's own writer of archives; it is no part of what is installed.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "lab"))
vma = importlib.import_module("pve.pve_standin.vma")

MIB = 1 << 20
MEMORY_LIMIT = 100 * MIB
# 60 % of the disk is written, with data that cannot be compressed: the fastest that zstd ever is.
WRITTEN, OF = 6, 10


def clusters(size: int) -> Iterator[bytes | None]:
    """The disk cluster by cluster."""
    for number in range(size // vma.CLUSTER):
        yield os.urandom(vma.CLUSTER) if number % OF < WRITTEN else None


def write_archive(path: Path, size: int) -> None:
    """An archive as vzdump writes it: VMA through zstd."""
    device = vma.Device(1, "drive-scsi0", size)
    header = vma.Header(os.urandom(16), int(time.time()), {"qemu-server.conf": b"name: bench\n"}, (device,))
    with path.open("wb") as out:
        packer = subprocess.Popen(["zstd", "-q", "-T0", "-c"], stdin=subprocess.PIPE, stdout=out)
        if packer.stdin is None:
            raise RuntimeError("zstd takes nothing")
        writer = vma.Writer(header, packer.stdin.write)
        for number, data in enumerate(clusters(size)):
            writer.add(device, number, data)
        writer.close()
        packer.stdin.close()
        if packer.wait():
            raise RuntimeError("zstd failed")


def seconds(command: list[str]) -> float:
    """How long the command takes, its output thrown away."""
    begun = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def measure(settings: Settings) -> Measurement:
    """Run the command `bascule verify-archive` and `zstd -dc` on one file, in turn."""
    archive = settings.scratch / "vzdump-qemu-100-2026_11_20-08_46_01.vma.zst"
    size = (8 if settings.full else 4) << 30
    write_archive(archive, size)
    ours = [sys.executable, "-m", "bascule.cli.main", "verify-archive", str(archive)]
    try:
        found = json.loads(subprocess.run([*ours, "--json"], capture_output=True, check=True).stdout)
        # The command's own process; the zstd program, which it starts where there is no library, is asked for alone.
        largest = [_largest(ours), _largest(["zstd", "-dcq", str(archive)])]
        sides = alternate(lambda: seconds(ours), lambda: seconds(["zstd", "-dcq", str(archive)]), settings.rounds)
    finally:
        archive.unlink()
    figures = {
        "disk_bytes": size,
        "archive_bytes": found["length"],
        "memory_bytes": sum(largest),
        **sides.figures("verify", "zstd"),
    }
    checks = {"proved": found["result"] == "proved", "memory_within_100_MB": sum(largest) <= MEMORY_LIMIT}
    return Measurement(sides.times_as_fast, figures, checks)


def _largest(command: list[str]) -> int:
    """The peak memory of a command, asked of a process that has had no other child."""
    code = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=True, text=True)
    return int(done.stdout) * 1024


BENCHMARK = Benchmark(
    name="vma",
    what="bascule verify-archive on a compressed archive of a disk that is 60 % full",
    against="zstd -dc of the same file to /dev/null, times as fast",
    limit=0.5,
    better=HIGHER,
    measure=measure,
)
