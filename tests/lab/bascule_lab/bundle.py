"""What is carried into a host before its set-up runs: one tar with its scripts, facts, keys and secrets. Deterministic,
so that its digest tells whether anything changed."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bascule_lab import credentials, paths
from bascule_lab.topology import HOSTS, Host, host_env

# Below tests/lab, besides hosts/base and hosts/<kind>.
EXTRAS: Mapping[str, tuple[str, ...]] = {"db": ("seed/db",), "files": ("seed/tree.py",), "pve": ("pve",)}
# Proxmox's own schema is no part of this project: a node checks itself against it where it is at hand.
PVE_SCHEMA = Path(os.environ.get("BASCULE_PVE_SCHEMAS", paths.PROJECT.parent / "shared" / "pve")) / "api-8.4.json"
IGNORED = ("__pycache__", ".mypy_cache", ".ruff_cache")


@dataclass(frozen=True)
class Entry:
    data: bytes
    mode: int


def pack(entries: Mapping[str, Entry]) -> bytes:
    """A tar with fixed order, owners and times."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name in sorted(entries):
            item = tarfile.TarInfo(name)
            item.size = len(entries[name].data)
            item.mode = entries[name].mode
            tar.addfile(item, io.BytesIO(entries[name].data))
    return target.getvalue()


def source_files(relative: str) -> dict[str, Entry]:
    """Files of tests/lab below `relative`, as they are to stand below opt/lab."""
    start = paths.LAB_SOURCE / relative
    found = [start] if start.is_file() else sorted(path for path in start.rglob("*") if path.is_file())
    return {
        f"opt/lab/{path.relative_to(paths.LAB_SOURCE)}": Entry(path.read_bytes(), 0o755 if _runs(path) else 0o644)
        for path in found
        if not any(part in IGNORED for part in path.parts)
    }


def _runs(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o100)


def host_entries(host: Host, scale: int, seed: str) -> dict[str, Entry]:
    """Everything one host gets."""
    entries: dict[str, Entry] = {}
    for relative in ("hosts/common.sh", "hosts/base", f"hosts/{host.kind}", *EXTRAS.get(host.kind, ())):
        entries.update(source_files(relative))
    more: dict[str, str] = {}
    if host.kind == "gateway":
        peer = next(other for other in HOSTS if other.kind == "gateway" and other.name != host.name)
        keys = paths.SECRETS / "wireguard"
        more["LAB_PEER_PUBLIC_KEY"] = (keys / f"{peer.name}.pub").read_text()
        entries["etc/lab/secrets/wireguard.key"] = Entry((keys / f"{host.name}.key").read_bytes(), 0o600)
    if host.kind == "pve" and PVE_SCHEMA.is_file():
        entries[f"etc/lab/pve-schemas/{PVE_SCHEMA.name}"] = Entry(PVE_SCHEMA.read_bytes(), 0o644)
    entries["etc/lab/host.env"] = Entry(host_env(host, scale, seed, more).encode(), 0o644)
    for name in host.secrets:
        entries[f"etc/lab/secrets/{name}"] = Entry((paths.SECRETS / name).read_bytes(), 0o600)
    for name, text in host.files.items():
        entries[f"etc/lab/{name}"] = Entry(text.encode(), 0o644)
    entries.update(identity(host.name, paths.SSH, paths.CA))
    return entries


def identity(name: str, ssh: Path, authority: Path) -> dict[str, Entry]:
    """The SSH host key, who may log in, and the TLS certificate of one host."""
    return {
        "etc/lab/ssh/ssh_host_ed25519_key": Entry((ssh / "hosts" / name).read_bytes(), 0o600),
        "etc/lab/ssh/ssh_host_ed25519_key.pub": Entry((ssh / "hosts" / f"{name}.pub").read_bytes(), 0o644),
        "etc/lab/ssh/authorized_keys": Entry((ssh / "controller.pub").read_bytes(), 0o600),
        "etc/lab/tls/ca.crt": Entry((authority / "ca.crt").read_bytes(), 0o644),
        "etc/lab/tls/host.crt": Entry((authority / "hosts" / f"{name}.crt").read_bytes(), 0o644),
        "etc/lab/tls/host.key": Entry((authority / "hosts" / f"{name}.key").read_bytes(), 0o600),
    }


def scenario(target: Path, hosts: Mapping[str, str]) -> None:
    """Write a bundle tree per host (name -> address) with an authority of its own, for tests of one kind."""
    credentials.make_secrets(target / "secrets")
    credentials.make_authority(target / "ca")
    credentials.make_ssh(target / "ssh", list(hosts.items()))
    for name, address in hosts.items():
        credentials.make_certificate(target / "ca", name, (name, address, "courses.techcorp.test"))
        entries = identity(name, target / "ssh", target / "ca")
        for secret in (*credentials.PASSWORDS, "tsig.key"):
            entries[f"etc/lab/secrets/{secret}"] = Entry((target / "secrets" / secret).read_bytes(), 0o600)
        for relative in ("hosts", "seed"):
            entries.update(source_files(relative))
        credentials.write_private(target / f"{name}.tar", pack(entries))


def fingerprint(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
