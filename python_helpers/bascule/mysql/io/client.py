"""Speak to a server through its own client: no driver has to be shipped to hosts.

Metadata come as XML, in which NULL and the borders of columns are explicit; what comes in bulk is one value of
hexadecimal digits a line. Statements and secrets go through standard input and option files, never through arguments.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from ...system.io import process
from ...system.io.process import Runner
from ..compare import LINE
from ..refusals import MysqlError

SOCKET = "/run/mysqld/mysqld.sock"
_HEADER = re.compile(r"<\?xml[^>]*\?>")
# Each session says what it needs; the server's own settings are left alone.
SESSION = "SET SESSION time_zone = '+00:00', sql_mode = 'NO_BACKSLASH_ESCAPES', group_concat_max_len = 1048576;\n"


@dataclass(frozen=True)
class Client:
    """A way into one server: as root through the socket, or by an option file of another account."""

    socket: str = SOCKET
    options: str = ""
    runner: Runner = process.run

    def argv(self, program: str = "mariadb") -> list[str]:
        """Return the program with its way in, and no more."""
        if self.options:
            return [
                program,
                f"--defaults-file={self.options}",
                "--connect-timeout=5",
                *([f"--socket={self.socket}"] if self.socket else []),
            ]
        return [program, "--no-defaults", "--protocol=socket", f"--socket={self.socket}", "--user=root"]

    def rows(self, sql: str, timeout: float = 60) -> list[dict[str, str | None]]:
        """Run statements and return the rows of all that they give; NULL is None."""
        argv = [*self.argv(), "--xml", "--default-character-set=utf8mb4"]
        return read(self._run(argv, SESSION + sql.rstrip().rstrip(";") + ";\n", timeout))

    def value(self, sql: str) -> str:
        """Return the only value of a query; an empty text for NULL and for no row."""
        rows = self.rows(sql)
        return next(iter(rows[0].values())) or "" if rows else ""

    def execute(self, *statements: str, timeout: float = 60, binlog: bool = False) -> None:
        """Run statements; what they change stays at this server unless `binlog` says that others follow it."""
        lines = [f"{one};\n" for one in statements]
        own = "" if binlog else "SET SESSION sql_log_bin = 0;\n"
        argv = [*self.argv(), "--batch", "--default-character-set=utf8mb4"]
        self._run(argv, SESSION + own + "".join(lines), timeout)

    def _run(self, argv: Sequence[str], sql: str, timeout: float) -> str:
        """Run the client; its error says what the server answered, never the statement, in which a secret may stand."""
        done = self.runner(argv, stdin=sql, timeout=timeout, check=False)
        if done.rc != 0:
            lines = told(done.stderr)
            raise MysqlError(
                expected=f"the server at {self.options or self.socket} to carry out what it was told",
                found="; ".join(lines)[:800] or f"exit status {done.rc} of {argv[0]}",
            )
        return done.stdout


class Session:
    """One connection that is kept open, for a snapshot; hashes come out of it in bulk."""

    _END = "end-of-result"

    def __init__(self, client: Client) -> None:
        """Connect."""
        argv = [
            *client.argv(),
            "--batch",
            "--skip-column-names",
            "--unbuffered",
            "--quick",
            "--default-character-set=utf8mb4",
        ]
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=process.environment_in_english(),
        )
        self.lines(SESSION)

    def lines(self, sql: str) -> list[str]:
        """Run statements; return their lines."""
        found: list[str] = []
        for line in self._asked(sql):
            text = line.decode().rstrip("\n")
            if text == self._END:
                return found
            found.append(text)
        raise self._ended()

    def hashed(self, sql: str) -> dict[str, object]:
        """Run a query of one SHA-256 a row; return how many rows there were, and the SHA-256 of all their hashes."""
        answer = self._asked(sql)
        end = f"{self._END}\n".encode()
        digest, size, tail = hashlib.sha256(), 0, b""
        while not tail.endswith(end) or (size + len(tail) - len(end)) % LINE:
            block = answer.read1(1 << 20)
            if not block:
                raise self._ended()
            tail += block
            done = max(0, len(tail) - len(end) - LINE)
            digest.update(tail[:done])
            size += done
            tail = tail[done:]
        digest.update(tail[: -len(end)])
        size += len(tail) - len(end)
        return {"rows": size // LINE, "sha256": digest.hexdigest(), "fault": ""}

    def _asked(self, sql: str) -> io.BufferedReader:
        """Send statements, and what ends their answer; return where the answer comes."""
        given, answer = self._process.stdin, self._process.stdout
        if given is None or not isinstance(answer, io.BufferedReader):
            raise self._ended()
        try:
            given.write(f"{sql.rstrip().rstrip(';')};\nSELECT '{self._END}';\n".encode())
            given.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return answer

    def close(self) -> None:
        """Disconnect; also one whose server is gone."""
        self._process.kill()
        self._process.communicate()

    def _ended(self) -> MysqlError:
        _, errors = self._process.communicate()
        return MysqlError(
            expected="the server to answer to the end",
            found=errors.decode("utf-8", "replace").strip()[-500:] or "no answer",
        )


def read(output: str) -> list[dict[str, str | None]]:
    """Return the rows of the client's XML output, of all results in it."""
    found: list[dict[str, str | None]] = []
    at: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            found.append({})
        elif tag == "field":
            at[:] = [attributes["name"]]
            found[-1][at[0]] = None if attributes.get("xsi:nil") == "true" else ""

    def end(tag: str) -> None:
        if tag == "field":
            at.clear()

    def characters(data: str) -> None:
        if at:
            found[-1][at[0]] = (found[-1][at[0]] or "") + data

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    try:
        parser.Parse(f"<all>{_HEADER.sub('', output)}</all>", True)
    except expat.ExpatError as error:
        raise MysqlError(expected="XML of the mariadb client", found=str(error)) from error
    return found


def texts(row: Mapping[str, str | None]) -> dict[str, str]:
    """Return a row with NULL as an empty text, where both mean nothing."""
    return {name: value or "" for name, value in row.items()}


def told(errors: str) -> list[str]:
    """Return what the programs say of an error, without the statement and its data, which they quote beside it."""
    return [line for line in errors.splitlines() if line.startswith(("ERROR", "mariadb-dump:", "age:"))]


def pump(source: Sequence[str], target: Sequence[str], timeout: float) -> None:
    """Let one program's output run into another one's input.

    Raises MysqlError when either fails; what had run in by then is for the caller to throw away.
    """
    env = process.environment_in_english()
    out = subprocess.Popen(source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env)
    into = subprocess.Popen(target, stdin=out.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    if out.stdout:
        # The source has to see when the target is gone.
        out.stdout.close()
        out.stdout = None
    try:
        _, errors = into.communicate(timeout=timeout)
        _, wrong = out.communicate(timeout=60)
    except subprocess.TimeoutExpired as error:
        raise MysqlError(expected=f"it to end within {timeout:g} s", found="it was still running") from error
    finally:
        for one in (out, into):
            if one.poll() is None:
                one.kill()
                one.wait()
    if out.returncode or into.returncode:
        words = "; ".join(told((wrong + errors).decode("utf-8", "replace")))
        raise MysqlError(
            expected=f"{Path(source[0]).name} into {Path(target[0]).name} to end with exit status 0",
            found=f"{out.returncode} and {into.returncode}: {words[:800]}",
        )
