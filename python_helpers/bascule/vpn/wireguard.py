"""Read and compare the configuration of a WireGuard server as wg-quick(8) takes it. Pure.

A private key or a preshared key never leaves this file as such: a key pair is known by its public key, a preshared key
by a digest.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What wg-quick runs, or sets, beside the tunnel itself: it may differ from site to site, as the names of cards do.
HOOKS = ("PreUp", "PostUp", "PreDown", "PostDown", "Table", "FwMark", "MTU", "DNS")
_KNOWN = {
    "interface": {"PrivateKey", "ListenPort", "Address", "SaveConfig", *HOOKS},
    "peer": {"PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"},
}
_SPELLING = {name.lower(): name for names in _KNOWN.values() for name in names}
# Names whose lines add up.
_LISTS = frozenset({"Address", "AllowedIPs", "DNS", "PreUp", "PostUp", "PreDown", "PostDown"})
# 32 bytes in base64. `wg` quotes in its error what is none, so it is never given such a one.
_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")


@dataclass(frozen=True)
class Config:
    """A configuration: the lines of its interface and of each peer, by name, and what was not understood.

    Names that may stand several times have their values joined by a newline.
    """

    interface: Mapping[str, str] = field(repr=False)
    peers: tuple[Mapping[str, str], ...] = field(repr=False)
    faults: tuple[str, ...] = ()


def parse(text: str) -> Config:
    """Read a configuration of wg-quick; what is wrong with it is named without its value, which may be a secret."""
    interface: dict[str, str] = {}
    peers: list[dict[str, str]] = []
    faults: list[str] = []
    kind, current = "", interface
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if line.startswith("["):
            kind, current = line.strip("[]").strip().lower(), interface
            if kind == "peer":
                peers.append({})
                current = peers[-1]
            elif kind != "interface":
                faults.append(f"line {number}: a section that is neither Interface nor Peer")
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        name = _SPELLING.get(key.lower(), "")
        if not equals or name not in _KNOWN.get(kind, ()):
            faults.append(f"line {number}: not understood")
        elif name in current and name in _LISTS:
            current[name] = f"{current[name]}\n{value}"
        else:
            current[name] = value
    return Config(interface, tuple(peers), tuple(faults))


def bad_keys(config: Config) -> list[str]:
    """Return which secrets of a configuration are no keys; neither wg nor wg-quick starts with them."""
    keys = [("PrivateKey", config.interface.get("PrivateKey", ""))] + [
        (f"PresharedKey of peer {number}", peer["PresharedKey"])
        for number, peer in enumerate(config.peers, 1)
        if "PresharedKey" in peer
    ]
    return [f"its {name} is missing, or no key of WireGuard" for name, key in keys if not _KEY.fullmatch(key)]


def networks(text: str) -> list[str]:
    """Return the networks of a value, sorted, each in one spelling; raises ValueError for what is none."""
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    return sorted(str(ipaddress.ip_network(part, strict=False)) for part in parts if part)


def addresses(text: str) -> list[str]:
    """Return the interface's addresses, sorted, each in one spelling; raises ValueError for what is none."""
    parts = (part.strip() for part in text.replace("\n", ",").split(","))
    return sorted(str(ipaddress.ip_interface(part)) for part in parts if part)


def inside(found: Mapping[str, Any], address: str) -> bool:
    """Tell whether the facts of a configuration make an address one of the tunnel or behind a peer.

    A peer that may send from anywhere says nothing of one address.
    """
    texts = [
        *found.get("addresses", []),
        *(net for peer in found.get("peers", {}).values() for net in peer["allowed_ips"]),
    ]
    try:
        wanted = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(wanted in net for net in (ipaddress.ip_interface(text).network for text in texts) if net.prefixlen)


def facts(config: Config, public_key: str) -> tuple[dict[str, Any], list[str]]:
    """Return what a configuration says, without any secret, and its faults.

    Args:
        config: as `parse` has read it.
        public_key: the one of its private key; empty when it has none.
    """
    faults = [f"its configuration, {fault}" for fault in config.faults]
    interface = config.interface
    if interface.get("SaveConfig", "false").lower() == "true":
        faults.append("SaveConfig is on: each stop would write over the configuration that was compared")
    peers: dict[str, dict[str, Any]] = {}
    for number, peer in enumerate(config.peers, 1):
        key = peer.get("PublicKey", "")
        if not key or key in peers:
            faults.append(f"peer {number} of its configuration has {'the key of another one' if key else 'no key'}")
            continue
        peers[key] = {"allowed_ips": _read(networks, peer.get("AllowedIPs", ""), f"AllowedIPs of peer {key}", faults)}
        if secret := peer.get("PresharedKey", ""):
            peers[key]["preshared_key"] = hashlib.sha256(f"bascule {key} {secret}".encode()).hexdigest()[:16]
    if not peers:
        faults.append("its configuration has no peer: nobody could come in")
    return {
        "public_key": public_key,
        "port": interface.get("ListenPort", ""),
        "addresses": _read(addresses, interface.get("Address", ""), "Address", faults),
        "peers": peers,
        "hooks": {name: _digest(interface[name]) for name in HOOKS if name in interface},
        "hook_forwards": any(
            word in interface.get(name, "") for name in ("PreUp", "PostUp") for word in ("ip_forward", "forwarding")
        ),
    }, faults


