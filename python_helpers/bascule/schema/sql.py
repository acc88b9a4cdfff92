"""What a SQL file may not hold, found by reading it as the engine's own client does. Pure.

Nothing is split here to be sent: a file goes to the engine whole. What is found is what would end the transaction that
the file and its bookkeeping share, or what psql would take for a command of its own.
Sources: PostgreSQL 15, 4.1 (lexical structure), psql's scanner (psqlscan.l); SQLite, lang_createtrigger.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

POSTGRESQL, SQLITE, MARIADB = "postgresql", "sqlite", "mariadb"
ENGINES = (POSTGRESQL, SQLITE, MARIADB)
# What is read here; a file of MariaDB is read by its own client (`mariadb_sql`).
READ_HERE = (POSTGRESQL, SQLITE)
_SHARED = r"""(?P<space>[\s\ufeff]+|--[^\n]*)|'[^']*(?:''[^']*)*'|"(?P<name>[^"]*(?:""[^"]*)*)"|"""
_REST = r"""|(?P<open>[eE]?'|")|(?P<word>[^\W\d][\w$]*)|(?P<sign>.)"""
_TOKEN = {
    POSTGRESQL: re.compile(
        r"""[eE]'(?:[^'\\]|\\.|'')*'|(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)|(?P<unended>\$(?:[^\W\d]\w*)?\$)|"""
        + _SHARED
        + r"(?P<meta>\\[^\s;]*)"
        + _REST,
        re.DOTALL,
    ),
    SQLITE: re.compile(_SHARED + r"`(?P<own>[^`]*)`|\[(?P<brackets>[^\]]*)\]" + _REST, re.DOTALL),
}
# These end, begin or divide a transaction.
_TRANSACTION = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "END", "ABORT", "SAVEPOINT", "RELEASE"})
_PREPARED = ("PREPARE", "TRANSACTION")
# PostgreSQL refuses these within a transaction: such a file has to say so.
_ALONE = (
    re.compile(r"(?:CREATE (?:UNIQUE )?|DROP )INDEX CONCURRENTLY\b"),
    re.compile(r"REINDEX\b.*\bCONCURRENTLY\b"),
    re.compile(r"VACUUM\b"),
)
# These change the whole server: on a copy, the trial of a plan would already do it there.
_SERVER = re.compile(
    r"(?:CREATE|ALTER|DROP) (?:DATABASE|TABLESPACE|ROLE|USER(?! MAPPING)|GROUP|SUBSCRIPTION)\b|ALTER SYSTEM\b"
    r"|(?:GRANT|REVOKE) (?!.*\bON\b)"
)
LEDGER = "bascule_migration"


@dataclass
class _Statement:
    line: int
    words: list[str] = field(default_factory=list)
    depth: int = 0
    parentheses: int = 0

    @property
    def trigger(self) -> bool:
        return "TRIGGER" in self.words[1:3] and self.words[0] == "CREATE"

    @property
    def routine(self) -> bool:
        """A function or procedure of PostgreSQL may have a body of statements: BEGIN ATOMIC … END."""
        head = self.words[:4]
        return head[:1] == ["CREATE"] and ("FUNCTION" in head or "PROCEDURE" in head)


@dataclass
class _Found:
    statements: list[_Statement]
    meta: list[tuple[int, str]]
    unfinished: str = ""


def findings(text: str, engine: str, transaction: bool) -> list[str]:
    """Return what a file may not hold, each with its line.

    Args:
        text: the file. engine: one of READ_HERE. transaction: whether the file runs in one, with its bookkeeping.
    """
    found = _scan(text, engine)
    said = []
    for line, command in found.meta:
        said.append(f"line {line} has {command}, a command of psql: only SQL goes to the server")
    if found.unfinished:
        said.append(f"the file ends within {found.unfinished}")
    if not found.statements:
        said.append("the file has no statement")
    for one in found.statements:
        head = one.words[0] if one.words else ""
        if head in _TRANSACTION or tuple(one.words[:2]) == _PREPARED:
            said.append(f"line {one.line} has {head}: the file and its bookkeeping are one transaction, Bascule's own")
        words = " ".join(one.words)
        alone = engine == POSTGRESQL and any(pattern.match(words) for pattern in _ALONE)
        if alone and transaction:
            said.append(
                f"line {one.line} cannot run in a transaction: put '-- bascule: no-transaction' in a file of its own"
            )
        if engine == POSTGRESQL and _SERVER.match(words):
            what = " ".join(one.words[:2])
            said.append(f"line {one.line} changes the whole server ({what}), which no copy keeps apart")
        if any(word.lower().startswith(LEDGER) for word in one.words):
            said.append(f"line {one.line} touches {LEDGER}*, in which Bascule keeps its books")
    if not transaction and engine != POSTGRESQL:
        said.append(f"no-transaction is for PostgreSQL: all of {engine}'s changes can be taken back")
    if not transaction and len(found.statements) > 1:
        said.append(f"a file without a transaction has one statement, and this one has {len(found.statements)}")
    return said


def _scan(text: str, engine: str) -> _Found:
    found = _Found([], [])
    current: _Statement | None = None
    for line, kind, piece in _tokens(text, engine):
        if kind in ("open", "unended"):
            found.unfinished = f"what {piece} begins in line {line}"
        elif kind == "meta":
            found.meta.append((line, piece))
        elif piece == ";" and kind == "sign":
            if current and not current.depth and not current.parentheses:
                current = None
        else:
            if current is None:
                current = _Statement(line)
                found.statements.append(current)
            if kind == "word":
                _word(current, piece.upper(), engine)
            elif kind in ("name", "own", "brackets"):
                current.words.append(piece)
            elif piece in ("(", ")") and engine == POSTGRESQL:
                current.parentheses = max(0, current.parentheses + (1 if piece == "(" else -1))
    if current and (current.depth or current.parentheses):
        found.unfinished = "parentheses" if current.parentheses else "a body that has no END"
    return found


def _word(statement: _Statement, word: str, engine: str) -> None:
    """Count the BEGINs of a body in which `;` ends no statement, as psql and sqlite3_complete do."""
    statement.words.append(word)
    body = statement.trigger if engine == SQLITE else statement.routine
    if body and (word == "BEGIN" or (word == "CASE" and statement.depth)):
        statement.depth += 1
    elif body and word == "END" and statement.depth:
        statement.depth -= 1


def _tokens(text: str, engine: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, kind, piece) of all but space and comments; the kinds are the groups of `_TOKEN`."""
    place, line = 0, 1
    while place < len(text):
        if text.startswith("/*", place):
            end = _comment(text, place, nested=engine == POSTGRESQL)
            kind, piece = ("space", "") if end else ("open", "/*")
        else:
            # One sign at least always matches.
            match = next(_TOKEN[engine].finditer(text, place))
            kind = match.lastgroup or "text"
            end, piece = match.end(), match[kind] if kind in match.groupdict() else ""
        if kind != "space":
            yield line, kind, piece
        if kind in ("open", "unended"):
            return
        line += text.count("\n", place, end)
        place = end


def _comment(text: str, place: int, *, nested: bool) -> int:
    """Return where a comment ends; 0 where it does not. PostgreSQL's nest."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", text[place:]):
        depth += -1 if mark[0] == "*/" else 1 if nested or not depth else 0
        if not depth:
            return place + mark.end()
    return 0
