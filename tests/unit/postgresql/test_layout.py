"""Where a cluster is: declared, or Debian's; what server, process and systemd say otherwise is refused by name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError, CommandFailed
from bascule.postgresql import hba, layout
from bascule.postgresql.io.cluster import cluster as cluster_module
from bascule.postgresql.io.cluster import host, settings
from bascule.postgresql.io.cluster.cluster import Cluster
from bascule.postgresql.io.cluster.psql import SqlError
from bascule.postgresql.spec import SOCKETS, Spec
from bascule.system.io import units

from .test_files import make_spec

OWN = {
    "config_file": "/etc/pgsql/accounts/pg.conf",
    "hba_file": "/etc/pgsql/hba.conf",
    "unit": "postgresql-15.service",
    "programs": "/usr/pgsql-15/bin",
    "socket_directory": "/tmp",
}


def same(one: str, other: str) -> bool:
    return one == other


def test_without_a_variable_it_is_where_debian_puts_it() -> None:
    assert layout.declared(make_spec()) == {
        "config_file": "/etc/postgresql/15/main/postgresql.conf",
        "data_directory": "/var/lib/postgresql/15/main",
        "hba_file": "/etc/postgresql/15/main/pg_hba.conf",
        "programs": "/usr/lib/postgresql/15/bin",
        "socket_directory": SOCKETS,
        "unit": "postgresql@15-main.service",
    }
    assert make_spec().config == "/etc/postgresql/15/main"
    assert make_spec().starts_by_start_conf


def test_every_place_can_be_given_by_a_variable() -> None:
    spec = make_spec(data_directory="/srv/pg", layout=OWN)
    assert layout.declared(spec) == {**OWN, "data_directory": "/srv/pg"}
    # What Bascule writes lies beside the server's own file.
    assert spec.config == "/etc/pgsql/accounts"
    assert not spec.starts_by_start_conf
    assert make_spec(layout={"config_file": "/etc/x/pg.conf"}).hba_file == "/etc/x/pg_hba.conf"
    # What a host keeps is read again, also where an earlier version has written it.
    assert Spec.from_dict(spec.to_dict()) == spec
    before = {name: value for name, value in make_spec().to_dict().items() if name not in ("layout", "untested_major")}
    assert Spec.from_dict(before) == make_spec()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": "/srv"}, "with config_file, hba_file, unit, programs, socket_directory"),
        (["/srv"], "with config_file"),
        ({"unit": "postgresql-15"}, "unit that ends in .service"),
        ({"programs": "usr/bin"}, "absolute path"),
        ({"socket_directory": "tmp"}, "absolute path"),
        ({"socket_directory": "@abstract"}, "absolute path"),
        ({"config_file": "/etc/pgsql/"}, "absolute path"),
    ],
)
def test_a_variable_that_cannot_be_right_is_named(given: Any, said: str) -> None:
    with pytest.raises(BasculeError, match="postgresql_replication_layouts of db-mtp") as refused:
        make_spec(layout=given)
    assert said in refused.value.message()


@pytest.mark.parametrize(
    ("name", "value", "variable"),
    [
        ("config_file", "/srv/etc/postgresql.conf", "layouts for db-mtp: {config_file: /srv/etc/postgresql.conf}"),
        ("data_directory", "/srv/pg", "postgresql_replication_data_directories for db-mtp"),
        ("hba_file", "/etc/hba.conf", "layouts for db-mtp: {hba_file: /etc/hba.conf}"),
        ("unit", "pg.service", "layouts for db-mtp: {unit: pg.service}"),
        ("programs", "/opt/pg/bin", "layouts for db-mtp: {programs: /opt/pg/bin}"),
        ("socket_directory", "/tmp", "layouts for db-mtp: {socket_directory: /tmp}"),
    ],
)
def test_what_is_said_otherwise_is_named_with_the_variable_to_set(name: str, value: str, variable: str) -> None:
    said = {**layout.declared(make_spec()), name: value, "port": "5432", "log_directory": "log"}
    (found,) = layout.differences(make_spec(), said, "the server", same)
    assert found.startswith(f"{name} is {value!r}, not {layout.declared(make_spec())[name]}, says the server; set ")
    assert found.endswith(variable)
    assert layout.differences(make_spec(), layout.declared(make_spec()), "the server", same) == []


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n", "postgresql@15-main.service"),
        ("12:pids:/x\n1:name=systemd:/machine/lxc/system.slice/postgresql-15.service\n", "postgresql-15.service"),
        # By hand: from a session, or below what is no unit at all.
        ("0::/user.slice/user-0.slice/session-3.scope\n", None),
        ("0::/system.slice/ssh.service\n", None),
        ("0::/user.slice/user-1000.slice/user@1000.service\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_a_process_is_in_the_unit_that_stops_it(cgroup: str, unit: str | None) -> None:
    found = layout.of_process(cgroup, "/usr/lib/postgresql/15/bin/postgres (deleted)")
    assert (found.get("unit"), found["programs"]) == (unit, "/usr/lib/postgresql/15/bin")
    assert layout.of_process("", "") == {}


def test_a_process_is_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")
    assert host.process(str(tmp_path))["programs"] == str(Path("/proc/self/exe").resolve().parent)
    (tmp_path / "postmaster.pid").write_text("\n")
    assert host.process(str(tmp_path)) == {}
    assert host.process(str(tmp_path / "nothing")) == {}
    # Gone meanwhile.
    (tmp_path / "postmaster.pid").write_text("4194999\n")
    assert host.process(str(tmp_path)) == {}


def test_configuration_inside_the_data_is_refused() -> None:
    """A base backup, and the state that is kept aside, take the place of the whole directory."""
    inside = make_spec(data_directory="/srv/pg", layout={"config_file": "/srv/pg/postgresql.conf"})
    found = layout.inside_data(inside)
    assert [text.split()[0] for text in found] == ["config_file", "hba_file"]
    assert "a copy of db-tls's would take its place" in found[0]
    assert layout.inside_data(make_spec(data_directory="/srv/pg", layout={"config_file": "/srv/pg.conf"})) == []


def test_beside_debians_unit_only_the_directory_that_it_reads_is_taken(files: Files) -> None:
    """Start.conf and conf.d beside the target of a link would be read by nobody."""
    place = "/etc/postgresql/15/main/postgresql.conf"
    linked = dataclasses.replace(files.spec, layout={"config_file": files.spec.config_file})
    (found,) = [text for text in settings.unread(linked) if text.startswith("config_file is")]
    assert f"postgresql@15-main.service reads {place}" in found
    assert f"set postgresql_replication_layouts for db-mtp: {{config_file: {place}}}" in found
    assert layout.beside_debian(make_spec(layout={"config_file": "/etc/postgresql/15/main/x.conf"}), same)
    assert layout.beside_debian(make_spec(layout={"unit": "postgresql@15-a-b.service"}), same)
    for right in ({}, {"config_file": place}, OWN):
        assert layout.beside_debian(make_spec(layout=right), same) == []
    # The whole directory may be a link.
    assert layout.beside_debian(linked, lambda one, other: True) == []


@pytest.mark.parametrize(
    ("cgroup", "active", "said"),
    [
        ("0::/user.slice/user-0.slice/session-3.scope\n", "inactive", "in no unit of systemd"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", "active", "in no unit of systemd"),
        ("0::/\n", "active", "in no unit of systemd"),
        ("0::/system.slice/pg.service\n", "inactive", "while pg.service is inactive"),
        ("0::/system.slice/pg.service\n", "active", ""),
    ],
)
def test_a_server_that_its_unit_would_not_stop_is_named(
    files: Files, monkeypatch: pytest.MonkeyPatch, cgroup: str, active: str, said: str
) -> None:
    files.unit["ActiveState"] = active
    ran = layout.of_process(cgroup, f"{files.spec.programs}/postgres")
    monkeypatch.setattr(host, "process", lambda data: ran)
    places = {name: value for name, value in layout.declared(files.spec).items() if name in layout.COMPARED}
    monkeypatch.setattr(settings, "Session", OnThePort(places))
    if not said:
        settings.require_places(files.spec)
        return
    with pytest.raises(BasculeError, match=f"{said}.*systemctl start pg.service.*nothing was changed"):
        settings.require_places(files.spec)


def test_where_there_is_no_cluster_the_command_that_makes_one_is_named() -> None:
    assert layout.no_cluster(make_spec(), []) == (
        "no /etc/postgresql/15/main/postgresql.conf: pg_createcluster -p 5432 15 main"
    )
    elsewhere = layout.no_cluster(make_spec(data_directory="/srv/pg", port=5433), ["15/other on port 5432 in /x"])
    assert "pg_createcluster -p 5433 -d /srv/pg 15 main (clusters here: 15/other on port 5432 in /x)" in elsewhere
    own = layout.no_cluster(make_spec(data_directory="/srv/pg", layout=OWN), [])
    assert own == (
        "no /etc/pgsql/accounts/pg.conf: make one there that postgresql-15.service starts (/usr/pgsql-15/bin/initdb -D "
        "/srv/pg), or set postgresql_replication_layouts for db-mtp"
    )


def test_a_server_into_which_nobody_comes_is_named() -> None:
    assert layout.no_sockets(make_spec(), "/tmp, /var/run/postgresql", same) == []
    for said in ("/tmp", ""):
        (found,) = layout.no_sockets(make_spec(), said, same)
        assert "add it (a restart)" in found
        declare = "or set postgresql_replication_layouts for db-mtp: {socket_directory: /tmp}"
        assert (declare in found) is (said == "/tmp")
    elsewhere = make_spec(layout={"socket_directory": "/tmp"})
    assert layout.no_sockets(elsewhere, "/tmp, /var/run/postgresql", same) == []
    (found,) = layout.no_sockets(elsewhere, "/var/run/postgresql", same)
    assert "Bascule comes in by /tmp; add it" in found


class Files:
    """The files of a cluster of its own layout, and what the server's program says of them."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (path / "etc/conf.d").mkdir(parents=True)
        (path / "data").mkdir()
        (path / "etc/postgresql.conf").write_text("include_dir = 'conf.d'\n")
        self.data = path / "data"
        self.spec = make_spec(
            data_directory=str(self.data),
            layout={"config_file": str(path / "etc/postgresql.conf"), "unit": "pg.service"},
        )
        self.known = {
            "data_directory": self.spec.data,
            "hba_file": self.spec.hba_file,
            "port": "5432",
            "unix_socket_directories": SOCKETS,
        }
        self.unit = {"LoadState": "loaded", "UnitFileState": "disabled", "Restart": "no"}
        monkeypatch.setattr(settings, "setting", lambda spec, name: self.known[name])
        monkeypatch.setattr(units, "shown", lambda unit, *_: self.unit if unit == "pg.service" else {})
        monkeypatch.setattr(host, "missing", lambda spec: [])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Make them."""
    return Files(tmp_path, monkeypatch)


def test_a_cluster_of_another_layout_is_taken_where_it_is_declared(files: Files) -> None:
    assert settings.unread(files.spec) == []
    settings.require_read(files.spec)
    files.unit["LoadState"] = "not-found"
    (found,) = settings.unread(files.spec)
    assert found.startswith("pg.service is not-found to systemd; set postgresql_replication_layouts for db-mtp")


@pytest.mark.parametrize(
    ("own", "shown", "said"),
    [
        (True, {}, []),
        (True, {"UnitFileState": "enabled", "Restart": "on-failure"}, []),
        (True, {"UnitFileState": "static"}, ["it cannot be kept from starting at boot"]),
        (
            True,
            {"UnitFileState": "", "Restart": "always"},
            ["in no file", "Restart=always: systemd would start it again"],
        ),
        (True, {"LoadState": "masked"}, ["is masked to systemd"]),
        (True, {"LoadState": ""}, ["is unknown to systemd"]),
        # A unit of Debian's template is made by a generator; start.conf says whether.
        (False, {"UnitFileState": "indirect"}, []),
        (False, {"Restart": "on-success"}, ["Restart=on-success"]),
    ],
)
def test_a_unit_that_would_not_do_what_it_is_told_is_named(own: bool, shown: dict[str, str], said: list[str]) -> None:
    spec = make_spec(layout=OWN if own else {})
    found = layout.unit_findings(spec, {"LoadState": "loaded", "UnitFileState": "disabled", "Restart": "no", **shown})
    assert len(found) == len(said)
    for text, part in zip(found, said):
        assert part in text


def test_a_major_that_is_not_moved_and_one_that_is_not_declared_are_named(files: Files) -> None:
    (files.data / "PG_VERSION").write_text("16\n")
    untested, other = settings.unread(files.spec)
    assert "PostgreSQL 16 is not tested here" in untested
    assert other == f"{files.data} is of PostgreSQL 16, not 15 (postgresql_replication_version)"
    (files.data / "PG_VERSION").write_text("15\n")
    assert settings.unread(files.spec) == []


def test_what_a_host_lacks_is_said_first(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "missing", lambda spec: ["age is missing"])
    files.unit.clear()
    with pytest.raises(BasculeError, match=r"found: age is missing; .*nothing was changed"):
        settings.require_read(files.spec)


def test_a_file_that_leaves_the_data_to_the_unit_is_asked_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> Any:
        asked.append(argv)
        raise CommandFailed(expected="success", found="x")

    monkeypatch.setattr(settings, "run", run)
    for spec in (make_spec(), make_spec(data_directory="/srv/pg", layout=OWN)):
        assert settings.own(spec) == {}
    assert [argv[argv.index("-D") + 1] if "-D" in argv else "" for argv in asked] == ["", "/srv/pg"]
    assert asked[1][0] == "/usr/pgsql-15/bin/postgres"


def test_a_unit_of_its_own_starts_at_boot_where_it_is_enabled(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    enabled = {"pg.service": True}
    monkeypatch.setattr(units, "is_enabled", lambda unit: enabled[unit])
    monkeypatch.setattr(units, "set_enabled", lambda unit, *, enabled: states.append((unit, enabled)))
    states: list[tuple[str, bool]] = []
    cluster = Cluster(files.spec)
    assert cluster.start_mode() == "auto"
    assert not cluster.set_start("auto")
    assert cluster.set_start("manual")
    assert states == [("pg.service", False)]
    assert not (cluster.config / "start.conf").exists()


@pytest.mark.parametrize("how", [Cluster.fence, Cluster.lay_fence])
def test_a_systemd_that_fails_leaves_the_files_of_the_fence_in_place(
    files: Files, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: Callable[[Cluster], None]
) -> None:
    """At boot this is all that keeps the closed side shut."""
    shut: list[bool] = []

    def fail(unit: str, *, enabled: bool) -> None:
        raise CommandFailed(expected="success", found="Failed to disable unit")

    def write(cluster: Cluster, path: Path, text: str, mode: int = 0o640) -> bool:
        return bool(path.write_text(text))

    monkeypatch.setattr(cluster_module, "HOME", tmp_path / "lib")
    monkeypatch.setattr(units, "is_enabled", lambda unit: True)
    monkeypatch.setattr(units, "set_enabled", fail)
    monkeypatch.setattr(Cluster, "write", write)
    monkeypatch.setattr(Cluster, "firewall", lambda self, *, closed: shut.append(closed))
    (files.data / "PG_VERSION").write_text("15\n")
    Path(files.spec.hba_file).write_text("local all all peer\n")
    cluster = Cluster(files.spec)
    with pytest.raises(CommandFailed):
        how(cluster)
    assert cluster.has_signal()
    assert not cluster.connects()
    assert cluster.hba_mode() == hba.CLOSED
    assert shut == ([True] if how is Cluster.fence else [])


def test_debians_own_tools_name_the_clusters_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "15 main 5432 online postgres /srv/pg /var/log/pg.log\n15 bad\n"
    monkeypatch.setattr(host, "run", lambda argv, **_: type("Done", (), {"stdout": lines}))
    assert host.clusters() == ["15/main on port 5432 in /srv/pg"]

    def none(argv: list[str], **_: Any) -> Any:
        raise CommandFailed(expected="it", found="no such file")

    monkeypatch.setattr(host, "run", none)
    assert host.clusters() == []


class OnThePort:
    """Whoever answers on the port, or nobody."""

    def __init__(self, said: dict[str, str] | None) -> None:
        self.said = said

    def __call__(self, port: int, way_in: dict[str, str], **_: Any) -> Any:
        if self.said is None:
            raise SqlError(expected="a connection to the local server", found="no such file")
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def query(self, sql: str) -> list[dict[str, Any]]:
        said = {"unix_socket_directories": SOCKETS, **(self.said or {})}
        return [{"name": name, "setting": value} for name, value in said.items()]


def test_another_cluster_that_answers_on_the_port_is_named_before_anything_is_read(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a stale cluster are in order: only the server that runs says that it is not theirs."""
    places = {name: value for name, value in layout.declared(files.spec).items() if name in layout.COMPARED}
    for said in (None, places):
        monkeypatch.setattr(settings, "Session", OnThePort(said))
        settings.require_places(files.spec)
    monkeypatch.setattr(settings, "Session", OnThePort({**places, "config_file": "/etc/other/postgresql.conf"}))
    with pytest.raises(BasculeError, match=r"config_file is '/etc/other/postgresql.conf'.*nothing was changed"):
        settings.require_places(files.spec)
    files.unit["Restart"] = "always"
    with pytest.raises(BasculeError, match="Restart=always"):
        settings.require_places(files.spec)