def differences(here: Mapping[str, Any], there: Mapping[str, Any], other: str) -> list[str]:
    """Return what peers would notice when this side took the other one's place, a sentence each.

    Args:
        here: the facts of this side.
        there: the facts of the other side.
        other: its name.
    """
    found = [
        f"its {words} is {_shown(here.get(name))}, at {other} it is {_shown(there.get(name))}"
        for name, words in (("public_key", "public key"), ("port", "ListenPort"), ("addresses", "Address"))
        if here.get(name) != there.get(name)
    ]
    own, others = here.get("peers") or {}, there.get("peers") or {}
    for key in sorted({*own, *others}):
        if key not in own:
            found.append(f"peer {key} of {other} is not known here")
        elif key not in others:
            found.append(f"peer {key} is not known at {other}")
        else:
            for name, words in (("allowed_ips", "AllowedIPs"), ("preshared_key", "PresharedKey")):
                if own[key].get(name) != others[key].get(name):
                    found.append(f"peer {key} has another {words} than at {other}")
    return found


def notes(here: Mapping[str, Any], there: Mapping[str, Any], other: str) -> list[str]:
    """Return what differs and may do so, as the names of network cards in hooks."""
    own, others = here.get("hooks") or {}, there.get("hooks") or {}
    return [
        f"{name} differs from the one at {other}: see that both do the same"
        for name in HOOKS
        if own.get(name) != others.get(name)
    ]


def running_faults(config: Mapping[str, Any], public_key: str, port: str, peers: Mapping[str, str]) -> list[str]:
    """Return what a running interface does otherwise than its file says: a start would lose it.

    Args:
        config: the facts of the file.
        public_key: `wg show NAME public-key`.
        port: `wg show NAME listen-port`.
        peers: the allowed networks of each peer, as `wg show NAME allowed-ips` lists them.
    """
    found = []
    if public_key != config["public_key"]:
        found.append("it runs with another key than its file has")
    if port != config["port"]:
        found.append(f"it runs at port {port or 'none'}, and its file says {config['port'] or 'none'}")
    for key in sorted({*peers, *config["peers"]}):
        if key not in config["peers"]:
            found.append(f"peer {key} is let in now, and its file does not know it")
        elif key not in peers:
            found.append(f"peer {key} is in its file, and is not let in now")
        elif networks(peers[key].replace("(none)", "").replace(" ", ",")) != config["peers"][key]["allowed_ips"]:
            found.append(f"peer {key} has other AllowedIPs now than in its file")
    return found


def allowed_ips(text: str) -> dict[str, str]:
    """Read `wg show NAME allowed-ips`: a line per peer, key, tab, networks."""
    return dict(line.partition("\t")[::2] for line in text.splitlines() if "\t" in line)


def last_handshake(text: str, key: str) -> int:
    """Return when a peer last shook hands, of `wg show NAME latest-handshakes`, in seconds since 1970; 0 for never."""
    times = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    return int(times.get(key, 0))


def client(config: Config, server_key: str, endpoint: str, reach: list[str]) -> tuple[str, list[str]]:
    """Return a configuration by which a trainer's machine tries one side of the server, and what keeps it from that.

    It carries nothing but the addresses to be reached, so that whatever else the machine does stays as it is; no hook
    of the trainer's own runs.

    Args:
        config: the trainer's own.
        server_key: the public key of the server.
        endpoint: ADDRESS:PORT of the side to try.
        reach: the addresses behind the server that are tried.
    """
    peers = [peer for peer in config.peers if peer.get("PublicKey") == server_key]
    faults = [*config.faults, *bad_keys(config), *([] if peers else ["it has no peer with the server's key"])]
    if faults:
        return "", faults
    own = [ipaddress.ip_network(text) for text in networks(peers[0].get("AllowedIPs", ""))]
    names: list[str] = []
    for one in reach:
        _read(addresses, one, f"{one} of vpn_switchover_behind", names)
    if names:
        return "", names
    outside = [one for one in reach if not any(ipaddress.ip_address(one) in network for network in own)]
    if outside:
        return "", [f"its AllowedIPs do not lead to {', '.join(outside)}"]
    peer = {
        "PublicKey": server_key,
        **{name: peers[0][name] for name in ("PresharedKey",) if name in peers[0]},
        "AllowedIPs": ", ".join(networks(",".join(reach))),
        "Endpoint": endpoint,
        "PersistentKeepalive": "1",
    }
    interface = {name: config.interface[name] for name in ("PrivateKey", "MTU") if name in config.interface}
    interface["Address"] = ", ".join(addresses(config.interface.get("Address", "")))
    sections = (("Interface", interface), ("Peer", peer))
    return "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items()) for name, lines in sections), []


def _read(reader: Any, text: str, what: str, faults: list[str]) -> list[str]:
    try:
        found: list[str] = reader(text)
    except ValueError:
        faults.append(f"{what} is not understood")
        return []
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value or "none")
