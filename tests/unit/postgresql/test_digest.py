"""The digester: every chunk once, on from where it was, and what the snapshot has lost is not proved."""

from __future__ import annotations

import getpass
import hashlib
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.postgresql import compare, rows
from bascule.postgresql.io.cluster.psql import Session as PsqlSession
from bascule.postgresql.io.cluster.psql import SqlError
from bascule.postgresql.io.rows.digest import Connections, Digester, SnapshotGone
from bascule.postgresql.io.rows.hashed_pipe import HashedPipe


class Server:
    """A server with some tables, of so many blocks each; one row in every block."""

    def __init__(self, **blocks: int) -> None:
        self.blocks = blocks
        self.moved: set[str] = set()
        self.errors: dict[str, list[SqlError]] = {}
        self.gone = False
        self.roles = ["as before"] * 9
        self.columns = ["id"]
        self.asked: list[tuple[str, int]] = []
        self.lock = threading.Lock()

    def connect(self, database: str) -> Any:
        """Open a session."""
        return Session(self)


class Session:
    """A session on it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.settings: list[Any] = []

    def close(self) -> None:
        """End it."""

    def execute(self, statements: Any, timeout: float | None = None) -> None:
        """Take statements; the snapshot may be gone."""
        self.settings.append(statements)
        if str(statements).startswith("SET TRANSACTION SNAPSHOT") and self.server.gone:
            raise SqlError("a snapshot", "invalid snapshot identifier", "22023")

    def value(self, sql: str, timeout: float | None = None) -> Any:
        """Answer one value."""
        if "server_version_num" in sql:
            return 150018
        if "pg_authid" in sql:
            return self.server.roles.pop(0)
        (oid,) = re.findall(r"\((\d+)::oid", sql)
        name = list(self.server.blocks)[int(oid)]
        if "pg_relation_size" in sql:
            return self.server.blocks[name]
        return -1 if name in self.server.moved else 7

    def query(self, sql: str, timeout: float | None = None) -> list[dict[str, Any]]:
        """Answer rows."""
        if sql.startswith("WITH RECURSIVE"):
            return [self._table(number, name) for number, name in enumerate(self.server.blocks)]
        if " AS hash FROM " in sql:
            return [{"name": "one", "hash": "aa"}]
        if sql == rows.optional_query():
            return []
        if sql == rows.elsewhere_query():
            return [{"schema": "app", "name": "far away"}]
        found = re.search(r'FROM ONLY "app"\."(\w+)" AS t(?: WHERE t.ctid >= \'\((\d+),0\))?', sql)
        assert found, sql
        name, first = found[1], int(found[2] or 0)
        assert rows.AS_THEY_LIE in self.settings, "an index has rows in an order of its own"
        with self.server.lock:
            errors = self.server.errors.get(name)
            if errors:
                raise errors.pop(0)
            self.server.asked.append((name, first // rows.CHUNK_BLOCKS))
        count = min(rows.CHUNK_BLOCKS, self.server.blocks[name] - first)
        return [{"rows": count, "high": str(first + 1), "low": "-1"}]

    def _table(self, number: int, name: str) -> dict[str, Any]:
        columns = [{"name": column, "binary": True, "portable": True} for column in self.server.columns]
        return {
            "oid": number,
            "schema": "app",
            "name": name,
            "unlogged": name == "unlogged",
            "filenode": 7,
            "foreign_storage": False,
            "guarded": False,
            "derived": False,
            "pages": 1,
            "estimate": 5,
            "columns": columns,
            "key": ["id"],
        }


class Dumps:
    """What the dumps of that server say."""

    def __init__(self) -> None:
        self.patience: list[float] = []
        self.locked = 0

    def database(self, name: str, snapshot: str, patience: float) -> dict[str, dict[str, str]]:
        """Say what is in a database; somebody may keep a table locked."""
        self.patience.append(patience)
        if self.locked:
            self.locked -= 1
            raise BasculeError(expected="a dump", found="canceling statement due to lock timeout")
        return {"table": {f"app.{name}": "bb"}}

    def cluster(self) -> dict[str, dict[str, str]]:
        """Say which roles there are."""
        return {"role": {"user": "cc"}}


def fresh() -> dict[str, Any]:
    """What a comparison begins with."""
    courses: dict[str, Any] = {"tables": {}, "schema": {}, "sequences": {}}
    return {"epoch": "1.x", "mode": "fast", "layout": "physical", "databases": {"courses": courses}}


def dumps() -> Any:
    """Make them."""
    return Dumps()


def digester(server: Server, result: dict[str, Any], tmp_path: Path, workers: int = 3) -> Digester:
    """Make one."""
    return Digester(
        Connections(server.connect),
        result,
        {"courses": "1-1"},
        lambda: None,
        pipes=tmp_path / "pipes",
        owner=getpass.getuser(),
        workers=workers,
    )


def test_every_chunk_is_asked_for_once(tmp_path: Path) -> None:
    """A large table is found to be large by who begins it; the others help."""
    server = Server(small=1, large=5 * rows.CHUNK_BLOCKS + 1, empty=0)
    result = fresh()
    digester(server, result, tmp_path).run(dumps())
    assert sorted(server.asked) == [("empty", 0), *(("large", n) for n in range(6)), ("small", 0)]
    tables = result["databases"]["courses"]["tables"]
    assert {table["status"] for table in tables.values()} == {"done"}
    assert tables["app.large"]["rows"] == server.blocks["large"]
    assert result["progress"]["done_percent"] == 100
    kinds = result["databases"]["courses"]["schema"]["kinds"]
    assert kinds["table"]["lines"] == {"app.courses": "bb"}
    assert kinds["extension version"]["lines"] == {"one": "aa"}
    assert set(result["cluster"]["kinds"]) == {"role", "setting of all roles"}


@pytest.mark.parametrize(("layout", "order"), [(rows.PHYSICAL, ["b", "c", "a"]), (rows.LOGICAL, ["a", "b", "c"])])
def test_a_restored_copy_may_have_its_columns_in_another_order(tmp_path: Path, layout: str, order: list[str]) -> None:
    """A column that a parent was given later comes before those of its children once it is restored."""
    server, result = Server(child=1), fresh() | {"layout": layout}
    server.columns = ["b", "c", "a"]
    digester(server, result, tmp_path).list_tables()
    columns = result["databases"]["courses"]["tables"]["app.child"]["columns"]
    assert [column["name"] for column in columns] == order


def test_tables_whose_rows_lie_elsewhere_are_named(tmp_path: Path) -> None:
    result = fresh()
    digester(Server(a=1), result, tmp_path).run(dumps())
    found = result["databases"]["courses"]
    assert found["elsewhere"] == ['app."far away"']
    assert set(found["tables"]) == {"app.a"}


def test_a_locked_schema_is_asked_for_again(tmp_path: Path) -> None:
    """At first it is not waited for long; what stays locked is named, and never equal."""
    for locked in (1, 2):
        result, said = fresh(), dumps()
        said.locked = locked
        digester(Server(one=1), result, tmp_path).run(said)
        assert said.patience == [2, 30]
        schema = result["databases"]["courses"]["schema"]
        assert ("kinds" in schema, "lock timeout" in schema.get("reason", "")) == (locked == 1, locked == 2)


def test_roles_that_were_changed_since_the_snapshot_are_not_compared(tmp_path: Path) -> None:
    """No snapshot holds what their dump says."""
    server, result = Server(one=1), fresh()
    server.roles = ["before", "after", "before", "after"]
    digester(server, result, tmp_path).run(dumps())
    assert "kinds" not in result["cluster"]
    assert "somebody has changed" in result["cluster"]["reason"]


def test_the_trouble_of_one_database_is_its_own(tmp_path: Path) -> None:
    """It is named, and every other one is compared."""
    server, result = Server(one=1), fresh()
    result["databases"]["odd"] = {"tables": {}, "schema": {}, "sequences": {}}

    def connect(database: str) -> Any:
        if database == "odd":
            raise SqlError("a connection", "FATAL: cannot be read")
        return Session(server)

    subject = digester(server, result, tmp_path)
    subject.connections = Connections(connect)
    subject.snapshots = {"courses": "1-1", "odd": "1-2"}
    subject.run(dumps())
    assert result["databases"]["odd"]["reason"] == "FATAL: cannot be read"
    assert result["databases"]["courses"]["tables"]["app.one"]["status"] == "done"
    found = compare.compare(compare.slim(result), compare.slim(result))
    assert found.not_proved == ["database odd: FATAL: cannot be read"]
    assert (found.rows_compared, found.rows_not_proved) == (1, 1)


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """Only what is missing is asked for, and the digest is the one of an undisturbed run."""
    server = Server(small=1, large=5 * rows.CHUNK_BLOCKS)
    whole = fresh()
    digester(server, whole, tmp_path).run(dumps())
    tables = whole["databases"]["courses"]["tables"]
    expected = tables["app.large"]["digest"]
    tables["app.large"].update(status="pending", digest="")
    del tables["app.large"]["chunks"]["3"]
    server.asked.clear()
    digester(server, whole, tmp_path).run(dumps())
    assert server.asked == [("large", 3)]
    assert tables["app.large"]["digest"] == expected


def test_chunks_of_another_size_do_not_mix(tmp_path: Path) -> None:
    """What an earlier run has digested in chunks of another size is digested again; what is not proved stays so."""
    server = Server(large=2 * rows.CHUNK_BLOCKS, done=1, unlogged=1)
    whole = fresh()
    digester(server, whole, tmp_path).run(dumps())
    tables = whole["databases"]["courses"]["tables"]
    expected = {name: (table["status"], table.get("digest"), table["rows"]) for name, table in tables.items()}
    for table in tables.values():
        table["chunk_blocks"] = rows.CHUNK_BLOCKS // 2
    tables["app.large"].update(status="pending", digest="", rows=0, chunks={"1": [5, "9", "9"], "3": [1, "2", "3"]})
    del tables["app.done"]["chunk_blocks"]
    server.asked.clear()
    digester(server, whole, tmp_path).run(dumps())
    assert sorted(server.asked) == [("done", 0), ("large", 0), ("large", 1)]
    assert {name: (table["status"], table.get("digest"), table["rows"]) for name, table in tables.items()} == expected
    assert {table["chunk_blocks"] for table in tables.values()} == {rows.CHUNK_BLOCKS}


def test_a_table_that_was_rewritten_is_not_proved(tmp_path: Path) -> None:
    """The others are; a table nobody replicates never is."""
    server = Server(one=1, two=1, unlogged=1)
    server.moved.add("two")
    result = fresh()
    digester(server, result, tmp_path).run(dumps())
    tables = result["databases"]["courses"]["tables"]
    assert {name: table["status"] for name, table in tables.items()} == {
        "app.one": "done",
        "app.two": "not_proved",
        "app.unlogged": "not_proved",
    }
    assert "truncated" in tables["app.two"]["reason"]


def test_a_table_that_cannot_be_read_is_not_proved(tmp_path: Path) -> None:
    """Its column is gone; the rest goes on."""
    server = Server(one=1, two=1)
    server.errors["one"] = [SqlError("a digest", 'column "id" does not exist', "42703")]
    result = fresh()
    digester(server, result, tmp_path).run(dumps())
    tables = result["databases"]["courses"]["tables"]
    assert (tables["app.one"]["status"], tables["app.two"]["status"]) == ("not_proved", "done")
    assert "does not exist" in tables["app.one"]["reason"]


def test_a_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's lock ends; until then it is tried again."""
    monkeypatch.setattr("bascule.postgresql.io.rows.digest.time.sleep", lambda seconds: None)
    server = Server(one=1)
    server.errors["one"] = [SqlError("a digest", "canceling statement due to lock timeout", "55P03") for _ in range(3)]
    result = fresh()
    digester(server, result, tmp_path, workers=1).run(dumps())
    assert result["databases"]["courses"]["tables"]["app.one"]["status"] == "done"


