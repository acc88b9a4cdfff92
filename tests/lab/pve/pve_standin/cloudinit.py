"""The cloud-init drive: a NoCloud ISO with the texts Proxmox writes, made anew at every start of the guest."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import subprocess
import tempfile
from pathlib import Path

from . import guest_config
from .errors import Failure
from .guest_config import Config


def is_drive(drive: dict[str, str]) -> bool:
    return drive.get("media") == "cdrom" and "cloudinit" in drive["file"]


def network_config(config: Config) -> str:
    """Network configuration, version 1."""
    lines = ["version: 1", "config:"]
    for key in sorted(key for key in config if key.startswith("net") and key[3:].isdigit()):
        card = guest_config.parse_net(config[key])
        lines += [
            "    - type: physical",
            f"      name: eth{key[3:]}",
            f"      mac_address: '{card.get('macaddr', '').lower()}'",
            "      subnets:",
        ]
        address = guest_config.parse_options(config.get(f"ipconfig{key[3:]}", "ip="), "ip")
        if address.get("ip") == "dhcp":
            lines.append("      - type: dhcp4")
        elif address.get("ip"):
            interface = ipaddress.ip_interface(address["ip"])
            lines += [
                "      - type: static",
                f"        address: '{interface.ip}'",
                f"        netmask: '{interface.netmask}'",
            ]
            if "gw" in address:
                lines.append(f"        gateway: '{address['gw']}'")
    lines += ["    - type: nameserver", "      address:"]
    lines += [f"      - '{server}'" for server in config.get("nameserver", "").replace(",", " ").split()]
    lines.append("      search:")
    lines += [f"      - '{domain}'" for domain in config.get("searchdomain", "").replace(",", " ").split()]
    return "".join(f"{line}\n" for line in lines)


def user_data(vmid: int, config: Config) -> str:
    name = config.get("name", f"VM{vmid}")
    domain = config.get("searchdomain", "").split()
    lines = ["#cloud-config", f"hostname: {name}", "manage_etc_hosts: true"]
    if domain:
        lines.append(f"fqdn: {name}.{domain[0]}")
    if "ciuser" in config:
        lines.append(f"user: {config['ciuser']}")
    lines += ["chpasswd:", "  expire: False", "users:", "  - default", "package_upgrade: true"]
    return "".join(f"{line}\n" for line in lines)


def write(vmid: int, config: Config, target: Path) -> None:
    network, user = network_config(config), user_data(vmid, config)
    instance = hashlib.sha1((user + network).encode(), usedforsecurity=False).hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cloudinit-") as work:
        for name, text in {
            "network-config": network,
            "user-data": user,
            "meta-data": f"instance-id: {instance}\n",
        }.items():
            Path(work, name).write_text(text)
        on_device = target.is_block_device()
        fresh = Path(work, "..", f"{Path(work).name}.iso") if on_device else target.with_name(f".{target.name}")
        command = ["genisoimage", "-quiet", "-iso-level", "3", "-R", "-V", "cidata", "-o", str(fresh), work]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"genisoimage failed: {done.stderr.strip()}")
        if on_device:
            target.write_bytes(fresh.read_bytes())
            fresh.unlink()
        else:
            os.rename(fresh, target)
