"""The lab on paper: networks, hosts, addresses, and what each host is told. Pure values, nothing is started here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PREFIX = "bascule-"
LABEL = "bascule.lab=1"
ZONE = "techcorp.test"
SERVICE_NAME = f"courses.{ZONE}"
LINK_RATE = "203mbit"  # TCP through WireGuard in jumbo frames gets about 200 of it
FILES_DEVICE = "/dev/courses"
RESOLVER = "198.18.9.53"
# Both data centres and the dedicated link between them carry jumbo frames: a processor that is shared by two sites
# spends a sixth of the time on encrypting the same bytes.
JUMBO_MTU = 9000


@dataclass(frozen=True)
class Network:
    """A bridge on this machine; the controller has .254 in it."""

    name: str
    subnet: str
    host_address: str
    mtu: int = 1500

    @property
    def podman_name(self) -> str:
        return PREFIX + self.name


@dataclass(frozen=True)
class Leg:
    """One interface of a host."""

    network: str
    address: str
    interface: str
    mac: str


@dataclass(frozen=True)
class Site:
    """One data centre, by number: 198.18.<number>.0/24 is its LAN."""

    name: str
    number: int
    title: str

    @property
    def domain(self) -> str:
        return f"{self.name}.{ZONE}"

    @property
    def lan(self) -> str:
        return f"198.18.{self.number}.0/24"

    def address(self, last: int) -> str:
        return f"198.18.{self.number}.{last}"

    @property
    def entrance(self) -> str:
        return f"198.18.9.{self.number}"

    @property
    def link(self) -> str:
        return f"198.18.8.{self.number}"

    @property
    def tunnel(self) -> str:
        return f"198.18.7.{self.number}"


@dataclass(frozen=True)
class Host:
    """One container: what it is, where it stands, and what its set-up reads from /etc/lab/host.env."""

    name: str
    kind: str
    site: str
    legs: tuple[Leg, ...]
    dns: tuple[str, ...]
    domain: str
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    san: tuple[str, ...] = ()

    @property
    def container(self) -> str:
        return PREFIX + self.name

    @property
    def address(self) -> str:
        return self.legs[0].address


# The guests by name, and the last byte of their address, which is their number at both nodes as well.
GUESTS = (("courses", 100), ("login", 110), ("board", 120))

SITES = (Site("mtp", 1, "Montpellier"), Site("tls", 2, "Toulouse"))

NETWORKS = (
    *(Network(f"lan-{site.name}", site.lan, site.address(254), JUMBO_MTU) for site in SITES),
    Network("link", "198.18.8.0/24", "198.18.8.254", JUMBO_MTU),
    Network("internet", "198.18.9.0/24", "198.18.9.254"),
)


def mac_of(address: str) -> str:
    """A locally administered address that follows from the IP address, so that a restart keeps it."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def leg(network: str, address: str, interface: str) -> Leg:
    return Leg(network, address, interface, mac_of(address))


def zone_records() -> str:
    """The static records of the zone: every machine by name, at both sites."""
    lines = []
    for site in SITES:
        for name, last in (("gw", 1), ("db", 10), ("files", 20), ("pve", 30), ("ns", 53), *GUESTS):
            lines.append(f"{name}.{site.name} IN A {site.address(last)}")
    return "\n".join(lines) + "\n"


