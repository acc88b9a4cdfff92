"""Two sides with real databases and real writers: nothing is lost, and what is closed is refused to everybody."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import GuardRefused
from bascule.guard.io import fence_settings, store
from bascule.sqlite.decisions import SqliteError
from bascule.sqlite.io import database, fence, holders, safety_dump
from bascule.sqlite.io import side as sqlite_side
from bascule.sqlite.io.fence import Place
from bascule.sqlite.io.side import Side

from .conftest import Make, fetch, made, systemd

# How many boundaries a closing has.
STEPS = 11
# A client that opens the database for each write, as PHP does, and keeps what was acknowledged.
WRITER = """
import sqlite3, sys, time
number = 1000
while True:
    number += 1
    try:
        made = sqlite3.connect("file:" + sys.argv[1] + "?mode=rwc", uri=True, timeout=2, isolation_level=None)
        made.execute("INSERT INTO keys VALUES (?, ?)", (str(number), number))
        made.close()
        print(number, flush=True)
        time.sleep(0.01)
    except sqlite3.Error as error:
        print(error, file=sys.stderr, flush=True)
        break
"""
HOLDER = """
import sqlite3, sys, time
made = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    made.execute(statement)
print("holds", flush=True)
time.sleep(60)
"""


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are ended with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.communicate()


def started(running: list[subprocess.Popen[str]], script: str, *words: str) -> subprocess.Popen[str]:
    """Start a program with pipes."""
    one = subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    running.append(one)
    return one


def database_of(side: Side) -> Path:
    """Return the path of its only database."""
    return Path(side.places[0].path)


def insert(side: Side, name: str) -> None:
    """Write a row as the application would."""
    connection = sqlite3.connect(database_of(side), isolation_level=None)
    connection.execute("INSERT INTO keys VALUES (?, 1)", (name,))
    connection.close()


def names(path: str | Path) -> set[str]:
    """Return the keys that are there."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = {name for (name,) in connection.execute("SELECT name FROM keys")}
    connection.close()
    return found


def moved(here: Side, there: Side, epoch: str) -> dict[str, Any]:
    """Freeze, carry, close, open and thaw."""
    here.freeze()
    copies = [{**one, "path": there.places[0].path} for one in here.publish()["copies"]]
    pulled = there.pull(copies, fetch)
    closed = here.close(epoch)["receipt"]
    position = dict(zip([there.places[0].path], closed["position"].values()))
    there.open(epoch, {**closed, "component": there.component, "position": position}, here.guard())
    there.thaw()
    return pulled


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "journal",
    ["wal", "delete", *(pytest.param(name, marks=LONG) for name in ("persist", "truncate"))],
)
def test_a_move_under_a_writer_loses_nothing_there_back_and_there(
    make: Make, running: list[subprocess.Popen[str]], journal: str
) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a), journal)
    b.fenced()
    acknowledged: set[str] = set()
    for here, there, epoch in ((a, b, "1.x"), (b, a, "2.x"), (a, b, "3.x")):
        writer = started(running, WRITER, str(database_of(here)))
        time.sleep(0.5)
        pulled = moved(here, there, epoch)
        out, said = writer.communicate(timeout=20)
        acknowledged |= set(out.split())
        assert "unable to open database file" in said or "locked" in said
        assert len(out.split()) > 3
        assert acknowledged <= names(database_of(there))
        assert pulled["comparison"]["rows_compared"] >= 8
        assert (here.mode(), there.mode()) == ("closed", "open")
        # The next round of the writer begins its numbers anew.
        connection = sqlite3.connect(database_of(there), isolation_level=None)
        connection.execute("UPDATE keys SET name = 'r' || ? || '-' || name WHERE name > '1' AND name < '9'", (epoch,))
        connection.close()
        acknowledged = set()


def test_a_closed_database_is_refused_to_its_owner_and_to_root_and_is_not_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The interpreter of the tests may lie where nobody else gets to.
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = made(Path(folder) / "app" / "app.db")
        os.chown(path.parent, 65534, 65534)
        os.chown(path, 65534, 65534)
        store.adopt("app", "a", "open")
        refused_to_everybody(Side("app", "a", {"databases": [str(path)], "units": []}, runner=systemd), path)


