"""One open connection to a local PostgreSQL server, through psql as the cluster's owner.

SQL goes through standard input, so nothing of it stands in an argument list; every answer is one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import selectors
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ....errors import BasculeError

Psqls = TypeVar("Psqls", bound="Psql")

# What a database or a role sets for its sessions is for users: it does not decide what these say, or who they are.
_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "search_path=pg_catalog",
        "lc_messages=C",
        "role=none",
        "standard_conforming_strings=on",
        "default_transaction_read_only=off",
    )
)
_NO_WAY = "conversion between UTF8 and"


class SqlError(BasculeError):
    """A statement failed, or the server did not answer in time."""

    def __init__(self, expected: str, found: str = "", code: str = "") -> None:
        self.code = code
        super().__init__(expected=expected, found=found)


class Psql:
    """A psql process that stays connected; use it as a context manager."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], owner: str, timeout: float) -> None:
        self._timeout = timeout
        self._buffer = b""
        self._rows: int | None = None
        account = pwd.getpwnam(owner)
        environment = {
            **os.environ,
            "HOME": account.pw_dir,
            "LC_ALL": "C.UTF-8",
            "PGCONNECT_TIMEOUT": "5",
            "PGAPPNAME": "bascule",
            **environment,
        }
        # No runuser in between: it costs a PAM session, and a kill would reach it instead of psql.
        self._process = subprocess.Popen(
            ["psql", "-X", "-q", *arguments],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=os.getgrouplist(owner, account.pw_gid),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
        )
        self._selector = selectors.DefaultSelector()
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)
            self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def __enter__(self: Psqls) -> Psqls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def abandon(self) -> None:
        """End the connection at once, whatever it waits for."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self._process.stdin is not None:
                    self._process.stdin.close()
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._selector.close()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _send(self, sql: str, timeout: float | None) -> str:
        return self._finish(self._begin(sql), sql, timeout)

    def _begin(self, sql: str) -> str:
        """Send a statement; return the token after which its answer ends."""
        token = secrets.token_hex(8)
        message = f"{sql.rstrip().rstrip(';')};\n\\echo {token} :ERROR :SQLSTATE :ROW_COUNT\n"
        try:
            if self._process.stdin is None:
                raise BrokenPipeError
            self._process.stdin.write(message.encode("utf-8", "surrogateescape"))
            self._process.stdin.flush()
        except (BrokenPipeError, OSError) as error:
            raise SqlError(expected="a connection to the local server", found=self._rest()) from error
        return token

    def _finish(self, token: str, sql: str, timeout: float | None) -> str:
        """Wait for the answer to a statement that was sent."""
        lines = self._until(token, time.monotonic() + (timeout if timeout is not None else self._timeout), sql)
        state = lines.pop().split()
        text = "\n".join(lines)
        if state[1:2] == ["true"]:
            raise SqlError(
                expected=f"success of: {_shown(sql)}", found=text[-1000:], code=state[2] if len(state) > 2 else ""
            )
        # psql sets it for every statement: https://www.postgresql.org/docs/15/app-psql.html (ROW_COUNT)
        self._rows = int(state[3]) if len(state) > 3 and state[3].isdigit() else None
        return text

    def _until(self, token: str, deadline: float, sql: str) -> list[str]:
        lines: list[str] = []
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                text = line.decode("utf-8", "surrogateescape")
                lines.append(text)
                if text.startswith(token):
                    return lines
                continue
            left = deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise SqlError(expected=f"an answer in time to: {_shown(sql)}", found="none")
            if self._process.stdout is None:
                raise SqlError(expected="an open connection", found="a closed one")
            # Not by the file object: what that has read ahead, nobody would be woken for.
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                found = "\n".join([*lines, self._buffer.decode("utf-8", "replace")]).strip()
                raise SqlError(expected="a connection to the local server", found=found[-1000:] or "it was closed")
            self._buffer += chunk

    def _rest(self) -> str:
        output = self._process.stdout.read() if self._process.stdout is not None else b""
        return (self._buffer + (output or b"")).decode("utf-8", "replace").strip()[-1000:] or "it was closed"


class Session(Psql):
    """A connection to a local server, as the cluster's owner."""

    def __init__(
        self,
        port: int,
        way_in: Mapping[str, str],
        *,
        owner: str = "postgres",
        database: str = "postgres",
        timeout: float = 10,
    ) -> None:
        """Connect; `way_in` says by which socket, and whose (`Spec.way_in`)."""
        # Between some encodings the server knows no way: the bytes then come and go as they are.
        for encoding in ("UTF8", "SQL_ASCII"):
            environment = {"PGCLIENTENCODING": encoding, "PGOPTIONS": _OPTIONS, "PGDATABASE": database, **way_in}
            super().__init__(["-A", "-t", "-p", str(port)], environment, owner, timeout)
            try:
                self.query("SELECT 1 AS one")
                return
            except BasculeError as error:
                self.close()
                if encoding != "UTF8" or _NO_WAY not in error.found:
                    raise

    def query(self, sql: str, *, timeout: float | None = None) -> list[dict[str, Any]]:
        """Run one SELECT and return its rows."""
        text = self._send(f"SELECT coalesce(jsonb_agg(to_jsonb(q)), '[]'::jsonb) FROM ({sql}) AS q", timeout)
        try:
            rows: list[dict[str, Any]] = json.loads(text)
        except ValueError as error:
            raise SqlError(expected=f"rows from: {_shown(sql)}", found=text[-500:]) from error
        return rows

    def value(self, sql: str, *, timeout: float | None = None) -> Any:
        """Run a SELECT of one row with one column and return it, or None when there is no row."""
        rows = self.query(sql, timeout=timeout)
        return next(iter(rows[0].values())) if rows else None

    def execute(self, statements: str | Sequence[str], *, timeout: float | None = None) -> None:
        """Run statements that return nothing, each in its own transaction unless they say otherwise."""
        for statement in [statements] if isinstance(statements, str) else statements:
            self._send(statement, timeout)

    def copied(self, statement: str, *, timeout: float | None = None) -> int:
        """Run a COPY and return how many rows it wrote; a client that does not tell is an error, never no rows."""
        self._send(statement, timeout)
        if self._rows is None:
            raise SqlError(expected="psql 11 or newer, which tells how many rows it copied", found="it told nothing")
        return self._rows


def _shown(sql: str) -> str:
    """Show a statement without what may be a secret in it."""
    first = " ".join(sql.split())[:120]
    return first.split("PASSWORD", 1)[0]
