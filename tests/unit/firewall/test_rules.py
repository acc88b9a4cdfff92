"""The planner of firewall rules: what is declared, what it is in nftables, and what has to be seen from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bascule.firewall import rules, ruleset
from bascule.firewall.rules import FirewallError

SSH = {"name": "ssh", "port": 22, "from": ["10.0.0.0/8", "fd00::/8"], "verdict": "accept"}
USERS = {"name": "users", "port": 443, "when": "active", "verdict": "accept"}
HELD = {"name": "users held back", "port": 443, "when": "passive", "verdict": "reject"}
REST: dict[str, Any] = {"name": "all else", "verdict": "drop"}
ALL: list[dict[str, Any]] = [SSH, USERS, HELD, REST]


def test_a_side_has_the_rules_of_what_it_is_now() -> None:
    assert [one.name for one in rules.parse(ALL, "fw-a", rules.ACTIVE)] == ["ssh", "users", "all else"]
    assert [one.name for one in rules.parse(ALL, "fw-a", rules.PASSIVE)] == ["ssh", "users held back", "all else"]
    there = {**USERS, "when": "always", "at": "fw-b"}
    assert rules.parse([there], "fw-a", rules.ACTIVE) == []
    assert len(rules.parse([there], "fw-b", rules.ACTIVE)) == 1


def test_rules_become_a_table_of_the_components_own() -> None:
    text = rules.render(rules.table("edge-1"), rules.parse(ALL, "fw-a", rules.PASSIVE))
    assert text.splitlines() == [
        "table inet bascule_firewall_edge_1 {",
        "\tchain input {",
        "\t\ttype filter hook input priority -10; policy accept;",
        "\t\tct state established,related accept",
        '\t\tiif "lo" accept',
        '\t\tip saddr { 10.0.0.0/8 } tcp dport 22 accept comment "ssh"',
        '\t\tip6 saddr { fd00::/8 } tcp dport 22 accept comment "ssh"',
        '\t\ttcp dport 443 reject with icmpx admin-prohibited comment "users held back"',
        '\t\tmeta l4proto tcp drop comment "all else"',
        "\t}",
        "}",
    ]
    assert rules.render("x", []) == ""
    assert rules.replacing("x", "") == "table inet x\ndelete table inet x\n"


def test_everything_that_cannot_be_used_is_named_at_once() -> None:
    wrong: list[dict[str, Any]] = [
        {"name": 'a"; drop', "verdict": "accept"},
        {"name": "b", "port": 70000, "verdict": "allow", "protocol": "icmp", "when": "never"},
        {"name": "c", "port": 1, "verdict": "drop", "from": ["10.0.0.1/8"], "to": "x"},
    ]
    with pytest.raises(FirewallError) as caught:
        rules.parse(wrong, "fw-a", rules.ACTIVE)
    for word in ("its name is not", "70000", "allow", "icmp", "never", "host bits set", "nothing is known of to"):
        assert word in caught.value.found, word
    assert caught.value.state == "nothing was changed"


def test_what_somebody_has_to_see_is_decided_by_the_first_rule_about_him() -> None:
    found = rules.parse([SSH, USERS, REST], "fw-a", rules.ACTIVE)
    assert rules.expected(found, "10.1.2.3") == {("tcp", 22): "accept", ("tcp", 443): "accept"}
    assert rules.expected(found, "192.0.2.1") == {("tcp", 22): "drop", ("tcp", 443): "accept"}
    assert rules.expected(found, "fe80::1%eth0") == {("tcp", 22): "drop", ("tcp", 443): "accept"}
    # Nobody has said anything about others.
    assert rules.expected(found[:1], "192.0.2.1") == {}


OPEN, SHUT = ("tcp", 22), ("tcp", 443)
BOTH = {OPEN: "accept", SHUT: "drop"}


@pytest.mark.parametrize(
    ("seen", "checked", "wrong"),
    [
        # Nobody listens at the open one: the packet came through all the same.
        ({OPEN: "refused", SHUT: "silent"}, 2, []),
        ({OPEN: "answered", SHUT: "prohibited"}, 2, []),
        ({OPEN: "answered", SHUT: "refused"}, 1, ["has to be closed"]),
        ({OPEN: "answered", SHUT: "answered"}, 1, ["has to be closed"]),
        # A machine that does not answer at all proves nothing.
        ({OPEN: "silent", SHUT: "silent"}, 0, ["has to be open", "nothing open there has let there through"]),
        ({OPEN: "prohibited", SHUT: "prohibited"}, 0, ["has to be open", "nothing open there has let there through"]),
    ],
)
def test_what_was_seen_is_judged(seen: dict[Any, str], checked: int, wrong: list[str]) -> None:
    judged = rules.judge(BOTH, seen, "192.0.2.9", "there")
    assert (judged.checked, judged.not_proved, len(judged.wrong)) == (checked, [], len(wrong))
    assert all(words in line for words, line in zip(wrong, judged.wrong))


def test_a_machine_that_need_not_get_through_is_blamed_only_when_it_did() -> None:
    nothing = rules.judge(BOTH, dict.fromkeys(BOTH, "silent"), "192.0.2.9", "here", must=False)
    assert (nothing.checked, nothing.wrong, len(nothing.not_proved)) == (0, [], 2)
    both = {OPEN: "accept", SHUT: "accept"}
    some = rules.judge(both, {OPEN: "answered", SHUT: "silent"}, "192.0.2.9", "here", must=False)
    assert (some.checked, len(some.wrong)) == (1, 1)


def test_a_silent_udp_port_proves_nothing() -> None:
    wanted = {OPEN: "accept", ("udp", 51820): "accept", ("udp", 53): "drop", ("udp", 514): "reject"}
    seen = {OPEN: "answered", ("udp", 51820): "silent", ("udp", 53): "silent", ("udp", 514): "prohibited"}
    judged = rules.judge(wanted, seen, "192.0.2.9", "there")
    assert (judged.checked, judged.wrong, len(judged.not_proved)) == (2, [], 2)


def chain(table: str, hook: str = "input", policy: str = "accept") -> dict[str, Any]:
    """Return a base chain as nft lists it."""
    return {"chain": {"family": "inet", "table": table, "name": "c", "handle": 1, "hook": hook, "policy": policy}}


def listed(*items: dict[str, Any]) -> str:
    """Return what `nft --json list ruleset` says."""
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]})


def drop(table: str, packets: int = 0) -> dict[str, Any]:
    """Return a rule that drops."""
    counter = {"counter": {"packets": packets, "bytes": 9}}
    return {
        "rule": {"family": "inet", "table": table, "chain": "c", "handle": packets, "expr": [counter, {"drop": None}]}
    }


def test_who_else_may_drop_is_named() -> None:
    text = listed(
        chain("own", policy="drop"), chain("firewalld"), drop("firewalld"), chain("nat", hook="output", policy="drop"),
        chain("filter", policy="drop"), chain("counting"),
    )  # fmt: skip
    assert [line.split()[2] for line in ruleset.others(text, "own")] == ["filter", "firewalld"]
    assert ruleset.others("", "own") == []


def test_tables_of_others_that_have_changed_are_named_and_counters_are_no_change() -> None:
    before = listed(chain("a"), drop("a", 1), chain("b"), chain("own"))
    assert ruleset.changed(before, listed(chain("a"), drop("a", 7), chain("b")), "own") == []
    found = ruleset.changed(before, listed(chain("a"), chain("c")), "own")
    assert [line.split()[2:5] for line in found] == [
        ["a", "has", "changed"], ["b", "is", "gone"], ["c", "is", "new"],
    ]  # fmt: skip