def refused_to_everybody(a: Side, path: Path) -> None:
    """See a write pass, then refused, then pass again."""
    assert a.attempts() == {str(path): "written"}
    frozen = a.freeze()
    assert frozen["before"] == {str(path): "written"}
    assert frozen["refused"] == {str(path): "unable to open database file"}
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(path).execute("CREATE TABLE x (a)")
    removed = subprocess.run(
        [sys.executable, "-c", f"import os; os.rmdir({str(path)!r})"],
        user=65534, group=65534, extra_groups=[], check=False, capture_output=True, cwd="/",
    )  # fmt: skip
    assert removed.returncode != 0
    assert a.freeze()["changed"] is False
    assert a.thaw()["changed"] is True
    status = path.stat()
    assert (status.st_uid, a.attempts()) == (65534, {str(path): "written"})


def test_who_holds_it_open_is_named_and_nothing_is_closed(make: Make, running: list[subprocess.Popen[str]]) -> None:
    a = make("a", "open", drain=0.3)
    path = made(database_of(a))
    holder = started(running, HOLDER, str(path), "SELECT count(*) FROM keys")
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(SqliteError, match=rf"held open by python\S* \({holder.pid}\)"):
        a.freeze()
    assert (a.mode(), a.guard().frozen) == ("open", True)
    assert a.measure()["databases"][0]["holders"][0]["pid"] == holder.pid
    holder.kill()
    holder.wait()
    assert a.freeze()["closed"]


def test_another_name_that_came_since_keeps_a_database_from_being_closed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make("a", "open")
    path = made(database_of(a))
    a.prepare()
    other = path.with_name("other.db")
    os.link(path, other)
    with pytest.raises(SqliteError, match="it has 2 names"):
        a.freeze()
    assert (a.mode(), a.attempts()) == ("open", {str(path): "written"})
    other.unlink()
    # Of a container, which mounts the file itself.
    with monkeypatch.context() as patched:
        patched.setattr(holders, "mounted", lambda _: ["/app.db"])
        with pytest.raises(SqliteError, match=r"it is mounted by itself at /app\.db"):
            a.freeze()
    assert a.mode() == "open"
    path.rename(other)
    path.symlink_to(other)
    with pytest.raises(SqliteError, match="symbolic link"):
        a.freeze()
    path.unlink()
    other.rename(path)
    assert a.freeze()["closed"]


def test_an_attempt_that_was_not_made_is_no_refusal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a = make("a", "open")
    path = made(database_of(a))

    def write(where: str, *_: Any) -> str:
        return database.WRITTEN if os.path.isfile(where) else "the attempt itself failed: no such program"

    monkeypatch.setattr(database, "write", write)
    with pytest.raises(SqliteError, match="root: the attempt itself failed"):
        a.freeze()
    with pytest.raises(SqliteError, match="the attempt itself failed"):
        a.tried(written=False)
    with pytest.raises(SqliteError, match="the attempt itself failed"):
        a.close("1.x")
    assert a.guard().receipt is None
    assert path.is_dir()


def test_a_copy_that_would_fill_the_disk_is_not_begun(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = make("a", "open"), make("b", "closed")
    size = made(database_of(a)).stat().st_size
    b.fenced()
    (copy,) = a.publish()["copies"]
    assert copy["size"] == size
    usage = shutil.disk_usage(database_of(a).parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=size))
    with pytest.raises(SqliteError, match=f"room for a copy of {size} bytes"):
        a.publish()
    with pytest.raises(SqliteError, match=f"room for a copy of {size} bytes"):
        b.pull([{**copy, "path": b.places[0].path}], fetch)
    assert (b.places[0].mode(), os.path.exists(b.places[0].incoming)) == ("empty", False)


