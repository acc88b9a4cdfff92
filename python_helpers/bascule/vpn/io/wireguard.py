"""Drive and measure a WireGuard server that wg-quick@NAME runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...system import polling
from ...system.io import process, storage, units
from ...system.io.process import Runner
from .. import managers, state
from .. import wireguard as config
from ..state import Seen, VpnError

# Seconds until an interface that was started takes datagrams.
_START = 15.0
# Seconds until a socket that is nobody's server is gone.
_PASSING = 5.0
_SYSTEMD = Path("etc/systemd/system")


@dataclass
class WireGuard:
    """The server of one interface on this host.

    name: the interface. port: where it takes datagrams. root: the root of the file system, for tests.
    """

    name: str
    port: int
    runner: Runner = process.run
    root: Path = Path("/")

    @property
    def unit(self) -> str:
        """Return the unit that runs it."""
        return f"wg-quick@{self.name}.service"

    @property
    def file(self) -> Path:
        """Return its configuration, where wg-quick looks for it."""
        return self.root / "etc/wireguard" / f"{self.name}.conf"

    @property
    def aside(self) -> Path:
        """Return where its configuration lies while this side is closed: no other starter finds it there."""
        return self.file.with_name(f"{self.file.name}.closed")

    def seen(self) -> Seen:
        """Look at the unit, the interface and the port."""
        tables = (storage.read_text(self.root / "proc/net" / name) for name in ("udp", "udp6"))
        return state.seen(
            units.shown(self.unit, "ActiveState", "UnitFileState", runner=self.runner),
            storage.is_directory(self.root / "sys/class/net" / self.name),
            self.port in state.udp_ports(*tables),
            storage.is_file(self.file),
        )

    def shut(self) -> bool:
        """Stop it, so that no start brings it up again, and prove it; return whether anything was changed.

        It is stopped before it is masked: a unit that is masked while it runs has forgotten how to stop. What stops it
        reads its configuration, which is put aside after that.
        """
        before = self.seen()
        if before.mode != state.CLOSED:
            self._do("stop", self.unit)
            if before.enabled:
                self._do("disable", self.unit)
            if not before.masked:
                self._do("mask", self.unit)
                self._sync()
            if self.seen().interface:
                # It was brought up by hand, or its unit could not take it down.
                self.runner(["wg-quick", "down", self.name], check=False)
            if self.seen().interface:
                self.runner(["ip", "link", "delete", "dev", self.name], check=False)
            if before.configured:
                storage.rename(self.file, self.aside, 0o600)
        self.prove_closed()
        return before.mode != state.CLOSED

    def serve(self) -> bool:
        """Let it run, now and after each start of this host, and see that it does; return whether that changed it."""
        before = self.seen()
        if before.mode == state.OPEN and before.enabled:
            return False
        if before.mode != state.OPEN:
            # What wg says of a malformed key would quote it in the log of this host.
            self._refuse(config.bad_keys(config.parse(storage.read_text(self._present()) or "")))
        if not before.configured and storage.is_file(self.aside):
            storage.rename(self.aside, self.file, 0o600)
        if before.masked:
            self._do("unmask", self.unit)
        if not before.enabled:
            self._do("enable", self.unit)
        if before.mode != state.OPEN:
            # A unit that "runs" without its interface was taken down behind its back: only a restart brings that up.
            self._do("restart" if before.running else "start", self.unit)
        self._sync()
        began = time.monotonic()
        while not ((now := self.seen()).mode == state.OPEN and now.enabled):
            waited = time.monotonic() - began
            if waited >= _START:
                raise VpnError(
                    expected=f"{self.unit} to run, to start at boot, and to take datagrams at port {self.port}",
                    found=f"{now.to_dict()}",
                    state=f"its mode is {now.mode}",
                    next_command=f"journalctl -u {self.unit}; then run the same playbook again",
                )
            time.sleep(polling.pause(waited, 0.5))
        return True

    def prove_closed(self) -> None:
        """Raise VpnError unless it is closed, as its own host sees it.

        A socket at its port may be the passing one of somebody who asks: it is looked at again for some seconds.
        """
        began = time.monotonic()
        while (now := self.seen()).only_bound() and (waited := time.monotonic() - began) < _PASSING:
            time.sleep(polling.pause(waited, 0.5))
        open_still = now.not_closed()
        if open_still:
            raise VpnError(
                expected=f"{self.unit} stopped and masked, no interface {self.name}, nothing at port {self.port}, and "
                f"no {self.file}",
                found="; ".join(open_still),
                state="no receipt was given",
                next_command=f"systemctl status {self.unit}; ss -lunp 'sport = {self.port}'; then run the same "
                "playbook again",
            )

    def configured(self) -> tuple[dict[str, Any], list[str]]:
        """Return what the configuration says, without secrets, and its faults."""
        found, fatal, others = self._configured()
        return found, fatal + others

    def _configured(self) -> tuple[dict[str, Any], list[str], list[str]]:
        """Return what the configuration says, what in it would make a start fail, and its other faults."""
        file = self._present()
        text = storage.read_text(file)
        if text is None:
            return {}, [f"there is no {self.file}, nor {file.name}: carry the other side's over, with mode 0600"], []
        read = config.parse(text)
        fatal = config.bad_keys(read)
        public_key = ""
        if not fatal:
            # By standard input: a private key stands in no argument list.
            public_key = self.runner(["wg", "pubkey"], stdin=read.interface["PrivateKey"] + "\n").stdout.strip()
        found, faults = config.facts(read, public_key)
        if found["port"] != str(self.port):
            fatal.append(f"its ListenPort is {found['port'] or 'none'}, and vpn_switchover_port says {self.port}")
        if storage.permissions(file) & 0o077:
            faults.append(f"{file} holds a private key and may be read by others: chmod 600 {file}")
        return found, fatal, faults

    def _present(self) -> Path:
        """Return where the configuration lies now."""
        return self.file if storage.is_file(self.file) else self.aside

    def measure(
        self, behind: list[str], forwarding: bool, needed: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """Return what was measured here, and what keeps this side from being moved.

        Args:
            behind: addresses that peers have to get to through this server.
            forwarding: whether packets are passed on to them.
            needed: addresses that have to be reached without the tunnel, by what they are.
        """
        missing = self._missing()
        if missing:
            return {"mode": state.STOPPED, "config": {}, "version": "", "notes": []}, missing
        now = self.seen()
        found, faults = self.configured()
        version = self.runner(["wg", "--version"]).stdout.split(" - ")[0].strip()
        shown = units.shown(self.unit, "FragmentPath", runner=self.runner)
        # A template of the same folder can be masked: only a file of this instance lies where its mask would.
        if not now.masked and shown.get("FragmentPath") == f"/{_SYSTEMD}/{self.unit}":
            faults.append(f"{self.unit} is a file of /{_SYSTEMD}, so that systemd cannot mask it: use a drop-in")
        if now.interface and found:
            faults += self._running(found)
        if now.mode == state.OPEN and not now.enabled:
            faults.append(f"it runs and does not start at boot: systemctl enable {self.unit}")
        # Where a hook sees to it, it is off until the server starts.
        if forwarding and (now.mode == state.OPEN or not found.get("hook_forwards")):
            faults += self._forwarding(found)
        faults += self._through(needed or {}, found, now.interface)
        faults += self._unrouted(behind) + managers.managed(self._managers(), self.name)
        notes = self._by_default(behind) + self._tied()
        return {**now.to_dict(), "config": found, "version": version, "notes": notes}, faults

    def ready(self) -> None:
        """Raise VpnError where a start of this side would fail: it is looked at while the other one serves.

        What audit and check refuse beyond that keeps nobody out.
        """
        self._refuse(self._missing() or self._configured()[1])

    def _refuse(self, faults: list[str]) -> None:
        if faults:
            raise VpnError(
                expected=f"{self.unit} to be ready to start",
                found="; ".join(faults),
                state="nothing was changed here",
                next_command="mend it, then run the same playbook again; or playbooks/rollback.yml",
            )

    def _missing(self) -> list[str]:
        found = [
            f"there is no {name}: apt-get install wireguard-tools"
            for name in ("wg", "wg-quick")
            if not self._does(f"command -v {name}")
        ]
        in_kernel = storage.is_directory(self.root / "sys/module/wireguard")
        # A host may have no modprobe either.
        if not (
            in_kernel or self._does("modprobe --dry-run --quiet wireguard") or self._does("command -v wireguard-go")
        ):
            found.append("the kernel has no WireGuard, and there is no other: apt-get install wireguard-go")
        return found

    def _does(self, line: str) -> bool:
        return self.runner(["sh", "-c", line], check=False).rc == 0

    def _running(self, found: dict[str, Any]) -> list[str]:
        """Compare what runs with its file; never by `wg showconf` or `dump`, which print the private key."""
        key, port, allowed = (
            self.runner(["wg", "show", self.name, what]).stdout for what in ("public-key", "listen-port", "allowed-ips")
        )
        return config.running_faults(found, key.strip(), port.strip(), config.allowed_ips(allowed))

    def _forwarding(self, found: dict[str, Any]) -> list[str]:
        tunnels = found.get("addresses") or []
        wanted = {"net.ipv6.conf.all.forwarding" if ":" in one else "net.ipv4.ip_forward" for one in tunnels}
        return [
            f"{name} is off: what peers send would end here; write it to /etc/sysctl.d, then sysctl --system"
            for name in sorted(wanted)
            if (storage.read_text(self.root / "proc/sys" / name.replace(".", "/")) or "0").strip() == "0"
        ]

    def _through(self, needed: Mapping[str, str], found: dict[str, Any], up: bool) -> list[str]:
        """Name what is reached through the tunnel: where it is up the routes say so, else its configuration."""
        return [
            f"{what}, {address}, is reached through {self.name}: a freeze would cut it off, and nobody could go on"
            for what, address in needed.items()
            if (self._leads(address) if up else config.inside(found, address))
        ]

    def _leads(self, address: str) -> bool:
        """Tell whether the tunnel leads to an address."""
        done = self.runner(["ip", "route", "get", address.partition("%")[0]], check=False)
        return done.rc == 0 and f" dev {self.name} " in f"{done.stdout} "

    def _unrouted(self, behind: list[str]) -> list[str]:
        found = []
        for address in behind:
            done = self.runner(["ip", "route", "get", address], check=False)
            if done.rc or f" dev {self.name} " in f"{done.stdout} ":
                found.append(f"no route leads to {address}, which peers have to get to")
        return found

    def _by_default(self, behind: list[str]) -> list[str]:
        """Name what has no route of its own: the default one leads anywhere, whether there is somebody or not."""
        found = []
        for address in behind:
            done = self.runner(["ip", "route", "get", "fibmatch", address], check=False)
            if done.rc == 0 and done.stdout.startswith("default"):
                found.append(f"only the default route leads to {address}, which peers have to get to")
        return found

    def _tied(self) -> list[str]:
        """Name units that stop with the server, and that no thaw starts again."""
        device = f"sys-subsystem-net-devices-{self.name}.device"
        words, found = ("RequiredBy", "BoundBy", "ConsistsOf"), set()
        for unit in (self.unit, device):
            shown = units.shown(unit, *words, runner=self.runner)
            found |= {name for word in words for name in shown.get(word, "").split()}
        return [
            f"{name} stops with {self.unit}, and no thaw starts it: see that {self.unit} wants it, or start it by hand"
            for name in sorted(found - {self.unit, device})
        ]

    def _managers(self) -> dict[str, str]:
        files = [path for name in managers.FOLDERS for path in storage.children(self.root / name)]
        files += [below for path in files for below in storage.children(path)]
        files += [self.root / name for name in managers.FILES]
        read = {path: storage.read_text(path) or "" for path in files if storage.is_file(path)}
        for pattern in [one for text in read.values() for one in managers.sourced(text)]:
            read |= {path: storage.read_text(path) or "" for path in self.root.glob(pattern) if storage.is_file(path)}
        return {str(path): text for path, text in read.items()}

    def _do(self, verb: str, unit: str) -> None:
        self.runner(["systemctl", verb, unit], timeout=90)

    def _sync(self) -> None:
        for folder in (self.root / _SYSTEMD, self.root / _SYSTEMD / "multi-user.target.wants"):
            if storage.is_directory(folder):
                storage.sync_directory(folder)
