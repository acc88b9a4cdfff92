"""Running containers: processes in namespaces of their own, on loop-mounted ext4 volumes, found again by a pid file.

There is no LXC in this: `container/start.sh` is started in the namespaces, mounts, and becomes the container's init.
Users are those of the node (a privileged container), and no cgroup holds it within its memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import guest_config
from .errors import Failure
from .guest_config import Config
from .paths import Paths
from .qemu import TICKS, refuse_missing_bridge

START = Path(__file__).resolve().parents[1] / "container/start.sh"
START_SECONDS = 15.0
_NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc")


def volumes(config: Config) -> dict[str, dict[str, str]]:
    """Every volume, `rootfs` first: its name under `volume`, where the container has it under `mp`."""
    names = sorted((key for key in config if key == "rootfs" or _is_mount(key)), key=lambda key: (key != "rootfs", key))
    found = {key: guest_config.parse_options(config[key], "volume") for key in names}
    return {key: {"mp": "/", **options} for key, options in found.items()}


def _is_mount(key: str) -> bool:
    return key.startswith("mp") and key[2:].isdigit()


def cards(config: Config) -> dict[str, dict[str, str]]:
    """The cards by their key."""
    return {key: guest_config.parse_options(config[key], "name") for key in guest_config.nets(config)}


class Containers:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def pid(self, vmid: int) -> int | None:
        """The container's init, or None: a number alone is no proof, the process must have begun when ours did."""
        try:
            pid, started = map(int, self._paths.container_pid(vmid).read_text().split())
            return pid if _started(pid) == started else None
        except (OSError, ValueError):
            return None

    def running(self) -> list[int]:
        vmids = (int(path.stem.removeprefix("ct-")) for path in self._paths.run.glob("ct-*.pid"))
        return sorted(vmid for vmid in vmids if self.pid(vmid))

    def uptime(self, vmid: int) -> int:
        pid = self.pid(vmid)
        with contextlib.suppress(OSError):
            return int(time.clock_gettime(time.CLOCK_BOOTTIME) - _started(pid) / TICKS) if pid else 0
        return 0

    def start(self, vmid: int, config: Config, say: Callable[[str], None]) -> None:
        """Mount the volumes and run the init; on return its cards are in its network."""
        for card in cards(config).values():
            refuse_missing_bridge(card, say)
        named = [
            f"{key}={self._paths.volume(options['volume'])}:{options['mp']}" for key, options in volumes(config).items()
        ]
        command = [
            "unshare", *_NAMESPACES, "--propagation", "private", "--fork", "--kill-child", "--", str(START),
            str(self._paths.run / f"ct-{vmid}"), config.get("hostname", f"CT{vmid}"), *named,
        ]  # fmt: skip
        with self._paths.console(vmid).open("ab") as console:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=console, stderr=console, start_new_session=True
            )
        try:
            init = _child(process)
            for key, card in cards(config).items():
                self._plug(vmid, key, card, init)
            assert process.stdin
            process.stdin.write(b"go\n")
            process.stdin.close()
            self._await(process, init)
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, OSError | subprocess.CalledProcessError):
                last = (self._paths.console(vmid).read_text(errors="replace").splitlines() or ["nothing was said"])[-1]
                say(f"lxc-start: {vmid}: {last}")
                raise Failure(f"startup for container '{vmid}' failed") from error
            raise
        self._paths.container_pid(vmid).write_text(f"{init} {_started(init)}\n")
        # Whoever is waited for is no zombie, whose volumes would still count as in use.
        _reap(process)

    @staticmethod
    def _await(process: subprocess.Popen[bytes], init: int) -> None:
        """Until the process is the container's own init, at its own root."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise OSError("it has ended")
            command = Path(f"/proc/{init}/cmdline").read_bytes().split(b"\0")
            if b"/sbin/init" in command and b"-c" not in command:
                return
            time.sleep(0.02)
        raise OSError("it does not come up")

    @staticmethod
    def _plug(vmid: int, key: str, card: dict[str, str], init: int) -> None:
        outside, inside = f"veth{vmid}i{key[3:]}", f"vethp{vmid}i{key[3:]}"
        subprocess.run(["ip", "link", "del", outside], check=False, capture_output=True)
        made = ["ip", "link", "add", outside, "type", "veth", "peer", "name", inside]
        _run([*made, *(["address", card["hwaddr"]] if "hwaddr" in card else [])])
        _run(["ip", "link", "set", inside, "netns", str(init)])
        there = ["nsenter", "--target", str(init), "--net", "ip"]
        _run([*there, "link", "set", inside, "name", card["name"]])
        if "/" in card.get("ip", ""):
            _run([*there, "addr", "add", card["ip"], "dev", card["name"]])
        _run([*there, "link", "set", card["name"], "up"])
        Containers.connect(vmid, key, card)
        if "gw" in card:
            _run([*there, "route", "replace", "default", "via", card["gw"], "dev", card["name"], "onlink"])

    @staticmethod
    def connect(vmid: int, key: str, card: dict[str, str]) -> None:
        """The card's outer end on its bridge, up or down."""
        outside = f"veth{vmid}i{key[3:]}"
        _run(["ip", "link", "set", outside, "master", card["bridge"]])
        _run(["ip", "link", "set", outside, "down" if card.get("link_down") == "1" else "up"])

    def interfaces(self, vmid: int) -> list[dict[str, Any]] | None:
        """What `ip` shows in the container's network; None of one that does not run."""
        pid = self.pid(vmid)
        if pid is None:
            return None
        done = subprocess.run(
            ["nsenter", "--target", str(pid), "--net", "ip", "-j", "addr"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return None
        shown = []
        for link in json.loads(done.stdout):
            addresses = [info for info in link["addr_info"] if info.get("local")]
            row = {
                "name": link["ifname"], "hwaddr": link["address"], "hardware-address": link["address"],
                "ip-addresses": [
                    {"ip-address": i["local"], "prefix": i["prefixlen"], "ip-address-type": i["family"]}
                    for i in addresses
                ],
            }  # fmt: skip
            row |= {info["family"]: f"{info['local']}/{info['prefixlen']}" for info in addresses}
            shown.append(row)
        return shown

    def shutdown(self, vmid: int, seconds: float, check: Callable[[], None]) -> None:
        """Tell the init to end, by the signal that Proxmox sends."""
        pid = self.pid(vmid)
        if pid is None:
            return
        os.kill(pid, signal.SIGPWR)
        deadline = time.monotonic() + seconds
        while self.pid(vmid) is not None:
            check()
            if time.monotonic() > deadline:
                raise Failure(f"command 'lxc-stop -n {vmid} --nokill --timeout {int(seconds)}' failed: exit code 1")
            time.sleep(0.1)
        self._settle(vmid)

    def kill(self, vmid: int) -> None:
        pid = self.pid(vmid)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.pid(vmid) is not None:
            time.sleep(0.05)
        self._settle(vmid)

    def _settle(self, vmid: int) -> None:
        """After the last process the kernel takes the mounts and the loop devices away."""
        self._paths.container_pid(vmid).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self._paths.run / f"ct-{vmid}").rmdir()

    @contextlib.contextmanager
    def frozen(self, vmid: int) -> Iterator[None]:
        """No process of the container runs meanwhile."""
        try:
            self._signal(vmid, signal.SIGSTOP)
            yield
        finally:
            self.wake(vmid)

    def wake(self, vmid: int) -> None:
        """Let every process go on."""
        self._signal(vmid, signal.SIGCONT)

    def _signal(self, vmid: int, number: int) -> None:
        """Signal all processes of the container: those in its namespace."""
        pid = self.pid(vmid)
        if pid is None:
            return
        own = os.readlink(f"/proc/{pid}/ns/pid")
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == own:
                    os.kill(int(entry.name), number)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _started(pid: int) -> int:
    """When a process began, in ticks since boot; a process that has ended and was not waited for is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return int(fields[19])


def _child(process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.01)
    raise OSError("it has ended")


def _reap(process: subprocess.Popen[bytes]) -> None:
    threading.Thread(target=process.wait, daemon=True).start()
