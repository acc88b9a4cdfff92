"""The action bascule_dns: arguments, the key out of variables, check mode and diff."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from bascule.dns.io import servers as io_dns
from bascule.dns.planner import Change
from bascule.dns.records import ServerView
from bascule.errors import BasculeError

from .test_zones import DECLARED, REVERSE, Sites
from .world import SIDES, World

SECRET = "c2VjcmV0"
VARIABLES = {
    "dns_switchover_tsig_name": "bascule",
    "dns_switchover_tsig_secret": SECRET,
    "dns_switchover_tsig_algorithm": "hmac-sha256",
}


def plugin() -> ModuleType:
    """Load the plugin as Ansible does, from its file."""
    path = Path(__file__).resolve().parents[3] / "plugins" / "action" / "bascule_dns.py"
    spec = importlib.util.spec_from_file_location("bascule_dns_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def act(verb: str, *, check: bool = False, variables: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Run a verb."""
    module = plugin()
    action = module.ActionModule.__new__(module.ActionModule)
    action._task = SimpleNamespace(check_mode=check)
    action._templar = SimpleNamespace(template=lambda value: value)
    action._vars = VARIABLES if variables is None else variables
    args = {
        "verb": verb,
        "component": "names",
        "zone": "example.org",
        "records": [
            {"name": "courses", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": "198.51.100.1"}},
            {"name": "www", "type": "CNAME", "values": {"ns-a": "entrance-a", "ns-b": "entrance-b"}},
        ],
        "from": SIDES[0],
        "to": SIDES[1],
        "servers": dict.fromkeys(SIDES, "192.0.2.53"),
        "secondaries": {},
        "resolvers": {"resolver": "192.0.2.80"},
        "port": 53,
        "ttl": 5,
        "timeout": 1.0,
        "wait": 0.0,
        "further_zones": [],
        "update": "signed",
        "manual_wait": 900.0,
        "provider_wait": 300.0,
        "captured": None,
        "allow_unreachable": False,
        **more,
    }
    result: dict[str, Any] = action.act(args, SimpleNamespace())
    return result


def test_a_move_as_the_role_makes_it(world: World) -> None:
    """Look, prepare, switch; the facts follow, check mode and diff tell without doing."""
    assert act("look")["active"] == ""
    assert act("switch", check=True) == {
        "changed": True,
        "active": "",
        "guards": {},
        "msg": "this would happen after prepare, which was not run",
    }
    prepared = act("prepare")
    assert (prepared["changed"], prepared["active"], prepared["ttl_left"]) == (True, "ns-a", 300)
    told = act("switch", check=True)
    assert (told["changed"], told["active"]) == (True, "ns-a")
    assert "courses.example.org. 5 A 192.0.2.1\n" in told["diff"][0]["before"]
    assert "courses.example.org. 5 A 198.51.100.1\n" in told["diff"][0]["after"]
    assert act("switch")["active"] == "ns-b"
    assert act("switch") | {"sampled_at": 0, "ttl_left": 0} == act("switch") | {"sampled_at": 0, "ttl_left": 0}
    assert not act("switch")["changed"]
    assert act("await")["wrong"], "the resolver still says what the source says"
    assert act("retire")["changed"]


def test_two_zones_move_as_the_role_moves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its own key and at its own servers; what is told is of both."""
    sites = Sites()
    sent: list[tuple[str, str, str]] = []

    def send(change: Change, zone: str, key: io_dns.Key, **_: Any) -> None:
        sent.append((zone, key.name, key.secret))
        sites.servers[zone, change.host].update(change)

    def read(host: str, address: str, zone: str, **_: Any) -> ServerView:
        return replace(sites.servers[zone, host].view(), address=address)

    monkeypatch.setattr(io_dns, "read_server", read)
    monkeypatch.setattr(io_dns, "apply", send)
    monkeypatch.setattr(io_dns, "name_servers", lambda *_: ["ns."])
    monkeypatch.setattr(io_dns, "refusal", lambda view, zone, key, *_: f"{view.address} {zone} {key.name}")
    monkeypatch.setattr(io_dns, "homeless", lambda *_: [])
    monkeypatch.setattr(io_dns, "wildcards", lambda *_: [])
    monkeypatch.setenv("BASCULE_DECISION", "d1")
    further = [{"name": REVERSE, "servers": {"ns-a": "192.0.2.99"}, "tsig_name": "reverse"}]
    both: dict[str, Any] = {
        "records": DECLARED,
        "servers": {"ns-a": "192.0.2.53"},
        "resolvers": {},
        "further_zones": further,
        "variables": {**VARIABLES, "dns_switchover_further_secrets": {REVERSE: {"tsig_secret": "cmV2ZXJzZQ=="}}},
    }
    assert act("audit", **both)["wrong"] == ["192.0.2.53 example.org bascule", f"192.0.2.99 {REVERSE} reverse"]
    assert act("prepare", **both)["guards"].keys() == set(SIDES)
    assert sent == [("example.org", "bascule", SECRET), (REVERSE, "reverse", "cmV2ZXJzZQ==")]
    told = act("switch", **both)
    assert [one["after_header"] for one in told["diff"]] == ["ns-a example.org", f"ns-a {REVERSE}"]
    seen = act("look", captured={"active": "ns-a", "serials": {REVERSE: {"ns-a": 3}}}, **both)
    assert (seen["active"], seen["answers_checked"]) == ("ns-b", 2)
    assert seen["wrong"] == ["ns-a: serial 3 has not moved since 3"]
    assert [one["zone"] for one in seen["servers"]] == ["example.org", REVERSE]
    assert not act("switch", **both)["changed"]

    def unheard_of(*_: Any) -> list[str]:
        raise BasculeError(expected="an answer", found="a crash")

    with monkeypatch.context() as patched:
        patched.setattr(io_dns, "homeless", lambda view, name, *_: unheard_of() if name == "example.org" else ["x"])
        wrong = act("audit", **both)["wrong"]
    assert "example.org: expected: an answer; found: a crash" in wrong
    assert wrong[-2:] == [f"192.0.2.99 {REVERSE} reverse", "x"], "the other zone is asked"
    keyless = {**both, "variables": VARIABLES, "from": "ns-b", "to": "ns-a"}
    assert act("look", **keyless)["active"] == "ns-b"
    lost = f"{REVERSE}: .*not set: tsig_secret of {REVERSE} in dns_switchover_further_secrets"
    sent.clear()
    with pytest.raises(BasculeError, match=lost):
        act("switch", **keyless)
    assert sent == [], "without leave nothing moves"
    with pytest.raises(BasculeError, match=lost):
        act("switch", allow_unreachable=True, **keyless)
    assert sent == [("example.org", "bascule", SECRET)]
    assert act("look", **keyless)["active"] == "ns-a"


def test_a_server_that_was_away_is_named_and_told_what_the_others_say(world: World) -> None:
    """As a site that was lost and is back: its server still sends users where they were, and opens nothing."""
    act("prepare")
    assert act("look")["late"] == []
    world.servers["ns-a"].up = False
    act("switch", allow_unreachable=True)
    world.servers["ns-a"].up = True
    seen = act("look")
    assert seen["active"] == "ns-b"
    assert [line.split()[:3] for line in seen["late"]] == [
        ["ns-a:", "courses.example.org./A", "says"],
        ["ns-a:", "www.example.org./CNAME", "says"],
    ]
    told = act("switch", allow_unreachable=True)
    assert (told["changed"], told["guards"]) == (True, seen["guards"])
    assert act("look")["late"] == []
    assert not act("switch", allow_unreachable=True)["changed"]


def test_the_audit_tells_primaries_from_secondaries(world: World) -> None:
    """Seen: a secondary in the list stopped the window, and the key was blamed."""
    assert act("audit")["wrong"] == []
    world.refusals["ns-b"] = "ns-b takes no update"
    world.homeless["ns-a"] = ["ns-a: a mail host has no address"]
    world.wildcards["ns-a"] = ["ns-a: a wildcard answers"]
    told = ["ns-a: a mail host has no address", "ns-a: a wildcard answers", "ns-b takes no update"]
    assert act("audit")["wrong"] == told
    world.homeless.clear()
    world.wildcards.clear()
    assert act("look")["wrong"] == []
    assert world.servers["ns-a"].updates == []
    world.servers["ns-b"].up = False
    assert [line.partition(":")[0] for line in act("audit")["wrong"]] == ["ns-b"], "once is enough"


def test_a_server_that_the_zone_names_and_nobody_asks_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _, text: said.append(text))
    act("audit")
    assert said == []
    world.names = ["ns1.example.org.", "ns2.example.org.", "ns3.example.net."]
    act("audit")
    assert "names 3 servers (ns1.example.org., ns2.example.org., ns3.example.net.), and 2 are asked" in said[0]
    act("audit", secondaries={"ns-b": "192.0.2.54"})
    assert len(said) == 1


def test_servers_that_name_the_same_primary_are_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen with BIND: a secondary that forwards updates takes them like a primary."""
    said: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _, text: said.append(text))
    read = world.read
    for primaries, count in ((("ns1.", "ns2."), 0), (("", ""), 0), (("ns1.", "ns1."), 1)):
        named = dict(zip(SIDES, primaries, strict=True))
        monkeypatch.setattr(io_dns, "read_server", lambda host, *_, n=named, **__: replace(read(host), primary=n[host]))
        act("audit")
        assert len(said) == count
    assert "ns-a and ns-b all name ns1. as the primary in their SOA" in said[0]


