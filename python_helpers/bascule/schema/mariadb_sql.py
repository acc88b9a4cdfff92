"""What a SQL file of MariaDB may not hold, told by its statements as the client would send them. Pure.

MariaDB ends a transaction at each change of a definition, so a file is no transaction: each statement is noted by
itself. That works for statements of which it can be told afterwards whether they ran, and which do not rest on what the
session before a kill had. All others are refused by name. Sources: MariaDB's documentation, "SQL statements that cause
an implicit commit" and "Atomic DDL" (10.6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .sql import LEDGER

# These stand in a transaction, with our note of them.
ROWS = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH"})
# These end one; the catalogue tells whether they ran, or running them twice is the same as once.
DEFINITIONS = frozenset({"CREATE", "ALTER", "DROP", "RENAME", "ANALYZE", "OPTIMIZE"})
SETTING = "SET"
_OBJECTS = frozenset({"TABLE", "INDEX", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "SEQUENCE"})
_OTHER_OBJECTS = frozenset({"DATABASE", "SCHEMA", "USER", "ROLE", "SERVER", "TABLESPACE", "EVENT", "PACKAGE"})
# What they answer is kept by a session, which a kill ends.
_REMEMBERED = frozenset({"LAST_INSERT_ID", "ROW_COUNT", "FOUND_ROWS"})
_LOCKS = frozenset({"GET_LOCK", "RELEASE_LOCK", "RELEASE_ALL_LOCKS"})
_FILES = frozenset({"OUTFILE", "DUMPFILE"})
_NOT_SET = frozenset(
    {"GLOBAL", "PASSWORD", "ROLE", "TRANSACTION", "STATEMENT", "AUTOCOMMIT", "SQL_LOG_BIN", "COMPLETION_TYPE"}
)
# Twice is not once, and the catalogue is the same before and after.
_BLIND = {
    "ALTER": frozenset({"TRUNCATE", "EXCHANGE", "IMPORT", "DISCARD", "RESTART"}),
    "CREATE": frozenset({"SONAME"}),
}
_TOKEN = re.compile(
    r"""(?P<space>\s+|--(?=\s|$)[^\n]*|\#[^\n]*)|/\*(?:M?!\d*)|(?P<comment>/\*.*?\*/)|\*/"""
    r"""|'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?P<name>(?:[^`]|``)*)`|(?P<open>['"`]|/\*)"""
    r"""|(?P<variable>@+[^\W\d]?[\w$]*)|(?P<word>[^\W\d][\w$]*)|(?P<sign>.)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Read:
    """What a statement says, by its words in capitals; strings and comments are none.

    names: words and quoted names as they are written. begins: with what a string, a name or a comment begins that has
    no end. variables: `@…` and `@@…`.
    """

    words: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    begins: str = ""

    @property
    def head(self) -> str:
        """Its first word."""
        return self.words[0] if self.words else ""

    @property
    def what(self) -> str:
        """What kind of object a definition is about; empty for none that is known."""
        return next((word for word in self.words[1:] if word in _OBJECTS | _OTHER_OBJECTS), "")

    def __str__(self) -> str:
        # No more than this: values stand behind it.
        return f"{self.head} {self.what}".strip() if self.head in DEFINITIONS else self.head


def read(statement: str) -> Read:
    """Return what one statement says."""
    words, names, variables, begun = [], [], [], ""
    for match in _TOKEN.finditer(statement):
        kind = match.lastgroup
        if kind == "word":
            words.append(match["word"].upper())
            names.append(match["word"])
        elif kind == "name":
            names.append(match["name"])
        elif kind == "variable":
            variables.append(match["variable"].upper())
        elif kind == "open":
            begun = match["open"]
            break
    return Read(tuple(words), tuple(names), tuple(variables), begun)


def findings(statements: Sequence[str]) -> list[str]:
    """Return what a file may not hold, each with the place of its statement."""
    said = [] if statements else ["the file has no statement"]
    for place, statement in enumerate(statements, 1):
        found = read(statement)
        if found.begins:
            said.append(f"the file ends within what {found.begins} begins, in its statement {place}")
            continue
        said += [f"statement {place} ({found}) {why}" for why in _wrong(found)]
    return said


def _wrong(found: Read) -> list[str]:
    words = set(found.words)
    said = []
    if any(name.lower().startswith(LEDGER) for name in found.names):
        said.append(f"touches {LEDGER}*, in which Bascule keeps its books")
    if words & _LOCKS:
        said.append(f"has {min(words & _LOCKS)}: that session's lock is Bascule's own")
    if found.head in DEFINITIONS:
        said += _wrong_definition(found)
    elif found.head in ROWS:
        if remembered := sorted(words & _REMEMBERED):
            said.append(f"has {remembered[0]}, which a session forgets when it is killed")
        if any(not one.startswith("@@") for one in found.variables):
            said.append("has a variable (@…), which a session forgets when it is killed")
        if files := sorted(words & _FILES):
            said.append(f"has {files[0]}, which writes a file of the server's")
    elif found.head == SETTING:
        said += _wrong_setting(found)
    else:
        said.append(
            f"begins with {found.head or 'no word'}: nobody could tell after a kill whether it ran; a file has "
            f"{', '.join(sorted(DEFINITIONS | ROWS))}, and SET of its session"
        )
    return said


def _wrong_setting(found: Read) -> list[str]:
    words = {*found.words, *(one.lstrip("@") for one in found.variables)}
    if words & _NOT_SET:
        return ["sets more than a setting of its own session"]
    if any(not one.startswith("@@") for one in found.variables) or "SELECT" in words:
        return ["sets what cannot be set again after a kill, as its value comes from rows or from @…"]
    if any(word.startswith("CHARACTER") for word in words) or ("NAMES" in words and "UTF8MB4" not in words):
        return ["sets another character set than utf8mb4, in which the file is read"]
    return []


def _wrong_definition(found: Read) -> list[str]:
    if found.head in ("ANALYZE", "OPTIMIZE"):
        return [] if "TABLE" in found.words[1:3] else ["is not about a table"]
    if found.what not in _OBJECTS:
        more = "; an event would run on the copy as well" if found.what == "EVENT" else ""
        return [f"is about {found.what or 'something'} and not about one database alone{more}"]
    before = found.words[: found.words.index(found.what)]
    if "TEMPORARY" in before:
        return ["is about a temporary table, which a session forgets when it is killed"]
    if found.what in ("TABLE", "SEQUENCE") and "REPLACE" in before:
        return ["is a DROP and a CREATE in one: written as two, it can be told after a kill which of them ran"]
    if found.head == "RENAME" and found.words.count("TO") > 1:
        return ["renames several: written as one statement each, it can be told after a kill which of them ran"]
    if blind := sorted(set(found.words) & _BLIND.get(found.head, frozenset())):
        return [f"has {blind[0]}: nobody could tell after a kill whether it ran"]
    return []
