"""A fence is proved by the refusal of somebody whom the open side has let in; every probe here meets an open side too.

The server is the block of pg_hba.conf that Bascule writes, read as PostgreSQL reads it.
"""

from __future__ import annotations

import ipaddress
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.io import store as guard_store
from bascule.guard.state import GuardState
from bascule.postgresql import hba, knocks, wire
from bascule.postgresql.io.cluster import cluster
from bascule.postgresql.io.switchover import fence_probe, freeze, sight, take_back
from bascule.postgresql.spec import Spec
from bascule.postgresql.wire import Answer

from .test_files import CLIENT, make_spec

RIDER = {"database": "courses", "user": "loader", "address": "198.18.1.0/24", "until": "switch"}
# The lab's own: the prober's host, 198.18.2.10, lies outside of the declared clients' range, 198.18.1.0/24.
OLD, NEW, SIDE = "198.18.1.10", "198.18.2.10", "db-tls"
EPOCH = "1.d"
ALL = freeze.REFUSED_AT_ALL


def matches(column: str, word: str) -> bool:
    """Whether a column of pg_hba.conf means this name."""
    return word in column.split(",") or column == "all"


def means_session(column: str, startup: bytes, database: str) -> bool:
    """Whether the column of databases means who sends this: `replication` is nobody's database, `all` no walsender."""
    if b"\0replication\0true\0" in startup:
        return "replication" in column.split(",")
    return matches(",".join(name for name in column.split(",") if name != "replication"), database)


class Server:
    """The old side's server, as it answers whoever comes from an address."""

    def __init__(self) -> None:
        self.mode = hba.OPEN
        self.clients: list[dict[str, str]] = [CLIENT, RIDER]
        self.running = True
        self.rules: str | None = None
        self.silent = False

    def text(self) -> str:
        """Return its pg_hba.conf."""
        if self.rules is not None:
            return self.rules
        return hba.managed(
            "",
            "accounts_db",
            self.mode,
            owner="postgres",
            replication_user="bascule_replication",
            peer=NEW,
            clients=self.clients,
        )

    def knock(self, address: str, port: int, user: str, database: str, *, timeout: float = 5) -> Answer:
        """Answer the new side's host, or its own."""
        if self.silent:
            return Answer("none", "", "silence")
        if not self.running:
            return Answer("refused", "ECONNREFUSED", "nothing listens there")
        source = ipaddress.ip_address("127.0.0.1" if address == "127.0.0.1" else NEW)
        for line in self.text().splitlines():
            words = line.split()
            if not words or words[0] not in ("host", "hostssl"):
                continue
            inside = words[3] == "all" or source in ipaddress.ip_network(words[3])
            meant = means_session(words[1], wire.startup(user, database), database)
            if inside and meant and matches(words[2], user):
                if words[4] == "reject":
                    return Answer("refused", "28000", "pg_hba.conf rejects connection")
                return Answer("admitted", "10", "the server asks for a password")
        return Answer("refused", "28000", "no pg_hba.conf entry")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """The old side's server, open; this host is the new side's, closed."""
    made = Server()
    spec = make_spec(
        side=SIDE, peer_side="db-mtp", peer_address=OLD, address=NEW, clients=[], peer_clients=[CLIENT, RIDER]
    )
    guard_store.adopt(spec.component, SIDE, "closed", root=tmp_path)
    store = SimpleNamespace(read=partial(guard_store.read, root=tmp_path))
    monkeypatch.setattr(sight, "probe", SimpleNamespace(knock=made.knock))
    monkeypatch.setattr(sight, "HOME", tmp_path)
    monkeypatch.setattr(fence_probe, "HOME", tmp_path)
    monkeypatch.setattr(freeze, "load_spec", lambda component, side=None: spec)
    for module in (freeze, fence_probe, take_back):
        monkeypatch.setattr(module, "store", store)
    (tmp_path / spec.component).mkdir(exist_ok=True)
    monkeypatch.setattr(Server, "spec", spec, raising=False)
    monkeypatch.setattr(Server, "root", tmp_path, raising=False)
    return made


def spec_of(server: Server) -> Spec:
    """Return the new side."""
    spec: Spec = vars(type(server))["spec"]
    return spec


def guard(server: Server) -> GuardState:
    """Read the new side's guard."""
    return guard_store.read(spec_of(server).component, SIDE, root=vars(type(server))["root"])


def record(server: Server) -> Path:
    """Return the file that keeps who was let in."""
    root: Path = vars(type(server))["root"]
    return root / "accounts_db" / sight.RECORD


def look(server: Server) -> dict[str, Any]:
    """Do what reading the state does."""
    return sight.look(spec_of(server), guard(server))


def prove(answers: tuple[str, ...] = ALL, **more: Any) -> str:
    """Prove the old side's fence from the new one."""
    return freeze.prove_from_outside("accounts_db", SIDE, answers, 0, **more)


