"""The log of a real standby comes back to the primary it follows, and is the same; or it is said why not."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import GuardState
from bascule.postgresql import conf, lsn
from bascule.postgresql.io.standby import way_back
from bascule.postgresql.rows import literal

from .test_canary import CLOSED, CLOSED_PORT, DB, OPEN, Pair, servers

__all__ = ["servers"]
SEGMENT = 16 << 20


@pytest.fixture
def pair(servers: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The pair before a move: who is open is the source. In place of TLS and an address there is the socket."""
    user = servers.specs[OPEN].replication_user
    monkeypatch.setattr(conf, "conninfo", lambda spec: f"host={servers.home} port={CLOSED_PORT} user={user}")
    monkeypatch.setattr(way_back, "load_spec", lambda component, side: servers.specs[side])
    monkeypatch.setattr(way_back, "store", SimpleNamespace(read=lambda component, side: servers.guards[side]))
    return servers


def left(pair: Pair) -> list[str]:
    return [path.name for path in pair.home.iterdir() if way_back.SUFFIX in path.name]


def state(pair: Pair) -> list[Any]:
    """Return what a trial must leave as it is."""
    with pair.session(OPEN) as session:
        return session.query(
            "SELECT (SELECT count(*) FROM pg_replication_slots) AS slots, (SELECT count(*) FROM pg_class) AS tables"
        )


def test_what_the_standby_has_comes_back_and_nothing_is_left_or_written(pair: Pair) -> None:
    with pair.session(OPEN) as session:
        session.execute(["CREATE TABLE public.filled AS SELECT generate_series(1, 9) AS n", "DROP TABLE public.filled"])
    before = state(pair)
    found = way_back.attempt(DB, OPEN, 60)
    assert 0 < found["bytes"] <= SEGMENT
    assert lsn.parse(found["end"]) % SEGMENT == found["bytes"] % SEGMENT
    assert found["seconds"] > 0
    assert state(pair) == before
    assert left(pair) == []


def test_at_the_border_of_two_segments_and_while_much_is_written_it_comes_as_well(pair: Pair) -> None:
    with pair.session(OPEN) as session:
        session.execute("SELECT pg_switch_wal()")
        assert way_back.attempt(DB, OPEN, 60)["bytes"] > 0
        with ThreadPoolExecutor(max_workers=1) as pool:
            trying = pool.submit(way_back.attempt, DB, OPEN, 60)
            much = "CREATE TABLE public.much AS SELECT repeat('x', 900) FROM generate_series(1, 9000)"
            while not trying.done():
                session.execute([much, "DROP TABLE public.much"])
            assert trying.result()["bytes"] > 0
    assert left(pair) == []


@pytest.mark.parametrize(
    ("guard", "why"),
    [({"status": "open", "frozen": True}, "db-tls to be open to users"), ({"status": "closed"}, "to be open to users")],
)
def test_only_for_a_side_that_serves(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, guard: dict[str, Any], why: str
) -> None:
    monkeypatch.setitem(pair.guards, OPEN, GuardState(DB, OPEN, **guard))
    with pytest.raises(BasculeError, match=why):
        way_back.attempt(DB, OPEN, 5)


def test_without_room_nothing_is_begun(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=127 << 20))
    monkeypatch.setattr(way_back, "_receiving", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(BasculeError, match="128 MiB free beside the data of db-tls; found: 127 MiB"):
        way_back.attempt(DB, OPEN, 5)
    assert left(pair) == []


def test_who_is_not_let_in_is_told_why(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "conninfo", lambda spec: f"host={pair.home} port={CLOSED_PORT} user=alice")
    with pytest.raises(BasculeError, match="replication") as caught:
        way_back.attempt(DB, OPEN, 20)
    assert caught.value.state.startswith("nothing was changed, users are served")
    monkeypatch.setattr(conf, "conninfo", lambda spec: f"host={pair.home} port=15999 user=alice")
    with pytest.raises(BasculeError, match="15999"):
        way_back.attempt(DB, OPEN, 20)
    assert left(pair) == []


def test_a_program_that_is_missing_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = pair.specs[OPEN]
    lacking = type(
        "Lacking", (), {"__getattr__": lambda _, name: "/nowhere" if name == "programs" else getattr(spec, name)}
    )
    receiving = way_back._receiving
    monkeypatch.setattr(way_back, "_receiving", lambda spec, place, wait: receiving(lacking(), place, wait))
    with pytest.raises(BasculeError, match="/nowhere/pg_receivewal"):
        way_back.attempt(DB, OPEN, 20)
    assert left(pair) == []


def test_a_log_that_is_another_is_no_way_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers, what comes has to be this side's own log."""
    same = way_back._is_same
    seen: list[bytes] = []

    def altered(cluster: Any, place: Path, name: str, much: int) -> bool:
        for path in place.glob(f"{name}*"):
            with path.open("r+b") as stream:
                seen.append(stream.read(1))
                stream.seek(7)
                stream.write(b"?")
        return same(cluster, place, name, much)

    monkeypatch.setattr(way_back, "_is_same", altered)
    with pytest.raises(BasculeError, match=r"not the same \d+ bytes \(\w+\.partial came\)"):
        way_back.attempt(DB, OPEN, 3)
    assert seen
    assert left(pair) == []


def test_a_standby_that_gets_no_log_any_more_is_waited_for_no_longer_than_said(pair: Pair) -> None:
    """It lets the source in, and has nothing of what was written since."""
    with pair.session(CLOSED) as standby:
        way = standby.value("SELECT current_setting('primary_conninfo')")
        standby.execute(["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"])
        while standby.query("SELECT 1 AS one FROM pg_stat_wal_receiver"):
            time.sleep(0.05)
    try:
        with pytest.raises(BasculeError, match="to send the log of db-tls up to"):
            way_back.attempt(DB, OPEN, 3)
    finally:
        with pair.session(CLOSED) as standby:
            standby.execute([f"ALTER SYSTEM SET primary_conninfo = {literal(way)}", "SELECT pg_reload_conf()"])
    assert left(pair) == []
    assert way_back.attempt(DB, OPEN, 60)["bytes"] > 0


@pytest.mark.parametrize(
    ("timeline", "end", "size", "name"),
    [
        (1, 0x3000148, SEGMENT, "000000010000000000000003"),
        # A position at a border belongs to the segment before it.
        (1, 0x4000000, SEGMENT, "000000010000000000000003"),
        (1, 0x4000001, SEGMENT, "000000010000000000000004"),
        (26, (5 << 32) + 1, SEGMENT, "0000001A0000000500000000"),
        (26, 5 << 32, SEGMENT, "0000001A00000004000000FF"),
        (1, 0x40000001, 1 << 30, "000000010000000000000001"),
    ],
)
def test_a_segment_is_named_as_the_server_names_it(timeline: int, end: int, size: int, name: str) -> None:
    assert way_back.segment(timeline, end, size) == name
