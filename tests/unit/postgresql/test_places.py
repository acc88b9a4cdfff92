"""What a server reads, and whether it took what was written: it is asked, never believed."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import ssl
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bascule_lab import credentials

from bascule.errors import BasculeError, CommandFailed
from bascule.postgresql import conf, hba
from bascule.postgresql.io.cluster import host, settings, tls
from bascule.postgresql.io.standby import before, prepare
from bascule.postgresql.spec import Spec
from bascule.system.io import units

from .test_files import OTHERS, make_spec


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A side whose files lie in the directory of the test, as the distribution lays them out."""
    config = tmp_path / "etc"
    (config / "conf.d").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (config / "postgresql.conf").write_text("include_dir = 'conf.d'\n")
    monkeypatch.setattr(host, "missing", lambda spec: [])
    monkeypatch.setattr(units, "shown", lambda unit, *_: {"LoadState": "loaded", "UnitFileState": "enabled"})
    for module in (before, prepare):
        monkeypatch.setattr(module, "HOME", tmp_path / "lib")
    layout = {"config_file": str(config / "postgresql.conf"), "unit": "pg.service"}
    return make_spec(data_directory=str(tmp_path / "data"), layout=layout)


def program(monkeypatch: pytest.MonkeyPatch, spec: Spec, **values: str) -> None:
    """Stand in for the server's program: what it says a setting would be."""
    known = {
        "data_directory": spec.data,
        "hba_file": spec.hba_file,
        "port": "5432",
        "unix_socket_directories": "/var/run/postgresql",
        **values,
    }

    def said(spec: Spec, name: str) -> str:
        if name not in known:
            raise CommandFailed(expected="success", found=f"unrecognized configuration parameter {name}")
        return known[name]

    monkeypatch.setattr(settings, "setting", said)


def test_a_cluster_as_the_distribution_lays_it_out_is_read(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, spec)
    assert settings.unread(spec) == []
    settings.require_read(spec)


@pytest.mark.parametrize(
    ("main", "more", "read"),
    [
        ("# include_dir = 'conf.d'\n", "", False),
        ("include_dir = 'other.d'\n", "", False),
        ("include 'more.conf'\n", "include_dir 'conf.d'\n", True),
        ("include 'more.conf'\n", "include 'more.conf'\n", False),
    ],
)
def test_a_directory_that_nothing_includes_is_named(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, main: str, more: str, read: bool
) -> None:
    program(monkeypatch, spec)
    Path(spec.config, "postgresql.conf").write_text(main)
    Path(spec.config, "more.conf").write_text(more)
    if read:
        assert settings.unread(spec) == []
        return
    with pytest.raises(BasculeError, match=r"add include_dir = 'conf\.d' to it.*nothing was changed"):
        settings.require_read(spec)