def test_a_server_that_is_gone_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was digested stays, the rest is never called equal."""
    monkeypatch.setattr("bascule.postgresql.io.rows.digest.time.sleep", lambda seconds: None)
    server = Server(one=1, two=1)
    server.errors["two"] = [SqlError("a connection", "it was closed") for _ in range(9)]
    result = fresh()
    with pytest.raises(SnapshotGone):
        digester(server, result, tmp_path, workers=1).run(dumps())
    tables = result["databases"]["courses"]["tables"]
    assert (tables["app.one"]["status"], tables["app.two"]["status"]) == ("done", "pending")


def test_a_snapshot_that_is_gone_ends_it(tmp_path: Path) -> None:
    """Nothing is read without it."""
    server = Server(one=1)
    server.gone = True
    with pytest.raises(SnapshotGone, match="invalid snapshot"):
        digester(server, fresh(), tmp_path).run(dumps())
    assert server.asked == []


@pytest.mark.parametrize("content", [b"", b"one\n", b"1\t-0\n2\t\\N\n" * 100_000])
def test_what_goes_through_a_pipe_is_hashed(tmp_path: Path, content: bytes) -> None:
    """All of it; an earlier use leaves nothing behind."""
    pipe = HashedPipe(tmp_path / "pipes", "rows", getpass.getuser())
    for _ in range(2):
        with pipe.reading() as reading:
            writer = threading.Thread(target=pipe.path.write_bytes, args=(content,))
            writer.start()
            writer.join()
        assert reading.hexdigest() == hashlib.sha256(content).hexdigest()
    pipe.remove()
    assert not pipe.path.exists()


@pytest.mark.parametrize("size", [1 << 20, 1 << 12])
def test_a_writer_in_small_pieces_is_left_alone_and_heard_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever the pipe holds, and however the pieces come."""
    monkeypatch.setattr("bascule.postgresql.io.rows.hashed_pipe._SIZE", size)
    pieces = [bytes([number % 251]) * (1 + number % 5000) for number in range(400)]

    def write() -> None:
        with pipe.path.open("wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)

    pipe = HashedPipe(tmp_path / "pipes", "rows", getpass.getuser())
    with pipe.reading() as reading:
        writer = threading.Thread(target=write)
        writer.start()
        writer.join()
    assert reading.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_pipe_that_nobody_writes_to_ends(tmp_path: Path) -> None:
    """The server refused: nothing is waited for."""
    pipe = HashedPipe(tmp_path / "pipes", "rows", getpass.getuser())
    with pytest.raises(ValueError, match="refused"), pipe.reading():
        raise ValueError("refused")
    assert compare.fold(rows.TEXT_STREAM, {"0": [0, ""]})["rows"] == 0


@pytest.mark.parametrize(("told", "rows"), [("5", 5), ("0", 0), (":ROW_COUNT", None), ("", None)])
def test_a_client_that_does_not_count_is_no_empty_table(
    monkeypatch: pytest.MonkeyPatch, told: str, rows: int | None
) -> None:
    """Chunks without rows count for nothing: rows that nobody counted must not pass as none."""
    session = PsqlSession.__new__(PsqlSession)
    monkeypatch.setattr(session, "_timeout", 1.0, raising=False)
    monkeypatch.setattr(session, "_begin", lambda sql: "token", raising=False)
    monkeypatch.setattr(session, "_until", lambda *_: [f"token false 00000 {told}"], raising=False)
    if rows is None:
        with pytest.raises(SqlError, match="how many rows it copied"):
            session.copied("COPY t TO '/x'")
    else:
        assert session.copied("COPY t TO '/x'") == rows
