"""Twenty guests that are not booted, on one pair of nodes: what a guest costs must not grow with their number.

The verbs audit and sync of a playbook, over twenty components against over four: the seconds per guest are compared.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import yaml
from tests.faults.guests.nodes import Nodes

from benchmarks import guest_nodes
from benchmarks.harness import LOWER, Benchmark, Measurement, Settings, alternate

FEW, MANY = 4, 20
FIRST = 200
# What a stream over the link takes is no orchestration.
VARIABLES = {"proxmox_guest_move": "delta", "proxmox_guest_rate_seconds": 0}
MAKE = """
set -eu
for number in $(seq $1 $2); do
    mkdir -p /var/lib/vz/images/$number
    truncate -s 1M /var/lib/vz/images/$number/vm-$number-disk-0.raw
    printf 'agent: 1\\nmemory: 128\\nname: g%s\\n' $number > /etc/pve/qemu-server/$number.conf
    printf 'net0: virtio=BC:24:11:00:01:%02X,bridge=vmbr0\\n' $((number - $1)) >> /etc/pve/qemu-server/$number.conf
    printf 'scsi0: local:%s/vm-%s-disk-0.raw,size=1M\\n' $number $number >> /etc/pve/qemu-server/$number.conf
done
"""


class Crowd:
    """Many stopped guests at the source."""

    def __init__(self, pair: Nodes) -> None:
        self.pair = pair
        pair.must_run("source", ["bash", "-c", MAKE, "make", str(FIRST), str(FIRST + MANY - 1)])

    def seconds(self, count: int) -> float:
        """Seconds per guest of two verbs over so many."""
        self._inventory(count)
        began = time.monotonic()
        self.pair.must("audit", "sync")
        return (time.monotonic() - began) / count

    def _inventory(self, count: int) -> None:
        self.pair.write_inventory()
        path = self.pair.work / "inventory.yml"
        inventory: dict[str, Any] = yaml.safe_load(path.read_text())
        hosts = inventory["all"]["children"]["components"]["hosts"]
        pattern = hosts.pop(self.pair.component)
        for number in range(FIRST, FIRST + count):
            one = copy.deepcopy(pattern)
            for side in one["proxmox_guest_sides"].values():
                side.update(vmid=number, ipconfig0="", health_url="")
            hosts[f"guest_{number}"] = one
        path.write_text(yaml.safe_dump(inventory))


def measure(settings: Settings) -> Measurement:
    """Measure on two nodes that are removed again."""
    with guest_nodes.started("guest-many", Path(settings.scratch), boots=False, **VARIABLES) as pair:
        crowd = Crowd(pair)
        # The first run of all opens connections; it counts for neither.
        crowd.seconds(1)
        sides = alternate(lambda: crowd.seconds(MANY), lambda: crowd.seconds(FEW), min(settings.rounds, 3))
    return Measurement(sides.ratio, {"guests": [MANY, FEW], **sides.figures("many_per_guest", "few_per_guest")})


BENCHMARK = Benchmark(
    name="guest_many",
    what=f"seconds of orchestration per guest, with {MANY} guests on a pair of nodes",
    against=f"the same with {FEW} guests",
    limit=1.1,
    better=LOWER,
    measure=measure,
)
