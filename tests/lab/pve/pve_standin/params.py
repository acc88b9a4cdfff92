"""Parameters of a request: what is allowed, and Proxmox's words for what is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError, bad_parameters
from .guest_config import parse_options
from .schema import format_problem


@dataclass(frozen=True)
class Param:
    kind: str = "string"
    required: bool = False
    enum: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    options: frozenset[str] = frozenset()
    form: str = ""
    # Taken by version 8 and gone in 9.
    only_8: bool = False


TEXT = Param()
FLAG = Param("boolean")
WHOLE = Param("integer", minimum=0)
VMID = Param("integer", required=True, minimum=100, maximum=999999999, form="pve-vmid")
STORAGE_ID = Param()
UPID = Param()

NET_OPTIONS = frozenset(
    {"model", "macaddr", "bridge", "firewall", "link_down", "mtu", "queues", "rate", "tag", "trunks"}
    | {"virtio", "e1000", "e1000e", "rtl8139", "vmxnet3"}
)
DRIVE_OPTIONS = frozenset(
    {"file", "volume", "size", "media", "format", "cache", "aio", "backup", "discard", "serial", "replicate"}
    | {"import-from", "detect_zeroes", "shared", "snapshot", "werror", "rerror"}
)
NET, DRIVE = Param(options=NET_OPTIONS), Param(options=DRIVE_OPTIONS)
AGENT = Param(options=frozenset({"enabled", "fstrim_cloned_disks", "freeze-fs-on-backup", "type"}))
IPCONFIG = Param(options=frozenset({"ip", "gw", "ip6", "gw6"}))

# The settings of a guest that the lab's guests use; every other known one is refused like an unknown one.
GUEST: dict[str, Param] = {
    "acpi": FLAG, "agent": AGENT, "balloon": WHOLE, "boot": TEXT, "bios": Param(enum=("seabios", "ovmf")),
    "ciuser": TEXT, "cores": Param("integer", minimum=1), "cpu": TEXT, "description": TEXT, "hotplug": TEXT,
    "ipconfig[n]": IPCONFIG, "kvm": FLAG, "lock": TEXT, "machine": TEXT, "memory": TEXT, "name": TEXT,
    "nameserver": TEXT, "net[n]": NET, "numa": FLAG, "onboot": FLAG, "ostype": TEXT, "protection": FLAG,
    "scsi[n]": DRIVE, "ide[n]": DRIVE, "sata[n]": DRIVE, "virtio[n]": DRIVE,
    "scsihw": Param(enum=(
        "lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi",
    )),
    "searchdomain": TEXT, "serial[n]": TEXT, "smbios1": TEXT, "sockets": Param("integer", minimum=1),
    "startup": TEXT, "tablet": FLAG, "tags": TEXT, "template": FLAG, "vga": TEXT, "vmgenid": TEXT,
}  # fmt: skip
LIMITS = {"net": 32, "ipconfig": 32, "scsi": 31, "ide": 4, "sata": 6, "virtio": 16, "serial": 4, "mp": 256}


def named(spec: Mapping[str, Param], name: str) -> Param | None:
    """The rule for a parameter; `net0` is found under `net[n]`."""
    if name in spec:
        return spec[name]
    match = re.fullmatch(r"([a-z]+)(0|[1-9]\d*)", name)
    if match and int(match[2]) < LIMITS.get(match[1], 0):
        return spec.get(f"{match[1]}[n]")
    return None


def verify(spec: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """Typed values, or one refusal that names every wrong parameter."""
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, raw in given.items():
        rule = named(spec, name)
        if rule is None:
            errors[name] = "property is not defined in schema and the schema does not allow additional properties"
            continue
        if raw is None:
            raise ApiError(500, f"unable to parse value of '{name}' - got undefined value")
        try:
            values[name] = _typed(name, rule, raw)
        except ValueError as error:
            errors[name] = str(error)
    for name, rule in spec.items():
        if rule.required and name not in given:
            errors[name] = "property is missing and it is not optional"
    if errors:
        raise bad_parameters(errors)
    return values


def _typed(name: str, rule: Param, raw: Any) -> Any:
    if isinstance(raw, bool):
        raw = int(raw)
    text = str(raw)
    if rule.kind == "boolean":
        if text not in ("0", "1"):
            raise ValueError(f"type check ('boolean') failed - got '{text}'")
        return int(text)
    if rule.kind == "integer":
        if not re.fullmatch(r"-?\d+", text):
            raise ValueError(f"type check ('integer') failed - got '{text}'")
        problem = format_problem(rule.form, text, name) if rule.form else ""
        if problem:
            raise ValueError(f"invalid format - {problem}\n")
        value = int(text)
        if rule.minimum is not None and value < rule.minimum:
            raise ValueError(f"value must have a minimum value of {rule.minimum}")
        if rule.maximum is not None and value > rule.maximum:
            raise ValueError(f"value must have a maximum value of {rule.maximum}")
        return value
    if rule.enum and text not in rule.enum:
        raise ValueError(f"value '{text}' does not have a value in the enumeration '{', '.join(rule.enum)}'")
    if rule.options:
        _check_options(name, rule, text)
    return text


def _check_options(name: str, rule: Param, text: str) -> None:
    first = {"net": "model", "ipconfig": "ip", "agent": "enabled"}.get(name.rstrip("0123456789"), "file")
    for option in parse_options(text, first):
        if option not in rule.options:
            raise ValueError(
                f"invalid format - format error\n{name}.{option}: property is not defined in schema and the schema "
                "does not allow additional properties\n"
            )


def shown(name: str, value: str) -> Any:
    """A configuration value as the API returns it: whole numbers and booleans as numbers, the rest as text."""
    rule = named(GUEST, name)
    if rule and rule.kind in ("integer", "boolean") and re.fullmatch(r"\d+", value):
        return int(value)
    return value
