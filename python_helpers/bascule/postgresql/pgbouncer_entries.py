"""The entries of a PgBouncer that is somebody else's: a switch changes their host and port, and nothing else of them.

What pool_size, auth_user, dbname or a comment say stays as it is written, and so does what points elsewhere. An entry
that would go on pointing at the closed side is a problem, named before anything is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import pgbouncer
from .spec import Spec

ANY = "*"
_ENTRY = re.compile(r"""\s*(?P<name>"(?:[^"]|"")*"|[^\s"'=;#%\[]+)\s*=(?P<rest>.*)$""")
_WORD = re.compile(r"(?P<key>\w+)\s*=\s*(?P<value>'(?:[^']|'')*'|[^\s']+)")
_DEFAULT_PORT = 5432


@dataclass(frozen=True)
class Entry:
    """One database of a pooler, and where it is."""

    name: str
    host: str
    port: int


def entries(text: str) -> list[Entry]:
    """Return the entries of an included file, or of a [databases] section."""
    return [entry for line in text.splitlines() if (entry := _entry(line))]


def section(text: str, name: str = "databases") -> str:
    """Return what a pgbouncer.ini says in a section."""
    kept, inside = [], False
    for line in text.splitlines():
        if line.strip().startswith("["):
            inside = line.strip().lower().startswith(f"[{name}]")
        elif inside:
            kept.append(line)
    return "\n".join(kept) + "\n"


def included(text: str) -> list[str]:
    """Return the files that a pgbouncer.ini, or a section of it, includes."""
    words = (line.split() for line in text.splitlines())
    return [line[1] for line in words if len(line) == 2 and line[0] == "%include"]


def at_a_side(spec: Spec, entry: Entry) -> bool:
    """Whether an entry points to the server of either side."""
    return any(entry.port == port and entry.host in names for names, port in _known(spec))


def served(spec: Spec, text: str) -> list[str]:
    """Return the databases that a switch points to the other side: declared or not, also those by another name."""
    return sorted({entry.name for entry in entries(text) if at_a_side(spec, entry)})


def pointed(text: str, spec: Spec, target: str) -> str:
    """Return the file with every entry of either side's server pointing at the target's."""
    return "".join(_line(line, spec, target) for line in text.splitlines(keepends=True))


def problems(spec: Spec, text: str, beside: str, same: Callable[[str], bool]) -> list[str]:
    """Name what a switch could not move: `text` is the file it writes, `beside` what else the pooler serves.

    `same` tells whether a name that nobody declared is the address of either side.
    """
    own = entries(text)
    found = [
        f"{name} has no entry in {spec.pooler_include}"
        for name in pgbouncer.databases(spec)
        if not any(entry.name == name and at_a_side(spec, entry) for entry in own)
    ]
    known = {name for names, _ in _known(spec) for name in names}
    ports = {port for _, port in _known(spec)}
    for entry, inside in [*((one, True) for one in own), *((one, False) for one in entries(beside))]:
        where = f"{entry.name} points to {entry.host}"
        hosts = entry.host.split(",")
        if not entry.host or entry.host.startswith("/"):
            found.append(f"{entry.name} goes to this host's own server, whichever side serves: give it a host")
        elif at_a_side(spec, entry):
            if entry.name == ANY:
                found.append(
                    f"{where}: no pause holds who comes by it, as PAUSE takes databases by name; give each an entry of "
                    f"its own in {spec.pooler_include}"
                )
            elif not inside:
                found.append(f"{where} and stands outside {spec.pooler_include}: move it there")
        elif entry.port in ports and (known & set(hosts) or any(same(host) for host in hosts)):
            found.append(
                f"{where}, a list or a name that nobody declared: give it the address of one side, or declare the name "
                "in postgresql_replication_pooler_hosts"
            )
    return found


def names(spec: Spec, side: str) -> tuple[set[str], int]:
    """Return what a side's server is called, and its port."""
    host, port = pgbouncer.hosts(spec)[side]
    return {host, pgbouncer.server(spec, side)[0]}, port


def _known(spec: Spec) -> Iterator[tuple[set[str], int]]:
    return (names(spec, side) for side in pgbouncer.hosts(spec))


def _entry(line: str) -> Entry | None:
    match = _ENTRY.match(line)
    if match is None:
        return None
    values = {word["key"]: _plain(word["value"]) for word in _WORD.finditer(match["rest"])}
    name = match["name"]
    port = values.get("port", "")
    return Entry(
        name[1:-1].replace('""', '"') if name.startswith('"') else name,
        values.get("host", ""),
        int(port) if port.isdigit() else _DEFAULT_PORT,
    )


def _line(line: str, spec: Spec, target: str) -> str:
    entry, match = _entry(line), _ENTRY.match(line)
    if entry is None or match is None or entry.name == ANY or not at_a_side(spec, entry):
        return line
    host, port = pgbouncer.hosts(spec)[target]
    if entry.port == port and entry.host in names(spec, target)[0]:
        # By whichever of its names: it is there.
        return line
    words = {word["key"]: word for word in _WORD.finditer(match["rest"])}
    changes = []
    if entry.host != host:
        changes.append((*words["host"].span("value"), host))
    if entry.port != port:
        place = words["port"].span("value") if "port" in words else (words["host"].end(), words["host"].end())
        changes.append((*place, str(port) if "port" in words else f" port={port}"))
    rest = match["rest"]
    for start, end, value in sorted(changes, reverse=True):
        rest = rest[:start] + value + rest[end:]
    ending = line[len(line.rstrip("\r\n")) :]
    return line[: match.start("rest")] + rest + ending


def _plain(value: str) -> str:
    return value[1:-1].replace("''", "'") if value.startswith("'") else value