def test_an_open_transaction_is_waited_for_and_never_cut(make: Make, running: list[subprocess.Popen[str]]) -> None:
    a = make("a", "open", drain=0.3)
    path = made(database_of(a))
    holder = started(running, HOLDER, str(path), "BEGIN IMMEDIATE", "INSERT INTO keys VALUES ('open', 1)")
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(SqliteError, match="locked"):
        a.freeze()
    assert a.mode() == "open"


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_a_killed_writer_has_committed_is_there_and_the_rest_is_not(
    make: Make, running: list[subprocess.Popen[str]], journal: str
) -> None:
    a, b = make("a", "open"), make("b", "closed")
    path = made(database_of(a), journal)
    b.fenced()
    holder = started(
        running, HOLDER, str(path), "PRAGMA cache_size = 1", "INSERT INTO keys VALUES ('kept', 1)", "BEGIN IMMEDIATE",
        "INSERT INTO missions (name, photo) VALUES ('lost', zeroblob(300000))",
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    moved(a, b, "1.x")
    assert "kept" in names(database_of(b))
    connection = sqlite3.connect(database_of(b))
    assert connection.execute("SELECT count(*) FROM missions WHERE name = 'lost'").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in (1, STEPS) else LONG) for step in range(STEPS + 1)]
)
def test_a_kill_at_any_boundary_of_closing_loses_nothing_and_is_gone_on_with(
    make: Make, running: list[subprocess.Popen[str]], step: int
) -> None:
    place = Place(str(made(database_of(make("a")))))
    # What lies in the write-ahead log has to be there afterwards.
    holder = started(running, HOLDER, place.path, "INSERT INTO keys VALUES ('logged', 1)")
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.kill()
    holder.wait()
    script = f"""
import os, sys
from bascule.sqlite.io import fence
from bascule.system.io import storage
left = {step}
def counted(function):
    def call(*arguments, **more):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return function(*arguments, **more)
    return call
for owner, name in ((os, "rename"), (fence, "_exchange"), (storage, "sync_directory"), (storage, "remove")):
    setattr(owner, name, counted(getattr(owner, name)))
fence.Place({place.path!r}).shut()
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr
    assert (done.returncode == 9) == (step < STEPS), done.stderr
    assert place.mode() in ("open", "between", "closed")
    place.shut()
    assert place.mode() == "closed"
    place.open()
    assert "logged" in names(place.path)
    assert database.check(place.path) == []


def test_a_boot_closes_what_is_not_open_and_a_cut_opening_is_closed_again(make: Make) -> None:
    a = make("a", "open")
    path = made(database_of(a))
    assert a.prepare()
    assert not a.prepare()
    assert fence_settings.read(a.component, store.GUARD_DIRECTORY.parent) is not None
    assert "left alone" in sqlite_side.fence(a.component)
    a.freeze()
    os.rename(a.places[0].inside, a.places[0].aside)
    assert a.mode() == "between"
    assert "closed" in sqlite_side.fence(a.component)
    assert a.mode() == "closed"
    os.rename(a.places[0].inside, a.places[0].aside)
    a.thaw()
    assert a.mode() == "open"
    assert path.is_file()


def test_a_side_opens_only_with_exactly_what_the_receipt_says(make: Make) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    copies = [{**one, "path": b.places[0].path} for one in a.publish()["copies"]]
    b.pull(copies, fetch)
    connection = sqlite3.connect(database_of(a), isolation_level=None)
    connection.execute("INSERT INTO keys VALUES ('late', 1)")
    connection.close()
    a.freeze()
    given = a.close("1.x")["receipt"]
    position = dict(zip([b.places[0].path], given["position"].values()))
    with pytest.raises(GuardRefused, match="by the receipt"):
        b.open("1.x", {**given, "component": b.component, "position": position}, a.guard())
    assert (b.mode(), b.guard().status) == ("closed", "closed")
    with pytest.raises(GuardRefused):
        b.thaw()
    with pytest.raises(GuardRefused):
        a.thaw()


def test_the_closed_side_keeps_what_it_had_whatever_arrives(make: Make) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    moved(a, b, "1.x")
    connection = sqlite3.connect(database_of(b), isolation_level=None)
    connection.execute("INSERT INTO keys VALUES ('since', 1)")
    connection.close()
    a.pull([{**one, "path": a.places[0].path} for one in b.publish()["copies"]], fetch)
    assert database.read(a.places[0].inside, still=True)["tables"]["keys"]["rows"] == 3
    assert database.read(a.places[0].kept, still=True)["tables"]["keys"]["rows"] == 2


def test_a_side_that_closes_once_more_keeps_what_it_had_itself(make: Make) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    moved(a, b, "1.x")
    insert(b, "since")
    a.pull([{**one, "path": a.places[0].path} for one in b.publish()["copies"]], fetch)
    a.close("1002.w")
    assert names(a.places[0].kept) == {"k", "n"}
    assert names(a.places[0].inside) == {"k", "n", "since"}


def test_retire_removes_copies_and_no_database(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    moved(a, b, "1.x")
    insert(b, "since")
    a.pull([{**one, "path": a.places[0].path} for one in b.publish()["copies"]], fetch)
    for wrong, active in ((a, True), (b, False)):
        with pytest.raises(SqliteError, match="nothing was removed"):
            wrong.retire(active=active)
    place = a.places[0]
    cut = [place.incoming, f"{place.path}/restored.sqlite"]
    for path in cut:
        Path(path).write_text("of one that was killed")
    assert make("a", check=True).retire(active=False)["done"] == [*cut, str(a.out)]
    assert Path(cut[0]).exists()
    said = a.retire(active=False)
    assert (said["done"], said["left"]) == ([*cut, str(a.out)], [place.kept]), "no dump of it is proved"
    assert not any(Path(path).exists() for path in (*cut, str(a.out)))
    known = {"state": "running"}
    monkeypatch.setattr(safety_dump, "state", lambda *_: known)
    with pytest.raises(SqliteError, match="its safety dump is taken"):
        a.retire(active=False)
    known["state"] = "proved"
    assert a.retire(active=False)["done"] == [place.kept]
    assert not a.retire(active=False)["changed"]
    assert (a.mode(), names(place.inside)) == ("closed", {"k", "n", "since"})
    assert b.retire(active=True)["done"] == [str(b.out)]
    assert [entry.name for entry in database_of(b).parent.iterdir() if "bascule" in entry.name] == []
    assert (b.mode(), names(database_of(b))) == ("open", {"k", "n", "since"})
    assert not b.retire(active=True)["changed"]


def test_a_copy_that_is_not_the_same_or_not_whole_is_thrown_away(make: Make) -> None:
    a, b = make("a", "open"), make("b", "closed")
    made(database_of(a))
    b.fenced()
    copies = [{**one, "path": b.places[0].path} for one in a.publish()["copies"]]

    def spoilt(source: str, target: str) -> None:
        fetch(source, target)
        connection = sqlite3.connect(target, isolation_level=None)
        connection.execute("UPDATE keys SET value = 'w'")
        connection.close()

    with pytest.raises(SqliteError, match="rows of keys"):
        b.pull(copies, spoilt)
    assert (b.places[0].mode(), os.path.exists(b.places[0].incoming)) == ("empty", False)


def test_a_database_of_somebody_at_a_closed_side_is_closed_and_check_mode_touches_nothing(make: Make) -> None:
    made(database_of(make("a", "open")))
    checked = make("a", check=True)
    for verb in (checked.freeze, checked.thaw, checked.publish, checked.fenced):
        verb()
    assert checked.close("1.x")["changed"]
    assert (checked.mode(), checked.guard().frozen, checked.guard().status) == ("open", False, "open")


def test_a_file_system_that_cannot_exchange_two_names_is_refused_before_anything(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = make("a", "open")
    made(database_of(a))

    def no(*_: str) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(fence, "_exchange", no)
    with pytest.raises(SqliteError, match="could not be closed"):
        a.prepare()
    assert sorted(entry.name for entry in database_of(a).parent.iterdir()) == ["app.db"]
