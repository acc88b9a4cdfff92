"""Writing the archive: disks read past their holes, packed as VMA, streamed through the compressor."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from . import guest_config, vma
from .errors import Failure
from .guest_config import Config
from .tasks import Task
from .vzdump_text import now, progress

READ_SIZE = 4 << 20


@dataclass(frozen=True)
class Source:
    """A disk as the archive takes it: its device, and the file to read it from."""

    key: str
    device: vma.Device
    path: Path


class Backup:
    """One guest's backup inside a task: the task's log, and the archive's own log beside the archive."""

    def __init__(self, task: Task, log: Path) -> None:
        self.task = task
        self._log = log.open("w")

    def close(self) -> None:
        self._log.close()

    def say(self, text: str, level: str = "INFO") -> None:
        self.task.log(f"{level}: {text}")
        self._log.write(f"{now()} {level}: {text}\n")
        self._log.flush()


class Archive:
    def __init__(self, backup: Backup, config: Config, sources: list[Source], compressor: list[str]) -> None:
        self._backup = backup
        self._config = config
        self._sources = sources
        self._compressor = compressor

    def write(self, target: Path) -> None:
        part = target.with_suffix(".dat")
        try:
            with part.open("wb") as out:
                process = subprocess.Popen(self._compressor, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE)
                assert process.stdin
                assert process.stderr
                try:
                    with contextlib.suppress(BrokenPipeError):
                        self._stream(process.stdin, part)
                        process.stdin.close()
                except BaseException:
                    process.kill()
                    raise
                finally:
                    complaint = process.stderr.read().decode(errors="replace").strip()
                    process.wait()
                    with contextlib.suppress(BrokenPipeError):
                        process.stdin.close()
                    process.stderr.close()
                if process.returncode:
                    for line in complaint.splitlines():
                        self._backup.say(line, "ERROR")
                    raise Failure(complaint.splitlines()[-1] if complaint else "compressor failed")
                out.flush()
                os.fsync(out.fileno())
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)

    def _stream(self, pipe: IO[bytes], part: Path) -> None:
        text = guest_config.render({key: value for key, value in self._config.items() if key != "lock"})
        storages = {key: drive["file"].partition(":")[0] for key, drive in guest_config.drives(self._config).items()}
        text += "".join(
            f"#qmdump#map:{source.key}:drive-{source.key}:{storages[source.key]}:raw:\n" for source in self._sources
        )
        devices = tuple(source.device for source in self._sources)
        header = vma.Header(uuid.uuid4().bytes, int(time.time()), {"qemu-server.conf": text.encode()}, devices)
        writer = vma.Writer(header, pipe.write)
        meter = Meter(self._backup, sum(device.size for device in devices), writer, part)
        for source in self._sources:
            for number, data in clusters(source.path, source.device.size):
                writer.add(source.device, number, data)
                if number % 64 == 0:
                    meter.tick(64 * vma.CLUSTER)
        writer.close()
        meter.finish()


class Meter:
    """The progress lines, every three seconds and at the end."""

    EVERY = 3.0

    def __init__(self, backup: Backup, total: int, writer: vma.Writer, part: Path) -> None:
        self._backup = backup
        self._total = total
        self._writer = writer
        self._part = part
        self._began = self._last = time.monotonic()
        self._done = self._last_done = self._last_written = 0

    def tick(self, size: int) -> None:
        self._backup.task.check()
        self._done = min(self._done + size, self._total)
        if time.monotonic() - self._last >= self.EVERY:
            self._line()

    def _line(self) -> None:
        moment, written = time.monotonic(), self._part.stat().st_size
        span = max(moment - self._last, 0.001)
        read, write = (self._done - self._last_done) / span, (written - self._last_written) / span
        self._backup.say(progress(self._done, self._total, moment - self._began, read, write))
        self._last, self._last_done, self._last_written = moment, self._done, written

    def finish(self) -> None:
        self._done = self._total
        self._line()
        zero, seconds = self._writer.zero_bytes, max(1, round(time.monotonic() - self._began))
        if zero:
            size = f"{zero / (1 << 30):.2f} GiB" if zero >= 1 << 30 else f"{zero / (1 << 20):.2f} MiB"
            self._backup.say(f"backup is sparse: {size} ({100 * zero // self._total}%) total zero data")
        rate = self._total / seconds / (1 << 20)
        self._backup.say(f"transferred {self._total / (1 << 30):.2f} GiB in {seconds} seconds ({rate:.1f} MiB/s)")


def clusters(path: Path, size: int) -> Iterator[tuple[int, bytes | None]]:
    """Every cluster of a raw disk in order; holes are not read."""
    with path.open("rb", buffering=0) as disk:
        descriptor, position, data_end = disk.fileno(), 0, 0
        while position < size:
            if position >= data_end:
                begin, data_end = _next_data(descriptor, position, size)
                while position < size and position + vma.CLUSTER <= begin:
                    yield position // vma.CLUSTER, None
                    position += vma.CLUSTER
                if position >= size:
                    return
            chunk = os.pread(descriptor, min(READ_SIZE, size - position), position)
            if not chunk:
                raise Failure(f"'{path}' ended early")
            # Whole clusters only, unless the disk itself ends in a short one.
            usable = len(chunk) if position + len(chunk) == size else len(chunk) // vma.CLUSTER * vma.CLUSTER
            for start in range(0, usable, vma.CLUSTER):
                if position + start >= data_end:
                    usable = start
                    break
                yield (position + start) // vma.CLUSTER, chunk[start : min(start + vma.CLUSTER, usable)]
            position += usable


def _next_data(descriptor: int, position: int, size: int) -> tuple[int, int]:
    """Begin and end of the next stretch that may hold data; (size, size) when the rest is a hole."""
    try:
        begin = os.lseek(descriptor, position, os.SEEK_DATA)
        return begin, os.lseek(descriptor, begin, os.SEEK_HOLE)
    except OSError as error:
        # A block device knows of no holes.
        return (position, size) if error.errno == errno.EINVAL else (size + vma.CLUSTER, size + vma.CLUSTER)
