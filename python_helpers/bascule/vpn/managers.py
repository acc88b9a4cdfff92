"""Who else than wg-quick's unit would bring an interface up: a fence of the unit would not hold against it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Where network managers keep what they bring up at a boot.
FOLDERS = (
    "etc/systemd/network",
    "run/systemd/network",
    "etc/NetworkManager/system-connections",
    "etc/network/interfaces.d",
)
FILES = ("etc/network/interfaces",)


def managed(texts: Mapping[str, str], name: str) -> list[str]:
    """Return a sentence for each file by which something else would bring the interface up.

    Args:
        texts: the content of the managers' files, by path.
        name: the interface.
    """
    word = re.escape(name)
    own = re.compile(
        rf"^[ \t]*(?:Name|interface-name)[ \t]*=[ \t]*{word}[ \t]*$"
        rf"|^[ \t]*(?:auto|allow-\S+|iface)[ \t]+(?:\S+[ \t]+)*{word}(?:\s|$)",
        re.MULTILINE,
    )
    return [
        f"{path} has to do with {name} as well: what it brings up, no fence of the unit keeps down"
        for path, text in sorted(texts.items())
        if not path.endswith(".network") and own.search(text)
    ]
