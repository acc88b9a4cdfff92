"""The way back as it will be gone: a clone of the standby leads, a scratch standby at the source follows it.

At the target the standby is copied; the copy starts beside it, on a port and a socket of its own, a standby of nobody.
At the source a base backup of it is taken and follows it: by the address, TLS, account, password and rule of a return.
Then the clone is promoted, as a switch does, and writes a row; it has to come out at the source, over the new timeline.

Each part is a unit that ends by itself; when it ends, however it does, what it has made is removed. Neither reads a
file of the real servers' configuration, has a slot there, or outlives the state of the guard in which it was begun.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from typing import Any, Callable

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import store
from ....system.io import storage, units
from ....system.moments import now
from ... import clone, conf
from ...rows import literal
from ...spec import Spec
from ..cluster.cluster import HOME, Cluster, load_spec
from ..cluster.psql import SqlError
from . import copying, place
from .place import Place

UNIT = "clone"
NOTES = "clone.json"
# What the last trial that succeeded came to, at the side that followed.
TRIED = "clone-tried.json"
READY, PROMOTED, DONE, FAILED = "ready", "promoted", "done", "failed"
_TABLE = "public.mark"
_CONNECT = 5.0
# How long nobody may be connected at the source, while the clone changes its timeline as well.
_SILENCE = 30.0
_PAUSE = 0.2


def lead(component: str, side: str, *, port: int, limit: str, timeout: float) -> dict[str, Any]:
    """Have a clone of this side's standby stand ready to be followed.

    Args:
        component: the database.
        side: the side, which is closed.
        port: that of the clone; 0 for the usual one.
        limit: the size of the data above which nothing is tried, as PostgreSQL writes sizes.
        timeout: seconds until the clone ends, whatever happens.

    Returns:
        `tried`, and either `reason` why not, or `port`, `bytes` of the data and `mark`, the text in the row.

    Raises:
        BasculeError: this side is not closed, or the clone does not start.
    """
    spec = load_spec(component, side)
    _require(spec, rule.CLOSED)
    end(component, side)
    number, room = clone.port_of(spec, port), place.room_for(spec)
    reason = clone.untried(spec, number, room, conf.bytes_of(limit), place.has_tablespaces(spec)) or _taken(
        spec, number
    )
    if reason:
        return {"tried": False, "reason": reason}
    mark = secrets.token_hex(8)
    _begin(spec, "pg_clone_lead", timeout, "--port", str(number), "--mark", mark)
    _await(spec, READY, timeout)
    return {"tried": True, "port": number, "bytes": room.size, "mark": mark}


def follow(
    component: str, side: str, *, port: int, size: int, mark: str, limit: str, rate: str, timeout: float
) -> dict[str, Any]:
    """Have a scratch standby on this side follow the other side's clone, until its row is here.

    Args:
        component: the database.
        side: the side, which serves.
        port: that of the clone.
        size: bytes of its data.
        mark: the text in its row.
        limit: the size of the data above which nothing is tried.
        rate: the limit of the base backup, as pg_basebackup takes it; empty for none.
        timeout: seconds until it ends, whatever happens.

    Returns:
        `tried`, and either `reason` why not, or `bytes`, `timeline`, `copied`, the seconds of the base backup,
        `streamed`, those from then until the row was here, and `at`, the time.

    Raises:
        BasculeError: this side does not serve, or the row did not come.
    """
    spec = load_spec(component, side)
    _require(spec, rule.OPEN)
    end(component, side)
    reason = clone.untried(spec, port, place.room_for(spec, size), conf.bytes_of(limit), tablespaces=False)
    reason = reason or _unreachable(spec, port)
    if reason:
        return {"tried": False, "reason": reason}
    _begin(spec, "pg_clone_follow", timeout, "--port", str(port), "--mark", mark, "--rate", rate)
    notes = _await(spec, DONE, timeout)
    found = {"bytes": size, **{name: notes[name] for name in ("timeline", "copied", "streamed")}, "at": now()}
    kept = {"began": time.time(), "spec": spec.to_dict(), "found": found}
    storage.write_json(HOME / component / TRIED, kept)
    return {"tried": True, **found}


def known(spec: Spec, hours: float) -> dict[str, Any] | None:
    """Return what the last trial came to, as `follow` has, if it says anything about a return from now on.

    That is for so many hours, until the side is described otherwise, and until the next switch, by the timeline.
    """
    kept: dict[str, Any] = storage.read_json(HOME / spec.component / TRIED) or {}
    age = time.time() - float(kept.get("began") or 0)
    if not kept or not 0 <= age <= hours * 3600 or kept["spec"] != spec.to_dict():
        return None
    found: dict[str, Any] = kept["found"]
    return found if found["timeline"] == Cluster(spec).control().newest_timeline + 1 else None


def end(component: str, side: str) -> dict[str, Any]:
    """End what a trial has begun on this side, also an earlier one; return whether there was any, and its error."""
    spec = load_spec(component, side)
    stopped = units.stop(spec.unit_name(UNIT))
    removed = place.remove(spec)
    said = str((storage.read_json(HOME / component / NOTES) or {}).get("error") or "")
    storage.remove(HOME / component / NOTES)
    return {"changed": stopped or removed, "said": said}


def clean_up(component: str) -> None:
    """Remove what a unit has made; systemd calls it when the unit has ended, in whatever way."""
    place.remove(load_spec(component))


def work_to_lead(component: str, port: str, mark: str, timeout: str) -> int:
    """Be the clone; the unit at the side that is closed. Return an exit status."""
    return _work(component, lambda spec, deadline: _lead(spec, int(port), mark, deadline), float(timeout))


def work_to_follow(component: str, port: str, mark: str, timeout: str, rate: str) -> int:
    """Be the scratch standby; the unit at the side that serves. Return an exit status."""
    return _work(component, lambda spec, deadline: _follow(spec, int(port), mark, deadline, rate), float(timeout))


def _work(component: str, part: Callable[[Spec, float], None], timeout: float) -> int:
    spec = load_spec(component)
    try:
        part(spec, time.monotonic() + timeout)
    except BasculeError as error:
        _note(spec, FAILED, error=f"not {error.expected}: {error.found}")
        return 1
    except OSError as error:
        _note(spec, FAILED, error=str(error))
        return 1
    return 0


def _lead(spec: Spec, port: int, mark: str, deadline: float) -> None:
    goes_on = _as_begun(spec)
    with Place(spec, port) as made:
        with Cluster(spec).session() as session:
            taken = place.values(session)
            copying.copy(session, spec, made.data)
        made.start(taken, {"listen_addresses": spec.address}, standby=True, deadline=deadline)
        with made.session() as session:
            _note(spec, READY)
            follower = f"SELECT 1 AS one FROM pg_stat_replication WHERE application_name = {literal(clone.NAME)} "
            _until(
                made,
                deadline,
                goes_on,
                "somebody who follows",
                lambda: bool(session.query(f"{follower} AND state = 'streaming'")),
            )
            if session.value("SELECT pg_promote(true, 60)") is not True:
                raise made.error("the clone to be promoted within 60 s", made.said())
            session.execute(f"CREATE DATABASE {clone.NAME} TEMPLATE template0")
        with made.session(clone.NAME) as session:
            session.execute([f"CREATE TABLE {_TABLE} (mark text)", f"INSERT INTO {_TABLE} VALUES ({literal(mark)})"])
        _note(spec, PROMOTED)
        # Who follows says when it has seen enough, and ends this unit.
        with contextlib.suppress(_NotInTime):
            _until(made, deadline, goes_on, "the end", lambda: False)


def _follow(spec: Spec, port: int, mark: str, deadline: float, rate: str) -> None:
    goes_on = _as_begun(spec)
    with Place(spec, port) as made:
        text = clone.password_file(storage.read_text(conf.passfile(spec)) or "", spec.peer_port, port)
        if not text:
            raise made.error(f"the password file {conf.passfile(spec)} as prepare writes it", "another one, or none")
        words = {"port": str(port), "passfile": str(made.write("passfile", text))}
        way = conf.conninfo(spec, **words, application_name=clone.NAME)
        # The base backup streams too, and is not who has to follow.
        copying_way = conf.conninfo(spec, **words, application_name=f"{clone.NAME}_copy")
        begun = time.monotonic()
        argv = [
            f"{spec.programs}/pg_basebackup",
            f"--dbname={copying_way}",
            f"--pgdata={made.data}",
            "--checkpoint=fast",
        ]
        backup = made.popen([*argv, "--no-password", "--no-sync", *([f"--max-rate={rate}"] if rate else [])])
        _until(made, deadline, goes_on, "a base backup", lambda: backup.poll() is not None)
        if backup.returncode != 0:
            raise made.error(f"a base backup of the clone at {spec.peer_side}", made.said())
        copied = time.monotonic()
        for name in ("standby.signal", "postgresql.auto.conf"):
            made.write(f"data/{name}", "")
        with Cluster(spec).session() as session:
            taken = {name: value for name, value in place.values(session).items() if name in conf.NOT_SMALLER}
        made.start(taken, {"primary_conninfo": way}, standby=False, deadline=deadline)
        with made.session() as session:
            found = _arrived(made, session, mark, deadline, goes_on)
        _note(
            spec,
            DONE,
            timeline=found,
            copied=round(copied - begun, 3),
            streamed=round(time.monotonic() - copied, 3),
        )


def _arrived(made: Place, session: Any, mark: str, deadline: float, goes_on: Callable[[], None]) -> int:
    """Wait until the row is here; return the timeline on which it came."""
    heard = time.monotonic()
    timeline = None

    def is_here() -> bool:
        nonlocal heard, timeline
        receiving = session.query(
            "SELECT received_tli AS timeline FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        )
        if receiving:
            heard, timeline = time.monotonic(), receiving[0]["timeline"]
        elif time.monotonic() - heard > _SILENCE:
            raise made.error(f"the log of the clone at {made.spec.peer_side} to come", made.said())
        name = f"SELECT 1 AS one FROM pg_database WHERE datname = '{clone.NAME}'"
        if timeline is None or not session.query(name):
            return False
        # The database is there before its table is.
        with contextlib.suppress(SqlError), made.session(clone.NAME) as there:
            return bool(there.query(f"SELECT 1 AS one FROM {_TABLE} WHERE mark = {literal(mark)}"))
        return False

    _until(made, deadline, goes_on, f"the row of the clone at {made.spec.peer_side}", is_here)
    if timeline is None:
        raise made.error("a timeline", "none")
    return int(timeline)


class _NotInTime(BasculeError):
    """The time of a trial is over."""


def _until(made: Place, deadline: float, goes_on: Callable[[], None], what: str, is_so: Callable[[], bool]) -> None:
    while not is_so():
        made.must_run()
        goes_on()
        if time.monotonic() > deadline:
            raise _NotInTime(
                expected=f"{what} in the trial at {made.spec.side}, within postgresql_replication_clone_timeout",
                found=made.said() or "nothing",
                state="nothing was changed, users are served; what was made for the trial is removed",
                next_command="give it more time, or a lower postgresql_replication_clone_limit, then "
                "ansible-playbook playbooks/40_pretest.yml",
            )
        time.sleep(_PAUSE)


def _as_begun(spec: Spec) -> Callable[[], None]:
    """Return what ends a trial as soon as anything is begun with the side: a freeze, a switch, an opening."""
    begun = store.read(spec.component, spec.side)

    def look() -> None:
        found = store.read(spec.component, spec.side)
        if found != begun:
            raise BasculeError(
                expected=f"{spec.side} to stay as it was when the trial began: {begun.describe()}",
                found=found.describe(),
                state="the trial has ended; what was made for it is removed",
                next_command="go on with what was begun; try it again when nothing is",
            )

    return look


def _require(spec: Spec, status: str) -> None:
    guard = store.read(spec.component, spec.side)
    if guard.status != status or guard.frozen:
        raise BasculeError(
            expected=f"{spec.side} to be {status}, and not frozen",
            found=guard.describe(),
            state="nothing was tried or changed",
            next_command="ansible-playbook playbooks/status.yml",
        )


def _taken(spec: Spec, port: int) -> str:
    """Return why a server cannot listen there, or an empty text."""
    try:
        with contextlib.closing(socket.create_server((spec.address, port), family=_family(spec.address))):
            return ""
    except OSError as error:
        return f"a clone cannot listen at {spec.address}:{port} of {spec.side}: {error.strerror or error}"


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _unreachable(spec: Spec, port: int) -> str:
    """Return why the clone is not reached from here, or an empty text."""
    try:
        with contextlib.closing(socket.create_connection((spec.peer_address, port), timeout=_CONNECT)):
            return ""
    except OSError as error:
        return f"port {port} of {spec.peer_side} is not reached from {spec.side}: {error.strerror or error}"


def _note(spec: Spec, state: str, **values: Any) -> None:
    storage.write_json(HOME / spec.component / NOTES, {"state": state, **values})


def _begin(spec: Spec, command: str, timeout: float, *more: str) -> None:
    told = ["--component", spec.component]
    clean = " ".join([*units.AGENT, "pg_clone_end", *told])
    units.start(
        spec.unit_name(UNIT),
        [*units.AGENT, command, *told, *more, "--timeout", f"{timeout:g}"],
        properties=[
            f"RuntimeMaxSec={timeout + 60:g}",
            f"ExecStopPost={clean}",
            "Nice=10",
            "IOSchedulingClass=idle",
        ],
    )


def _await(spec: Spec, state: str, timeout: float) -> dict[str, Any]:
    """Wait until the unit says so; one that has ended without is an error."""
    unit = spec.unit_name(UNIT)
    deadline = time.monotonic() + timeout + 90
    while True:
        running = units.is_running(unit)
        notes: dict[str, Any] = storage.read_json(HOME / spec.component / NOTES) or {}
        if notes.get("state") == state:
            return notes
        if not running or time.monotonic() > deadline:
            raise BasculeError(
                expected=f"the trial at {spec.side} to become {state}",
                found=str(notes.get("error") or units.last_messages(unit) or "it ended and said nothing"),
                state="nothing was changed, users are served; what was made for the trial is removed",
                next_command="mend what is named, then ansible-playbook playbooks/40_pretest.yml",
            )
        time.sleep(_PAUSE)
