"""The safety dump of a switch: the state at the close, restored and compared; anything else is not proved."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.io import fence_settings
from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.mysql.io import digest, safety_dump
from bascule.mysql.io.client import Session
from bascule.system import safety_dump as dumps
from bascule.system.io import age_keys, dump_notes
from bascule.system.io.process import Result

from .world import Host, World


@pytest.fixture
def closed(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, str]:
    """A side that a switch has just closed, and its epoch; the other one is open."""
    # In the place of age, which this machine need not have, stands what passes everything on.
    age = tmp_path / "bin/age"
    age.parent.mkdir()
    age.write_text('#!/bin/sh\n[ "$1" = --encrypt ] && exec cat\nexec cat "$4"\n')
    age.chmod(0o755)
    monkeypatch.setenv("PATH", f"{age.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(dump_notes, "DIRECTORY", tmp_path / "backups")
    monkeypatch.setattr(dump_notes, "HOME", tmp_path / "home")
    monkeypatch.setattr(age_keys, "recipients", lambda _: ["age1own"])
    (tmp_path / "home/orders").mkdir(parents=True)
    world.prepare()
    mtp = world.mtp
    mtp.running.client.execute(
        "CREATE TABLE shop.odd (id INT PRIMARY KEY, b BLOB, f FLOAT, e ENUM('a','') , d DATETIME(6))",
        "INSERT INTO shop.odd VALUES (1, x'00ff0a5c27', 0.1, '', '2026-01-01 00:00:00.5'), (2, NULL, NULL, NULL, NULL)",
        "CREATE VIEW shop.v AS SELECT id FROM shop.t",
        "CREATE DEFINER = CURRENT_USER FUNCTION shop.f() RETURNS INT DETERMINISTIC RETURN 1",
        binlog=True,
    )
    frozen = mtp.side().freeze()
    world.tls.side().caught_up(frozen["position"], frozen["known"], 20)
    epoch = world.next()
    world.close(mtp, epoch)
    return mtp, epoch


def take(host: Host, epoch: str, monkeypatch: pytest.MonkeyPatch) -> safety_dump.SafetyDump:
    """Return the dump of the host's side."""
    spec = {"side": host.name, "socket": host.running.client.socket}
    monkeypatch.setattr(fence_settings, "read", lambda *_: spec)
    host.side()
    return safety_dump.SafetyDump("orders", epoch)


def noted(tmp_path: Path) -> dict[str, Any]:
    """Return what it has written down."""
    found: dict[str, Any] = json.loads((tmp_path / "home/orders/safety_dump.json").read_text())
    return found