def test_a_secondary_is_asked_and_never_updated(world: World) -> None:
    """Here the primary is hidden: it is in the list of servers, and users ask the secondary alone."""
    one: dict[str, Any] = {"servers": {"ns-a": "192.0.2.53"}, "resolvers": {}, "secondaries": {"ns-b": "192.0.2.54"}}
    assert act("audit", **one)["wrong"] == []
    act("prepare", **one)
    late = act("look", **one)
    assert late["wrong"] == []
    assert late["faults"] == ["ns-b: it has serial 1 and not the newest state of the zone yet; look at its transfers"]
    primary, secondary = world.servers["ns-a"], world.servers["ns-b"]

    def transfer() -> None:
        secondary.rrsets, secondary.state, secondary.serial = dict(primary.rrsets), primary.state, primary.serial

    transfer()
    assert act("look", **one)["faults"] == []
    act("switch", **one)
    assert [line.partition(":")[0] for line in act("await", **one)["wrong"]] == ["ns-b", "ns-b"]
    transfer()
    assert act("await", **one)["wrong"] == []
    secondary.up = False
    assert act("await", **one)["wrong"] == ["ns-b: does not answer"]
    assert act("await", **{**one, "allow_unreachable": True})["wrong"] == []
    assert secondary.updates == []


def test_the_facts_carry_both_guards(world: World) -> None:
    """For status."""
    act("prepare")
    guards = act("look")["guards"]
    assert [guards[side]["status"] for side in SIDES] == ["open", "closed"]