@pytest.mark.parametrize("name", ["data_directory", "hba_file"])
def test_a_place_elsewhere_is_named_with_its_setting(spec: Spec, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    program(monkeypatch, spec, **{name: "/srv/elsewhere"})
    with pytest.raises(BasculeError, match=f"{name} is '/srv/elsewhere', not .*nothing was changed"):
        settings.require_read(spec)


def test_another_port_than_the_declared_one_is_named(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, spec, port="5433")
    assert ["port is 5433, not 5432" in text for text in settings.unread(spec)] == [True]


def test_a_link_to_the_same_place_is_the_same_place(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    program(monkeypatch, spec, data_directory=str(tmp_path / "link"))
    assert settings.unread(spec) == []


def test_files_that_the_server_refuses_are_named_only_where_there_is_a_cluster(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(spec: Spec, name: str) -> str:
        raise CommandFailed(expected="success", found="syntax error")

    monkeypatch.setattr(settings, "setting", refuse)
    assert settings.unread(spec) == ["the server refuses its files: syntax error"]
    os.rmdir(spec.data)
    assert settings.unread(spec) == []


class Server:
    """A running server's answers."""

    def __init__(self, spec: Spec, **changes: Any) -> None:
        path = f"{spec.config}/conf.d/{conf.BASE}"
        row = {"name": "ssl", "setting": "on", "place": path, "waits": False}
        self.rows: list[dict[str, Any]] = [{**row, **changes}]
        self.errors: list[dict[str, Any]] = []
        self.mark: str | None = spec.side
        self.slots: list[str] = []
        self.places = {
            "config_file": f"{spec.config}/postgresql.conf",
            "data_directory": spec.data,
            "hba_file": f"{spec.config}/pg_hba.conf",
            "unix_socket_directories": "/var/run/postgresql",
        }

    def query(self, sql: str) -> list[dict[str, Any]]:
        if "pg_file_settings" in sql:
            return self.errors
        if "config_file" in sql:
            return [{"name": name, "setting": value} for name, value in self.places.items()]
        if "pg_replication_slots" in sql:
            return [{"name": name} for name in self.slots]
        if "boot_val" in sql:
            return [{"name": "max_slot_wal_keep_size", "value": "-1"}, {"name": "wal_keep_size", "value": "0"}]
        return self.rows

    def value(self, sql: str) -> Any:
        assert conf.MARK in sql
        return self.mark


def taken(server: Any, spec: Spec) -> None:
    settings.require_taken(server, spec, {"ssl": "on"}, patience=0)


def test_a_server_that_took_it_is_believed(spec: Spec) -> None:
    taken(Server(spec), spec)
    # One that takes it at its next start has read it.
    taken(Server(spec, place="default", waits=True), spec)


def test_a_server_that_did_not_take_it_is_named(spec: Spec) -> None:
    unread = Server(spec)
    unread.mark = None
    with pytest.raises(BasculeError, match=r"it does not read .*90-bascule\.conf.*serves as before"):
        taken(unread, spec)
    with pytest.raises(BasculeError, match=r"ssl is off, from /var/lib/x/postgresql\.auto\.conf"):
        taken(Server(spec, setting="off", place="/var/lib/x/postgresql.auto.conf"), spec)
    broken = Server(spec)
    broken.errors = [{"text": "x.conf:3: work_mem: invalid value"}]
    with pytest.raises(BasculeError, match=r"x\.conf:3: work_mem"):
        taken(broken, spec)


def test_another_cluster_on_the_same_port_is_named(spec: Spec) -> None:
    server: Any = Server(spec)
    assert settings.unread_by_server(server, spec) == []
    server.places["data_directory"] = "/var/lib/postgresql/15/other"
    assert "says the server on port 5432" in settings.unread_by_server(server, spec)[0]


def test_what_a_start_would_find_is_asked_before_it(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, spec, **{conf.MARK: spec.side, "primary_slot_name": ""})
    settings.require_standing(spec, {conf.MARK: spec.side})
    with pytest.raises(BasculeError, match=r"primary_slot_name would be '', not 'bascule_accounts_db'.*not started"):
        settings.require_standing(spec, {"primary_slot_name": spec.slot})
    program(monkeypatch, spec)
    with pytest.raises(BasculeError, match=r"bascule\.side would be 'unrecognized"):
        settings.require_standing(spec, {conf.MARK: spec.side})


# How the side that serves was


def test_how_a_side_was_is_written_down_once(spec: Spec) -> None:
    server: Any = Server(spec)
    found = before.of_server(server, spec)
    assert found["served"]
    assert before.keep(spec.component, found)
    assert not before.keep(spec.component, {"served": False})
    assert before.read(spec.component) == found


def test_a_side_that_serves_is_given_only_what_it_lacks(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    server: Any = Server(spec)
    monkeypatch.setattr(tls, "complaint", lambda spec: "")
    known = before.of_server(server, spec)
    assert set(prepare._serving(server, spec, known, None)) == {"max_slot_wal_keep_size", "wal_keep_size"}
    server.slots = ["theirs"]
    assert set(prepare._serving(server, spec, known, None)) == {"wal_keep_size"}
    monkeypatch.setattr(tls, "complaint", lambda spec: "self-signed certificate")
    found = prepare._serving(server, spec, known, None)
    assert found["ssl"] == "on"
    assert prepare._serving(server, dataclasses.replace(spec, method="dump_restore"), known, None) == {}
    # By then its own certificate is the one that is trusted: it stays.
    monkeypatch.setattr(tls, "complaint", lambda spec: "")
    text = conf.base(spec, {**found, "ssl_cert_file": "x"}, {})
    assert prepare._serving(server, spec, known, text)["ssl"] == "on"


def test_a_side_that_served_keeps_its_file_when_it_follows(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "wal_compression", lambda spec: "lz4")
    assert prepare._waiting(spec, None)["listen_addresses"] == "*"
    before.keep(spec.component, {"served": True, "settings": {}})
    text = conf.base(spec, {"wal_keep_size": "256MB"}, {"max_connections": 300})
    assert prepare._waiting(spec, text) == {"wal_keep_size": "256MB"}


def test_a_side_that_stays_gets_back_what_it_was(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Path(spec.config)
    reloaded: list[str] = []

    def write(path: Path, text: str, mode: int = 0o640) -> bool:
        path.write_text(text)
        return True

    cluster: Any = SimpleNamespace(
        spec=spec,
        config=config,
        hba=config / "pg_hba.conf",
        hba_now=(config / "pg_hba.conf").read_text,
        write=write,
        reload=lambda: reloaded.append("now"),
    )
    managed = hba.managed(
        OTHERS, spec.component, hba.OPEN, owner="postgres", replication_user="r", peer="198.18.2.10", clients=[]
    )

    def prepared() -> None:
        (config / "pg_hba.conf").write_text(managed)
        (config / "conf.d" / conf.BASE).write_text("ssl = 'on'\n")
        (config / "bascule-tls").mkdir(exist_ok=True)

    prepared()
    # A side that served nobody before is what its clients know.
    assert before.traces(cluster) == []
    before.give_back(cluster)
    assert (config / "pg_hba.conf").read_text() == managed
    before.keep(spec.component, {"served": True, "settings": {}})
    assert {path.name for path in before.traces(cluster)} == {conf.BASE, "bascule-tls"}
    before.give_back(cluster)
    assert (config / "pg_hba.conf").read_text() == OTHERS
    assert before.traces(cluster) == []
    assert sorted(path.name for path in config.iterdir()) == ["conf.d", "pg_hba.conf", "postgresql.conf"]
    assert reloaded == ["now"]


def test_a_check_shows_what_would_change_but_no_secret(spec: Spec) -> None:
    cluster: Any = SimpleNamespace(write=lambda *_: pytest.fail("it wrote"))
    path = Path(spec.config) / "postgresql.conf"
    path.chmod(0o640)
    changes = prepare.Changes(check=True)
    assert changes.file(cluster, path, "port = 1\n")
    assert changes.file(cluster, path.with_name("bascule.pgpass"), "*:5432:*:r:secret\n", 0o600)
    assert not changes.file(cluster, path, path.read_text())
    assert len(changes.names) == 2
    assert [(one["before"], one["after"]) for one in changes.diff] == [("include_dir = 'conf.d'\n", "port = 1\n")]


# What its TLS is


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority with one host's certificate."""
    directory = tmp_path_factory.mktemp("ca")
    credentials.make_authority(directory)
    credentials.make_certificate(directory, "db.mtp.test", ["db.mtp.test"])
    return directory


def asked(authority: Path, *, offers: bool = True, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, **of: Any) -> str:
    """Return what is wrong with a server that answers so."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    context.load_cert_chain(authority / "hosts/db.mtp.test.crt", authority / "hosts/db.mtp.test.key")

    def work() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(8)
            connection.sendall(b"S" if offers else b"N")
            if offers:
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=work)
    thread.start()
    known = {"address": "127.0.0.1", "name": "db.mtp.test", "ca": str(authority / "ca.crt")}
    try:
        return tls.complaint(make_spec(port=listener.getsockname()[1], **{**known, **of}))
    finally:
        thread.join(10)
        listener.close()


def test_a_server_that_a_standby_can_trust_is_left_alone(authority: Path) -> None:
    assert asked(authority) == ""


def test_what_a_standby_could_not_trust_is_named(authority: Path, tmp_path: Path) -> None:
    credentials.make_authority(tmp_path)
    assert "certificate" in asked(authority, ca=str(tmp_path / "ca.crt"))
    assert "mismatch" in asked(authority, name="db.tls.test")
    assert asked(authority, newest=ssl.TLSVersion.TLSv1_2)
    assert asked(authority, offers=False) == "it offers no TLS"


def test_a_server_that_does_not_answer_was_not_looked_at(authority: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BasculeError, match="to answer at 127"):
        tls.complaint(make_spec(port=port, address="127.0.0.1", ca=str(authority / "ca.crt")))
