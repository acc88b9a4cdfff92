"""Name servers in memory, which honour the prerequisites of an update as real ones do."""

from __future__ import annotations

from dataclasses import dataclass, field

from bascule.dns.planner import Change, DnsRefused, Zone
from bascule.dns.records import RRset, ServerView, parse_records
from bascule.errors import BasculeError

SIDES = ("ns-a", "ns-b")
RECORDS = parse_records(
    [
        {"name": "courses", "type": "A", "values": {"ns-a": "192.0.2.1", "ns-b": "198.51.100.1"}},
        {"name": "www", "type": "CNAME", "values": {"ns-a": "entrance-a", "ns-b": "entrance-b"}},
    ],
    "example.org",
    SIDES,
)
ZONE = Zone("example.org", "names", RECORDS, SIDES)


@dataclass
class Server:
    """One primary."""

    host: str
    rrsets: dict[str, RRset]
    state: str | None = None
    serial: int = 1
    up: bool = True
    # Carries the update out, but its answer is lost.
    mute: bool = False
    updates: list[Change] = field(default_factory=list)

    def view(self) -> ServerView:
        """Answer, or not."""
        if not self.up:
            return ServerView(self.host, "192.0.2.53", error="does not answer")
        return ServerView(self.host, "192.0.2.53", self.serial, self.state, dict(self.rrsets))

    def update(self, change: Change) -> None:
        """Do all of it or nothing."""
        if not self.up:
            raise BasculeError(expected="an answer", found="none")
        held = {rrset.values for rrset in self.rrsets.values()}
        if change.state_before != self.state or {rrset.values for rrset in change.before} != held:
            raise DnsRefused(expected="the state of before", found="NXRRSET")
        self.rrsets = {f"{rrset.name}/{rrset.type}": rrset for rrset in change.after}
        self.state = change.state_after
        self.serial += 1
        self.updates.append(change)
        if self.mute:
            raise BasculeError(expected="an answer", found="none")


class World:
    """Two primaries that point to side ns-a with times to live of 300 s."""

    def __init__(self) -> None:
        self.servers = {host: Server(host, rrsets()) for host in SIDES}
        # The servers that the zone names.
        self.names = ["ns-a.example.org.", "ns-b.example.org."]
        # Why a server would take no update.
        self.refusals: dict[str, str] = {}
        # Mail hosts without an address at a server.
        self.homeless: dict[str, list[str]] = {}
        self.wildcards: dict[str, list[str]] = {}

    def read(self, host: str) -> ServerView:
        """Ask one."""
        return self.servers[host].view()

    def write(self, change: Change) -> None:
        """Update one."""
        self.servers[change.host].update(change)

    def values(self, host: str) -> set[str]:
        """Return what a server says."""
        return {value for rrset in self.servers[host].rrsets.values() for value in rrset.values}


def rrsets(side: str = "ns-a", ttl: int = 300) -> dict[str, RRset]:
    """Return what a server says while `side` is active."""
    return {record.key: RRset(record.name, record.type, ttl, record.values[side]) for record in RECORDS}
