"""Rules in the kernel's real nftables: loaded at once, kept when they are confirmed, undone when nobody does."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import BasculeError, CommandFailed
from bascule.firewall.rules import FirewallError
from bascule.guard.io import store
from bascule.system.io import storage

from .conftest import Host, Net

SSH = {"name": "ssh", "port": 22, "verdict": "accept"}
WEB = {"name": "web", "port": 443, "verdict": "drop"}
RULES: list[dict[str, Any]] = [SSH, WEB]
TABLE = "bascule_firewall_edge"
FENCE = "table inet bascule_accounts_db { chain input { type filter hook input priority 0; tcp dport 5432 drop; }; }\n"
FOREIGN = "table ip filter { chain INPUT { type filter hook input priority 0; policy drop; tcp dport 22 accept; }; }\n"


def load(host: Host, text: str) -> None:
    """Load rules as somebody else does."""
    host.net.run(["nft", "-f", "-"], text)


def confirmed(host: Host, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply rules, and come back to confirm them."""
    done = host.side(rules).apply(60)
    if done["token"]:
        host.table().confirm(done["token"])
    return done


def test_confirmed_rules_are_loaded_kept_and_nothing_the_second_time(host: Host) -> None:
    first = confirmed(host, RULES)
    assert (first["changed"], first["diff"]["before"]) == (True, "")
    assert "tcp dport 443 drop" in host.ruleset()
    assert storage.read_text(host.root / f"etc/systemd/system/{TABLE}.service")
    assert ["systemctl", "enable", "--now", f"{TABLE}.service"] in host.systemd
    assert ["systemctl", "stop", f"{TABLE}_undo.timer", f"{TABLE}_undo.service"] == host.systemd[-1]
    again = host.side(RULES).apply(60)
    assert (again["changed"], again["token"]) == (False, "")


def test_what_nobody_confirms_is_undone_and_fences_and_others_stay(host: Host) -> None:
    confirmed(host, [SSH])
    load(host, FOREIGN)
    host.side(RULES).apply(60)
    # A fence that was laid meanwhile is no part of the change.
    load(host, FENCE)
    assert "tcp dport 443 drop" in host.ruleset()
    component, token = host.armed()
    assert component == "edge"
    assert host.table().undo(token) is True
    after = host.ruleset()
    assert "tcp dport 443 drop" not in after
    assert f"table inet {TABLE}" in after
    assert "tcp dport 5432 drop" in after
    assert "policy drop" in after
    with pytest.raises(FirewallError) as caught:
        host.table().confirm(token)
    assert "it was undone" in caught.value.found
    assert host.side([SSH]).apply(60)["changed"] is False, "the rules of before are the confirmed ones"


def test_the_first_change_is_undone_to_no_table_at_all(host: Host) -> None:
    before = host.ruleset()
    token = host.side(RULES).apply(60)["token"]
    assert host.ruleset() != before
    assert host.table().undo(token)
    assert host.ruleset() == before
    assert storage.read_text(host.table().file) is None


def test_an_undo_that_comes_after_the_confirmation_undoes_nothing(host: Host) -> None:
    token = confirmed(host, RULES)["token"]
    before = host.ruleset()
    assert host.table().undo(token) is False
    assert host.ruleset() == before


def test_the_timer_of_an_earlier_change_undoes_no_later_one(host: Host) -> None:
    first = host.side(RULES).apply(60)["token"]
    second = host.side([{**WEB, "port": 8443}]).apply(60)["token"]
    assert host.table().undo(first) is False
    assert "8443" in host.ruleset()
    assert "dport 443 " not in host.ruleset(), "the first one was undone before the second was made"
    host.table().confirm(second)


def test_a_confirmation_that_was_cut_off_is_undone_with_all_it_has_written(host: Host) -> None:
    confirmed(host, [SSH])
    kept = storage.read_text(host.table().file)
    token = host.side(RULES).apply(60)["token"]
    host.fails = "enable"
    with pytest.raises(CommandFailed):
        host.table().confirm(token)
    assert storage.read_text(host.table().file) != kept
    host.fails = ""
    assert host.table().undo(token)
    assert storage.read_text(host.table().file) == kept
    assert host.side([SSH]).apply(60)["changed"] is False


def test_rules_that_are_gone_are_not_confirmed(host: Host) -> None:
    token = host.side(RULES).apply(60)["token"]
    load(host, "flush ruleset\n")
    with pytest.raises(FirewallError):
        host.table().confirm(token)


def test_without_a_timer_nothing_is_loaded(host: Host) -> None:
    host.fails = "systemd-run"
    with pytest.raises(CommandFailed):
        host.side(RULES).apply(60)
    assert host.ruleset() == ""
    assert not storage.is_file(host.table().pending)


