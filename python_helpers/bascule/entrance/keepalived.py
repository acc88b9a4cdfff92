"""Which virtual addresses keepalived has, out of its configuration, and whether each is declared. Pure.

Source of the format: keepalived.conf(5) of 2.2, "CONFIGURATION FILE", "PARAMETER SUBSTITUTION" and "VRRP instance(s)".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MAIN = "/etc/keepalived/keepalived.conf"
# The blocks whose lines each begin with an address that keepalived gives to one machine of several.
_BLOCKS = ("virtual_ipaddress", "virtual_ipaddress_excluded")
_INCLUDES = ("include", "includer", "includem", "includew", "includeb", "includea")
_COMMENT = re.compile(r"""^((?:"[^"]*"|'[^']*'|[^"'#!])*?)[#!].*$""")
_DEFINED = re.compile(r"^\$(\w+)\s*=\s*(.*)$")
_USED = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass
class Found:
    """What a configuration says: virtual addresses, each with where it stands; and what could not be read."""

    addresses: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read(files: Mapping[str, str], missing: Iterable[str] = ()) -> Found:
    """Return the virtual addresses in all files of a configuration, those that it includes among them.

    A line that is for one machine alone (`@id …`) counts at every machine: which of them it is decides keepalived's own
    command line, and an address that is asked for nothing is only named.

    Args:
        files: the texts by path, the main one first.
        missing: what is included and not there.
    """
    found = Found(unread=[f"{path}, which it includes, is not there or cannot be read" for path in missing])
    # A file that is included further up may define what the main one uses further down.
    every = (_DEFINED.match(line) for text in files.values() for _, line in _lines(text))
    defined = {one[1]: one[2].strip().strip("\"'") for one in every if one}
    for path, text in files.items():
        block = ""
        for number, line in _lines(text):
            where = f"{path}:{number}"
            if definition := _DEFINED.match(line):
                defined[definition[1]] = definition[2].strip().strip("\"'")
                continue
            line, unknown = _substituted(line, defined)
            for words in _parts(line):
                if words[0] == "{":
                    continue
                if words[0] == "}":
                    block = ""
                elif block:
                    for number, word in enumerate(words):
                        # What follows the addresses of a line says how they are given: `dev eth0`, `brd 192.0.2.255`.
                        if number and not _is_address(word):
                            break
                        _keep(found, word, where, unknown)
                elif words[0] in _BLOCKS:
                    block = words[0]
                elif words[0] == "virtual_server" and len(words) > 1:
                    _keep(found, words[1], where, unknown)
                elif words[0] == "virtual_server_group":
                    found.unread.append(f"{where}: virtual_server_group, whose addresses are not read")
    return found


def included(text: str) -> list[str]:
    """Return the patterns of paths that a file includes."""
    lines = [line.split() for _, line in _lines(text)]
    return [words[1].strip("\"'") for words in lines if len(words) > 1 and words[0] in _INCLUDES]


def same(address: str) -> str:
    """Return an address as it is written shortest, without its network; what is none as it is."""
    text = address.strip().lower().partition("/")[0].strip("[]")
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def faults(found: Found, side: str, own: str, further: Collection[str], others: Collection[str]) -> list[str]:
    """Name what is not declared as keepalived has it.

    Args:
        found: what its configuration says.
        side: the inventory name of the machine.
        own: its address, of web_entrance_addresses.
        further: by which users come as well, of web_entrance_further_addresses.
        others: by which none comes, of web_entrance_other_virtual_addresses.
    """
    table, key = "web_entrance_addresses", f"web_entrance_further_addresses.{side}"
    named = [f"keepalived of {side}: {text}: which addresses it has is not known" for text in found.unread]
    if not all(str(one or "").strip() for one in further):
        named.append(f"{key}: expected addresses; found an empty one")
    known = {same(one) for one in (*further, *others)}
    if same(own) in {same(one) for one in further}:
        named.append(f"{key}: expected addresses beside {own} of {table}; found that one again")
    for address, where in found.addresses.items():
        if address == same(own):
            named.append(
                f"{table}.{side}: expected the machine's own address; found {address}, which keepalived gives to one "
                f"machine of several ({where}): put it into {key}"
            )
        elif address not in known:
            named.append(
                f"{key}: expected {address}, which keepalived has ({where}) and by which users may come, there, or in "
                "web_entrance_other_virtual_addresses where no user of this service comes by it; found in neither"
            )
    return named


def local_addresses(fib_trie: str, if_inet6: str) -> set[str]:
    """Return the addresses that a machine has now, out of /proc/net/fib_trie and /proc/net/if_inet6."""
    found, last = set(), ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"] and last:
            found.add(same(last))
    for line in if_inet6.splitlines():
        text = line.split()[0] if line.split() else ""
        if len(text) == 32:
            found.add(same(":".join(text[at : at + 4] for at in range(0, 32, 4))))
    return found


def _keep(found: Found, word: str, where: str, unknown: str) -> None:
    if unknown:
        found.unread.append(f"{where}: {unknown} has no value that is read here")
        return
    address = same(word.strip("\"'"))
    if not _is_address(address):
        found.unread.append(f"{where}: {word[:60]!r} is no address that is read here")
        return
    found.addresses.setdefault(address, where)


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(same(word))
    except ValueError:
        return False
    return True


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield each line that says something, with its number: without comment, and without the name of a machine."""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub(r"\1", raw).strip()
        if line.startswith("@"):
            line = line.partition(" ")[2].strip() if " " in line else ""
        if line:
            yield number, line


def _substituted(line: str, defined: Mapping[str, str]) -> tuple[str, str]:
    """Return a line with the values of its parameters, and one that has none."""
    unknown = next((one[0] for one in _USED.finditer(line) if (one[1] or one[2]) not in defined), "")
    return _USED.sub(lambda one: defined.get(one[1] or one[2], one[0].strip("${}")), line), unknown


def _parts(line: str) -> Iterator[list[str]]:
    """Yield what stands on a line: braces are words of their own."""
    for part in re.split(r"([{}])", line):
        if words := part.split():
            yield words
