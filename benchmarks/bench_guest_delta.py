"""A stopped guest whose disk has changed by 1 %: changed blocks against a whole archive, over the lab's link.

Both are what the role runs in the window, without Ansible around it. Theirs is the classic way: vzdump, transfer,
proof, restore. In the end the target's disk is compared with the source's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.faults.guests.nodes import Nodes

from bascule.guest import prepare
from benchmarks import guest_nodes
from benchmarks.harness import HIGHER, Benchmark, Measurement, Settings, alternate

BLOCK = 65536
# 60 % of the disk is written, with what cannot be compressed; in every turn 1 % is written anew, in scattered blocks.
FILL = """
import os, sys
path, size, block = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "wb") as out:
    out.truncate(size)
    for number in range(size // block):
        if number % 10 < 6:
            out.seek(number * block)
            out.write(os.urandom(block))
os.sync()
"""
CHANGE = """
import os, random, sys
path, size, block, seed = sys.argv[1], *map(int, sys.argv[2:])
count = size // block
with open(path, "r+b") as out:
    for number in random.Random(seed).sample(range(count), max(1, count // 100)):
        out.seek(number * block)
        out.write(os.urandom(block))
os.sync()
"""
PROOF = """
import sys
from bascule.guest.io import archive
sys.exit(archive.verify_archive(*sys.argv[1:]).result != "proved")
"""


class Guests:
    """A guest with a large disk and nothing on it that boots, stopped, with a passive copy at the target."""

    def __init__(self, pair: Nodes, size: int) -> None:
        self.pair, self.size = pair, size
        self.source, self.target = guest_nodes.guests(pair)
        self.turn = 0
        self.sent: dict[str, list[int]] = {"delta": [], "archive": []}

    def make(self) -> None:
        """Fill the disk, move the copy to the target, stop the guest, and slow the link down."""
        self.source.shut_down(force=True)
        path = guest_nodes.disk("source")
        self.pair.must_run("source", ["python3", "-c", FILL, path, str(self.size), str(BLOCK)], timeout=1800)
        config = f"/etc/pve/qemu-server/{self.source.side.vmid}.conf"
        self.pair.must_run("source", ["sed", "-i", f"s/size=1M/size={self.size >> 20}M/", config])
        self.source.start()
        self.pair.must("prepare")
        guest_nodes.bring_package(self.pair, "target")
        self.source.shut_down(force=True)
        self.pair.must_run("source", guest_nodes.SHAPE)

    def delta(self) -> float:
        """Only changed blocks."""
        self._change()
        pairs = [(guest_nodes.disk("source"), guest_nodes.disk("target"))]
        began = time.monotonic()
        self.sent["delta"].append(guest_nodes.pull(self.pair, "delta", pairs, True)["received"])
        return time.monotonic() - began

    def archive(self) -> float:
        """The whole guest."""
        self._change()
        began = time.monotonic()
        made = prepare.back_up(self.source, mark=f"turn{self.turn}")["archive"]
        there = f"/var/lib/vz/dump/{made['name']}"
        self.sent["archive"].append(guest_nodes.pull(self.pair, "archive", [(made["path"], there)], False)["received"])
        digest = self.pair.must_run("source", ["sha256sum", made["path"]]).split()[0]
        command = ["env", f"PYTHONPATH={guest_nodes.PACKAGE}", "python3", "-c", PROOF, there, digest]
        self.pair.must_run("target", command, timeout=1800)
        prepare.restore(self.target, self.source, f"local:backup/{made['name']}", began=True, replace=True)
        taken = time.monotonic() - began
        for side, path in (("source", made["path"]), ("target", there)):
            self.pair.must_run(side, ["rm", "-f", path])
        return taken

    def same(self) -> bool:
        """Whether the disk is the same at both sides."""
        found = {
            self.pair.must_run(side, ["sha256sum", guest_nodes.disk(side)], timeout=600).split()[0]
            for side in ("source", "target")
        }
        return len(found) == 1

    def _change(self) -> None:
        self.turn += 1
        arguments = [guest_nodes.disk("source"), str(self.size), str(BLOCK), str(self.turn)]
        self.pair.must_run("source", ["python3", "-c", CHANGE, *arguments], timeout=600)


def measure(settings: Settings) -> Measurement:
    """Measure on two nodes that are removed again."""
    size = (4 << 30) if settings.full else (768 << 20)
    variables: dict[str, Any] = {
        "proxmox_guest_move": "delta",
        "proxmox_guest_limits": {"task": 1800, "shutdown": 1, "agent": 60, "health": 60, "lock": 60},
    }
    with guest_nodes.started("guest-delta", Path(settings.scratch), boots=False, **variables) as pair:
        guests = Guests(pair, size)
        guests.make()
        sides = alternate(guests.delta, guests.archive, min(settings.rounds, 3))
        same = guests.same()
    fewer = min(guests.sent["archive"]) / max(guests.sent["delta"])
    figures = {
        "disk_bytes": size,
        "delta_bytes": guests.sent["delta"],
        "archive_bytes": guests.sent["archive"],
        "times_fewer_bytes": round(fewer, 1),
        **sides.figures("delta", "archive"),
    }
    return Measurement(sides.times_as_fast, figures, {"ten_times_fewer_bytes": fewer >= 10, "disks_are_the_same": same})


BENCHMARK = Benchmark(
    name="guest_delta",
    what="changed blocks of a stopped guest, 1 % of a disk that is 60 % full of incompressible data, over 200 Mbit/s",
    against="vzdump, transfer, proof and restore of the same guest, times as fast",
    limit=5,
    better=HIGHER,
    measure=measure,
)
