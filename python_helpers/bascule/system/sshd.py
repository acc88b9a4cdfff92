"""What a host's SSH server says of who would come in, as `sshd -T` prints it. Pure.

See sshd_config(5): PermitRootLogin, PubkeyAuthentication, AuthorizedKeysFile, AllowUsers, DenyUsers and PATTERNS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from fnmatch import fnmatchcase

# Where the lines that let a peer's key in are written, as AuthorizedKeysFile names it.
KEYS_FILES = (".ssh/authorized_keys", "%h/.ssh/authorized_keys", "/root/.ssh/authorized_keys")
USER = "root"
_OF_ADDRESSES = frozenset("0123456789abcdefABCDEF.:*?/")


def refusals(effective: str, address: str, user: str = USER) -> list[str]:
    """Return why a user would not be let in from an address by a key with a forced command; nothing when it would.

    `effective` is what the server uses for just that connection, `Match` blocks applied. Groups are not looked at.
    """
    said: dict[str, list[str]] = {}
    for line in effective.splitlines():
        name, _, value = line.strip().partition(" ")
        said.setdefault(name.lower(), []).extend(value.split())
    found = []
    # Without a word nothing is refused: a server that says less than expected is tried by the first transfer.
    if user == USER and said.get("permitrootlogin") == ["no"]:
        found.append("PermitRootLogin no (forced-commands-only is enough)")
    if said.get("pubkeyauthentication") == ["no"]:
        found.append("PubkeyAuthentication no")
    files = said.get("authorizedkeysfile")
    if files and not set(files) & set(KEYS_FILES if user == USER else KEYS_FILES[:2]):
        found.append(f"AuthorizedKeysFile {' '.join(files)}, without {KEYS_FILES[0]}")
    allowed, denied = said.get("allowusers"), said.get("denyusers", [])
    if allowed and not _named(allowed, address, user, names=said.get("usedns") == ["yes"]):
        found.append(f"AllowUsers {' '.join(allowed)}, without {user}@{address}")
    if _named(denied, address, user):
        found.append(f"DenyUsers {' '.join(denied)}")
    return found


def _named(patterns: Iterable[str], address: str, named: str, names: bool = False) -> bool:
    """Tell whether a list of USER or USER@HOST names a user from this address, or may do so by a name of its."""
    for pattern in patterns:
        user, at, host = pattern.partition("@")
        if fnmatchcase(named, user) and (not at or _is_at(host, address) or (names and not set(host) <= _OF_ADDRESSES)):
            return True
    return False


def _is_at(pattern: str, address: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(address, pattern)
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
