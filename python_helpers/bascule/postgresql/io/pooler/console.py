"""The pooler of one host, driven over consoles that were opened before anything is stopped.

    with Pooler(spec) as pooler:      # spec.pooler is install or existing; none has nothing to drive
        pooler.pause(2)               # PoolerBusy: did not drain in time; it was resumed by itself
        pooler.point(address, port)   # durable, and seen in the pooler; paused clients stay paused
        pooler.resume()               # again and again is fine

What PgBouncer 1.18 does, each tried: PAUSE answers only when the last transaction has ended, so a second console
resumes; PAUSE and RESUME are per database, and new clients that come meanwhile wait like the others; RELOAD leaves a
paused database paused; a pause ends with the pooler's process, the target stays in its file. Both sides have a pooler,
and both have to be paused.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ....errors import BasculeError
from ....system.io import storage
from ... import pgbouncer, wire
from ... import pgbouncer_entries as entries
from ...spec import Spec
from ...wire import Answer
from ..cluster import probe
from ..cluster.psql import Psql, Session, SqlError

PERSISTENT_SECONDS = 60
# How long a pooler that cannot even connect may stay silent before that is taken for what it is.
SILENCE_SECONDS = 0.03


class PoolerBusy(BasculeError):
    """A pause did not drain in time; clients go on as before."""

    def __init__(self, spec: Spec, timeout: float, holders: Sequence[Mapping[str, Any]]) -> None:
        self.holders = [dict(one) for one in holders]
        super().__init__(
            expected=f"every transaction through the pooler of {spec.side} to end within {timeout:g} s",
            found=f"held by {pgbouncer.describe_holders(self.holders)}",
            state="the pooler was resumed: its clients write as before",
            next_command="let the named transactions end, then run the same playbook again",
        )


class Console(Psql):
    """PgBouncer's own console: its commands only, no SQL; every answer is CSV with a header.

    A knock may go on in another thread while clients are resumed, so that each question waits for the one before.
    """

    def __init__(self, spec: Spec, timeout: float = 5) -> None:
        self._one_at_a_time = threading.Lock()
        arguments = ["--csv", "-h", spec.pooler_socket, "-p", str(spec.pooler_port), "-U", pgbouncer.ADMIN]
        super().__init__([*arguments, pgbouncer.ADMIN], {}, spec.pooler_account, timeout)
        try:
            self.show("VERSION")
        except BasculeError as error:
            self.close()
            raise BasculeError(
                expected=f"the console of the pooler at {spec.side} ({spec.pooler_socket}, port {spec.pooler_port})",
                found=error.found,
                state="the pooler was not changed",
                next_command=f"systemctl status {spec.pooler_unit if spec.pooler == 'install' else 'pgbouncer'}",
            ) from error

    def show(self, what: str) -> list[dict[str, str]]:
        """Return what SHOW says."""
        with self._one_at_a_time:
            return pgbouncer.rows(self._send(f"SHOW {what}", None))

    def command(self, text: str, timeout: float | None = None) -> None:
        """Run a command and wait for its end."""
        with self._one_at_a_time:
            self._send(text, timeout)

    def begin(self, text: str) -> str:
        """Send a command; return what `finish` needs to wait for its end."""
        return self._begin(text)

    def finish(self, token: str, text: str, timeout: float) -> None:
        """Wait for the end of a command that was sent."""
        self._finish(token, text, timeout)


class Pooler:
    """The pooler of this host; use it as a context manager, and open it before anything is stopped."""

    def __init__(self, spec: Spec) -> None:
        if spec.pooler == "none":
            raise BasculeError(expected=f"a pooler at {spec.side}", found="pooler: none")
        self.spec = spec
        self._file = Path(spec.pooler_databases)
        self.databases = pgbouncer.databases(spec)
        if spec.pooler == "existing":
            # Whoever comes by another name, or to a database that nobody declared, is moved and held like the others.
            self.databases = entries.served(spec, storage.read_text(self._file) or "")
        self._syncing: threading.Thread | None = None
        self._control = Console(spec)
        try:
            self._pausing = Console(spec)
        except BasculeError:
            self._control.close()
            raise

    def __enter__(self) -> Pooler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pausing.close()
        self._control.close()
        if self._syncing is not None:
            self._syncing.join()

    def pause(self, timeout: float) -> None:
        """Hold every client back as soon as its transaction ends; PoolerBusy, and resumed, if one does not in time."""
        deadline = time.monotonic() + timeout
        for database in self.databases:
            if self._is_paused(database):
                continue
            text = f'PAUSE "{database}"'
            token = self._pausing.begin(text)
            try:
                self._pausing.finish(token, text, max(0.0, deadline - time.monotonic()))
            except SqlError as error:
                if error.found != "none":
                    self.resume()
                    raise
                found = self.holders()
                self.resume()
                # A pause that was taken back is never answered: that console is of no use any more.
                self._pausing.abandon()
                self._pausing = Console(self.spec)
                raise PoolerBusy(self.spec, timeout, found) from error

    def resume(self) -> None:
        """Let the clients go on; nothing happens to those who are not held."""
        for database in self.databases:
            try:
                self._control.command(f'RESUME "{database}"')
            except SqlError as error:
                if "not paused" not in error.found:
                    raise

    def paused(self) -> bool:
        """Whether every served database is paused."""
        known = self._known()
        return bool(self.databases) and all(known.get(name, {}).get("paused") == "1" for name in self.databases)

    def target(self) -> tuple[str, int]:
        """Return the address and port of the server that the pooler itself says it points to."""
        known = self._known()
        places = {(one["host"], int(one["port"])) for name in self.databases if (one := known.get(name))}
        sides = {pgbouncer.side_of(self.spec, host, port) for host, port in places}
        if len(sides) != 1 or not known.keys() >= set(self.databases):
            raise BasculeError(
                expected=f"every database of the pooler at {self.spec.side} to have one target",
                found=", ".join(f"{host}:{port}" for host, port in sorted(places)) or "no database",
                next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {self.spec.component}",
            )
        return pgbouncer.server(self.spec, sides.pop())

    def ready(self) -> None:
        """Lay the file for either target beside the one in force, durably, so that a switch only has to rename."""
        now = storage.read_text(self._file)
        for side in pgbouncer.hosts(self.spec):
            text, path = databases_text(self.spec, side, now), self._laid_out(side)
            if storage.read_text(path) != text:
                write_like(self._file, path, text)

    def point(self, host: str, port: int, timeout: float = 5) -> bool:
        """Point every served database at a server; return whether that changed anything.

        The pooler has it when this returns. That the file's new name outlives a power cut is certain when the Pooler is
        closed; either file would be whole, and the one of before points to a side that refuses.
        """
        side = pgbouncer.side_of(self.spec, host, port)
        wanted = pgbouncer.hosts(self.spec)[side]
        now = storage.read_text(self._file)
        rewritten = now != databases_text(self.spec, side, now)
        if rewritten:
            self.ready()
            fresh = self._file.with_name(f".{self._file.name}.bascule")
            fresh.unlink(missing_ok=True)
            os.link(self._laid_out(side), fresh)
            os.replace(fresh, self._file)
            self._syncing = threading.Thread(target=storage.sync_directory, args=(self._file.parent,))
            self._syncing.start()
        if not rewritten and self._points_to(side):
            return False
        self._control.command("RELOAD")
        deadline = time.monotonic() + timeout
        while not self._points_to(side):
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"the pooler at {self.spec.side} to point to {wanted[0]}:{wanted[1]}",
                    found="it has read its file and says otherwise",
                    state=f"{self._file} names {side}; its clients are {'held' if self.paused() else 'not held'}",
                    next_command=f"look for %include {self._file} in its pgbouncer.ini",
                )
            time.sleep(0.01)
        return True

    def knock(self, host: str, port: int, timeout: float = 3) -> Answer:
        """Let the pooler itself try to log in at a server, past any pause; return how that was answered.

        A session that the pooler kept is dropped first: what counts is a new one. When nothing listens, the pooler
        tries on and says nothing; that it gets no session counts as refused when the address itself refuses this host.
        """
        if self.spec.pooler != "install":
            return Answer("unclear", "", "nobody may knock through a pooler that is not Bascule's own")
        deadline = time.monotonic() + timeout
        name = pgbouncer.alias(pgbouncer.side_of(self.spec, host, port))
        with contextlib.suppress(SqlError):
            self._control.command(f'RECONNECT "{name}"')
        address = f"{self.spec.pooler_socket}/.s.PGSQL.{self.spec.pooler_port}"
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(_ask(address, name, timeout)), daemon=True)
        asking.start()
        begun = time.monotonic()
        user = self.spec.pooler_clients[0]["user"]
        direct = probe.knock(host, port, user, self.databases[0], timeout=timeout)
        if direct.code == "ECONNREFUSED":
            # The pooler had as long as this host itself needed to be refused, and more.
            asking.join(min(SILENCE_SECONDS + 2 * (time.monotonic() - begun), timeout))
            if not answers:
                return Answer("refused", direct.code, f"the pooler gets no session, and {direct.text}")
        asking.join(max(0.0, deadline - time.monotonic()))
        return answers[0] if answers else Answer("none", "", f"no answer within {timeout:g} s: that is no proof")

    def holders(self) -> list[dict[str, Any]]:
        """Name who holds connections to the server now."""
        clients, servers = self._control.show("CLIENTS"), self._control.show("SERVERS")
        return pgbouncer.holders(clients, servers, self.databases, self._activity(), time.time())

    def clients(self) -> list[dict[str, str]]:
        """Return who is connected to a served database."""
        return [row for row in self._control.show("CLIENTS") if row["database"] in self.databases]

    def audit(self, budget: float = 5) -> dict[str, Any]:
        """Say how the pooler is set up and used, and what of it stands in the way of a switch within `budget`."""
        config = {row["key"]: row["value"] for row in self._control.show("CONFIG")}
        known = self._known()
        modes = {known[name]["pool_mode"] or config["pool_mode"] for name in self.databases if name in known}
        clients = self.clients()
        servers = [row for row in self._control.show("SERVERS") if row["database"] in self.databases]
        now = time.time()
        held = pgbouncer.holders(clients, servers, self.databases, {}, now)
        persistent = pgbouncer.persistent(clients, PERSISTENT_SECONDS, now)
        found: dict[str, Any] = {
            "version": self._control.show("VERSION")[0]["version"],
            "databases": self.databases,
            "not_served": [name for name in self.databases if name not in known],
            "pool_mode": "session" if "session" in modes else ",".join(sorted(modes)) or config["pool_mode"],
            "clients": len(clients),
            "linked": len(held),
            "persistent": persistent,
            "prepared_statements": int(config.get("max_prepared_statements", "0")) > 0,
            "query_wait_timeout": config["query_wait_timeout"],
            "server_login_retry": config["server_login_retry"],
            "max_client_conn": config["max_client_conn"],
            "clients_tls": config["client_tls_sslmode"],
            "servers_tls": config["server_tls_sslmode"],
            "paused": self.paused(),
        }
        found["warnings"] = pgbouncer.warnings(found, budget)
        return found

    def _laid_out(self, side: str) -> Path:
        return self._file.with_name(f"{self._file.name}.{side}")

    def _known(self) -> dict[str, dict[str, str]]:
        return {row["name"]: row for row in self._control.show("DATABASES")}

    def _is_paused(self, database: str) -> bool:
        return self._known().get(database, {}).get("paused") == "1"

    def _points_to(self, side: str) -> bool:
        known = self._known()
        names, port = entries.names(self.spec, side)
        return all(
            known.get(name, {}).get("host") in names and known.get(name, {}).get("port") == str(port)
            for name in self.databases
        )

    def _activity(self) -> dict[int, dict[str, Any]]:
        """Ask the local server about the sessions of this pooler; nothing when the pooler points elsewhere."""
        try:
            if self.target() != (self.spec.address, self.spec.port):
                return {}
            with Session(self.spec.port, self.spec.way_in, owner=self.spec.owner, timeout=2) as session:
                found = session.query(
                    "SELECT pid, state, extract(epoch FROM clock_timestamp() - coalesce(xact_start, state_change)) "
                    "AS since_seconds FROM pg_stat_activity WHERE backend_type = 'client backend'"
                )
        except BasculeError:
            return {}
        return {int(row["pid"]): row for row in found}


def databases_text(spec: Spec, side: str, now: str | None) -> str:
    """Return the file of the databases that points to a side; of somebody else's only hosts and ports change."""
    if spec.pooler == "existing":
        return entries.pointed(now or "", spec, side)
    return pgbouncer.render_databases(spec, side)


