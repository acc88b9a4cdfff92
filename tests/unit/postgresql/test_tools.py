"""What a host needs is looked for by what the plan asks of it; what is missing is named with the command to type."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bascule.postgresql import tools
from bascule.postgresql.io.cluster import host
from bascule.system.io import units

from .test_files import make_spec

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n'
UBUNTU = "ID=ubuntu\nID_LIKE=debian\n"
ROCKY = 'ID="rocky"\nID_LIKE="rhel centos fedora"\n'


def names(**of: Any) -> set[str]:
    """What a side of such a plan needs, without directories."""
    return {tool.program.rpartition("/")[2] for tool in tools.needed(make_spec(**of))}


def test_only_what_the_plan_asks_for_is_needed() -> None:
    plain = names(firewall=False)
    assert {"psql", "postgres", "pg_rewind", "pg_basebackup"} <= plain
    assert not {"nft", "age", "rsync", "pgbouncer", "pg_restore"} & plain
    assert names() - plain == {"nft"}
    assert {"age", "age-keygen", "pg_restore", "initdb", "vacuumdb"} <= names(safety_dump=True)
    assert {"rsync", "age", "ssh"} <= names(method="dump_restore")
    assert "pg_rewind" not in names(method="dump_restore")
    assert "pgbouncer" in names(pooler="install")
    assert "pgbouncer" not in names(pooler="existing", pooler_include="/x")


def test_the_servers_own_programs_lie_where_they_are_declared() -> None:
    spec = make_spec(layout={"programs": "/usr/pgsql-15/bin"})
    assert "/usr/pgsql-15/bin/pg_rewind" in {tool.program for tool in tools.needed(spec)}


@pytest.mark.parametrize(
    ("distribution", "command"),
    [
        (DEBIAN, "apt-get install age postgresql-15"),
        (UBUNTU, "apt-get install age postgresql-15"),
        (ROCKY, "dnf install what gives them (at Debian age, postgresql-15)"),
        ("", "install what gives them (at Debian age, postgresql-15)"),
    ],
)
def test_what_is_missing_is_named_with_the_command_for_its_host(distribution: str, command: str) -> None:
    lacking = [
        tools.Tool("age", "age", "encrypted dumps"),
        tools.Tool("age-keygen", "age", "encrypted dumps"),
        tools.Tool("/x/pg_rewind", "postgresql-15", "the cluster"),
    ]
    assert tools.finding("db-tls", lacking, distribution) == (
        f"age (encrypted dumps), age-keygen (encrypted dumps), /x/pg_rewind (the cluster) is missing; "
        f"on db-tls: {command}"
    )
    assert tools.finding("db-tls", [], distribution) == ""


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("postgres (PostgreSQL) 15.9 (Debian 15.9-0+deb12u1)\n", True),
        ("postgres (PostgreSQL) 15beta2\n", True),
        ("postgres (PostgreSQL) 17.2\n", False),
        ("", False),
    ],
)
def test_programs_of_another_major_are_not_those_of_the_cluster(said: str, right: bool) -> None:
    assert (tools.other_major(make_spec(), said) == "") is right


def test_a_host_is_asked_for_what_its_side_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"psql", "nft"}
    said = "postgres (PostgreSQL) 15.9\n"
    monkeypatch.setattr(shutil, "which", lambda program: program if program.rpartition("/")[2] in there else None)
    monkeypatch.setattr(host, "run", lambda argv, **_: type("Done", (), {"stdout": said}))
    (found,) = host.missing(make_spec())
    assert "/usr/lib/postgresql/15/bin/pg_rewind (the cluster)" in found
    assert "psql" not in found
    there |= names()
    assert host.missing(make_spec()) == []
    said = "postgres (PostgreSQL) 16.1\n"
    assert host.missing(make_spec()) == ["/usr/lib/postgresql/15/bin/postgres is postgres (PostgreSQL) 16.1, not 15"]


# Who else manages the cluster, as the host tells


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The services that run; the configurations of those that watch lie below the test's directory."""
    services: list[str] = []
    monkeypatch.setattr(units, "active", lambda: services)
    monkeypatch.setattr(host, "KEEPALIVED", tmp_path / "keepalived.conf")
    monkeypatch.setattr(host, "PACEMAKER", tmp_path / "cib.xml")
    return services


def test_a_host_with_a_keepalived_for_something_else_is_free(running: list[str], tmp_path: Path) -> None:
    spec = make_spec(address="198.18.1.10", data_directory=str(tmp_path / "data"))
    assert host.managers(spec) == []
    running += ["keepalived.service", "corosync.service"]
    assert "no configuration" in host.managers(spec)[0] or "not known" in host.managers(spec)[0]
    (tmp_path / "conf.d").mkdir()
    check = tmp_path / "check.sh"
    check.write_text("#!/bin/sh\ncurl -fs http://127.0.0.1/\n")
    (tmp_path / "keepalived.conf").write_text("include conf.d/*.conf\n")
    (tmp_path / "conf.d/web.conf").write_text(f'vrrp_script web {{ script "{check}" }}\n')
    assert host.managers(spec) == []
    check.write_text("#!/bin/sh\nexec pg_isready\n")
    assert host.managers(spec) == [f"keepalived ({check}:2 names pg_)"]
    check.unlink()
    (found,) = host.managers(spec)
    assert found.startswith(f"keepalived (what it watches is not known: {check}; have it run only shell scripts")