def test_silent_servers_are_no_zone_that_was_never_taken_over(world: World) -> None:
    """Status must not send people to audit in the middle of a held switch because it has no way to the servers."""
    assert act("look")["unread"] == {}, "all answer, none has a state: not taken over"
    act("prepare")
    world.servers["ns-b"].up = False
    assert (act("look")["unread"], set(act("look")["guards"])) == ({}, set(SIDES)), "one answer is enough"
    world.servers["ns-a"].up = False
    told = act("look")
    why = "name server ns-a: does not answer; name server ns-b: does not answer"
    assert (told["guards"], told["unread"]) == ({}, dict.fromkeys(SIDES, why))
    world.servers["ns-a"].up, world.servers["ns-a"].state = True, None
    assert act("look")["unread"] == dict.fromkeys(SIDES, "name server ns-b: does not answer")


@pytest.mark.parametrize("missing", sorted(VARIABLES))
def test_a_missing_key_is_told_by_the_variable(world: World, missing: str) -> None:
    """Before anything is asked to change."""
    with pytest.raises(BasculeError, match=missing):
        act("prepare", variables={**VARIABLES, missing: ""})
    assert world.servers["ns-a"].state is None


def test_an_algorithm_that_is_none_is_told(world: World) -> None:
    with pytest.raises(BasculeError, match="hmac-pigeon"):
        act("prepare", variables={**VARIABLES, "dns_switchover_tsig_algorithm": "hmac-pigeon"})
    assert world.servers["ns-a"].state is None


def test_caches_are_counted_from_after_all_that_is_slow_before_the_updates(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    read = world.read

    def slow(host: str, *_: Any, **__: Any) -> ServerView:
        clock[0] += 100
        return read(host)

    monkeypatch.setattr(io_dns, "read_server", slow)
    act("prepare")
    assert '"lowered_at":1200' in (world.servers["ns-a"].state or "")


def test_the_secret_is_no_argument() -> None:
    """Arguments can be shown."""
    assert not [name for name in plugin().ActionModule.ARGUMENTS if "secret" in name or "key" in name]
