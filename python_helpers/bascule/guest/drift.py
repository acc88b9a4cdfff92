"""What a guest is made of, to be compared: with its copy at the other side, or with what an archive was made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from . import config as guest_config

# What belongs to one place or moment, or to the guard; and what a person may well have made different on purpose.
_NOT_COMPARED = frozenset(
    {"description", "digest", "onboot", "lock", "protection", "tags", "affinity"}
    | {"meta", "vmgenid", "smbios1", "snaptime", "vmstate", "runningmachine", "runningcpu"}
)
# What differs from network to network.
_OF_A_NETWORK = frozenset({"bridge", "tag", "trunks", "link_down", *guest_config.ADDRESSES})
_OF_A_VOLUME = frozenset({"", "file", "volume", "size", "format"})
_DRIVE = re.compile(r"^(?:ide|sata|scsi|virtio|unused|mp)\d+$|^(?:efidisk0|tpmstate0|rootfs)$")
# These may be long, or nobody else's business: that they differ is all that is told.
_NOT_TOLD = frozenset({"args", "cicustom", "cipassword", "sshkeys", "lxc"})


def disks(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the guest's disks and their sizes."""
    return {drive.name: f"{drive.size} bytes" for drive in guest_config.drives(config)}


def settings(config: Mapping[str, Any], mapped: Collection[str] = ()) -> dict[str, str]:
    """Return everything else that makes the guest what it is; `mapped` is what is declared for each side."""
    result = {
        name: str(value).strip()
        for name, value in config.items()
        if name not in _NOT_COMPARED and name not in mapped and not _DRIVE.match(name)
    }
    for name, net in guest_config.nets(config).items():
        result[name] = _options(guest_config.options(net), _OF_A_NETWORK)
    for drive in guest_config.drives(config):
        result[f"options of {drive.name}"] = _options(drive.options, _OF_A_VOLUME)
    # What is off is what is not there.
    return {name: value for name, value in result.items() if value not in ("", "0")}


def _options(found: Mapping[str, str], without: Collection[str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(found.items()) if name not in without)


def differences(source: Mapping[str, str], target: Mapping[str, str], source_name: str, target_name: str) -> list[str]:
    """Say what differs, one line each."""
    found = []
    for name in sorted({*source, *target}):
        here, there = source.get(name, "none"), target.get(name, "none")
        if here != there:
            told = "" if name in _NOT_TOLD else f" ({here} at {source_name}, {there} at {target_name})"
            found.append(f"{name}{told}")
    return found


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return a word that is another one when the guest is made of something else."""
    made_of = json.dumps([disks(config), settings(config)], sort_keys=True)
    return f"made-of:{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