def test_networks_of_both_families_that_overlap_are_taken(host: Host) -> None:
    confirmed(host, [{**SSH, "from": ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "fd00::/16"]}])
    assert "ip saddr 10.0.0.0/8 tcp dport 22 accept" in host.ruleset().replace("{ ", "").replace(" }", "")


def test_no_rules_take_the_table_away(host: Host) -> None:
    confirmed(host, RULES)
    done = confirmed(host, [])
    assert done["changed"]
    assert host.ruleset() == ""
    assert storage.read_text(host.table().file) is None
    assert storage.read_text(host.table().unit_file) is None
    assert host.side([]).apply(60)["changed"] is False


def test_check_mode_shows_the_change_and_makes_none(host: Host) -> None:
    done = host.side(RULES, check=True).apply(60)
    assert (done["changed"], done["token"]) == (True, "")
    assert "tcp dport 443 drop" in done["diff"]["after"]
    assert (host.ruleset(), host.systemd) == ("", [])
    assert not storage.is_file(host.table().captured)


def test_a_start_of_the_host_loads_what_is_kept(host: Host) -> None:
    assert host.table().load_kept() is False
    confirmed(host, RULES)
    load(host, "flush ruleset\n")
    assert host.side(RULES).measure()["faults"] == [], "nobody has taken this side over yet"
    store.adopt("edge", "fw-a", "closed")
    assert "somebody changed it" in host.side(RULES).measure()["faults"][0]
    assert host.table().load_kept() is True
    assert host.side(RULES).measure()["faults"] == []


def test_a_table_that_somebody_else_has_made_is_left_alone(host: Host) -> None:
    load(host, f"table inet {TABLE} {{ }}\n")
    with pytest.raises(BasculeError) as caught:
        host.side(RULES).apply(60)
    assert "nft delete table" in caught.value.next_command
    assert "443" not in host.ruleset()


def test_what_was_there_before_the_first_change_is_kept_and_later_changes_of_others_are_named(host: Host) -> None:
    load(host, FOREIGN)
    confirmed(host, RULES)
    notes = host.side(RULES).measure()["notes"]
    assert [note.split()[:3] for note in notes] == [["table", "ip", "filter"]], "it drops; nothing has changed"
    load(host, FENCE)
    notes = host.side(RULES).measure()["notes"]
    assert "table inet bascule_accounts_db is new since the rules were captured" in notes


def test_what_is_open_and_closed_is_seen_from_outside(net: Net, host: Host) -> None:
    net.listen(22)
    net.listen(443)
    # Nothing is loaded yet: what has to be closed answers.
    assert net.look(RULES)[1] == ["tcp 443 of 10.99.1.1, asked from fw-b, is answered, and has to be closed"]
    confirmed(host, RULES)
    assert net.look(RULES) == (2, [], [])
    # Nobody listens at 80: the way there is open all the same.
    assert net.look([*RULES, {"name": "other", "port": 80, "verdict": "accept"}]) == (3, [], [])
    rejecting = [SSH, {**WEB, "verdict": "reject"}]
    confirmed(host, rejecting)
    assert net.look(rejecting) == (2, [], [])
    # Another manager's table drops what is accepted here: its word stands.
    load(host, FOREIGN.replace("22", "23"))
    checked, wrong, not_proved = net.look(rejecting)
    assert checked == 0
    assert "is silent, and has to be open" in wrong[0]
    assert "nothing open there has let fw-b through: not proved closed" in wrong[1]
    assert not_proved == []


def test_rules_change_with_the_active_side(host: Host) -> None:
    users = [SSH, {**WEB, "when": "passive"}, {**WEB, "verdict": "accept", "when": "active"}]
    store.adopt("edge", "fw-a", "closed")
    other = store.read("edge", "fw-b", root=host.root / "other")
    assert other.status == "unknown"
    store.adopt("edge", "fw-b", "open", root=host.root / "other")
    assert confirmed(host, users)["role"] == "passive"
    assert "tcp dport 443 drop" in host.ruleset()
    with store.closing("edge", "fw-b", "1.a", root=host.root / "other") as held:
        receipt = held.closed({})
    opened = host.side(users).open("1.a", receipt.to_dict())
    assert (opened["guard"]["status"], opened["guard"]["frozen"]) == ("open", True)
    assert "tcp dport 443 drop" in host.ruleset(), "the thaw loads the rules"
    assert confirmed(host, users)["role"] == "active"
    assert "tcp dport 443 accept" in host.ruleset()
    closed = host.side(users).close("2.a")
    assert (closed["changed"], closed["receipt"]["side"]) == (True, "fw-a")
    assert "tcp dport 443 accept" in host.ruleset(), "who is let in is changed by the thaw alone"
    assert confirmed(host, users)["role"] == "passive"
    assert host.side(users).close("2.a")["changed"] is False
