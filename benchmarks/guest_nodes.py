"""Two nodes for the benchmarks of guests: the pair of the fault tests, spoken to by the helpers themselves."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "lab"))

from bascule_lab import shell
from tests.faults.guests.nodes import NUMBERS, Nodes

from bascule.guest import session
from bascule.guest.guest import Guest
from bascule.guest.io import health
from bascule.guest.io.proxmox_api import connect

USER = "bascule@pve!move"
# Where the whole package lies on a node; the host agent has only what runs in its units.
PACKAGE = "/opt/bench"
AGENT = "/usr/local/lib/bascule/bascule.pyz"
# The link of the lab's sites.
SHAPE = ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "200mbit", "burst", "256kb", "latency", "50ms"]


@contextlib.contextmanager
def started(name: str, scratch: Path, boots: bool = True, **variables: Any) -> Iterator[Nodes]:
    """A pair of nodes with a guest that serves (or only runs) at the source, removed whatever happens."""
    gates = {
        "guest_boots": {"equals": True, "max_age": 600},
        "guest_differences": {"max": 0},
        "guest_copy_age": {"max": 3600, "unit": "s"},
    }
    pair = Nodes("pve", f"bench-{name}", scratch / name, variables=variables, gates=gates, boots=boots)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


def guests(pair: Nodes) -> tuple[Guest, Guest]:
    """The guest at the source and at the target, as the role's action speaks to them."""
    values = {**pair._component(), **pair.variables}
    settings = session.Settings(
        component=pair.component,
        sides=values["proxmox_guest_sides"],
        token_id=USER,
        secrets=values["proxmox_guest_token_secrets"],
        ca_file=values["proxmox_guest_ca_file"],
        limits=session.limits(values["proxmox_guest_limits"]),
        timeout=30.0,
    )

    def one(side: str) -> Guest:
        return session.guest(pair.host(side), settings, connect, lambda text: None, health.ask)

    return one("source"), one("target")


def pull(pair: Nodes, name: str, pairs: list[tuple[str, str]], disks: bool) -> dict[str, Any]:
    """Carry files over to the target with the host agent, as the role's unit does; return what it has measured."""
    job = {
        "component": pair.component,
        "name": name,
        "address": pair.addresses["source"],
        "port": 22,
        "user": "root",
        "pairs": [{"source": source, "target": target} for source, target in pairs],
        "compress": disks,
        "block_size": 16384,
        "bwlimit": 0,
        "disks": disks,
    }
    base = f"/var/lib/bascule/{pair.component}/pull-{name}"
    pair.must_run("target", ["tee", f"{base}.job.json"], json.dumps({"job_id": name, "job": job}))
    pair.must_run("target", ["python3", AGENT, "guest_pull", f"{base}.job.json"], timeout=1800)
    found: dict[str, Any] = json.loads(pair.must_run("target", ["cat", f"{base}.status.json"]))
    return found


def bring_package(pair: Nodes, side: str) -> None:
    """Put the package on a node, as Ansible brings what its modules import."""
    pair.must_run(side, ["mkdir", "-p", PACKAGE])
    shell.run(
        [
            "podman",
            "cp",
            str(Path(__file__).resolve().parents[1] / "python_helpers/bascule"),
            f"{pair.host(side)}:{PACKAGE}/",
        ]
    )


def disk(side: str) -> str:
    """Where the disk of the guest lies."""
    return f"/var/lib/vz/images/{NUMBERS[side]}/vm-{NUMBERS[side]}-disk-0.raw"