def test_what_was_closed_with_is_restored_and_proved(
    closed: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, epoch = closed
    assert take(host, epoch, monkeypatch).run() == 0
    found = noted(tmp_path)
    assert (found["state"], found["reason"], found["held"]) == (dumps.PROVED, "", True)
    assert found["rows_compared"] >= 5
    assert Path(found["dumps"]["all databases"]["path"]).stat().st_mode & 0o077 == 0
    # Nothing is left of the server that it was restored into.
    assert [path.name for path in host.running.folder.iterdir() if "scratch" in path.name] == []


def test_a_drain_ends_clients_and_not_the_dump(
    closed: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The closed side is shut once more before it follows: as the switch does right after the dump has begun."""
    host, epoch = closed
    dump = take(host, epoch, monkeypatch)
    rows = digest.rows

    def shut_meanwhile(*given: Any) -> Any:
        def run(argv: Any, **options: Any) -> Result:
            return _running(argv) if "safety-dump" in str(argv) else host.run(argv, **options)

        side, client = host.side(), Session(host.running.client)
        side.runner = run
        side._shut(for_peer=False)
        with pytest.raises(BasculeError):
            client.lines("SELECT 1")
        return rows(*given)

    monkeypatch.setattr(digest, "rows", shut_meanwhile)
    assert dump.run() == 0
    assert noted(tmp_path)["state"] == dumps.PROVED


def test_a_row_that_the_dump_does_not_have_is_named(
    closed: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, epoch = closed
    dump = take(host, epoch, monkeypatch)
    restore = dump._restore

    def changed(scratch: Any) -> None:
        restore(scratch)
        scratch.client.execute("UPDATE shop.odd SET b = x'00ff0a5c28' WHERE id = 1", "DROP USER app@'%'")

    monkeypatch.setattr(dump, "_restore", changed)
    dump.run()
    found = noted(tmp_path)
    assert found["state"] == dumps.NOT_PROVED
    assert "tables: shop.odd differs" in found["reason"]
    assert "global_priv %/app is at one side only" in found["reason"]


@pytest.mark.long
def test_a_state_that_has_moved_on_is_not_that_of_the_switch(
    closed: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, epoch = closed
    host.running.client.execute("SET GLOBAL read_only = 0", "INSERT INTO shop.t VALUES (77, 'late')", binlog=True)
    assert take(host, epoch, monkeypatch).run() == 1
    found = noted(tmp_path)
    assert found["state"] == dumps.NOT_PROVED
    assert "the closed side at" in found["reason"]
    assert "held" not in found


@pytest.mark.long
def test_a_dump_that_was_changed_is_not_restored(
    closed: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, epoch = closed
    dump = take(host, epoch, monkeypatch)
    room = dump._room

    def damage() -> None:
        room()
        path = Path(dump.notes["dumps"]["all databases"]["path"])
        path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)

    monkeypatch.setattr(dump, "_room", damage)
    assert dump.run() == 1
    assert "changed or damaged" in noted(tmp_path)["reason"]


EPOCH = "3.test"


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GuardState:
    """The guard of a side that has closed."""
    monkeypatch.setattr(dump_notes, "HOME", tmp_path)
    (tmp_path / "orders").mkdir()
    return replace(GuardState("orders", "mtp"), receipt=Receipt("orders", "mtp", Epoch.parse(EPOCH), {}, ""))


def test_a_closed_side_follows_only_when_its_state_is_held(guard: GuardState) -> None:
    waiting = safety_dump.notes("orders", EPOCH, "mtp", _running)
    waiting.tell(step="taking snapshots")
    threading.Timer(0.3, lambda: waiting.tell(held=True)).start()
    began = time.monotonic()
    assert safety_dump.before_following("orders", guard, _running) == []
    assert time.monotonic() - began >= 0.2
    # One that ends before it holds anything is said, and holds up nobody.
    waiting.tell(held=False, state=dumps.RUNNING)
    (said,) = safety_dump.before_following("orders", guard, _Once().run)
    assert "does not hold what it had when it closed: its unit has ended" in said


def test_the_dump_of_an_earlier_switch_is_none(guard: GuardState) -> None:
    safety_dump.notes("orders", "2.early", "mtp").tell(state=dumps.PROVED)
    assert safety_dump.state("orders", guard, _running)["state"] == "none"
    safety_dump.notes("orders", EPOCH, "mtp").tell(state=dumps.PROVED)
    assert safety_dump.state("orders", guard, _running)["state"] == dumps.PROVED


def test_a_unit_that_does_not_start_is_a_warning(guard: GuardState) -> None:
    def refuse(argv: Any, **_: Any) -> Result:
        if argv[0] == "systemd-run":
            raise BasculeError(expected="a unit", found="no bus")
        return Result(tuple(argv), 0, "inactive", "")

    (said,) = safety_dump.begin("orders", "mtp", EPOCH, refuse)
    assert "did not start" in said
    assert safety_dump.state("orders", guard, refuse)["state"] == dumps.NOT_PROVED


def test_what_a_host_lacks_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name.startswith("age") else f"/usr/bin/{name}")
    (said,) = safety_dump.missing()
    assert said.startswith("the safety dump needs age, which this host does not have: ")
    assert said.endswith(" age")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert safety_dump.missing() == []


def _running(argv: Any, **_: Any) -> Result:
    return Result(tuple(argv), 0, "active", "")


class _Once:
    """A unit that is seen to run once."""

    def __init__(self) -> None:
        self.asked = 0

    def run(self, argv: Any, **_: Any) -> Any:
        self.asked += 1
        return Result(tuple(argv), 0, "active" if self.asked == 1 else "inactive", "")


def test_a_dump_that_waits_for_a_lock_ends_at_its_limit_and_says_who_is_there(
    closed: tuple[Host, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of the closed side's own socket keeps a table to itself, and never lets go."""
    host, epoch = closed
    client = host.running.client
    holder = Session(client)
    holder.lines("LOCK TABLES shop.t WRITE")
    number = holder.lines("SELECT CONNECTION_ID()")[0]
    spec = {"side": host.name, "socket": client.socket}
    monkeypatch.setattr(fence_settings, "read", lambda *_: spec)
    host.side()
    assert safety_dump.begin("orders", host.name, epoch, _running, 2.0) == []
    dump = safety_dump.SafetyDump("orders", epoch)
    assert dump.timeout == 2.0
    try:
        assert dump.run() == 1
        found = noted(tmp_path)
        assert found["state"] == dumps.NOT_PROVED
        said = found["reason"]
        assert said.startswith("expected: the safety dump of orders proved within 2 s")
        assert "Waiting for table metadata lock" in said
        assert f"also connected: {number} (root@localhost)" in said
        # Nothing of it is left: no file, no server, and nobody who waits in the server's queue.
        assert list((tmp_path / "backups").rglob("all.sql*")) == []
        assert [path.name for path in host.running.folder.iterdir() if "scratch" in path.name] == []
        until = time.monotonic() + 30
        while (left := dump.server.strangers()) != [f"{number} (root@localhost)"]:
            assert time.monotonic() < until, left
            time.sleep(0.2)
    finally:
        holder.close()
