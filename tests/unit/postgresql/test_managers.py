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
    assert managers.why("pacemaker", {}, [], []).startswith(
        "pacemaker (what it watches is not known: no configuration was found; "
    )


def test_the_files_that_a_configuration_includes_are_found() -> None:
    assert managers.includes("include conf.d/*.conf\n!include no\ninclude_dir x\n") == ["conf.d/*.conf"]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (
            'script "/opt/a b"\n notify_master /opt/c\n# script /opt/d\nnotify "/opt/e x" root\n',
            ["/opt/a", "/opt/c", "/opt/e"],
        ),
        ("vrrp_notify_fifo_script /etc/x/run\nvrrp_notify_fifo /run/x\n", ["/etc/x/run", "/run/x"]),
        ('notify_master {\n  /opt/a master\n}\nnotify_fault {\n "/opt/b x"\n root\n}\n', ["/opt/a", "/opt/b"]),
        ("MISC_CHECK {\n misc_path /opt/m\n}\nquorum_up /opt/q\n", ["/opt/m", "/opt/q"]),
        ("script_user root\ntrack_script { chk }\nnotify_priority_changes on\nvrrp_script chk { weight 1 }\n", []),
        # What a program that only looks is given is no program.
        ('script "/usr/bin/test ! -e /run/away"\nscript "cat /run/flag"', []),
        ("script \"/bin/sh -c 'test ! -e /run/`hostname`.flag'\"\n", []),
        ('script "/usr/bin/curl -fs http://127.0.0.1/"\nscript "killall -0 haproxy"', []),
        ('script "/usr/bin/systemctl -q is-active nginx"', []),
        ('script "/bin/bash /opt/x y"', ["/opt/x"]),
    ],
)
def test_the_programs_of_a_configuration_are_followed(text: str, paths: list[str]) -> None:
    assert managers.followed(CONF, text, script=False) == (paths, [])


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("notify_master run.sh\n", "run.sh"),
        ("notify_master ./run\n", "./run"),
        ("notify_master $DIR/run\n", "$DIR/run"),
        ("$DIR=/opt\n", "definitions"),
        ("notify_master {\n}\n", "notify_master"),
        ("script \"/bin/sh -c '$RUN'\"", "$RUN"),
        ('script "/usr/bin/systemctl start standby-to-main"', "systemctl start"),
        ('script "curl -XPOST http://198.18.9.9/promote"', "curl -XPOST"),
        ('script "killall haproxy"', "killall"),
    ],
)
def test_what_of_a_configuration_cannot_be_followed_is_named(text: str, lost: str) -> None:
    _, (found,) = managers.followed(CONF, text, script=False)
    assert found.startswith(f"{CONF}: ")
    assert lost in found


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("# a comment, don't\nexec /opt/failover/run master\n", ["/opt/failover/run"]),
        ("if ! curl -fs http://127.0.0.1/ >/dev/null 2>&1; then exit 1; fi\n", []),
        ('case "$3" in\n  MASTER) logger "now master" ;;\n  *) /opt/other ;;\nesac\n', ["/opt/other"]),
        ("test -x /opt/a && /opt/a || /opt/b\nfor x in /opt/c; do echo $x; done\n", ["/opt/a", "/opt/b"]),
        ("A=$(cat /run/x)\nB=`/opt/d`\nPATH=/usr/bin:/bin:$PATH\n. /opt/e\n", ["/opt/d", "/opt/e"]),
        ("echo a \\\n  /opt/no\n", []),
        ("(/opt/a; true)\n", ["/opt/a"]),
    ],
)
def test_a_shell_script_is_followed(text: str, paths: list[str]) -> None:
    assert managers.followed("/x", f"#!/bin/sh\n{text}", script=True) == (paths, [])


@pytest.mark.parametrize(
    "text",
    [
        "promote-db now",
        "./promote",
        "$RUN now",
        "`cat /run/x` now",
        "eval x",
        "cat <<X\nX",
        "echo now > /run/promote",
        "PATH=/opt/x:$PATH",
        "env x",
        "echo 'a",
        "(\npromote )",
        "X=$(\npromote )",
        "X=`\npromote`",
        "promote ')'",
        "systemctl start x",
        "find / -exec x",
        "echo $'a\\'; promote #'",
        "cat <(promote)",
    ],
)
def test_a_shell_script_that_does_more_than_look_is_not_followed(text: str) -> None:
    paths, lost = managers.followed("/x", f"#!/bin/sh\n{text}\n", script=True)
    assert not paths
    assert lost


@pytest.mark.parametrize("text", ["#!/usr/bin/python3\n", "", "\x7fELF", "#!/usr/bin/env -S sh\n"])
def test_a_program_in_another_language_is_not_followed(text: str) -> None:
    assert managers.followed("/x", text, script=True) == ([], ["/x: no shell script"])
