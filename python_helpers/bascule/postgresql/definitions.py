"""What a dump says about the objects of a database or a cluster, cut into one piece for each of them.

Text goes in, names and hashes come out: whatever a definition holds, a password's verifier above all, stays behind.
Everything between two headings belongs to the first of them. Pieces of one name are hashed together: a text that looks
like a heading moves a difference to another name at most.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

Lines = Mapping[str, str]
Parse = Callable[[bytes], "dict[str, dict[str, str]]"]

_HEADING = re.compile(rb"^-- Name: (.*); Type: ([^;]*); Schema: (.*); Owner: (.*)$", re.M)
_TOKEN = re.compile(rb"^\\restrict (\S+)$", re.M)
# What a dump sets for the objects that follow; it stands behind the definition of the one before.
_STATE = re.compile(rb"^SET (default_tablespace|default_table_access_method) = .*;$")
_VERSIONS = (b"-- Dumped from database version ", b"-- Dumped by pg_dump version ")
_FRAME = (b"", b"--")
_SCHEMALESS = b"-"
# Whose storage the second setting chooses.
_STORED = (b"TABLE", b"MATERIALIZED VIEW")
_ENDS = (b"-- PostgreSQL database dump complete", b"-- PostgreSQL database cluster dump complete")

_NAME = rb'("(?:[^"]|"")*"|[^\s;]+)'
_SECTION = re.compile(
    rb"^--\n-- (?:PostgreSQL database cluster dump(?: complete)?|Roles|User Configurations|User Config .*|"
    rb"Role memberships|Role privileges on configuration parameters|Tablespaces)\n--$",
    re.M,
)
# The statements of a cluster's dump; what begins with none of them goes on with the one before.
_STATEMENTS = tuple(
    (kind, re.compile(pattern + _NAME, re.I))
    for kind, pattern in (
        ("role", rb"^(?:CREATE|ALTER) ROLE "),
        ("role", rb"^COMMENT ON ROLE "),
        ("role", rb"^SECURITY LABEL FOR \S+ ON ROLE "),
        ("tablespace", rb"^(?:CREATE|ALTER) TABLESPACE "),
        ("tablespace", rb"^COMMENT ON TABLESPACE "),
        ("tablespace", rb"^SECURITY LABEL FOR \S+ ON TABLESPACE "),
        ("tablespace", rb"^(?:GRANT|REVOKE) [\w ,]+ ON TABLESPACE "),
        ("right on the parameter", rb"^(?:GRANT|REVOKE) [\w ,]+ ON PARAMETER "),
        ("membership in", rb"^GRANT "),
    )
)


def of_database(text: bytes) -> dict[str, dict[str, str]]:
    """Return the objects of a database by kind and name, each with a hash, from what pg_dump --schema-only printed."""
    _require_whole(text)
    text = _without_tokens(text)
    headings = list(_HEADING.finditer(text))
    pieces: dict[tuple[str, str], list[bytes]] = {}
    start, state = _body(text[: headings[0].start()] if headings else text)
    kept = [line for line in start.splitlines() if line not in _FRAME and not line.startswith(_VERSIONS)]
    pieces[("setting", "of the dump")] = [b"\n".join(kept)]
    for number, heading in enumerate(headings):
        end = headings[number + 1].start() if number + 1 < len(headings) else len(text)
        body, following = _body(text[heading.end() : end])
        name, what, schema, rest = heading.groups()
        stored = state.get(b"default_table_access_method", b"") if what in _STORED else b""
        shown = name if schema == _SCHEMALESS else schema + b"." + name
        pieces.setdefault((_readable(what).lower(), _readable(shown)), []).append(b"\n".join((rest, stored, body)))
        state.update(following)
    return _hashed(pieces)


def of_cluster(text: bytes) -> dict[str, dict[str, str]]:
    """Return roles, memberships and the like, each with a hash, from what pg_dumpall --globals-only printed."""
    _require_whole(text)
    pieces: dict[tuple[str, str], list[bytes]] = {}
    current, lines = ("setting", "of the dump"), list[bytes]()
    for line in _SECTION.sub(b"", _without_tokens(text)).split(b"\n"):
        begun = next(((kind, found[1]) for kind, one in _STATEMENTS if (found := one.match(line))), None)
        if begun:
            pieces.setdefault(current, []).append(b"\n".join(lines).strip(b"\n"))
            current, lines = (begun[0], _readable(begun[1])), []
        lines.append(line)
    pieces.setdefault(current, []).append(b"\n".join(lines).strip(b"\n"))
    return _hashed(pieces)


def digest(lines: Lines) -> dict[str, Any]:
    """Return the digest of the lines of one kind, and the lines themselves."""
    whole = hashlib.sha256()
    for name in sorted(lines):
        whole.update(f"{name}\0{lines[name]}\n".encode("utf-8", "surrogateescape"))
    return {"rows": len(lines), "digest": whole.hexdigest(), "lines": dict(lines)}


def masked(lines: Lines, salt: str) -> dict[str, str]:
    """Return names with salted hashes: nobody can look up what a short definition was."""
    return {name: hashlib.sha256(f"{salt}{value}".encode()).hexdigest()[:16] for name, value in lines.items()}


def _require_whole(text: bytes) -> None:
    if not any(end in text[-400:] for end in _ENDS):
        raise ValueError("the dump has no end")


def _without_tokens(text: bytes) -> bytes:
    """Leave out what keeps a text from being taken for commands of psql: a random word, another one in every dump."""
    token = _TOKEN.search(text)
    if token is None:
        return text
    lines = (b"\\restrict " + token[1], b"\\unrestrict " + token[1])
    return b"\n".join(line for line in text.split(b"\n") if line not in lines)


def _body(text: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the text of a piece without its frame, and what it sets for those that follow."""
    lines = text.split(b"\n")
    following: dict[bytes, bytes] = {}
    while lines and (lines[-1] in (*_FRAME, *_ENDS) or _STATE.match(lines[-1])):
        found = _STATE.match(lines.pop())
        if found:
            following.setdefault(found[1], found[0])
    return b"\n".join(lines).strip(b"\n"), following


def _hashed(pieces: Mapping[tuple[str, str], list[bytes]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for (kind, name), texts in pieces.items():
        whole = hashlib.sha256()
        for one in sorted(hashlib.sha256(text).digest() for text in texts):
            whole.update(one)
        found.setdefault(kind, {})[name] = whole.hexdigest()
    return found


def _readable(name: bytes) -> str:
    """Return a name for a terminal: what is no UTF-8 or cannot be printed is written as numbers."""
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