def write_like(like: Path, path: Path, text: str) -> None:
    """Replace a file that another account reads: owner, group and mode are those of `like`."""
    known = like.stat()
    fresh = path.with_name(f".{path.name}.bascule")
    storage.write_durably(fresh, text, known.st_mode & 0o7777)
    os.chown(fresh, known.st_uid, known.st_gid)
    os.replace(fresh, path)
    storage.sync_directory(path.parent)


def _ask(address: str, database: str, timeout: float) -> Answer:
    """Log in to the pooler over its socket and run one query."""
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(timeout)
            connection.connect(address)
            connection.sendall(wire.startup(pgbouncer.KNOCKER, database))
            asked = False
            while True:
                kind = _exactly(connection, 1)
                body = _exactly(connection, struct.unpack("!i", _exactly(connection, 4))[0] - 4)
                if kind == b"E":
                    fields = wire.error_fields(body)
                    return pgbouncer.judge_knock(fields.get("C", ""), fields.get("M", ""))
                if kind == b"Z" and not asked:
                    connection.sendall(b"Q" + struct.pack("!i", 13) + b"SELECT 1\0")
                    asked = True
                elif kind in b"TD" and asked:
                    return Answer("admitted", "", "the pooler is let in and runs queries")
    except (TimeoutError, socket.timeout):
        return Answer("none", "", f"no answer within {timeout:g} s: that is no proof")
    except (OSError, EOFError) as error:
        return Answer("unclear", "", str(error) or type(error).__name__)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError("the pooler closed the connection without an answer")
        data += chunk
    return data