def test_an_open_side_is_an_alarm_also_from_outside_of_the_declared_range(server: Server) -> None:
    """The declared clients get "no pg_hba.conf entry" from here, and that is no refusal by a fence."""
    look(server)
    assert server.knock(OLD, 5432, CLIENT["user"], CLIENT["database"]).code == "28000"
    with pytest.raises(BasculeError, match="admitted"):
        prove()
    with pytest.raises(BasculeError, match="admitted"):
        prove(("28000",))


def test_a_closed_side_is_proved_by_who_was_let_in_and_says_when(server: Server) -> None:
    seen = look(server)
    server.mode = hba.CLOSED
    proof = prove()
    assert proof.startswith("28000: pg_hba.conf rejects")
    assert f"(bascule_replication was let in at {seen['let_in'][0]['at']})" in proof
    server.running = False
    assert prove().startswith("ECONNREFUSED")


def test_who_was_never_let_in_proves_nothing_and_says_so(server: Server) -> None:
    """A file that names nobody who knocks from here: the side is open, and every knock is refused."""
    server.rules = "hostssl all all 198.18.1.0/24 scram-sha-256\n"
    said = look(server)
    assert said["let_in"] == []
    assert "no pg_hba.conf entry" in said["not_let_in"]["bascule_replication@postgres"]
    with pytest.raises(BasculeError, match="proves no fence"):
        prove()


def test_what_was_seen_before_the_last_receipt_counts_no_more(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    look(server)
    server.mode = hba.CLOSED
    monkeypatch.setattr(sight, "since", lambda guard: "2.e")
    with pytest.raises(BasculeError, match="none since this side's last receipt"):
        prove()


def test_another_address_or_port_was_never_let_in(server: Server) -> None:
    look(server)
    kept = json.loads(record(server).read_text())
    for one in kept["let_in"]:
        one["port"] = 5433
    record(server).write_text(json.dumps(kept))
    server.running = False
    with pytest.raises(BasculeError, match="proves no fence"):
        prove()


def test_a_rider_who_is_still_let_in_is_an_alarm_when_the_side_must_be_closed(server: Server) -> None:
    server.clients = [CLIENT, {**RIDER, "address": "all"}]
    look(server)
    server.mode = hba.FROZEN
    assert prove(("28000",)).startswith("28000")
    with pytest.raises(BasculeError, match="loader at courses"):
        prove()


def test_riders_who_stay_in_prove_no_freeze(server: Server) -> None:
    """An open side that never let the prober in: those whom it let in ride on, and nobody else's refusal counts."""
    server.rules = "hostssl courses loader 198.18.0.0/16 scram-sha-256\n"
    assert [one["user"] for one in look(server)["let_in"]] == ["loader"]
    with pytest.raises(BasculeError, match="nobody who knocks from here was ever let in"):
        prove(("28000",))


def test_silence_is_no_proof(server: Server) -> None:
    look(server)
    server.silent = True
    with pytest.raises(BasculeError, match="silence is no proof"):
        prove()


@pytest.mark.parametrize("mode", [hba.OPEN, hba.CLOSED])
def test_a_side_that_was_closed_again_unopened_is_judged_beside_the_replication_role(server: Server, mode: str) -> None:
    """Nobody can have been let in there; its rules let the same role in for replication and refuse it otherwise."""
    server.mode = mode
    if mode == hba.CLOSED:
        assert sight.BESIDE in prove(unopened=True)
        server.rules = "hostssl all all 198.18.1.0/24 scram-sha-256\n"
    with pytest.raises(BasculeError):
        prove(unopened=True)


def test_a_frozen_side_is_not_looked_at_as_the_open_one_and_the_record_stays(server: Server) -> None:
    look(server)
    server.mode = hba.FROZEN
    said = look(server)
    assert [one["user"] for one in said["let_in"]] == ["bascule_replication"]
    assert "rejects" in said["not_let_in"]["bascule_replication@postgres"]


def test_a_look_in_check_mode_writes_nothing(server: Server) -> None:
    assert sight.look(spec_of(server), guard(server), keep=False)["let_in"]
    assert not record(server).exists()


def test_the_running_probe_sees_a_side_that_is_left_open(server: Server) -> None:
    """The probe before this one counted three refusals here."""
    look(server)
    probe = fence_probe.Probe(spec_of(server), EPOCH)
    for _ in range(3):
        probe.attempt()
    assert probe.seen["accepted"] == 1
    assert (probe.seen["refused"], probe.seen["unproved"]) == (0, 2)
    server.mode = hba.CLOSED
    for _ in range(3):
        probe.attempt()
    assert (probe.seen["accepted"], probe.seen["refused"]) == (1, 1)
    assert [one["user"] for one in probe.seen["let_in"]] == ["bascule_replication"]


def test_the_running_probe_proves_nothing_when_nobody_was_let_in(server: Server) -> None:
    server.rules = "hostssl all all 198.18.1.0/24 scram-sha-256\n"
    probe = fence_probe.Probe(spec_of(server), EPOCH)
    for _ in range(6):
        probe.attempt()
    assert probe.seen["refused"] == 0
    assert probe.seen["accepted"] == 0


def test_the_running_probe_goes_round_all_accounts(server: Server) -> None:
    server.clients = [CLIENT, {**RIDER, "address": "all"}]
    server.mode = hba.FROZEN
    look(server)
    probe = fence_probe.Probe(spec_of(server), EPOCH)
    for _ in range(len(probe.knocks)):
        probe.attempt()
    assert probe.seen["accepted"] == 1


def test_a_host_must_be_let_in_by_its_own_open_server(server: Server, tmp_path: Path) -> None:
    spec = make_spec(peer_address=NEW)
    guard_store.adopt(spec.component, "db-mtp", "open", root=tmp_path / "old")
    opened = guard_store.read(spec.component, "db-mtp", root=tmp_path / "old")
    sight.own_must_be_seen(spec, opened)
    server.rules = "hostssl all all 198.18.1.0/24 scram-sha-256\n"
    (tmp_path / spec.component / sight.RECORD).unlink()
    with pytest.raises(BasculeError, match="proves no fence"):
        sight.own_must_be_seen(spec, opened)


def test_a_side_whose_own_host_comes_in_is_not_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "probe", SimpleNamespace(knock=server.knock))
    own = cluster.Cluster(make_spec(peer_address=NEW))
    monkeypatch.setattr(cluster.Cluster, "hba_mode", lambda self: server.mode)
    for answers in (ALL, freeze.REFUSED_BY_SERVER):
        with pytest.raises(BasculeError, match="to be refused; found: admitted"):
            own.prove_refusal(answers, 0)
    server.mode = hba.CLOSED
    assert own.prove_refusal(ALL, 0).startswith("28000: ")
    server.running = False
    assert own.prove_refusal(ALL, 0).startswith("ECONNREFUSED: ")
    with pytest.raises(BasculeError, match="to be refused"):
        own.prove_refusal(freeze.REFUSED_BY_SERVER, 0)
    server.silent = True
    with pytest.raises(BasculeError, match="found: none"):
        own.prove_refusal(ALL, 0)


