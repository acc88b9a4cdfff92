"""The preflight: what is wrong with a declaration is named before anything begins, all of it at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import PlanError
from bascule.run import preflight
from bascule.run.claims import Claimant
from bascule.run.findings import Declared, Finding

PLAN: Mapping[str, Any] = {
    "plan_name": "evening",
    "plan_source_site": "mtp",
    "plan_target_site": "tls",
    "plan_sites": {"mtp": {"name": "montpellier"}, "tls": {"name": "toulouse"}},
    "plan_journal_hosts": {"mtp": ["a-mtp", "b-mtp"], "tls": "a-tls"},
    "plan_link": {"rate_mbit": 200, "from_host": "a-mtp", "to_host": "a-tls"},
    "plan_gates": {"rate": {"min": 5, "unit": "x"}},
    "plan_limits": {"write_outage_seconds": 7200},
    "plan_expected_seconds": {"audit": 30.5},
}
SITES = {"a-mtp": "mtp", "b-mtp": "mtp", "a-tls": "tls", "elsewhere": None}
SIDES = ("a-mtp", "a-tls")
SAMPLED = {"rate": {"x"}}
TREE = Declared("tree", "rsync_delta_sync", SIDES)
ODD = {"api_host": "p", "node": "", "vmid": "1oo", "storage": "s"}
BEHIND = {
    "behind": {
        "type": "list",
        "options": {"address": {"type": "str", "required": True}, "port": {"type": "int", "required": True}},
    }
}
SECRET = {"key": {"type": "str", "required": True, "no_log": True}}


def claimant(name: str, role: str, sides: tuple[str, str] = SIDES, **values: Any) -> Claimant:
    """Return what a component declares about itself."""
    return Claimant(name, role, sides, SITES, {"a-mtp": "10.1.0.1", "a-tls": "10.2.0.1"}, values)


def judged(*claimants: Claimant, phase: str = "audit", plan: Mapping[str, Any] = PLAN, **changes: Any) -> list[str]:
    """Return the findings about a plan with one component, and with what others claim."""
    one = replace(TREE, **changes)
    claimed = [claim for other in claimants for claim in other.claims()]
    taking_part = [one, *(Declared(other.name, other.role, other.sides) for other in claimants)]
    return [found.text() for found in preflight.findings(phase, plan, SITES, taking_part, claimed, SAMPLED)]


def test_what_can_be_right_is_no_finding() -> None:
    assert judged() == []
    assert judged(plan={key: PLAN[key] for key in PLAN if key not in ("plan_link", "plan_limits", "plan_gates")}) == []
    assert judged(plan={**PLAN, "plan_owner": "Nadia"}) == [], "a variable of somebody's own"


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"plan_name": ""}, "plan: plan_name: expected a name of this plan; found nothing"),
        ({"plan_name": 3}, "plan: plan_name: expected a name of this plan; found 3"),
        (
            {"plan_source_site": "lyon"},
            "plan_source_site: expected an entry of plan_sites that has a name; found 'lyon'",
        ),
        ({"plan_sites": None}, "plan: plan_target_site: expected an entry of plan_sites that has a name; found 'tls'"),
        (
            {"plan_sites": {"mtp": {"name": "Paris"}, "tls": {"name": "paris "}}},
            "plan: plan_target_site: expected another site than plan_source_site; found the same name for both",
        ),
        (
            {"plan_journal_hosts": None},
            "plan: plan_journal_hosts: expected a machine, or several, for each site; found nothing",
        ),
        (
            {"plan_journal_hosts": {"mtp": "a-mtp"}},
            "plan: plan_journal_hosts.tls: expected a machine of that site; found none",
        ),
        (
            {"plan_journal_hosts": {"mtp": "a-mtp", "tls": ["a-tls", "nobody"]}},
            "plan: plan_journal_hosts.tls: expected machines of the inventory; found nobody",
        ),
        (
            {"plan_journal_hosts": {"mtp": "a-mtp", "tls": "b-mtp"}},
            "plan: plan_journal_hosts.tls: expected machines of the site tls; found b-mtp, which is of mtp",
        ),
        ({"plan_link": 200}, "plan: plan_link: expected rate_mbit, from_host and to_host; found 200"),
        (
            {"plan_link": {"rate_mbit": "fast"}},
            "plan: plan_link.rate_mbit: expected a number of Mbit/s above zero; found 'fast'",
        ),
        ({"plan_link": {"rate_mbit": 0}}, "plan: plan_link.rate_mbit: expected a number of Mbit/s above zero; found 0"),
        (
            {"plan_link": {"to_host": "b-tls"}},
            "plan: plan_link.to_host: expected a machine of the inventory; found 'b-tls'",
        ),
        (
            {"plan_limits": {"write_outage_seconds": "two hours"}},
            "plan: plan_limits.write_outage_seconds: expected a number that is not below zero; found 'two hours'",
        ),
        (
            {"plan_expected_seconds": {"audit": -1}},
            "plan: plan_expected_seconds.audit: expected a number that is not below zero; found -1",
        ),
        (
            {"plan_limits": {"a": True, "b": float("nan")}},
            "plan: plan_limits.a: expected a number that is not below zero; found True",
        ),
        ({"plan_limits": [7200]}, "plan: plan_limits: expected figures by name; found [7200]"),
        ({"plan_limit": {}}, "plan_limit; is plan_limits meant?"),
        (
            {"plan_gates": {"rate": {"min": "soon", "unit": "x"}}},
            "plan: plan_gates.rate: expected a gate that a role samples, with a limit that a sample can keep; found min"
            " is no number: 'soon'",
        ),
        ({"plan_gates": {"rte": {"min": 5}}}, "found no role of this plan puts a sample to it; is rate meant?"),
        ({"plan_gates": [5]}, "plan: plan_gates: expected a gate that a role samples"),
        (
            {"plan_source_site": "tls", "plan_target_site": "mtp"},
            "tree: source_host: expected a machine of the site tls; found a-mtp, which is of mtp",
        ),
    ],
)
def test_what_cannot_be_right_in_a_plan_is_named(changes: dict[str, Any], finding: str) -> None:
    found = judged(plan={**PLAN, **changes})
    assert any(finding in text for text in found), found


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        (
            {"lacking": ["thaw", "freeze"]},
            "expected a role with a task file for each verb; found rsync_delta_sync with none for freeze, thaw",
        ),
        (
            {
                "options": BEHIND,
                "values": {"behind": [{"address": "wiki.example", "port": 443}, {"address": "10.1.0.20"}]},
            },
            "tree: behind: expected entries with what each needs; found the address of entry 1 is 'wiki.example', no "
            "IP address; entry 2 has no port",
        ),
        ({"options": SECRET}, "tree: key: expected a secret; found nothing"),
        ({"options": SECRET, "values": {"key": ""}}, "tree: key: expected a secret; found nothing"),
        (
            {"options": SECRET, "faults": {"key": "nothing: set it"}},
            "tree: key: expected a secret; found nothing: set it",
        ),
        (
            {"options": {"size": {"type": "int"}}, "faults": {"size": "'big', no int"}},
            "tree: size: expected a value of type int; found 'big', no int",
        ),
        (
            {"values": {"web_entrance_addresses": {"a-mtp": "10.1.0.9"}}},
            "tree: web_entrance_addresses.a-tls: expected an entry for each of the two machines; found none",
        ),
        (
            {"values": {"proxmox_guest_sides": {"a-mtp": ODD}}},
            "tree: proxmox_guest_sides.a-mtp.node: expected a value; found nothing",
        ),
        (
            {"values": {"proxmox_guest_sides": {"a-mtp": ODD}}},
            "tree: proxmox_guest_sides.a-mtp.vmid: expected a number; found '1oo'",
        ),
        (
            {"values": {"proxmox_guest_sides": {"a-mtp": "p"}}},
            "tree: proxmox_guest_sides.a-mtp: expected an entry for each of the two machines; found none",
        ),
    ],
)
def test_what_a_component_lacks_is_named(changes: dict[str, Any], finding: str) -> None:
    assert any(finding in text for text in judged(**changes)), judged(**changes)


@pytest.mark.parametrize("phase", [phase for phase in preflight.PHASES if phase != "audit"])
def test_a_phase_asks_for_the_verbs_that_it_calls_and_the_audit_for_all(phase: str) -> None:
    lacking = set(preflight.PHASES["audit"]) - set(preflight.PHASES[phase])
    assert judged(phase=phase, lacking=lacking) == []
    (found,) = judged(phase="audit", lacking=lacking)
    assert set(found.partition("none for ")[2].split(", ")) == lacking


def trees(one: str, other: str, **changes: Any) -> tuple[Claimant, Claimant]:
    """Return two trees."""
    first = claimant("one", "rsync_delta_sync", rsync_delta_sync_path=one)
    return first, claimant("other", "rsync_delta_sync", rsync_delta_sync_path=other, **changes)


def guests(**other: Any) -> tuple[Claimant, Claimant]:
    """Return two guests of the same nodes; the keywords change the second one at both sides."""
    side = {"api_host": "pve.example", "vmid": 100, "ipconfig0": "ip=10.1.0.5/24,gw=10.1.0.1"}
    there = {**side, "api_host": "pve.there.example"}
    one = claimant("one", "proxmox_guest", proxmox_guest_sides={"a-mtp": side, "a-tls": there})
    moved = {"vmid": 101, "ipconfig0": "ip=dhcp,ip6=auto"}
    sides = {"a-mtp": {**side, **moved, **other}, "a-tls": {**there, **moved, **other}}
    return one, claimant("other", "proxmox_guest", proxmox_guest_sides=sides)


def clusters(**other: Any) -> tuple[Claimant, Claimant]:
    """Return two clusters of the same machines; the keywords change the second one."""
    values = {"version": "15", "cluster": "main", "port": 5432, "pooler": "none", "pooler_port": 6432}
    prefixed = [{f"postgresql_replication_{key}": value for key, value in {**values, **more}.items()} for more in (
        {}, {"cluster": "second", "port": 5433, **other},
    )]  # fmt: skip
    return claimant("one", "postgresql_replication", SIDES, **prefixed[0]), claimant(
        "other", "postgresql_replication", SIDES, **prefixed[1]
    )


def zones(other: str, records: Any = (), further: Any = (), **servers: Any) -> tuple[Claimant, Claimant]:
    """Return two sets of records; the first one has "www.sub", an address."""
    own: dict[str, Any] = {
        "dns_switchover_records": [{"name": "www.sub", "type": "A"}],
        "dns_switchover_zone": "example.org",
    }
    more: dict[str, Any] = {"dns_switchover_records": records, "dns_switchover_further_zones": further}
    return claimant("one", "dns_switchover", **own), claimant(
        "other", "dns_switchover", SIDES, dns_switchover_zone=other, dns_switchover_servers=servers, **more
    )


def entrances(**other: Any) -> tuple[Claimant, Claimant]:
    """Return two entrances of the same machines; the keywords change the second one."""
    values = {"web_entrance_map_file": "/etc/one.map", "web_entrance_name": "one.example"}
    moved = {"web_entrance_map_file": "/etc/Other.map", "web_entrance_name": "other.example", **other}
    return claimant("one", "web_entrance", SIDES, **values), claimant("other", "web_entrance", SIDES, **moved)


def tunnels(**other: Any) -> tuple[Claimant, Claimant]:
    """Return two VPN servers of the same machines; the keywords change the second one."""
    values = {"vpn_switchover_name": "wg0", "vpn_switchover_port": 51820}
    moved = {"vpn_switchover_name": "wg1", "vpn_switchover_port": 51821, **other}
    return claimant("one", "vpn_switchover", SIDES, **values), claimant("other", "vpn_switchover", SIDES, **moved)


@pytest.mark.parametrize(
    ("claimants", "finding"),
    [
        (tunnels(vpn_switchover_name="wg0"), "expected VPN interface wg0 of one component alone"),
        (tunnels(vpn_switchover_port=51820), "expected UDP port 51820 of one component alone"),
        (
            trees("/srv/a", "/srv//a/"),
            "one and other: rsync_delta_sync_path: expected path /srv/a of one component alone; found both have it at"
            " a-mtp and at a-tls",
        ),
        (
            trees("/srv/a", "//srv/a", sides=("a-mtp", "elsewhere")),
            "expected path /srv/a of one component alone; found both have it at a-mtp",
        ),
        (
            trees("/srv", "/srv/a"),
            "rsync_delta_sync_path: expected a path outside of every other tree; found /srv/a, inside /srv of one",
        ),
        (
            guests(vmid="100", api_host="PVE.example"),
            "one and other: proxmox_guest_sides.a-mtp.vmid: expected VMID 100 of one component alone; found both have"
            " it at pve.example",
        ),
        (
            guests(ipconfig1="gw=10.1.0.1,ip=10.1.0.5/16"),
            "one and other: proxmox_guest_sides.a-mtp.ipconfig0: expected address 10.1.0.5 of one component alone;"
            " found both have it at mtp and at tls",
        ),
        (clusters(cluster="main"), "expected cluster 15/main of one component alone"),
        (clusters(port="5432"), "expected port 5432 of one component alone"),
        (clusters(pooler="install", pooler_port=5432), "expected port 5432 of one component alone"),
        (
            zones("Example.org."),
            "zone example.org of one component alone; found both have it at 10.1.0.1:53 and at 10.2.0.1:53",
        ),
        (
            zones("example.org", ns="10.2.0.1", hidden="10.9.0.1"),
            "expected zone example.org of one component alone; found both have it at 10.2.0.1:53",
        ),
        (
            zones("example.com", further=[{"name": "Example.org"}], ns="10.2.0.1"),
            "dns_switchover_zone: expected zone example.org of one component alone; found both have it at 10.2.0.1:53",
        ),
        (
            zones("sub.example.org", records=[{"name": "www", "type": "a"}], ns="10.2.0.1"),
            "dns_switchover_records: expected record www.sub.example.org./A of one component alone; found both have it"
            " at 10.2.0.1:53",
        ),
        (entrances(web_entrance_map_file="/etc/one.map"), "expected map of modes /etc/one.map of one component alone"),
        (entrances(web_entrance_name="ONE.example."), "expected name one.example:443 of one component alone"),
    ],
)
def test_what_two_components_claim_is_named(claimants: tuple[Claimant, Claimant], finding: str) -> None:
    found = judged(*claimants)
    assert len(found) == 1, found
    assert finding in found[0]


@pytest.mark.parametrize(
    "claimants",
    [
        trees("/srv/a", "/srv/ab"),
        trees("/srv/a", "srv/a"),
        trees("/srv/a", "/srv/a", sides=("b-mtp", "elsewhere")),
        guests(),
        guests(vmid=None),
        clusters(),
        clusters(pooler="existing", pooler_port=5432),
        zones("example.com"),
        zones("example.org", ns="10.9.0.1"),
        zones("example.com", further=[{"name": "example.org", "servers": {"ns": "10.9.0.1"}}]),
        zones("sub.example.org", records=[{"name": "www", "type": "AAAA"}]),
        zones("sub.example.org", records=["www", {"name": "www.example.net.", "type": "A"}]),
        tunnels(),
        entrances(),
        entrances(web_entrance_name="one.example", web_entrance_port=8443),
        # A balancer that a person drives has no map.
        entrances(web_entrance_map_file="/etc/one.map", web_entrance_kind="manual"),
        (claimant("one", "proxmox_guest"), claimant("other", "proxmox_guest", proxmox_guest_sides={"a-mtp": "p"})),
        (claimant("one", "rsync_delta_sync"), claimant("other", "somebodys_own")),
    ],
)
def test_what_each_has_for_itself_is_no_duplicate(claimants: tuple[Claimant, Claimant]) -> None:
    assert judged(*claimants) == []


def test_what_takes_no_part_is_named_only_beside_what_does() -> None:
    claimed = [claim for one in trees("/srv/a", "/srv/a") for claim in one.claims()]
    nested = [claim for one in trees("/srv", "/srv/a") for claim in one.claims()]
    for claims in (claimed, nested):
        assert [len(preflight.duplicates(claims, names)) for names in ({"one"}, {"other"}, {"third"})] == [1, 1, 0]


def test_a_way_back_is_held_up_by_nothing_that_it_does_not_use() -> None:
    """Users wait for it: neither gates nor names decide anything there."""
    plan = {**PLAN, "plan_gates": {"rte": {}}, "plan_limits": 3, "plan_link": 4, "plan_limit": {}}
    names = {"role": "dns_switchover", "lacking": ["thaw"], "options": SECRET}
    assert judged(phase="rollback", plan=plan, **names) == []
    assert len(judged(phase="cutover", plan=plan, **names)) == 6
    assert judged(*trees("/srv", "/srv"), phase="rollback") == []
    assert len(judged(*trees("/srv", "/srv"), phase="cutover")) == 1
    assert len(judged(phase="rollback", plan=plan, lacking=["thaw"], options=SECRET)) == 2
    assert len(judged(phase="rollback", plan={**PLAN, "plan_sites": {}, "plan_journal_hosts": {}})) == 4


def test_names_wait_for_something_that_is_there() -> None:
    """Alone in a plan they wait for nobody, as only they move."""
    names: dict[str, Any] = {"role": "dns_switchover", "name": "names"}
    assert judged(**names) == []
    assert judged(beside=["tree", "db"], **names) == [
        "names: depends_on: expected what has to be open before it moves, out of db, tree; found nothing: it would move"
        " though nothing was switched"
    ]
    assert judged(beside=["tree", "db"], phase="rollback", **names) == [], "it holds up no way back"
    assert judged(beside=["db"]) == [], "what moves by itself may depend on nothing"


def test_all_findings_are_one_message() -> None:
    found = [
        Finding("plan", "plan_name", "a name", "nothing", "plan.yml:3"),
        Finding("tree", "rsync_delta_sync_path", "a path", "nothing"),
    ]
    with pytest.raises(PlanError) as refusal:
        preflight.refuse([one.text() for one in found], "audit")
    assert refusal.value.found.splitlines() == [
        "2 findings",
        "- plan: plan_name (plan.yml:3): expected a name; found nothing",
        "- tree: rsync_delta_sync_path: expected a path; found nothing",
    ]
    with pytest.raises(PlanError, match="found: 1 finding, named at tree;"):
        preflight.refuse([""], "audit", "tree")
    preflight.refuse([], "audit")
