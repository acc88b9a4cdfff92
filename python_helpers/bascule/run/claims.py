"""What a component has for itself at a place: a tree's path, a guest's number, a zone. No two may claim the same."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError
from ..system.domain_names import origin, placed


@dataclass(frozen=True)
class Claim:
    """One thing of one component.

    thing: what it is, as a person says it.
    place: where it may be only once: a machine, a cluster's API, a site, a name server.
    key: the variable that says so.
    """

    component: str
    thing: str
    place: str
    value: str
    key: str


@dataclass(frozen=True)
class Claimant:
    """A component, its two machines, each one's site and address, and its role's values, defaults included."""

    name: str
    role: str
    sides: tuple[str, str]
    sites: Mapping[str, Any]
    addresses: Mapping[str, str]
    values: Mapping[str, Any]

    def claims(self) -> list[Claim]:
        """Return what it claims; nothing where its variables say nothing that could be used."""
        return list(_CLAIMS[self.role](self)) if self.role in _CLAIMS else []

    def table(self, variable: str) -> Mapping[str, Any]:
        """Return a variable that is keyed by machines; empty when it is no table."""
        value = self.values.get(variable)
        return value if isinstance(value, Mapping) else {}


def _tree(one: Claimant) -> Iterator[Claim]:
    path = one.values.get("rsync_delta_sync_path")
    if isinstance(path, str) and path.startswith("/"):
        # normpath keeps two leading slashes.
        tree = "/" + posixpath.normpath(path).lstrip("/")
        for host in one.sides:
            yield Claim(one.name, "path", host, tree, "rsync_delta_sync_path")


def _cluster(one: Claimant) -> Iterator[Claim]:
    prefix = "postgresql_replication"
    for host in one.sides:
        cluster = f"{one.values.get(f'{prefix}_version')}/{one.values.get(f'{prefix}_cluster')}"
        yield Claim(one.name, "cluster", host, cluster, f"{prefix}_cluster")
        yield Claim(one.name, "port", host, str(one.values.get(f"{prefix}_port")), f"{prefix}_port")
        # One that is there already may serve several clusters.
        if one.values.get(f"{prefix}_pooler") == "install":
            port = str(one.values.get(f"{prefix}_pooler_port"))
            yield Claim(one.name, "port", host, port, f"{prefix}_pooler_port")


def _guest(one: Claimant) -> Iterator[Claim]:
    for host in one.sides:
        side = one.table("proxmox_guest_sides").get(host)
        if not isinstance(side, Mapping):
            continue
        key = f"proxmox_guest_sides.{host}"
        if side.get("vmid") not in (None, ""):
            # A number is unique in a whole cluster: nodes behind one API share it.
            api = f"{side.get('api_host') or host}:{side.get('api_port') or 8006}".lower()
            yield Claim(one.name, "VMID", api, str(side["vmid"]), f"{key}.vmid")
        # An address may be used again in another network of the same site.
        networks = [
            str(one.sites.get(host) or host),
            *(str(side[name]) for name in ("bridge", "tag") if side.get(name)),
        ]
        for name, text in sorted(side.items()):
            if str(name).startswith("ipconfig"):
                for address in _addresses(str(text)):
                    yield Claim(one.name, "address", " ".join(networks), address, f"{key}.{name}")


# Where an entrance of each kind keeps its mode.
_MODES = {
    "haproxy": ("map of modes", "web_entrance_map_file"),
    "nginx": ("folder of modes", "web_entrance_nginx_folder"),
}


def _entrance(one: Claimant) -> Iterator[Claim]:
    for host in one.sides:
        # A balancer that a person drives has nothing at the host but its name.
        thing, variable = _MODES.get(str(one.values.get("web_entrance_kind") or "haproxy"), ("", ""))
        if path := str(one.values.get(variable) or ""):
            yield Claim(one.name, thing, host, path, variable)
        if name := str(one.values.get("web_entrance_name") or "").lower().rstrip("."):
            port = one.values.get("web_entrance_port", 443)
            yield Claim(one.name, "name", host, f"{name}:{port}", "web_entrance_name")


def _mysql(one: Claimant) -> Iterator[Claim]:
    for host in one.sides:
        yield Claim(one.name, "port", host, str(one.values.get("mysql_replication_port")), "mysql_replication_port")
        yield Claim(
            one.name, "socket", host, str(one.values.get("mysql_replication_socket")), "mysql_replication_socket"
        )


def _sqlite(one: Claimant) -> Iterator[Claim]:
    paths = one.values.get("sqlite_store_databases")
    for host in one.sides:
        for path in paths if isinstance(paths, (list, tuple)) else ():
            yield Claim(one.name, "database", host, str(path), "sqlite_store_databases")


def _vpn(one: Claimant) -> Iterator[Claim]:
    for host in one.sides:
        if name := str(one.values.get("vpn_switchover_name") or ""):
            yield Claim(one.name, "VPN interface", host, name, "vpn_switchover_name")
        if port := one.values.get("vpn_switchover_port"):
            yield Claim(one.name, "UDP port", host, str(port), "vpn_switchover_port")


def _zone(one: Claimant) -> Iterator[Claim]:
    """Yield its zones, and its records by their absolute names: another zone may hold the same name."""
    own = str(one.values.get("dns_switchover_zone") or "")
    further = [entry for entry in _entries(one, "dns_switchover_further_zones") if entry.get("name")]
    zones = {zone: key for zone, key in [(own, "dns_switchover_zone")] if zone}
    zones |= {str(entry["name"]): "dns_switchover_further_zones" for entry in further}
    served = {str(entry["name"]): entry["servers"] for entry in further if isinstance(entry.get("servers"), Mapping)}
    usual = one.table("dns_switchover_servers") or {host: one.addresses.get(host, host) for host in one.sides}
    port = one.values.get("dns_switchover_port") or 53
    places = {
        zone: [f"{address}:{port}" for address in sorted({str(value) for value in served.get(zone, usual).values()})]
        for zone in zones
    }
    for zone, key in zones.items():
        for place in places[zone]:
            yield Claim(one.name, "zone", place, origin(zone).rstrip("."), key)
    for entry in _entries(one, "dns_switchover_records") if zones else []:
        try:
            within, name = placed(str(entry.get("name", "")), str(entry.get("zone") or ""), list(zones))
        except PlanError:
            # It is named where the records are read.
            continue
        for place in places[within]:
            record = f"{name}/{str(entry.get('type', '')).upper()}"
            yield Claim(one.name, "record", place, record, "dns_switchover_records")


def _entries(one: Claimant, variable: str) -> list[Mapping[str, Any]]:
    value = one.values.get(variable)
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, (list, tuple)) else []


_CLAIMS: Mapping[str, Callable[[Claimant], Iterator[Claim]]] = {
    "rsync_delta_sync": _tree,
    "postgresql_replication": _cluster,
    "proxmox_guest": _guest,
    "web_entrance": _entrance,
    "mysql_replication": _mysql,
    "sqlite_store": _sqlite,
    "vpn_switchover": _vpn,
    "dns_switchover": _zone,
}


def _addresses(ipconfig: str) -> Iterator[str]:
    """Yield the fixed addresses of a card: "ip=10.0.0.5/24,gw=10.0.0.1" has one."""
    for part in ipconfig.split(","):
        name, _, value = part.strip().partition("=")
        if name in ("ip", "ip6"):
            try:
                address = ipaddress.ip_interface(value).ip
            except ValueError:
                continue
            if not address.is_link_local:
                yield str(address)
