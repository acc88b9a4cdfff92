"""What makes a tree come up read-only at every boot by systemd and mount(8) alone, in files of Bascule's own. Pure.

Where systemd mounts the tree, a drop-in of its mount unit adds `ro` to the options: nobody finds the tree writable, not
for a moment. Where something else has mounted it before systemd starts (an initrd, a container engine, a tool of its
file system), a unit makes it read-only before the first service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# The last drop-in by name has the last word, so nobody's own comes after it.
_NAME = "zzz-bascule-{component}.conf"
_UNIT_NAME = "bascule-{component}-closed.service"

_WHY = """# Bascule: the tree of {component} at {path} is not open on this host.
# This keeps it read-only at every boot, also when the host agent is broken. An opening takes this file away.
# To use the tree for something else after the migration: systemctl disable bascule-boot bascule-{component}-fence;
# remove this file; systemctl daemon-reload.
"""
_DROP_IN = """[Mount]
Options={options}
"""
_UNIT = """[Unit]
Description=Bascule: the tree of {component} is not open here, and comes up read-only
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/mount -o remount,ro {quoted}
ExecStart=/bin/mount -o remount,bind,ro {quoted}
"""
_WANTS = """[Unit]
Wants={unit}
"""


def options_of(configuration: Iterable[str]) -> str:
    """Return the mount options in the texts of a mount unit and its drop-ins; the last one counts, as for systemd."""
    section = found = ""
    for text in configuration:
        for line in text.replace("\\\n", " ").splitlines():
            word = line.strip()
            if word.startswith("["):
                section = word
            name, equals, value = word.partition("=")
            if section == "[Mount]" and equals and name.strip() == "Options":
                found = value.strip()
    return found


def is_read_only(options: str) -> bool:
    """Tell whether these mount options leave the mount read-only; the last word counts, as for mount(8)."""
    return next((one == "ro" for one in reversed(options.split(",")) if one in ("ro", "rw")), False)


def drop_in(component: str, unit: str, path: str, options: str) -> tuple[str, str]:
    """Return name and text of the drop-in that adds `ro` to the options of a mount unit."""
    kept = [one for one in map(str.strip, options.split(",")) if one not in ("", "ro", "rw")]
    text = _WHY.format(component=component, path=_printable(path)) + _DROP_IN.format(options=",".join([*kept, "ro"]))
    return f"{unit}.d/{_NAME.format(component=component)}", text


def remount(component: str, path: str) -> list[tuple[str, str]]:
    """Return names and texts of the unit that makes a mount read-only before services, and of what asks for it."""
    quoted = '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'
    unit = _UNIT_NAME.format(component=component)
    why = _WHY.format(component=component, path=_printable(path))
    return [
        (unit, why + _UNIT.format(component=component, quoted=quoted)),
        (f"sysinit.target.d/{_NAME.format(component=component)}", why + _WANTS.format(unit=unit)),
    ]


def names(component: str) -> tuple[str, ...]:
    """Return patterns of the files of a component, relative to systemd's folder."""
    return f"*.d/{_NAME.format(component=component)}", _UNIT_NAME.format(component=component)


def path_of(unit: str) -> str:
    """Return the mount point of a mount unit, from its name."""
    raw = unit.removesuffix(".mount").replace("-", "/").encode("utf-8", "surrogateescape")
    plain = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match.group(1).decode()), raw)
    return "/" + plain.decode("utf-8", "surrogateescape").strip("/")


def _printable(path: str) -> str:
    return path.replace("\n", "\\n")
