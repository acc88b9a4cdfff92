"""What else on a host decides which database serves: named with what shows it. Pure.

What only watches something else is no reason to refuse: a keepalived or a Pacemaker is one where its configuration
names the database or its address, and where that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .manager_programs import of_configuration, of_script

# Whose only purpose is to decide that, by how their units are called: patroni@15-main, repmgr-15, repmgrd.
_DECIDES = {
    "patroni": r"patroni(@.*)?",
    "repmgr": r"repmgrd?(-?[0-9]+)?",
    "pg_auto_failover": r"pg_?auto_?failover.*|pgautofailover.*",
    "stolon": r"stolon-?(keeper|sentinel).*",
}
# By which a keepalived speaks to its like; what it moves is elsewhere.
_OWN_ADDRESS = re.compile(r"\b(?:unicast|mcast)_src_ip\s+\S+")
# Who moves whatever it is told to.
WATCHES = {"keepalived": "keepalived", "pacemaker": "pacemaker"}
_DATABASE = r"postgres\w*|pgsql|\bpsql|\bpg_|pgbouncer|patroni|repmgr"


def deciding(units: Sequence[str]) -> list[str]:
    """Return what decides by its nature, with the active unit that shows it."""
    return [
        f"{name} ({unit})"
        for name, pattern in _DECIDES.items()
        for unit in units
        if re.fullmatch(pattern, unit.removesuffix(".service"), re.IGNORECASE)
    ]


def watching(units: Sequence[str]) -> list[str]:
    """Return who may decide, by its configuration."""
    running = {unit.removesuffix(".service") for unit in units}
    return [name for name, unit in WATCHES.items() if unit in running]


def why(name: str, texts: Mapping[str, str | None], addresses: Sequence[str], ports: Sequence[int]) -> str:
    """Return what makes a watcher one that decides about the database, or an empty text.

    `texts` are its files and the programs they name, by path; None where one could not be read, or where what a
    key says in words could not be followed.
    """
    words = [
        _DATABASE,
        *(rf"\b{port}\b" for port in ports),
        *(rf"(?<![\d.]){re.escape(a)}(?![\d.])" for a in addresses),
    ]
    pattern = re.compile("|".join(words), re.IGNORECASE)
    for path, text in texts.items():
        for number, line in enumerate((text or "").splitlines(), 1):
            if found := pattern.search(_OWN_ADDRESS.sub("", _code(line) if path.endswith(".conf") else _spoken(line))):
                return f"{name} ({path}:{number} names {found.group()})"
    unread = [path for path, text in texts.items() if text is None]
    if unread or not texts:
        return (
            f"{name} (what it watches is not known: {', '.join(unread) or 'no configuration was found'}; have it run "
            "only shell scripts that are read whole and call nothing but what looks, or stop it)"
        )
    return ""


def followed(path: str, text: str, *, script: bool) -> tuple[list[str], list[str]]:
    """Return the programs that a configuration or a script runs, by path, and what of it cannot be followed."""
    found = of_script(text) if script else of_configuration("\n".join(_code(line) for line in text.splitlines()))
    return found.paths, [f"{path}: {what}" for what in found.lost]


def includes(text: str) -> list[str]:
    """Return the patterns of further files that a configuration of keepalived reads."""
    lines = (re.match(r"\s*include[rmwb]*\s+[\"']?([^\s\"']+)", _code(line)) for line in text.splitlines())
    return [match.group(1) for match in lines if match]


def _code(line: str) -> str:
    """Return a line of a configuration without its comment; within quotes there is none."""
    match = re.match(r"(?:\"[^\"]*\"|'[^']*'|[^\"'#!]|(?<=\S)[#!])*", line)
    return match.group() if match else line


def _spoken(line: str) -> str:
    """Return a line of a program; where a comment after words begins, only its language knows."""
    return "" if line.lstrip().startswith("#") else line
