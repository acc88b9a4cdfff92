"""A host with systemd, wg-quick and wg as far as the VPN helpers use them; a stand-in that answers from memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bascule.system.io.process import Result

SERVER, ANNA, BEN = ("S" * 43 + "=", "A" * 43 + "=", "B" * 43 + "=")
PRIVATE, SHARED = (f"secret{whose}".ljust(43, "x") + "=" for whose in ("OfTheServer", "OfAnna"))
CONFIG = f"""
[Interface]
PrivateKey = {PRIVATE}
ListenPort = 51820
Address = 10.99.0.1/24

[Peer]
PublicKey = {ANNA}
PresharedKey = {SHARED}
AllowedIPs = 10.99.0.2/32, 10.98.0.0/24

[Peer]
PublicKey = {BEN}
AllowedIPs = 10.99.0.3
"""
_UDP = "  sl  local_address rem_address\n"


class FakeHost:
    """What runs, what is enabled and masked, and which commands were given; the files lie below `root`."""

    def __init__(self, root: Path, mode: str = "open") -> None:
        self.root = root
        self.running = self.enabled = mode == "open"
        self.masked = mode == "closed"
        self.stubborn = False
        self.programs = {"wg", "wg-quick", "wireguard-go"}
        self.commands: list[tuple[str, ...]] = []
        self.route = "10.1.0.20 via 192.0.2.254 dev eth0"
        self.peers = {ANNA: "10.99.0.2/32 10.98.0.0/24", BEN: "10.99.0.3/32"}
        self.handshake = 0
        self.required_by = self.bound_by = ""
        self.own_route = "10.1.0.0/16 via 192.0.2.254 dev eth0"
        self.fragment = "/lib/systemd/system/wg-quick@.service"
        self.write("etc/wireguard/wg0.conf", CONFIG).chmod(0o600)
        self.write("proc/sys/net/ipv4/ip_forward", "1\n")
        self.link(self.running)

    def write(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def link(self, up: bool, name: str = "wg0") -> None:
        """Have an interface, or none, and its socket."""
        path = self.root / "sys/class/net" / name
        if up:
            path.mkdir(parents=True, exist_ok=True)
        elif path.is_dir():
            path.rmdir()
        if name == "wg0":
            self.write("proc/net/udp", _UDP + ("  1: 00000000:CA6C 00000000:0000 07\n" if up else ""))

    def __call__(self, argv: Sequence[str], *, stdin: str | None = None, check: bool = True, **_: Any) -> Result:
        """Answer a command."""
        self.commands.append(tuple(argv))
        program, *words = argv
        answer = getattr(self, program.replace("-", "_"))(words, stdin)
        rc, out = answer if isinstance(answer, tuple) else (0, answer or "")
        assert rc == 0 or not check, f"{argv} failed"
        return Result(tuple(argv), rc, out, "")

    def systemctl(self, words: list[str], _: str | None) -> str:
        """Change or show the unit."""
        verb, unit = words[0], words[-1]
        if verb == "show" and unit != "wg-quick@wg0.service":
            assert unit == "sys-subsystem-net-devices-wg0.device"
            return f"RequiredBy=\nBoundBy={self.bound_by}\nConsistsOf=\n"
        assert unit == "wg-quick@wg0.service"
        if verb == "show":
            state = "masked" if self.masked else "enabled" if self.enabled else "disabled"
            active = "active" if self.running else "inactive"
            about = f"FragmentPath={self.fragment}\nRequiredBy={self.required_by}"
            return f"ActiveState={active}\nUnitFileState={state}\n{about}\n"
        if verb in ("start", "restart"):
            assert not self.masked, "a masked unit does not start"
            assert (self.root / "etc/wireguard/wg0.conf").is_file(), "wg-quick reads what it brings up"
            self.running = not self.stubborn
            self.link(self.running)
        elif verb == "stop" and not self.stubborn:
            # A unit that is masked while it runs has forgotten how to take its interface down.
            if self.running and not self.masked:
                assert (self.root / "etc/wireguard/wg0.conf").is_file(), "wg-quick reads what it takes down"
                self.link(False)
            self.running = False
        elif verb in ("enable", "disable"):
            self.enabled = verb == "enable"
        elif verb in ("mask", "unmask"):
            self.masked = verb == "mask"
        return ""

    def wg(self, words: list[str], stdin: str | None) -> Any:
        """Answer as wg(8)."""
        if words == ["pubkey"]:
            return (0, f"{SERVER}\n") if stdin == f"{PRIVATE}\n" else (1, "")
        if words == ["--version"]:
            return "wireguard-tools v1.0.20210914 - https://git.zx2c4.com/wireguard-tools/\n"
        return {
            "public-key": f"{SERVER}\n",
            "listen-port": "51820\n",
            "allowed-ips": "".join(f"{key}\t{nets}\n" for key, nets in self.peers.items()),
            "latest-handshakes": f"{SERVER}\t{self.handshake}\n",
        }[words[-1]]

    def wg_quick(self, words: list[str], _: str | None) -> None:
        """Bring an interface up or down by hand."""
        if words == ["down", "wg0"]:
            assert (self.root / "etc/wireguard/wg0.conf").is_file(), "wg-quick reads what it takes down"
        self.link(words[0] == "up", Path(words[1]).stem)

    def ip(self, words: list[str], _: str | None) -> Any:
        """Remove an interface, or tell a route."""
        if words[:2] == ["link", "delete"]:
            return self.link(False, words[-1])
        if "fibmatch" in words:
            return self.own_route
        return (0, self.route) if self.route else (2, "")

    def sh(self, words: list[str], _: str | None) -> tuple[int, str]:
        """Find a program; there is no modprobe, and so no module of the kernel."""
        given = words[-1].split()
        return (0 if given[0] == "command" and given[-1] in self.programs else 127), ""
