"""Running guests: one real QEMU process each, found again by its pid file and monitor after a restart of the daemon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import cloudinit, guest_config, qmp
from .errors import Failure
from .guest_config import Config
from .paths import Paths

# tb-size keeps the memory of an emulated guest near what it was given.
ACCELERATION = "tcg,thread=multi,tb-size=96"
TICKS = os.sysconf("SC_CLK_TCK")


class Qemu:
    def __init__(self, paths: Paths, silent: Callable[[int], bool] = lambda vmid: False) -> None:
        self._paths = paths
        self._silent = silent

    def pid(self, vmid: int) -> int | None:
        """The guest's process, or None: the pid file alone is no proof, the process must be ours."""
        path = self._paths.pid_file(vmid)
        try:
            pid = int(path.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(path).encode() in command.split(b"\0") else None

    def running(self) -> list[int]:
        vmids = (int(path.stem) for path in self._paths.run.glob("*.pid") if path.stem.isdigit())
        return sorted(vmid for vmid in vmids if self.pid(vmid))

    def uptime(self, vmid: int) -> int:
        pid = self.pid(vmid)
        if pid is None:
            return 0
        try:
            started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        except OSError:
            return 0
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) - started / TICKS)

    def resident(self, vmid: int) -> int:
        """Bytes of memory the process holds."""
        try:
            return int(Path(f"/proc/{self.pid(vmid)}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return 0

    def monitor(self, vmid: int, command: str, **arguments: Any) -> Any:
        try:
            with qmp.monitor(self._paths.qmp(vmid)) as ask:
                return ask(command, **arguments)
        except qmp.Unreachable as error:
            raise Failure(f"VM {vmid} qmp command '{command}' failed - {error}") from error
        except qmp.Refused as error:
            raise Failure(f"VM {vmid} qmp command '{command}' failed - {error}") from error

    def agent(self, vmid: int, command: str, arguments: dict[str, Any] | None = None, timeout: float = 3.0) -> Any:
        return qmp.agent(self._paths.agent(vmid), f"guest-{command}", arguments, timeout)

    def agent_answers(self, vmid: int, config: Config) -> bool:
        if not has_agent(config) or self._silent(vmid):
            return False
        try:
            self.agent(vmid, "ping", timeout=2)
        except (qmp.Unreachable, qmp.Refused):
            return False
        return True

    def start(
        self, vmid: int, config: Config, paused: bool, say: Callable[[str], None], diskless: bool = False
    ) -> None:
        """Start the process; it executes nothing before bridges and link states are as configured."""
        cards = network_cards(config)
        for card in cards.values():
            refuse_missing_bridge(card, say)
        for drive in guest_config.drives(config).values():
            if cloudinit.is_drive(drive):
                cloudinit.write(vmid, config, self._paths.volume(drive["file"]))
        self._forget(vmid)
        command = command_line(self._paths, vmid, config, diskless)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode:
            for line in done.stderr.splitlines():
                say(line.replace("qemu-system-x86_64:", "kvm:"))
            raise Failure(f"start failed: QEMU exited with code {done.returncode}")
        try:
            for key, card in cards.items():
                self._plug(vmid, key, card)
            if not paused:
                self.monitor(vmid, "cont")
        except BaseException:
            self.kill(vmid)
            raise

    def _plug(self, vmid: int, key: str, card: dict[str, str]) -> None:
        tap = f"tap{vmid}i{key[3:]}"
        if "bridge" in card:
            subprocess.run(["ip", "link", "set", tap, "master", card["bridge"]], check=True, capture_output=True)
        subprocess.run(["ip", "link", "set", tap, "up"], check=True, capture_output=True)
        self.monitor(vmid, "set_link", name=key, up=card.get("link_down") != "1")

    def replug(self, vmid: int, key: str, value: str, say: Callable[[str], None]) -> None:
        """Bridge and link state of a running guest follow its configuration at once."""
        card = guest_config.parse_net(value)
        refuse_missing_bridge(card, say)
        self._plug(vmid, key, card)

    def wait_stopped(self, vmid: int, seconds: float, check: Callable[[], None] = lambda: None) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid(vmid) is not None:
            if time.monotonic() > deadline:
                return False
            check()
            time.sleep(0.05)
        self._forget(vmid)
        return True

    def kill(self, vmid: int) -> None:
        """End the process as pulling the plug does."""
        for step in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid(vmid)
            if pid is None:
                break
            os.kill(pid, step)
            if self.wait_stopped(vmid, 10):
                return
        self._forget(vmid)

    def shutdown(self, vmid: int, config: Config, seconds: float, check: Callable[[], None]) -> None:
        """Ask the guest to end, by its agent or the power button, and wait until the process is really gone."""
        if self.agent_answers(vmid, config):
            try:
                self.agent(vmid, "shutdown")
            except (qmp.Unreachable, qmp.Refused) as error:
                raise Failure(f"VM quit/powerdown failed - {error}") from error
        else:
            self.monitor(vmid, "system_powerdown")
        if not self.wait_stopped(vmid, seconds, check):
            raise Failure("VM quit/powerdown failed - got timeout")

    def _forget(self, vmid: int) -> None:
        paths = self._paths
        for path in (paths.pid_file(vmid), paths.qmp(vmid), paths.agent(vmid), paths.serial(vmid), paths.applied(vmid)):
            path.unlink(missing_ok=True)


def has_agent(config: Config) -> bool:
    return guest_config.parse_options(config.get("agent", "0"), "enabled").get("enabled") == "1"


def network_cards(config: Config) -> dict[str, dict[str, str]]:
    return {key: guest_config.parse_net(value) for key, value in sorted(config.items()) if re.fullmatch(r"net\d+", key)}


def refuse_missing_bridge(card: dict[str, str], say: Callable[[str], None]) -> None:
    if "tag" in card or "trunks" in card:
        raise Failure("this stand-in has no VLANs: it would connect networks that Proxmox keeps apart")
    bridge = card.get("bridge")
    if bridge and not Path(f"/sys/class/net/{bridge}/bridge").exists():
        say(f"bridge '{bridge}' does not exist")
        say("kvm: network script /var/lib/qemu-server/pve-bridge failed with status 512")
        raise Failure("start failed: QEMU exited with code 1")


def boot_order(config: Config) -> list[str]:
    return guest_config.parse_options(config.get("boot", ""), "legacy").get("order", "").split(";")


def command_line(paths: Paths, vmid: int, config: Config, diskless: bool = False) -> list[str]:
    """The process of a guest; `diskless` is one that runs and finds nothing to boot."""
    command = [
        "qemu-system-x86_64", "-name", f"{config.get('name', f'VM{vmid}')},debug-threads=off",
        "-pidfile", str(paths.pid_file(vmid)), "-daemonize", "-S", "-nodefaults", "-no-user-config",
        # The more a processor can do, the more is emulated.
        "-machine", "pc", "-accel", ACCELERATION, "-cpu", "Nehalem",
        "-smp", str(int(config.get("sockets", "1")) * int(config.get("cores", "1"))),
        "-m", guest_config.parse_options(config.get("memory", "512"), "current")["current"],
        "-display", "none", "-vga", "none",
        "-chardev", f"socket,id=qmp,path={paths.qmp(vmid)},server=on,wait=off", "-mon", "chardev=qmp,mode=control",
        "-chardev", _console(paths, vmid, config), "-serial", "chardev:console",
        "-device", "virtio-scsi-pci,id=scsihw0",
    ]  # fmt: skip
    uuid = guest_config.parse_options(config.get("smbios1", ""), "uuid").get("uuid")
    if uuid:
        command += ["-uuid", uuid]
    if has_agent(config):
        command += [
            "-device", "virtio-serial-pci", "-chardev",
            f"socket,id=qga,path={paths.agent(vmid)},server=on,wait=off",
            "-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0",
        ]  # fmt: skip
    order = boot_order(config)
    for key, drive in guest_config.drives(config).items():
        if key in ("efidisk0", "tpmstate0"):
            raise Failure(f"this stand-in archives and restores {key}, and starts no guest that has one")
        command += _drive(paths, key, drive, 100 + order.index(key) if key in order else None)[
            : 2 if diskless else None
        ]
    for key, card in network_cards(config).items():
        model = "virtio-net-pci" if card["model"] == "virtio" else card["model"]
        command += [
            "-netdev", f"tap,id={key},ifname=tap{vmid}i{key[3:]},script=no,downscript=no",
            "-device", f"{model},netdev={key},id=card-{key},mac={card['macaddr']},romfile=",
        ]  # fmt: skip
    return command


def _console(paths: Paths, vmid: int, config: Config) -> str:
    """The guest's serial console: kept in a file, and as Proxmox has it a socket too where the guest is given one."""
    kept = paths.console(vmid)
    if config.get("serial0") == "socket":
        return f"socket,id=console,path={paths.serial(vmid)},server=on,wait=off,logfile={kept},logappend=on"
    return f"file,id=console,path={kept},append=on"


def _drive(paths: Paths, key: str, drive: dict[str, str], boot: int | None) -> list[str]:
    if drive["file"] in ("none", "cdrom"):
        return []
    path = paths.volume(drive["file"])
    cdrom = drive.get("media") == "cdrom"
    if cdrom and not cloudinit.is_drive(drive) and not path.exists():
        raise Failure(f"volume '{drive['file']}' does not exist")
    is_device = path.is_block_device()
    if not cdrom and not is_device and path.suffix != ".raw":
        raise Failure(f"this stand-in knows raw disks only, not '{drive['file']}'")
    node = f"driver=raw,node-name=drive-{key},file.driver={'host_device' if is_device else 'file'},file.filename={path}"
    kind = key.rstrip("0123456789")
    number = key.removeprefix(kind)
    if kind == "scsi":
        device = f"scsi-{'cd' if cdrom else 'hd'},bus=scsihw0.0,scsi-id={number}"
    elif kind == "virtio":
        device = "virtio-blk-pci"
    else:
        device = f"ide-{'cd' if cdrom else 'hd'},bus=ide.{int(number) // 2},unit={int(number) % 2}"
    device += f",drive=drive-{key},id={key}" + (f",bootindex={boot}" if boot is not None else "")
    return ["-blockdev", node + (",read-only=on" if cdrom else ""), "-device", device]
