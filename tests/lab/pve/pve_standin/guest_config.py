"""The text of /etc/pve/qemu-server/<vmid>.conf, in Proxmox's own syntax.

The description stands first as `#` lines; after it come `key: value` lines in sorted order. The digest is the SHA-1 of
the whole text: a change that names another digest is refused.
"""

from __future__ import annotations

import hashlib
import re
import urllib.parse

Config = dict[str, str]

LINE = re.compile(r"([a-z][a-z_]*\d*):\s*(.+?)\s*$", re.IGNORECASE)
SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def encode_text(text: str) -> str:
    """Escape what Proxmox escapes in a comment: control characters, the colon and everything beyond ASCII."""
    out = []
    for byte in text.encode():
        plain = 0x20 <= byte <= 0x7E and byte != 0x3A
        out.append(chr(byte) if plain else f"%{byte:02X}")
    return "".join(out)


def decode_text(text: str) -> str:
    return urllib.parse.unquote(text)


def digest(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def parse(text: str) -> Config:
    """Values as strings; the description under `description`. Sections (snapshots) end the current configuration."""
    config: Config = {}
    description: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            description.append(decode_text(line[1:]))
        elif line.startswith("["):
            break
        elif match := LINE.match(line):
            config[match[1]] = match[2]
    if description:
        config["description"] = "\n".join(description).rstrip()
    return config


def render(config: Config) -> str:
    lines = [f"#{encode_text(line)}" for line in config.get("description", "").splitlines()]
    lines += [f"{key}: {value}" for key, value in sorted(config.items()) if key not in ("description", "digest")]
    return "".join(f"{line}\n" for line in lines)


def parse_options(value: str, first: str) -> dict[str, str]:
    """`virtio=BC:…,bridge=vmbr0` or `local:100/disk.raw,size=1G`: the first part may lack its name."""
    options: dict[str, str] = {}
    for index, part in enumerate(value.split(",")):
        key, equals, rest = part.partition("=")
        if equals:
            options[key] = rest
        elif index == 0:
            options[first] = part
        else:
            options[key] = "1"
    return options


def render_options(options: dict[str, str], first: str) -> str:
    parts = [options[first]] if first in options else []
    return ",".join(parts + [f"{key}={value}" for key, value in options.items() if key != first])


NIC_MODELS = ("virtio", "e1000", "e1000e", "rtl8139", "vmxnet3")


def parse_net(value: str) -> dict[str, str]:
    """A network card: its model and MAC under `model` and `macaddr`, the other options by name."""
    options = parse_options(value, "model")
    for model in NIC_MODELS:
        if model in options:
            options["macaddr"] = options.pop(model)
            options["model"] = model
    return options


def render_net(options: dict[str, str]) -> str:
    rest = [f"{key}={value}" for key, value in options.items() if key not in ("model", "macaddr")]
    head = f"{options['model']}={options['macaddr']}" if "macaddr" in options else options["model"]
    return ",".join([head, *rest])


def nets(config: Config) -> list[str]:
    """The names of the network cards."""
    return sorted(key for key in config if re.fullmatch(r"net\d+", key))


DISK_KEY = re.compile(r"(?:(scsi|virtio|sata|ide)\d+|efidisk0|tpmstate0)$")


def drives(config: Config) -> dict[str, dict[str, str]]:
    """Every drive, its volume under `file`."""
    return {key: parse_options(value, "file") for key, value in sorted(config.items()) if DISK_KEY.match(key)}


def disks(config: Config) -> dict[str, dict[str, str]]:
    """Drives that hold data: no CD, no cloud-init drive."""
    return {key: drive for key, drive in drives(config).items() if drive.get("media") != "cdrom"}


def parse_size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    if not match:
        raise ValueError(f"unable to parse size '{text}'")
    return int(float(match[1]) * SIZE_UNITS[match[2]])


def format_size(size: int) -> str:
    """Proxmox's short form, always exact: 1G, 1536M, 100K, 5."""
    for unit in ("T", "G", "M", "K"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return str(size)