def test_a_pipe_for_notifications_is_never_opened(running: list[str], tmp_path: Path) -> None:
    """Whoever opens it takes what is meant for its reader, and waits for ever."""
    running.append("keepalived.service")
    pipe = tmp_path / "notify"
    os.mkfifo(pipe)
    (tmp_path / "keepalived.conf").write_text(f"vrrp_notify_fifo {pipe}\n")
    # A writer that goes on while nobody reads is refused at once: nobody came to read.
    (found,) = host.managers(make_spec())
    assert f"not known: {pipe};" in found
    with pytest.raises(OSError, match="No such device"):
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


def test_only_a_regular_file_of_some_size_is_read(
    running: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.append("pacemaker.service")
    for text in (b"<x/>" * 30, b"\xff\xfe"):
        monkeypatch.setattr(host, "_LARGEST", 100)
        (tmp_path / "cib.xml").write_bytes(text)
        assert "not known" in host.managers(make_spec())[0]
    (tmp_path / "cib.xml").unlink()
    (tmp_path / "cib.xml").mkdir()
    assert "not known" in host.managers(make_spec())[0]
    (tmp_path / "cib.xml").rmdir()
    (tmp_path / "cib.xml").symlink_to("/dev/zero")
    assert "not known" in host.managers(make_spec())[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("vrrp_notify_fifo_script {path}/run\n", "{path}/really"),
        ("vrrp_instance a {{\n notify_master {{\n  {path}/run master\n }}\n}}\n", "{path}/really"),
        ("notify_master scripts/promote\n", "scripts/promote"),
        ("notify_master {path}/missing\n", "{path}/missing"),
        ("notify_master /usr/sbin/promote-db\n", "/usr/sbin/promote-db"),
        ("include */*.conf\n", "{path}/really"),
        ("include deep.conf\n", "deep.conf (included too deep)"),
        ("script {path}/other\n", "{path}/other: no shell script"),
    ],
)
def test_a_keepalived_that_cannot_be_followed_is_refused_by_name(
    running: list[str], tmp_path: Path, text: str, named: str
) -> None:
    running.append("keepalived.service")
    (tmp_path / "run").write_text(f"#!/bin/sh\nexec {tmp_path}/really master\n")
    (tmp_path / "other").write_text("#!/usr/bin/python3\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x.conf").write_text(f"notify {tmp_path}/run\n")
    for number, further in enumerate(["1.conf", "2.conf", "3.conf", "deep2.conf", "5.conf"]):
        name = ["deep.conf", "1.conf", "2.conf", "3.conf", "deep2.conf"][number]
        (tmp_path / name).write_text(f"include {further}\n")
    (tmp_path / "5.conf").touch()
    (tmp_path / "keepalived.conf").write_text(text.format(path=tmp_path))
    (found,) = host.managers(make_spec())
    assert "not known" in found
    assert named.format(path=tmp_path).replace("deep.conf (", "conf (") in found
    # Read whole, it passes.
    (tmp_path / "really").write_text("#!/bin/sh\nlogger now master\n")
    assert (host.managers(make_spec()) == []) is named.endswith("really")


def test_a_script_that_calls_itself_is_read_once(running: list[str], tmp_path: Path) -> None:
    running.append("keepalived.service")
    (tmp_path / "run").write_text(f"#!/bin/sh\n{tmp_path}/run again\n")
    (tmp_path / "keepalived.conf").write_text(f"notify {tmp_path}/run\n")
    assert host.managers(make_spec()) == []


def test_a_pacemaker_is_asked_for_its_resources(running: list[str], tmp_path: Path) -> None:
    running.append("pacemaker.service")
    (tmp_path / "cib.xml").write_text('<primitive class="ocf" type="IPaddr2"/>\n')
    assert host.managers(make_spec()) == []
    (tmp_path / "cib.xml").write_text('<primitive class="ocf" type="pgsqlms"/>\n')
    assert "names pgsql" in host.managers(make_spec())[0]


def test_what_patroni_leaves_in_the_data_is_seen(running: list[str], tmp_path: Path) -> None:
    spec = make_spec(data_directory=str(tmp_path))
    (tmp_path / "patroni.dynamic.json").touch()
    assert host.managers(spec) == [f"patroni ({tmp_path}/patroni.dynamic.json)"]
    running.append("patroni@15-main.service")
    assert host.managers(spec) == ["patroni (patroni@15-main.service)"]
