"""What else decides who is primary: named with what shows it, and never by the mere presence of a service."""

from __future__ import annotations

import pytest

from bascule.postgresql import managers

FRONT = """
vrrp_script chk_http {
    script "/usr/bin/curl -fs http://127.0.0.1/"   # not postgres
}
vrrp_instance web { virtual_ipaddress { 198.18.1.100/24 } }
"""
CONF = "/etc/keepalived/keepalived.conf"


@pytest.mark.parametrize(
    ("units", "found"),
    [
        (["ssh.service", "postgresql@15-main.service", "keepalived.service", "corosync.service"], []),
        (["patroni.service"], ["patroni (patroni.service)"]),
        (["patroni@15-main.service"], ["patroni (patroni@15-main.service)"]),
        (["repmgrd.service", "repmgr-15.service"], ["repmgr (repmgrd.service)", "repmgr (repmgr-15.service)"]),
        (["pgautofailover.service"], ["pg_auto_failover (pgautofailover.service)"]),
        (["stolon-keeper.service"], ["stolon (stolon-keeper.service)"]),
        (["patronizer.service"], []),
    ],
)
def test_what_decides_by_its_nature_is_named_with_its_unit(units: list[str], found: list[str]) -> None:
    assert managers.deciding(units) == found


def test_who_watches_is_asked_what() -> None:
    assert managers.watching(["keepalived.service", "pacemaker.service", "corosync.service"]) == [
        "keepalived", "pacemaker",
    ]  # fmt: skip
    assert managers.watching(["corosync.service"]) == []


def why(text: str | None, **more: str | None) -> str:
    """Ask about a keepalived beside a cluster at 198.18.1.10, port 5432."""
    texts = {CONF: text, **{f"/{name}": one for name, one in more.items()}}
    return managers.why("keepalived", texts, ["198.18.1.10"], [5432, 6432])


def test_a_keepalived_that_watches_something_else_is_no_reason() -> None:
    assert why(FRONT) == ""
    assert why(FRONT, script="#!/bin/sh\nexec curl -fs http://127.0.0.1:15432/\n") == ""
    # It speaks from the address that the database has as well.
    assert why("unicast_src_ip 198.18.1.10\nmcast_src_ip 198.18.1.10\n") == ""
    assert why("! psql\n# psql\na # 'psql'\n  !psql") == ""
    # The address of the database is not a part of another one.
    assert why("virtual_ipaddress { 198.18.1.100 198.18.1.10.5 }") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('vrrp_script a { script "/usr/bin/pg_isready" }', f"{CONF}:1 names pg_"),
        ("\nvirtual_ipaddress { 198.18.1.10/24 }", f"{CONF}:2 names 198.18.1.10"),
        ("real_server 127.0.0.1 5432 {", "names 5432"),
        ("notify /usr/local/bin/PostgreSQL-failover", "names PostgreSQL"),
        ("real_server 127.0.0.1 6432 {", "names 6432"),
        ("script \"/bin/sh -c '! psql'\"", "names psql"),
        ("a#psql", "names psql"),
    ],
)
def test_one_that_watches_the_database_is_named_with_the_line(text: str, shown: str) -> None:
    assert shown in why(text)


def test_what_its_script_does_counts_and_what_cannot_be_read_is_not_believed() -> None:
    assert "/check:2 names psql" in why(FRONT, check="#!/bin/sh\npsql -c 'select 1'\n")
    assert "/check:1 names psql" in why(FRONT, check="if ! psql; then exit 1; fi\n")
    assert why(FRONT, check="# psql is not asked\ncurl -fs http://127.0.0.1/\n") == ""
    assert "/check" in why(FRONT, check=None)
    assert "not known" in why(None)
    assert managers.why("pacemaker", {}, [], []) == (
        "pacemaker (what it watches is not known: no configuration was found)"
    )


def test_the_programs_and_files_of_a_configuration_are_found() -> None:
    text = 'script "/opt/a b"\n notify_master /opt/c\n# script /opt/d\nnotify "/opt/e x" root\n'
    assert managers.programs(text) == ["/opt/a", "/opt/c", "/opt/e"]
    assert managers.programs('x { script "/usr/bin/python3 /opt/check.py --url http://127.0.0.1/" }') == [
        "/opt/check.py"
    ]
    assert managers.programs("script_user /usr/bin/x\n") == []
    assert managers.includes("include conf.d/*.conf\n!include no\ninclude_dir x\n") == ["conf.d/*.conf"]
