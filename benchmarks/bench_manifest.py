"""The manifest of a tree against what a shell does: small files against sha256sum, large ones against plain reading.

A manifest holds more than digests: type, mode, owners, times, links, ACLs and extended attributes of every path, in one
order. The command of the host agent is measured, from its start to its end, with no digest kept from before; cold means
that nothing of the tree, not even its directories, was in the kernel's caches.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import HIGHER, LOWER, Benchmark, Measurement, Settings, alternate

PACKAGE = Path(__file__).resolve().parents[1] / "python_helpers"
SMALL, PER_DIRECTORY = 200_000, 100
LARGE, LARGE_FILES = 10 << 30, 8
MEMORY_LIMIT = 300 << 20
DROP = Path("/proc/sys/vm/drop_caches")
HASHING = "find . -type f -print0 | xargs -0 -P2 sha256sum"
READING = "find . -type f -print0 | xargs -0 cat"


def make_small(tree: Path, count: int = SMALL) -> None:
    """Fill a tree with small files of some 5 kB, directory by directory, as a copy of a tree is written."""
    chosen = random.Random(7)
    blob = chosen.randbytes(1 << 20)
    for number in range(count):
        directory = tree / f"{number // PER_DIRECTORY // 50:02d}" / f"{number // PER_DIRECTORY % 50:02d}"
        if number % PER_DIRECTORY == 0:
            directory.mkdir(parents=True)
        size = int(chosen.triangular(200, 12_000, 2_500))
        at = chosen.randrange(len(blob) - size)
        (directory / f"page-{number:06d}.html").write_bytes(blob[at : at + size])
    os.sync()


def make_large(tree: Path, size: int) -> None:
    """Fill a tree with a few large files that cannot be compressed."""
    tree.mkdir(parents=True)
    for number in range(LARGE_FILES):
        with (tree / f"video-{number}.bin").open("wb") as out:
            for _ in range(size // LARGE_FILES >> 20):
                out.write(os.urandom(1 << 20))
    os.sync()


def cold(tree: Path) -> str:
    """Empty the kernel's caches of this tree; return how."""
    os.sync()
    try:
        DROP.write_text("3\n")
        return "dropped"
    except OSError:
        for directory, _, names in os.walk(tree):
            for name in names:
                descriptor = os.open(os.path.join(directory, name), os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
        return "advised for contents only: may not drop them"


def warm(tree: Path) -> str:
    """Bring the tree into the kernel's caches."""
    shell(READING, tree)
    return "filled"


def shell(command: str, tree: Path, out: Path | None = None) -> float:
    """Run a shell's command in the tree; return the seconds it took."""
    with (out or Path(os.devnull)).open("wb") as target:
        began = time.monotonic()
        subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=tree, stdout=target, check=True)
        return time.monotonic() - began


class Manifest:
    """Takes manifests of a tree with the host agent's own command."""

    def __init__(self, tree: Path, target: Path) -> None:
        self.tree, self.target = tree, target
        self.memory = 0
        self.found: dict[str, Any] = {}

    def take(self, kept: bool = False) -> float:
        """Take it, and return the seconds it took; `kept` lets it believe the digests of the one before."""
        if not kept:
            self.target.unlink(missing_ok=True)
        command = [sys.executable, "-m", "bascule.agent", "manifest", str(self.tree), str(self.target)]
        began = time.monotonic()
        with subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, stdout=subprocess.PIPE
        ) as process:
            watcher = threading.Thread(target=self._watch, args=(process,))
            watcher.start()
            output = process.stdout.read() if process.stdout else b""
        taken = time.monotonic() - began
        watcher.join()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
        self.found = json.loads(output)
        return taken

    def digests(self) -> dict[str, str]:
        """Return the digest of each file as the manifest has it."""
        found = {}
        with self.target.open(encoding="ascii") as lines:
            for line in lines:
                entry = json.loads(line.partition("\t")[0])
                if entry[1] == "file":
                    found[entry[0]] = entry[-1]
        return found

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        while process.poll() is None:
            self.memory = max(self.memory, sum(resident(pid) for pid in family(process.pid)))
            time.sleep(0.05)


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(int(child) for child in children)]


def resident(pid: int) -> int:
    """Return the memory of a process; pages that are shared with another count in both."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def measured(
    settings: Settings, before: Callable[[Path], str], make: Callable[[Path], None], command: str, hashes: bool
) -> Measurement:
    """Measure both sides in turn, each after the caches were brought to the same state."""
    tree = settings.scratch / "tree"
    make(tree)
    manifest = Manifest(tree, settings.scratch / "manifest.jsonl")
    out = settings.scratch / "shell.out"
    caches = ""

    def ours() -> float:
        nonlocal caches
        caches = before(tree)
        return manifest.take()

    def theirs() -> float:
        before(tree)
        return shell(command, tree, out if hashes else None)

    found = alternate(ours, theirs, settings.rounds)
    checks = {
        "memory_within_limit": 0 < manifest.memory <= MEMORY_LIMIT,
        "nothing_moved": manifest.found["moving"] == 0,
    }
    checks["every_byte_read"] = manifest.found["read_bytes"] == manifest.found["bytes"] > 0
    if hashes:
        told = {line[68:]: line[:64] for line in out.read_text().splitlines()}
        checks["same_digests"] = told == manifest.digests()
    kept = manifest.take(kept=True)
    return Measurement(
        found.times_as_fast if hashes else found.ratio,
        {
            **found.figures("manifest", "sha256sum" if hashes else "reading"),
            "files": manifest.found["files"],
            "bytes": manifest.found["bytes"],
            "caches": caches,
            "peak_memory_mib": round(manifest.memory / (1 << 20), 1),
            "again_with_kept_digests_seconds": round(kept, 4),
            "again_read_files": manifest.found["read_files"],
        },
        checks,
    )


def small(before: Callable[[Path], str]) -> Callable[[Settings], Measurement]:
    """Return the measurement of small files."""
    return lambda settings: measured(settings, before, make_small, HASHING, True)


def large(before: Callable[[Path], str]) -> Callable[[Settings], Measurement]:
    """Return the measurement of large files."""
    return lambda settings: measured(settings, before, lambda tree: make_large(tree, LARGE), READING, False)


FAST, PLAIN = "times as fast as find | xargs -P2 sha256sum", "times the time of plain reading"
BENCHMARKS = [
    Benchmark("manifest_small_cold", "manifest of 200,000 small files, cold", FAST, 3.0, HIGHER, small(cold)),
    Benchmark("manifest_small_warm", "manifest of 200,000 small files, warm", FAST, 3.0, HIGHER, small(warm)),
    Benchmark("manifest_large_cold", "manifest of 10 GB in large files, cold", PLAIN, 1.5, LOWER, large(cold)),
    Benchmark("manifest_large_warm", "manifest of 10 GB in large files, warm", PLAIN, 1.5, LOWER, large(warm)),
]