def test_what_a_host_saw_while_open_is_remembered_while_it_is_frozen(server: Server, tmp_path: Path) -> None:
    spec = make_spec(peer_address=NEW)
    guard_store.adopt(spec.component, "db-mtp", "open", root=tmp_path / "old")
    opened = guard_store.read(spec.component, "db-mtp", root=tmp_path / "old")
    sight.own_must_be_seen(spec, opened)
    frozen, _ = guard_store.frozen(spec.component, "db-mtp", True, root=tmp_path / "old")
    server.mode = hba.FROZEN
    sight.own_must_be_seen(spec, frozen)
    sight.look(spec, frozen)
    sight.own_must_be_seen(spec, frozen)


def test_a_pooler_that_never_got_a_session_proves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(
        side=SIDE,
        peer_side="db-mtp",
        peer_address=OLD,
        address=NEW,
        peer_clients=[CLIENT],
        pooler="install",
        pooler_clients=[CLIENT],
    )
    answer = Answer("refused", "28000", "no pg_hba.conf entry")

    class FakePooler:
        """Asks as told."""

        def __init__(self, spec: Spec) -> None:
            pass

        def __enter__(self) -> FakePooler:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def knock(self, host: str, port: int, timeout: float = 3) -> Answer:
            return answer

    monkeypatch.setattr(sight, "Pooler", FakePooler)
    sight.look(spec, guard(server))
    pooler: Any = FakePooler(spec)
    with pytest.raises(BasculeError, match="proves no fence"):
        take_back.knock_through(pooler, spec, "db-mtp", 0)
    answer = Answer("admitted", "", "it runs queries")
    sight.look(spec, guard(server))
    with pytest.raises(BasculeError, match="admitted"):
        take_back.knock_through(pooler, spec, "db-mtp", 0)
    answer = Answer("refused", "28000", "pg_hba.conf rejects connection")
    assert "let in at" in take_back.knock_through(pooler, spec, "db-mtp", 0)[f"pooler of {SIDE}"]


@pytest.mark.parametrize(
    ("listen", "address"),
    [("*", "127.0.0.1"), ("", "127.0.0.1"), ("localhost,192.0.2.1", "127.0.0.1"), ("192.0.2.1", "192.0.2.1")],
)
def test_a_host_knocks_where_its_server_listens(listen: str, address: str) -> None:
    assert knocks.own(make_spec(listen=listen)).address == address


def test_words_of_pg_hba_conf_are_no_accounts() -> None:
    clients = [
        {"database": "all", "user": "app", "address": "all"},
        {"database": "a,b", "user": "+group", "address": "all"},
        {"database": "a,b", "user": "app,other", "address": "all"},
    ]
    found = knocks.outside(make_spec(peer_clients=clients))
    assert [(one.user, one.database) for one in found] == [("bascule_replication", "postgres"), ("app", "a")]


def test_the_record_survives_its_file() -> None:
    one = knocks.own(make_spec())
    record = json.loads(json.dumps(knocks.to_record("1.d", {one: "now"})))
    assert knocks.remembered(record, "1.d") == {one: "now"}
    assert knocks.remembered(record, "") == {}
    assert knocks.remembered(None, "") == {}
