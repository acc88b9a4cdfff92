"""The lab on paper: addresses, names and what each host is told."""

from __future__ import annotations

import ipaddress
import shlex

import pytest
from bascule_lab import topology
from bascule_lab.topology import HOSTS, NETWORKS, SITES


def test_no_address_and_no_hardware_address_is_given_twice() -> None:
    legs = [leg for host in HOSTS for leg in host.legs]
    assert len({leg.address for leg in legs}) == len(legs)
    assert len({leg.mac for leg in legs}) == len(legs)


def test_every_address_is_in_its_network_and_in_the_range_for_benchmarks() -> None:
    subnets = {network.name: ipaddress.IPv4Network(network.subnet) for network in NETWORKS}
    for host in HOSTS:
        for leg in host.legs:
            assert ipaddress.IPv4Address(leg.address) in subnets[leg.network], host.name
            assert subnets[leg.network].subnet_of(ipaddress.IPv4Network("198.18.0.0/15"))


def test_the_controller_has_an_address_of_its_own_in_every_network() -> None:
    taken = {leg.address for host in HOSTS for leg in host.legs}
    for network in NETWORKS:
        assert ipaddress.IPv4Address(network.host_address) in ipaddress.IPv4Network(network.subnet)
        assert network.host_address not in taken


def test_both_sites_have_the_same_machines_and_one_is_live() -> None:
    by_site = {site.name: {host.kind: host for host in HOSTS if host.site == site.name} for site in SITES}
    assert set(by_site["mtp"]) == set(by_site["tls"]) == {"gateway", "db", "files", "ns", "pve"}
    for kind, name, live, resting in (
        ("gateway", "LAB_ENTRANCE_MODE", "open", "maintenance"),
        ("db", "LAB_DB_STATE", "primary", "empty"),
        ("files", "LAB_FILES_STATE", "seeded", "empty"),
        ("pve", "LAB_PVE_GUESTS", "courses=100 login=110 board=120", ""),
    ):
        assert by_site["mtp"][kind].env[name] == live
        assert by_site["tls"][kind].env[name] == resting


def test_gateways_point_at_each_other() -> None:
    gateways = [host for host in HOSTS if host.kind == "gateway"]
    for one, other in (gateways, reversed(gateways)):
        link = next(leg.address for leg in other.legs if leg.interface == "link")
        assert one.env["LAB_PEER_ENDPOINT"] == f"{link}:51820"
        assert one.env["LAB_PEER_NETWORKS"].startswith(f"198.18.{other.legs[0].address.split('.')[2]}.0/24")


def test_select_keeps_the_order_and_names_what_it_does_not_know() -> None:
    assert [host.name for host in topology.select(["user", "gw-mtp"])] == ["gw-mtp", "user"]
    assert topology.select(None) == list(HOSTS)
    with pytest.raises(ValueError, match=r"no such host: db-xyz; the lab has gw-mtp"):
        topology.select(["db-xyz", "user"])


def test_host_env_survives_the_shell() -> None:
    host = topology.select(["resolver"])[0]
    text = topology.host_env(host, 2, "it's a $seed", {"LAB_MORE": "a b"})
    values = dict(shlex.split(line)[0].split("=", 1) for line in text.splitlines())
    assert values["LAB_SEED"] == "it's a $seed"
    assert values["LAB_MORE"] == "a b"
    assert values["LAB_SCALE"] == "2"
    assert values["LAB_STUB"] == "198.18.1.53 198.18.2.53"


def test_the_zone_names_every_machine_of_both_sites() -> None:
    records = topology.zone_records()
    for site in SITES:
        for host in (host for host in HOSTS if host.site == site.name):
            label = host.name.split("-")[0]
            assert f"{label}.{site.name} IN A {host.address}\n" in records
        assert f"courses.{site.name} IN A {site.address(100)}\n" in records
