"""Two nodes with a container between them: real namespaces and file systems behind the stand-in of Proxmox's API."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bascule_lab import shell

from tests.faults.guests.nodes import STANDIN, Nodes
from tests.faults.pair import ROOT, SIDES

# Others than those of a guest's pair: on one machine both pairs have one kernel, and where a host has no node of a loop
# device, that is told by the name of its file.
BOXES = {"source": 162, "target": 163}
DATA_BYTES = 8 << 20
CONFIG = """arch: amd64
cores: 1
description: {description}
hostname: box
memory: 64
nameserver: 192.0.2.53
net0: name=eth0,bridge=vmbr0,gw={gateway},hwaddr=BC:24:11:0A:00:A0,ip={address}/24,type=veth
onboot: 1
ostype: unmanaged
swap: 0
"""


@dataclass
class ContainerNodes(Nodes):
    """A pair of nodes; the container has number 162 at the source and 163 at the target."""

    boots: bool = False
    numbers: Mapping[str, int] = field(default_factory=lambda: BOXES)

    def _address(self, side: str) -> str:
        return f"{self.subnet.rpartition('.')[0]}.{BOXES[side]}"

    def _component(self) -> dict[str, Any]:
        self.stand_in = "not used"
        found = super()._component()
        for side in SIDES:
            own = found["proxmox_guest_sides"][self.host(side)]
            del own["ipconfig0"]
            own["nets"] = {"net0": {"ip": f"{self._address(side)}/24", "gw": self.addresses["source"]}}
            own["health_url"] = f"http://{self._address(side)}:8000/cgi-bin/healthz"
        return found

    def _run_command(self, side: str) -> list[str]:
        *command, image = super()._run_command(side)
        return [*command, "--device", "/dev/loop-control", "--device-cgroup-rule", "b 7:* rmw", image]

    def _seed(self, side: str) -> None:
        for name in ("box.raw", "data.raw"):
            self.must_run(side, ["rm", "-f", f"/var/lib/vz/{name}"])
        volume = self.work / "box.raw"
        if not volume.exists():
            shell.run([sys.executable, str(ROOT / "tests/lab/pve/build_container.py"), "--output", str(volume)])
        shell.run(["podman", "cp", str(volume), f"{self.host(side)}:/var/lib/vz/box.raw"])
        data = f"truncate -s {DATA_BYTES} /var/lib/vz/data.raw && mkfs.ext4 -q -F -m 0 /var/lib/vz/data.raw"
        self.must_run(side, ["bash", "-c", data])
        config = CONFIG.format(description="Ask Nadia.", gateway=self.addresses["source"], address=self._address(side))
        volumes = ["rootfs=/var/lib/vz/box.raw", "mp0,mp=/srv/data,backup=1=/var/lib/vz/data.raw"]
        self.must_run(side, [f"{STANDIN}/seed-container.sh", str(BOXES[side]), *volumes], config)

    # What tests look at

    def config(self, side: str) -> str:
        done = self.run(side, ["cat", f"/etc/pve/lxc/{BOXES[side]}.conf"])
        return done.out if done.rc == 0 else ""

    def running(self, side: str) -> bool:
        return self.run(side, ["pct", "exec", str(BOXES[side]), "--", "true"]).rc == 0

    def inside(self, side: str, script: str) -> str:
        return self.must_run(side, ["pct", "exec", str(BOXES[side]), "--", "/bin/sh", "-c", script]).strip()

    def volumes(self, side: str) -> list[str]:
        number = BOXES[side]
        script = f"ls /var/lib/vz/images/{number} /var/lib/vz/dump 2>/dev/null | grep -E 'vm-{number}-disk|tar' || true"
        return sorted(self.must_run(side, ["bash", "-c", script]).split())

    def users(self, side: str) -> list[str]:
        """The container's volumes that a loop device is on: none when it is stopped."""
        folder = f"/var/lib/vz/images/{BOXES[side]}/"
        found = self.must_run(side, ["bash", "-c", "cat /sys/block/loop*/loop/backing_file 2>/dev/null || true"])
        return sorted(line for line in found.splitlines() if line.startswith(folder))
