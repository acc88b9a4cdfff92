"""What the lab asks of podman: containers, networks, images. Every object is found by its exact name."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bascule_lab import shell
from bascule_lab.errors import LabError
from bascule_lab.topology import LABEL, Host, Network

# What systemd, tunnels, mounts and file handles need; nothing else is added to podman's own list.
CAPABILITIES = "NET_ADMIN,NET_RAW,SYS_ADMIN,DAC_READ_SEARCH,MKNOD,AUDIT_WRITE,LINUX_IMMUTABLE,SYS_PTRACE"
# Longer than a node takes to shut its guests down.
STOP_SECONDS = 60
# Which container has which address, as podman 4 with netavark keeps it for root.
LEASES = Path("/run/containers/networks/ipam.db")


@dataclass(frozen=True)
class Container:
    name: str
    id: str
    state: str  # created, running, exited, ...
    image: str


def containers() -> dict[str, Container]:
    """The lab's containers by name, running or not."""
    listing = json.loads(shell.run(["podman", "ps", "--all", "--filter", f"label={LABEL}", "--format", "json"]) or "[]")
    return {
        item["Names"][0]: Container(item["Names"][0], item["Id"], item["State"], item["ImageID"])
        for item in listing or []
    }


def apparmor_enabled() -> bool:
    flag = Path("/sys/module/apparmor/parameters/enabled")
    return flag.exists() and flag.read_text().strip() == "Y"


def run_command(host: Host, image: str, devices: Sequence[str], volumes: Sequence[str], apparmor: bool) -> list[str]:
    """The whole `podman run` of one host."""
    command = ["podman", "run", "--detach", "--name", host.container, "--hostname", host.name, "--label", LABEL]
    command += ["--systemd=always", "--stop-timeout", str(STOP_SECONDS), "--cap-add", CAPABILITIES]
    # The lab's emulated guests answer users, and tests of hosts that run beside it can wait.
    command += ["--cpu-shares", "8192"]
    command += ["--shm-size", "256m", "--no-hosts", "--dns-search", host.domain]
    for server in host.dns:
        command += ["--dns", server]
    for leg in host.legs:
        options = f"ip={leg.address},mac={leg.mac},interface_name={leg.interface}"
        command += ["--network", f"bascule-{leg.network}:{options}"]
    for device in (*host.devices, *devices):
        command += ["--device", device]
    for volume in volumes:
        command += ["--volume", volume]
    if host.kind == "gateway":
        command += ["--sysctl", "net.ipv4.ip_forward=1"]
    if apparmor:
        # The default profile forbids mount, which a file server does.
        command += ["--security-opt", "apparmor=unconfined"]
    return [*command, image]


def start(host: Host, image: str, devices: Sequence[str], volumes: Sequence[str]) -> None:
    shell.run(run_command(host, image, devices, volumes, apparmor_enabled()))


def execute(container: str, command: Sequence[str], data: bytes | None = None, timeout: float = 120) -> str:
    return shell.run(["podman", "exec", *(["-i"] if data is not None else []), container, *command], data, timeout)


def attempt(container: str, command: Sequence[str], timeout: float = 30) -> shell.Result:
    return shell.attempt(["podman", "exec", container, *command], timeout=timeout)


def wait_for_systemd(container: str, timeout: float = 60) -> None:
    """Until PID 1 has finished booting. `degraded` is told by the services' own checks."""
    deadline = time.monotonic() + timeout
    result = shell.Result(1, "", "")
    while time.monotonic() < deadline:
        result = attempt(container, ["systemctl", "is-system-running", "--wait"], timeout)
        if result.out.strip() in ("running", "degraded"):
            return
        # Right after the start there is no bus to ask yet.
        time.sleep(0.2)
    state = result.out.strip() or result.err.strip()
    raise LabError(f"{container}: systemd did not come up in {timeout:.0f} s: {state}", f"podman logs {container}")


def networks() -> set[str]:
    listing = json.loads(shell.run(["podman", "network", "ls", "--format", "json"]) or "[]")
    return {str(item["name"]) for item in listing}


def create_network(network: Network) -> None:
    # Internal: nothing of the lab reaches the internet, and no rule is added to the machine's firewall.
    shell.run(
        [
            "podman", "network", "create", "--internal", "--disable-dns", "--label", LABEL,
            "--opt", f"mtu={network.mtu}",
            "--subnet", network.subnet, "--gateway", network.host_address, network.podman_name,
        ]
    )  # fmt: skip


def image_exists(tag: str) -> bool:
    return shell.attempt(["podman", "image", "exists", tag]).code == 0


def image_id(tag: str) -> str:
    return shell.run(["podman", "image", "inspect", "--format", "{{.Id}}", tag]).strip()


def any_running() -> bool:
    """Whether any container at all runs here, the lab's or not."""
    return bool(shell.run(["podman", "ps", "--quiet"]).strip())


def forget_leases() -> None:
    """Forget which addresses are taken, when no container runs.

    Podman 4 keeps the address of a container whose start was cut short, even beyond its network, and refuses it to
    every later container. The file is on a tmpfs and made anew when it is missing.
    """
    if not any_running():
        LEASES.unlink(missing_ok=True)


def wait_for_starts(timeout: float = 60) -> None:
    """An `up` that was killed may have left a `podman run` behind that would still make a container: let it end."""
    deadline = time.monotonic() + timeout
    while any(is_start(command) for command in command_lines()) and time.monotonic() < deadline:
        time.sleep(0.2)


def is_start(command: Sequence[str]) -> bool:
    return len(command) > 2 and Path(command[0]).name == "podman" and command[1] == "run" and LABEL in command


def command_lines() -> list[list[str]]:
    """The argument lists of every process."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
        except OSError:
            # It has ended in the meantime.
            continue
    return lines
