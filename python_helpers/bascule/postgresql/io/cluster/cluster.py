"""One side's PostgreSQL cluster on its own host: its files, its process, its fence."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import fence_settings, store
from ....system.io import storage, units
from ....system.io.process import run
from ... import conf, control, hba, knocks
from ...control import Control
from ...spec import Spec
from ...wire import Answer
from . import probe
from .psql import Session, SqlError

SPEC_FILE = "postgresql.json"
KIND = "postgresql"
RETIRED_FILE = "retired.json"
# In a data directory that a base backup has put there, until it is opened: after that it has something of its own.
SEEDED_MARK = "bascule.seeded"
HOME = Path("/var/lib/bascule")

# A receiver calls itself "streaming" from its first moment, before it has asked for anything; one that is refused ends
# and is replaced within half a second. One that has lasted a second streams.
STREAMING = (
    "SELECT 1 AS one FROM pg_stat_wal_receiver r JOIN pg_stat_activity a USING (pid) WHERE r.status = 'streaming' "
    "AND r.sender_host IS NOT NULL AND a.backend_start < clock_timestamp() - interval '1 second'"
)
# Where this side's log ends for whoever follows it; a side that stands has one as well.
LOG_END = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"


def load_spec(component: str, side: str | None = None) -> Spec:
    """Read what prepare kept about this host's side."""
    data = storage.read_json(HOME / component / SPEC_FILE)
    if data is None:
        raise BasculeError(
            expected=f"{component} to be prepared on this host",
            found=f"no {HOME / component / SPEC_FILE}",
            state="nothing was changed",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    spec = Spec.from_dict(data)
    if side is not None and spec.side != side:
        raise BasculeError(
            expected=f"the side {side} of {component} on this host",
            found=f"the side {spec.side}",
            state="nothing was changed",
            next_command="compare the inventory with the hosts",
        )
    return spec


def streaming_standby(session: Session, spec: Spec) -> dict[str, Any] | None:
    """Return how the other side's standby is connected to this primary, or to what stands here, or None."""
    rows = session.query(
        f"SELECT state, pg_wal_lsn_diff({LOG_END}, replay_lsn)::bigint AS behind, "
        "replay_lsn::text AS replay, "
        # An idle standby reports no lag: that is none only when it has replayed everything.
        "CASE WHEN replay_lag IS NOT NULL THEN extract(epoch FROM replay_lag)::float "
        f"WHEN replay_lsn = {LOG_END} THEN 0 END AS lag "
        f"FROM pg_stat_replication WHERE application_name = '{spec.slot}' AND usename = '{spec.replication_user}' "
        "ORDER BY backend_start DESC LIMIT 1"
    )
    return rows[0] if rows else None


@contextlib.contextmanager
def world(component: str, wait: float = 60, *, check: bool = False) -> Iterator[None]:
    """Hold the lock under which this component's cluster is opened, closed, frozen, thawed or made a standby.

    It is taken before the guard's own lock, never after. In check mode there is nothing to lock, and no lock is made.
    """
    if check:
        yield
        return
    with storage.locked(HOME / component / "world.lock", wait):
        yield


@dataclass(frozen=True)
class Postmaster:
    """The server's main process."""

    pid: int
    status: str


class Cluster:
    """The cluster of one side."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.data = Path(spec.data)
        self.config = Path(spec.config)
        self.hba = Path(spec.hba_file)

    # What is there

    def exists(self) -> bool:
        """Whether there is a data directory."""
        return (self.data / "PG_VERSION").exists()

    def control(self) -> Control:
        """Read the control file, with the server's own program."""
        done = run([f"{self.spec.programs}/pg_controldata", "-D", str(self.data)], timeout=20)
        return control.parse(done.stdout)

    def postmaster(self) -> Postmaster | None:
        """Return the running server, or None."""
        lines = (storage.read_text(self.data / "postmaster.pid") or "").splitlines()
        if not lines or not lines[0].strip().lstrip("-").isdigit():
            return None
        pid = abs(int(lines[0]))
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return None
        if b"postgres" not in command:
            return None
        return Postmaster(pid, lines[7].strip() if len(lines) > 7 else "")

    def history(self, timeline: int) -> list[tuple[int, str]]:
        """Return the history of a timeline; that of the first is empty."""
        text = storage.read_text(self.data / "pg_wal" / f"{timeline:08X}.history")
        if text is None and timeline > 1:
            raise BasculeError(expected=f"the history of timeline {timeline}", found="no such file in pg_wal")
        return control.parse_history(text or "")

    def session(self, *, database: str = "postgres", timeout: float = 10) -> Session:
        """Connect as the cluster's owner."""
        return Session(self.spec.port, self.spec.way_in, owner=self.spec.owner, database=database, timeout=timeout)

    def has_signal(self) -> bool:
        """Whether a start would make it a standby."""
        return (self.data / "standby.signal").exists()

    def connects(self) -> bool:
        """Whether a start as a standby would connect to the other side, instead of standing still."""
        return conf.connects(storage.read_text(self.config / "conf.d" / conf.STANDBY))

    def hba_mode(self) -> str | None:
        """Who is let in: open, closed, or None when nothing is managed."""
        return hba.mode_of(self.hba_now(), self.spec.component)

    def hba_now(self) -> str:
        """Return pg_hba.conf as it is."""
        return storage.read_text(self.hba) or ""

    def start_mode(self) -> str:
        """Whether it starts at boot."""
        if self.spec.starts_by_start_conf:
            return conf.start_mode(storage.read_text(self.config / "start.conf"))
        return "auto" if units.is_enabled(self.spec.unit) else "manual"

    # Its files

    def write(self, path: Path, text: str, mode: int = 0o640) -> bool:
        """Replace a file of the cluster's, durably, owned by the cluster's owner; return whether it changed."""
        if storage.read_text(path) == text and path.stat().st_mode & 0o7777 == mode:
            return False
        owner = pwd.getpwnam(self.spec.owner)
        if not path.parent.exists():
            storage.make_directory(path.parent, 0o750)
            os.chown(path.parent, owner.pw_uid, owner.pw_gid)
        fresh = path.with_name(f".{path.name}.bascule")
        storage.write_durably(fresh, text, mode)
        os.chown(fresh, owner.pw_uid, owner.pw_gid)
        os.replace(fresh, path)
        storage.sync_directory(path.parent)
        return True

    def hba_text(self, mode: str) -> str:
        """Return pg_hba.conf as it has to be in this mode."""
        spec = self.spec
        return hba.managed(
            self.hba_now(),
            spec.component,
            mode,
            owner=spec.owner,
            replication_user=spec.replication_user,
            peer=spec.peer_address,
            clients=spec.clients,
            own=knocks.own_address(spec),
        )

    def admit(self, mode: str) -> bool:
        """Let clients in, or keep them out; return whether the file changed. A running server reads it again."""
        changed = self.write(self.hba, self.hba_text(mode))
        self.reload()
        return changed

    def follow_conf(self, *, connect: bool) -> bool:
        """Write what a standby needs."""
        return self.write(self.config / "conf.d" / conf.STANDBY, conf.standby(self.spec, connect=connect))

    def set_start(self, mode: str) -> bool:
        """Set whether it starts at boot."""
        if self.start_mode() == mode:
            return False
        if not self.spec.starts_by_start_conf:
            units.set_enabled(self.spec.unit, enabled=mode == "auto")
            return True
        path = self.config / "start.conf"
        return self.write(path, conf.start_conf(storage.read_text(path) or "", mode), 0o644)

    # Its process

    def reload(self) -> None:
        """Make a running server read its configuration again."""
        server = self.postmaster()
        if server is not None:
            os.kill(server.pid, signal.SIGHUP)

    def start(self, timeout: float = 60) -> None:
        """Start it and wait until it answers queries."""
        if self.postmaster() is None:
            run(["systemctl", "reset-failed", self.spec.unit], timeout=20, check=False)
            run(["systemctl", "start", self.spec.unit], timeout=timeout)
        self.wait_ready(timeout)

    def start_soon(self, timeout: float = 60) -> None:
        """Start it and wait until it answers queries, which is well before the service manager has seen it start."""
        if self.postmaster() is None:
            run(["systemctl", "reset-failed", self.spec.unit], timeout=20, check=False)
            run(["systemctl", "start", "--no-block", self.spec.unit], timeout=20)
        deadline = time.monotonic() + timeout
        while self.postmaster() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.wait_ready(max(0.0, deadline - time.monotonic()))

    def settle_unit(self, timeout: float = 10) -> None:
        """Let the service manager see that a server stopped past it has ended well."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = run(["systemctl", "show", "-P", "ActiveState", self.spec.unit], timeout=20, check=False).stdout
            if state.strip() not in ("active", "deactivating"):
                break
            time.sleep(0.1)
        run(["systemctl", "reset-failed", self.spec.unit], timeout=20, check=False)

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until it answers queries."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                with self.session(timeout=5):
                    return
            except SqlError as error:
                if time.monotonic() > deadline or self.postmaster() is None:
                    raise BasculeError(
                        expected=f"{self.spec.unit} to answer within {timeout:g} s",
                        found=error.found,
                        state=f"start mode {self.start_mode()}, standby.signal {self.has_signal()}",
                        next_command=f"journalctl -u {self.spec.unit}; then run the same playbook again",
                    ) from error
            time.sleep(0.05)

    def stop(self, timeout: float) -> bool:
        """Ask it to stop cleanly (fast: sessions end, transactions roll back); return whether it did in time."""
        if self.postmaster() is not None:
            run(["systemctl", "stop", "--no-block", self.spec.unit], timeout=20)
        return self.wait_stopped(timeout)

    def wait_stopped(self, timeout: float) -> bool:
        """Wait until no server runs in the data directory.

        A stop lets a client that has connected and not yet said who it is have its authentication_timeout of a minute,
        more so when the firewall has closed in between: such processes, which can do nothing any more, are ended.
        """
        deadline = time.monotonic() + timeout
        turn = 0
        while (server := self.postmaster()) is not None:
            if time.monotonic() > deadline:
                return False
            turn += 1
            if turn % 10 == 0 and server.status == "stopping":
                self._end_children(server.pid, lambda title: not title.startswith("postgres:"))
            time.sleep(0.003)
        return True

    def interrupt(self) -> None:
        """Ask it to stop cleanly, past the service manager; `settle_unit` tells it afterwards."""
        server = self.postmaster()
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGINT)

    def end_stopping(self, patience: float = 1) -> None:
        """Bring a stop that hangs to its end: first without the receivers it waits for, then at once.

        What was acknowledged is in the log; a start replays it.
        """
        self.release_receivers()
        if self.wait_stopped(patience):
            return
        server = self.postmaster()
        if server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGQUIT)
        self.wait_stopped(60)

    def release_receivers(self) -> None:
        """End the processes that wait for a receiver which does not answer, so that a stop can end."""
        server = self.postmaster()
        if server is not None:
            self._end_children(server.pid, lambda title: "walsender" in title)

    @staticmethod
    def _end_children(postmaster: int, chosen: Callable[[str], bool]) -> None:
        """End the server's processes with such titles; one that has no title yet carries the server's own command."""
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        with contextlib.suppress(ProcessLookupError):
            for pid in (storage.read_text(children) or "").split():
                with contextlib.suppress(ProcessLookupError):
                    title = (storage.read_text(f"/proc/{pid}/cmdline") or "").replace("\0", " ")
                    if title and chosen(title):
                        os.kill(int(pid), signal.SIGTERM)

    # Its fence

    def fence(self) -> None:
        """Make durable that whatever starts this cluster finds it closed: a standby of nobody, which refuses clients.

        A running primary goes on until it is stopped; a standby that follows goes on following.
        """
        self._lay_files()
        self.reload()
        # Neither of those that can fail keeps the other from being tried.
        try:
            self.firewall(closed=True)
        finally:
            self.set_start("manual")

    def lay_fence(self) -> None:
        """Write what closes the cluster's next start; a server that runs does not hear of it before a reload."""
        self._lay_files()
        # Of a unit of its own systemd is told, which can fail: the files that close a start stand by then.
        self.set_start("manual")

    def _lay_files(self) -> None:
        fence_settings.write(self.spec.component, self.spec.side, KIND, self.spec.data, base=HOME)
        self.write(self.hba, self.hba_text(hba.CLOSED))
        if self.exists() and not self.has_signal():
            self.follow_conf(connect=False)
            self.write(self.data / "standby.signal", "", 0o600)

    def firewall(self, *, closed: bool) -> None:
        """Close the port in the host's firewall for everyone but the other side's server, or open it again."""
        if not self.spec.firewall:
            return
        if shutil.which("nft") is None:
            raise BasculeError(
                expected="the program nft on this host (the closed side's firewall table)",
                found="none",
                state="the fence is not complete",
                next_command="install nftables, or set postgresql_replication_firewall: false",
            )
        table = f"table inet {self.spec.table}\n"
        text = conf.firewall(self.spec) if closed else f"{table}delete {table}"
        run(["nft", "-f", "-"], stdin=text, timeout=20)

    def unfence(self) -> None:
        """Make durable that this cluster is the primary: it starts at boot, as one."""
        storage.remove(self.config / "conf.d" / conf.STANDBY)
        storage.remove(self.data / "standby.signal")
        self.unmark()
        self.set_start("auto")
        self.firewall(closed=False)

    def unmark(self) -> None:
        """From now on it is no mere copy of the other side's."""
        storage.remove(self.data / SEEDED_MARK)

    def knock(self, timeout: float = 3) -> Answer:
        """Try to come in from this host itself, as the one whom only an open side lets in."""
        one = knocks.own(self.spec)
        return probe.knock(one.address, one.port, one.user, one.database, timeout=timeout)

    def prove_refusal(self, allowed: tuple[str, ...], timeout: float = 3) -> str:
        """Return the answer that keeps a client out; anything else is an error."""
        deadline = time.monotonic() + timeout
        while True:
            answer = self.knock(timeout)
            if answer.is_refusal and answer.code in allowed:
                return f"{answer.code}: {answer.text}"
            if time.monotonic() > deadline:
                raise BasculeError(
                    expected=f"a client at {self.spec.side} to be refused",
                    found=f"{answer.kind}: {answer.code} {answer.text}",
                    state=f"who is let in: {self.hba_mode()}; nothing further was changed",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            time.sleep(0.05)


def fence(component: str) -> None:
    """Make this host's cluster closed, or let in only who rides through a freeze, as its guard says; at boot."""
    guard = store.read_any(component, root=store.GUARD_DIRECTORY)
    cluster = Cluster(load_spec(component))
    if guard.status != rule.OPEN:
        cluster.fence()
    elif guard.frozen:
        # The mark comes before the file when a side is frozen, and goes after it when it thaws.
        cluster.admit(hba.FROZEN)
