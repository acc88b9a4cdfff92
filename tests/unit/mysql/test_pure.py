"""Refusals, settings, events, decisions: values in, values out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bascule.guard.state import GuardState
from bascule.mysql import compare, decisions, events, refusals, settings
from bascule.mysql.refusals import MysqlError

GOOD: dict[str, str] = {
    **{name: value for name, value, _ in refusals.REQUIRED},
    **dict.fromkeys(refusals.EQUAL, "x"),
    "version": "10.11.18-MariaDB-log",
    "server_id": "1",
    "wsrep_on": "0",
}


def measured(**more: Any) -> dict[str, Any]:
    """Return what a good side is measured as."""
    return {"variables": GOOD, "tables": [], "connections": [], "replicas": [], **more}


def test_a_good_side_has_no_fault() -> None:
    own = {"name": "", "master": "192.0.2.1", "user": refusals.ACCOUNT}
    replica = {"user": refusals.ACCOUNT, "host": "192.0.2.1"}
    table = {"schema": "a", "name": "t", "engine": "InnoDB", "type": "BASE TABLE", "key": ["id"]}
    view = {"schema": "a", "name": "v", "engine": "", "type": "VIEW", "key": []}
    assert refusals.side(measured(connections=[own], replicas=[replica], tables=[table, view])) == []


@pytest.mark.parametrize(
    ("version", "word"),
    [("8.0.36", "MySQL"), ("8.0.36-0ubuntu0", "MySQL"), ("10.6.18-MariaDB", "10.11"), ("MariaDB", "10.11")],
)
def test_another_server_is_refused_by_name_and_nothing_else_is_said(version: str, word: str) -> None:
    found = refusals.side(measured(variables={"version": version}))
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value, _ in refusals.REQUIRED])
def test_each_setting_that_is_demanded_is_named(name: str, value: str) -> None:
    found = refusals.side(measured(variables={**GOOD, name: "other"}))
    assert len(found) == 1
    assert found[0].startswith(f"{name} is other, not {value}: ")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"variables": {**GOOD, "wsrep_on": "1"}}, "Galera"),
        ({"variables": {**GOOD, "replicate_do_db": "a"}}, "filter"),
        ({"connections": [{"name": "other", "master": "10.0.0.1", "user": "repl"}]}, "second source"),
        ({"replicas": [{"user": "backup", "host": "10.0.0.9"}]}, "10.0.0.9"),
        (
            {"tables": [{"schema": "a", "name": "t", "engine": "MyISAM", "type": "BASE TABLE", "key": ["i"]}]},
            "a.t is MyISAM",
        ),
        (
            {"tables": [{"schema": "a", "name": "t", "engine": "InnoDB", "type": "BASE TABLE", "key": []}]},
            "no primary key",
        ),
        (
            {"tables": [{"schema": "a", "name": "t", "engine": "InnoDB", "type": "SYSTEM VERSIONED", "key": ["i"]}]},
            "system versioned",
        ),
    ],
)
def test_what_cannot_be_moved_is_refused_by_name(more: dict[str, Any], words: str) -> None:
    found = refusals.side(measured(**more))
    assert len(found) == 1
    assert words in found[0]


def test_what_must_be_equal_and_what_must_not() -> None:
    assert refusals.pair(GOOD, {**GOOD, "server_id": "2"}) == []
    found = refusals.pair(GOOD, {**GOOD, "sql_mode": "y", "version": "11.4.2-MariaDB"})
    assert [one.split()[0] for one in found] == ["sql_mode:", "server_id", "version:"]


def test_a_fence_shuts_the_port_for_both_families_and_for_the_peer_alone() -> None:
    closed = settings.rules("orders-db", 3307, "")
    assert "tcp dport 3307 reject with tcp reset" in closed
    assert "saddr" not in closed
    assert "table inet bascule_mysql_orders_db {" in closed
    four = settings.rules("o", 3306, "192.0.2.7")
    assert "ip saddr != 192.0.2.7 tcp dport 3306 reject" in four
    assert "meta nfproto ipv6 tcp dport 3306 reject" in four
    assert "meta nfproto ipv4 tcp dport 3306 reject" in settings.rules("o", 3306, "2001:db8::7")


def test_the_unit_comes_back_with_nftables_and_before_the_server() -> None:
    unit = settings.unit("/etc/x.nft", "mariadb.service")
    for line in ("PartOf=nftables.service", "ReloadPropagatedFrom=nftables.service", "Before=mariadb.service"):
        assert line in unit.splitlines()
    # Were it required, a restart of nftables would restart the server.
    assert "WantedBy=multi-user.target nftables.service mariadb.service" in unit.splitlines()
    assert "RequiredBy" not in unit


@pytest.mark.parametrize("password", ['a"b', "a\\b", "a\nb"])
def test_a_password_that_an_option_file_cannot_hold_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(MysqlError) as refused:
        settings.option_file("u", password, "192.0.2.1", 3306, "/ca")
    assert password not in refused.value.message()


def test_texts_and_names_end_no_statement() -> None:
    assert settings.text("a'b") == "CONVERT(X'612762' USING utf8mb4)"
    assert settings.name("a`b") == "`a``b`"
    with pytest.raises(MysqlError):
        settings.literal("a'b")
    with pytest.raises(MysqlError):
        settings.safe("../x")


ROWS = [
    {"schema": "s", "name": "on", "status": "ENABLED"},
    {"schema": "s", "name": "off", "status": "DISABLED"},
    {"schema": "s", "name": "there", "status": "SLAVESIDE_DISABLED"},
]


def test_what_ran_survives_a_receipt() -> None:
    seen = events.seen("ON", ROWS)
    assert seen.enabled == (("s", "on"),)
    assert events.from_position(seen.to_position()) == seen
    assert all(isinstance(value, str) for value in seen.to_position().values())


def test_exactly_the_events_that_ran_are_enabled() -> None:
    wanted = events.Schedule(True, (("s", "there"),))
    assert events.statements(wanted, ROWS) == ["ALTER EVENT `s`.`on` DISABLE", "ALTER EVENT `s`.`there` ENABLE"]
    assert events.statements(events.seen("ON", ROWS[:2]), ROWS[:2]) == []
    assert events.missing(events.Schedule(True, (("s", "gone"),)), ROWS) == ["s.gone"]


def test_where_the_other_side_is_lost_all_that_nobody_disabled_runs() -> None:
    assert events.unheard(ROWS) == events.Schedule(True, (("s", "on"), ("s", "there")))
    assert not events.unheard(ROWS[1:2]).running


def test_a_row_has_borders_and_null() -> None:
    sql = compare.query("s", "t", [("a", "int"), ("b", "varchar")], ["a"])
    assert sql.count("IS NULL, 'N'") == 2
    assert sql.count("OCTET_LENGTH") == 2
    assert sql.endswith("FROM `s`.`t` ORDER BY `a`")


def test_a_table_that_was_not_hashed_differs() -> None:
    good = {"rows": 1, "sha256": "x", "fault": ""}
    one: dict[str, Any] = {"tables": {"s.t": good}, "definitions": {}, "accounts": {}}
    assert compare.differences(one, one) == []
    bad = {**one, "tables": {"s.t": {**good, "fault": "no primary key"}}}
    assert "no primary key" in compare.differences(one, bad)[0]
    assert compare.differences(bad, bad) != []
    assert "one side only" in compare.differences(one, {**one, "tables": {}})[0]
    assert compare.differences(one, {**one, "accounts": {"global_priv a": "x"}}) == [
        "accounts: global_priv a is at one side only"
    ]
    assert "(1 and 2 rows)" in compare.differences(one, {**one, "tables": {"s.t": {**good, "rows": 2}}})[0]


def test_a_side_is_closed_only_when_nothing_of_its_fence_is_missing() -> None:
    assert decisions.mode(False, False, []) == decisions.OPEN
    assert decisions.mode(True, True, []) == decisions.CLOSED
    assert decisions.mode(True, True, ["no table"]) == decisions.BETWEEN
    assert decisions.mode(True, False, ["no table"]) == decisions.BETWEEN
    assert decisions.mode(False, True, []) == decisions.BETWEEN


def test_who_opens_has_all_of_the_other_side_and_nothing_else_unless_it_leads() -> None:
    own = {"position": "0-1-9", "known": "0-1-9,0-2-4"}
    receipt = {"gtid": "0-1-9", "known": "0-1-9"}
    assert "never had: 0-2-4" in decisions.not_reached(own, receipt, leads=False)
    assert decisions.not_reached(own, receipt, leads=True) == ""
    assert "not applied" in decisions.not_reached(own, {"gtid": "0-1-10"}, leads=True)
    assert "empty" in decisions.not_reached(own, {}, leads=True)


def test_one_side_alone_serves_by_guard_and_host() -> None:
    open_, closed = GuardState("o", "a", status="open"), GuardState("o", "b", status="closed")
    guards = {"a": open_, "b": closed}
    assert decisions.service_faults(guards, {"a": "open", "b": "closed"}) == []
    assert "its server is open" in decisions.service_faults(guards, {"a": "open", "b": "open"})[0]
    assert "say the same" in decisions.service_faults({"a": closed, "b": closed}, {"a": "closed", "b": "closed"})[-1]
    assert decisions.interrupted({"a": closed, "b": closed}, {"a": "closed", "b": "closed"})
    assert not decisions.interrupted(guards, {"a": "open", "b": "closed"})
    assert decisions.events_at_both({"a": "open", "b": "closed"}, {"a": True, "b": True}) == [
        "the event scheduler of b runs while it is closed: its events run at both sides"
    ]


def test_a_schedule_is_json_of_names() -> None:
    assert json.loads(events.Schedule(True, (("s", 'a"b'),)).to_position()["events"]) == [["s", 'a"b']]


LINK = {"Slave_IO_Running": "Yes", "Slave_SQL_Running": "Yes", "Last_IO_Error": "", "Last_SQL_Error": ""}


@pytest.mark.parametrize(
    ("connections", "missed", "carried"),
    [
        ([{**LINK, "Seconds_Behind_Master": "3"}], "", "tls follows, 3 s behind"),
        ([{**LINK, "Seconds_Behind_Master": ""}], "", "tls follows"),
        (
            [{**LINK, "Slave_IO_Running": "Connecting", "Last_IO_Error": "no route"}],
            "tls does not follow (IO Connecting, SQL Yes): no route",
            "",
        ),
        (
            [{**LINK, "Slave_SQL_Running": "No", "Last_SQL_Error": "duplicate"}],
            "tls does not follow (IO Yes, SQL No): duplicate",
            "",
        ),
        ([], "tls follows 0 servers, not one", ""),
    ],
)
def test_a_closed_side_follows_or_says_why_not(connections: list[dict[str, str]], missed: str, carried: str) -> None:
    assert decisions.link(connections, "tls") == (missed, carried)
