"""Who else than wg-quick's unit would bring an interface up: a fence of the unit would not hold against it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Where network managers keep what they bring up at a boot; netplan writes below /run. Drop-ins lie one folder below.
FOLDERS = (
    *(f"{top}/systemd/network" for top in ("etc", "run", "usr/lib", "usr/local/lib")),
    *(f"{top}/NetworkManager/system-connections" for top in ("etc", "run", "usr/lib")),
    "etc/network/interfaces.d",
)
FILES = ("etc/network/interfaces",)
_SOURCE = re.compile(r"^[ \t]*source(-directory)?[ \t]+(\S+)[ \t]*$", re.MULTILINE)


def sourced(text: str) -> list[str]:
    """Return the patterns, below the root, of the files that a file of ifupdown reads as well, see interfaces(5)."""
    found = [f"{path}/*" if folder else path for folder, path in _SOURCE.findall(text)]
    return [path.lstrip("/") if path.startswith("/") else f"etc/network/{path}" for path in found]


def managed(texts: Mapping[str, str], name: str) -> list[str]:
    """Return a sentence for each file by which something else would bring the interface up.

    Args:
        texts: the content of the managers' files, by path.
        name: the interface.
    """
    word = re.escape(name)
    own = re.compile(
        rf"^[ \t]*(?:Name|interface-name)[ \t]*=[ \t]*{word}[ \t]*$"
        rf"|^[ \t]*(?:auto|allow-\S+|iface)[ \t]+(?:\S+[ \t]+)*{word}(?:\s|$)"
        rf"|^[^#\n]*\bip[ \t]+(?:-\S+[ \t]+)*link[ \t]+add[ \t]+(?:dev[ \t]+|name[ \t]+)?{word}(?:\s|$)",
        re.MULTILINE,
    )
    return [
        f"{path} has to do with {name} as well: what it brings up, no fence of the unit keeps down"
        for path, text in sorted(texts.items())
        if not path.endswith(".network") and own.search(text)
    ]