def hosts_of(site: Site, peer: Site, source: bool) -> list[Host]:
    """The five machines of one site. `source` is the side that is live when the lab is new."""
    lan = f"lan-{site.name}"
    gateway = site.address(1)
    default_route = {"LAB_ROUTES": f"default={gateway}"}
    dns = (site.address(53),)

    def machine(
        kind: str,
        last: int,
        env: Mapping[str, str],
        secrets: tuple[str, ...] = (),
        devices: tuple[str, ...] = (),
        files: Mapping[str, str] | None = None,
    ) -> Host:
        return Host(
            name=f"{kind}-{site.name}",
            kind=kind,
            site=site.name,
            legs=(leg(lan, site.address(last), "eth0"),),
            dns=dns,
            domain=site.domain,
            env={**default_route, **env},
            secrets=secrets,
            devices=devices,
            files=files or {},
        )

    gateway_host = Host(
        name=f"gw-{site.name}",
        kind="gateway",
        site=site.name,
        legs=(
            leg(lan, gateway, "lan"),
            leg("link", site.link, "link"),
            leg("internet", site.entrance, "inet"),
        ),
        dns=dns,
        domain=site.domain,
        env={
            "LAB_LINK_RATE": LINK_RATE,
            "LAB_TUNNEL_ADDRESS": f"{site.tunnel}/30",
            "LAB_PEER_ENDPOINT": f"{peer.link}:51820",
            "LAB_PEER_NETWORKS": f"{peer.lan}, 198.18.7.0/30",
            "LAB_PEER_ENTRANCE": peer.entrance,
            "LAB_NAME_SERVER": site.address(53),
            "LAB_SERVICE_NAME": SERVICE_NAME,
            "LAB_COURSES": site.address(100),
            "LAB_ENTRANCE_MODE": "open" if source else "maintenance",
        },
        secrets=("smoke_token",),
        devices=("/dev/net/tun",),
        san=(SERVICE_NAME, site.entrance, site.link),
    )
    return [
        gateway_host,
        machine(
            "db",
            10,
            {"LAB_DB_STATE": "primary" if source else "empty", "LAB_DB_CLIENTS": site.lan},
            secrets=("app_password", "probe_password", "data_password"),
        ),
        machine(
            "files",
            20,
            {"LAB_FILES_STATE": "seeded" if source else "empty", "LAB_FILES_DEVICE": FILES_DEVICE},
        ),
        machine(
            "ns",
            53,
            {
                "LAB_ZONE": ZONE,
                "LAB_SERVICE": "courses",
                "LAB_SERVICE_ADDRESS": SITES[0].entrance,
                # Shorter than a real zone's: what prepare lowers has to run out before the gate lets anyone on.
                "LAB_TTL": "60",
            },
            secrets=("tsig.key",),
            files={"zone.records": zone_records()},
        ),
        machine(
            "pve",
            30,
            {
                "LAB_PVE_NODE": f"pve-{site.name}",
                "LAB_PVE_GUESTS": " ".join(f"{name}={last}" for name, last in GUESTS) if source else "",
                "LAB_GUEST_PREFIX": site.lan.rpartition(".")[0],
                "LAB_GUEST_GATEWAY": gateway,
                "LAB_GUEST_NAME_SERVER": dns[0],
                "LAB_GUEST_DISKS": "/var/lib/lab/guest",
            },
            secrets=("pve_token", "app_password"),
            devices=("/dev/net/tun",),
        ),
    ]


def outside_hosts() -> list[Host]:
    """The internet: a caching resolver and a user."""
    routes = " ".join(f"{site.lan}={site.entrance}" for site in SITES)
    return [
        Host(
            name="resolver",
            kind="resolver",
            site="outside",
            legs=(leg("internet", RESOLVER, "eth0"),),
            dns=("127.0.0.1",),
            domain="internet.test",
            env={"LAB_ROUTES": routes, "LAB_ZONE": ZONE, "LAB_STUB": " ".join(site.address(53) for site in SITES)},
        ),
        Host(
            name="user",
            kind="user",
            site="outside",
            legs=(leg("internet", "198.18.9.80", "eth0"),),
            dns=(RESOLVER,),
            domain="internet.test",
        ),
    ]


HOSTS: tuple[Host, ...] = (
    *hosts_of(SITES[0], SITES[1], source=True),
    *hosts_of(SITES[1], SITES[0], source=False),
    *outside_hosts(),
)


def select(names: list[str] | None) -> list[Host]:
    """The hosts asked for; unknown names are an error that lists the known ones."""
    if not names:
        return list(HOSTS)
    known = {host.name: host for host in HOSTS}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no such host: {', '.join(unknown)}; the lab has {', '.join(known)}")
    return [host for host in HOSTS if host.name in set(names)]


def host_env(host: Host, scale: int, seed: str, more: Mapping[str, str]) -> str:
    """The text of /etc/lab/host.env, quoted for the shell."""
    values = {
        "LAB_HOST": host.name,
        "LAB_KIND": host.kind,
        "LAB_SITE": host.site,
        "LAB_ADDRESS": host.address,
        "LAB_DOMAIN": host.domain,
        "LAB_SCALE": str(scale),
        "LAB_SEED": seed,
        **host.env,
        **more,
    }
    return "".join(f"{name}='{_quoted(value)}'\n" for name, value in sorted(values.items()))


def _quoted(value: str) -> str:
    return value.replace("'", "'\\''")
