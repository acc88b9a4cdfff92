"""What a SQL file may not hold, found by reading it as the engine's own client does. Pure.

Nothing is split here to be sent: a file goes to the engine whole. What is found is what would end the transaction that the
file and its bookkeeping share, or what psql would take for a command of its own.
Sources: PostgreSQL 15, 4.1 (lexical structure) and psql's scanner (psqlscan.l); SQLite, lang_createtrigger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

POSTGRESQL, SQLITE = "postgresql", "sqlite"
ENGINES = (POSTGRESQL, SQLITE)
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\U0010ffff][\w]*)?\$")
_WORD = re.compile(r"[A-Za-z_\x80-\U0010ffff][\w$]*")
# These end, begin or divide a transaction.
_TRANSACTION = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "END", "ABORT", "SAVEPOINT", "RELEASE"})
_PREPARED = ("PREPARE", "TRANSACTION")
# PostgreSQL refuses these within a transaction: such a file has to say so.
_ALONE = (
    re.compile(r"(?:CREATE (?:UNIQUE )?|DROP )INDEX CONCURRENTLY\b"),
    re.compile(r"REINDEX\b.*\bCONCURRENTLY\b"),
    re.compile(r"VACUUM\b"),
    re.compile(r"(?:CREATE|DROP) (?:DATABASE|TABLESPACE)\b"),
    re.compile(r"ALTER SYSTEM\b"),
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
        text: the file. engine: one of ENGINES. transaction: whether the file runs in one, with its bookkeeping.
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
    for line, kind, token in _tokens(text, engine):
        if kind == "unfinished":
            found.unfinished = token
        elif kind == "meta":
            found.meta.append((line, token))
        elif token == ";" and kind == "sign":
            if current and not current.depth and not current.parentheses:
                current = None
        else:
            if current is None:
                current = _Statement(line)
                found.statements.append(current)
            if kind == "word":
                _word(current, token.upper(), engine)
            elif kind == "name":
                current.words.append(token)
            elif token in "()" and engine == POSTGRESQL:
                current.parentheses = max(0, current.parentheses + (1 if token == "(" else -1))
    if current and current.depth:
        found.unfinished = "a body that has no END"
    elif current and current.parentheses:
        found.unfinished = "parentheses"
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
    """Yield (line, kind, token) of all but space and comments; kinds: word, name, text, sign, meta, unfinished."""
    place, line = 0, 1
    while place < len(text):
        sign = text[place]
        end, kind, token = place + 1, "sign", sign
        if sign.isspace() or sign == "\ufeff":
            kind = ""
        elif text.startswith("--", place):
            end = _until(text, place, "\n", 0)
            kind = ""
        elif text.startswith("/*", place):
            end, kind, token = _comment(text, place, nested=engine == POSTGRESQL)
        elif sign in "'\"" or (sign in "`[" and engine == SQLITE):
            end, kind, token = _quoted(text, place, "]" if sign == "[" else sign, escapes=False)
        elif engine == POSTGRESQL and sign in "eE" and text[place + 1 : place + 2] == "'":
            end, kind, token = _quoted(text, place + 1, "'", escapes=True)
        elif engine == POSTGRESQL and sign == "$" and (tag := _DOLLAR.match(text, place)):
            close = text.find(tag[0], tag.end())
            end, kind = (close + len(tag[0]), "text") if close >= 0 else (len(text), "unfinished")
            token = f"the text that {tag[0]} begins in line {line}" if kind == "unfinished" else ""
        elif engine == POSTGRESQL and sign == "\\":
            end = place + len(text[place:].split(None, 1)[0])
            kind, token = "meta", text[place:end].partition(";")[0]
        elif word := _WORD.match(text, place):
            end, kind, token = word.end(), "word", word[0]
        if kind == "unfinished" and not token.startswith("the text"):
            token = f"{token} that begins in line {line}"
        if kind:
            yield line, kind, token
        line += text.count("\n", place, end)
        place = end


def _until(text: str, place: int, mark: str, beyond: int) -> int:
    found = text.find(mark, place)
    return len(text) if found < 0 else found + beyond


def _comment(text: str, place: int, *, nested: bool) -> tuple[int, str, str]:
    depth, at = 1, place + 2
    for mark in re.compile(r"/\*|\*/").finditer(text, at):
        if mark.start() < at:
            continue
        at = mark.end()
        depth += (1 if nested else 0) if mark[0] == "/*" else -1
        if not depth:
            return at, "", ""
    return len(text), "unfinished", "a comment"


def _quoted(text: str, place: int, close: str, *, escapes: bool) -> tuple[int, str, str]:
    at = place + 1
    while at < len(text):
        if escapes and text[at] == "\\":
            at += 2
        elif text[at] != close:
            at += 1
        elif close != "]" and text[at + 1 : at + 2] == close:
            at += 2
        else:
            return at + 1, "text" if close == "'" else "name", text[place + 1 : at]
    return len(text), "unfinished", "a quoted text" if close == "'" else "a quoted name"
