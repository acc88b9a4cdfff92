"""A transfer between two nodes, pulled by the one that receives: what to run, and what its output means."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import BasculeError

_PROGRESS = re.compile(r"(?P<bytes>[\d,]+)\s+(?P<percent>\d{1,3})%\s+(?P<rate>\S+/s)\s+(?P<left>\d+:\d\d:\d\d)")
_STATS = {
    "literal": re.compile(r"^Literal data: ([\d,]+) bytes", re.MULTILINE),
    "matched": re.compile(r"^Matched data: ([\d,]+) bytes", re.MULTILINE),
    "sent": re.compile(r"^Total bytes sent: ([\d,]+)", re.MULTILINE),
    "received": re.compile(r"^Total bytes received: ([\d,]+)", re.MULTILINE),
}
# What the sending side may be asked: read one file, nothing that writes, deletes or follows links elsewhere.
_SHORT = re.compile(r"^-[vtpzIBe0-9.iLsfxCIvu]+$")
_LONG = frozenset(
    {"--inplace", "--no-W", "--no-whole-file", "--partial", "--stats", "--info=progress2", "--new-compress"}
)
_LONG_WITH = ("--block-size=", "--compress-choice=", "--compress-level=", "--log-format=", "--timeout=", "--bwlimit=")
# What the masks of a VMA archive count in, and how many blocks an archive with a basis is cut into at most while they
# are smaller than those of disks.
_VMA_BLOCK = 4096
_BLOCKS = 4 << 20


@dataclass(frozen=True)
class Job:
    """One transfer: pairs of a file at the other node and a file here, and disks of which changed blocks travel."""

    component: str
    name: str
    address: str
    port: int
    user: str
    pairs: tuple[tuple[str, str], ...]
    compress: bool
    block_size: int
    bwlimit: int
    disks: bool
    # Folder of the archive that was restored last, in which unchanged data are found; empty for a transfer without one.
    basis: str = ""
    # Disks here that rsync does not carry: name, path, format, volid, and the bytes of each that count.
    blocks: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Read a job; the order of pairs is kept."""
        return cls(
            component=str(data["component"]),
            name=str(data["name"]),
            address=str(data["address"]),
            port=int(data["port"]),
            user=str(data["user"]),
            pairs=tuple((str(pair["source"]), str(pair["target"])) for pair in data["pairs"]),
            compress=bool(data["compress"]),
            block_size=int(data["block_size"]),
            bwlimit=int(data["bwlimit"]),
            disks=bool(data["disks"]),
            basis=str(data.get("basis", "")),
            blocks=tuple(dict(disk) for disk in data.get("blocks", ())),
        )


def unit_name(component: str, name: str) -> str:
    """Return the systemd unit of a transfer."""
    return f"bascule-{component}-pull-{name}"


def directory(component: str) -> str:
    """Return where a component keeps its files on a node."""
    return f"/var/lib/bascule/{component}"


def ssh_command(component: str, port: int) -> list[str]:
    """Return the ssh command by which this node reaches the other: its own key, pinned host keys, nothing else."""
    base = directory(component)
    return [
        "ssh", "-i", f"{base}/ssh/id_ed25519", "-p", str(port), "-o", f"UserKnownHostsFile={base}/ssh/known_hosts",
        "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
        "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=10",
        "-o", "ServerAliveCountMax=3", "-o", "Compression=no",
    ]  # fmt: skip


def basis_folder(dump_directory: str, component: str) -> str:
    """Return where a node keeps the basis of a component's archives: hidden from Proxmox, on the same file system."""
    return f"{dump_directory.rstrip('/')}/.bascule-{component}"


def arriving(job: Job) -> str:
    """Return where an archive stands until it is whole, when there is a basis."""
    return f"{job.basis}/arriving"


def archive_block_size(size: int, most: int) -> int:
    """Return the bytes in which an archive with a basis of this size is compared: `most` for very large ones.

    Small, as a cluster may stand at another place in the next archive, and the blocks on its borders are then found
    nowhere. The sending side keeps some 40 bytes in memory for each block.
    """
    block = _VMA_BLOCK
    while block < most and size // block > _BLOCKS:
        block *= 2
    return min(block, most)


def rsync_command(job: Job, source: str, target: str, basis: Optional[int] = None) -> list[str]:
    """Return the rsync command for one file.

    `--ignore-times` always: an unchanged size and time say nothing about a disk. `--inplace --no-whole-file` writes
    changed blocks only, and lets an interrupted transfer go on where it stood. `-t` and the like are left out: only the
    content travels.

    `basis` is the size of an older archive that the job's basis folder holds under the target's name. It is only read:
    in place, data that moved towards the end would be overwritten before it is needed. What arrives stands below that
    folder, and has its final name only when it is whole; it is small, so a transfer that was cut begins again.
    """
    how, block = ["--inplace", "--partial"], job.block_size
    if basis is not None:
        how = [f"--copy-dest={job.basis}", f"--temp-dir={arriving(job)}"]
        block = archive_block_size(basis, job.block_size)
    return [
        "rsync", *how, "--no-whole-file", "--ignore-times", f"--block-size={block}",
        *(["--compress", "--compress-choice=zstd", "--compress-level=1"] if job.compress else []),
        *([f"--bwlimit={job.bwlimit}"] if job.bwlimit else []),
        "--stats", "--info=progress2", "--timeout=120", "-e", shlex.join(ssh_command(job.component, job.port)),
        "--", f"{job.user}@{job.address}:{source}", target,
    ]  # fmt: skip


def progress(text: str) -> Optional[str]:
    """Return the last progress in rsync's output: `47% 23.51MB/s`."""
    found = list(_PROGRESS.finditer(text))
    return f"{found[-1]['percent']}% {found[-1]['rate']}" if found else None


def statistics(text: str) -> dict[str, int]:
    """Return what rsync's final statistics say; a missing figure is an error, not a zero."""
    result = {}
    for name, pattern in _STATS.items():
        found = pattern.search(text)
        if not found:
            raise BasculeError(expected=f"'{name}' in rsync's statistics", found=text[-300:] or "no output")
        result[name] = int(found[1].replace(",", ""))
    return result


def permitted(command: str, readable: Sequence[str]) -> list[str]:
    """Return the rsync command a forced command may run for what the other node asked, or refuse it.

    Only `rsync --server --sender … . PATH` with PATH inside a readable folder passes, with options that read.
    """
    words = shlex.split(command)
    if words[:3] != ["rsync", "--server", "--sender"] or len(words) < 6 or words[-2] != ".":
        raise BasculeError(expected="rsync asking to be sent one file", found=command[:300], state="refused")
    for option in words[3:-2]:
        long = option in _LONG or option.startswith(_LONG_WITH)
        if not long and not _SHORT.match(option):
            raise BasculeError(expected="options that only read", found=option, state="refused")
    path = words[-1]
    inside = any(path.startswith(folder.rstrip("/") + "/") for folder in readable)
    if not inside or "/../" in path or path.endswith(("/", "/..")) or "//" in path:
        raise BasculeError(expected=f"a file under {', '.join(readable)}", found=path, state="refused")
    return words
