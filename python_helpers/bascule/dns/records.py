"""What a zone is declared to say for each side, and what one of its servers was seen to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dns.exception
import dns.rdata

from ..errors import PlanError
from ..system.domain_names import absolute, placed
from .state import split_text

# Their values end with the name of a host.
_NAMING = ("CNAME", "PTR", "MX", "SRV")
TYPES = ("A", "AAAA", "CNAME", "MX", "SRV", "TXT", "CAA", "PTR")


@dataclass(frozen=True)
class RRset:
    """One record set: its absolute name, its type, its time to live and its values."""

    name: str
    type: str
    ttl: int
    values: frozenset[str]

    def lines(self) -> list[str]:
        """Return the record set as lines of a zone file, for diffs."""
        return [f"{self.name} {self.ttl} {self.type} {value}" for value in sorted(self.values)]

    @property
    def key(self) -> str:
        """Return the record set's name in tables, as `Record.key`."""
        return f"{self.name}/{self.type}"

    def shown(self) -> str:
        """Return its values and its time to live, for messages."""
        return f"{', '.join(sorted(self.values))} (TTL {self.ttl})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {"name": self.name, "type": self.type, "ttl": self.ttl, "values": sorted(self.values)}


@dataclass(frozen=True)
class Record:
    """A record set that moves: what it says while either side is active; `zone` is where it lies."""

    name: str
    type: str
    values: Mapping[str, frozenset[str]]
    zone: str = ""

    @property
    def key(self) -> str:
        """Return the record's name in tables: "courses.example.org./A"."""
        return f"{self.name}/{self.type}"


@dataclass(frozen=True)
class ServerView:
    """What one authoritative server answered; `error` says why there is nothing else.

    primary: the server that its SOA names as the zone's primary.
    """

    host: str
    address: str
    serial: int | None = None
    state_text: str | None = None
    rrsets: Mapping[str, RRset] = field(default_factory=dict)
    error: str = ""
    primary: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "host": self.host,
            "address": self.address,
            "serial": self.serial,
            "primary": self.primary,
            "records": {key: rrset.to_dict() for key, rrset in sorted(self.rrsets.items())},
            "error": self.error,
        }


def normal_value(kind: str, value: str, zone: str) -> str:
    """Return a value in the one spelling that comparisons use: names in values are absolute and in lower case.

    Raises:
        PlanError: it is no value of its kind, or holds a name of which nobody can tell where it belongs.
    """
    text = str(value).strip()
    if kind in _NAMING:
        if not text:
            raise PlanError(expected=f"a value of type {kind}", found="nothing")
        *front, host = text.split()
        text = " ".join([*front, _host(host, zone)]).lower()
    try:
        if kind == "TXT" and '"' not in text:
            text = " ".join(f'"{part}"' for part in split_text(text.replace("\\", "\\\\")))
        return dns.rdata.from_text("IN", kind, text, relativize=False).to_text()
    except (dns.exception.DNSException, ValueError) as error:
        raise PlanError(expected=f"a value of type {kind}", found=f"{value!r} ({error})") from error


def _host(name: str, zone: str) -> str:
    """Return a host's name as an absolute one: a single label is below the zone, and so is what ends with its name."""
    if name.endswith("."):
        return name
    full = absolute(name, zone)
    if "." not in name or full == name.lower() + ".":
        return full
    raise PlanError(
        expected="a final dot at a name of several labels that does not end with the zone's",
        found=f"{name!r}, which would be published as {full}: write {name}. or {full}",
    )


def parse_records(
    declared: Sequence[Mapping[str, Any]], zone: str, sides: Sequence[str], further: Sequence[str] = ()
) -> list[Record]:
    """Read `dns_switchover_records`; every fault is named at once.

    Args:
        declared: the records as they are declared.
        zone: the zone that a name without one is below.
        sides: the two sides that have values.
        further: the other zones of the component.

    Raises:
        PlanError: with all faults.
    """
    zones = [zone, *further]
    faults: list[str] = []
    records: dict[str, Record] = {}
    for number, entry in enumerate(declared, start=1):
        label = f"record {number} ({entry.get('name', 'without a name')})"
        kind = str(entry.get("type", "")).upper()
        if kind not in TYPES:
            faults.append(f"{label}: type {entry.get('type')!r} is none of {', '.join(TYPES)}")
            continue
        values = entry.get("values")
        if not isinstance(values, Mapping) or sorted(values) != sorted(sides):
            faults.append(f"{label}: values must have exactly the keys {', '.join(sorted(sides))}")
            continue
        wrong = []
        within, name = zone, ""
        try:
            within, name = placed(str(entry.get("name", "")), str(entry.get("zone") or ""), zones)
        except PlanError as error:
            wrong.append(f"{label}: {error}")
        normal = {}
        for side in sides:
            told = set()
            for value in _listed(values[side]):
                try:
                    told.add(normal_value(kind, value, within))
                except PlanError as error:
                    wrong.append(f"{label}: {side}: {error}")
            normal[side] = frozenset(told)
        if wrong:
            faults += wrong
            continue
        record = Record(name, kind, normal, within)
        if any(not found for found in normal.values()):
            faults.append(f"{label}: a side without a value")
        if kind == "CNAME" and any(len(found) > 1 for found in normal.values()):
            faults.append(f"{label}: a side with several values, and an alias has one")
        if record.key in records:
            faults.append(f"{label}: declared twice")
        if record.name in map(state_name, zones):
            faults.append(f"{label}: this name keeps the state of the switch")
        records[record.key] = record
    if not declared:
        faults.append("no record is declared: nothing would move")
    elif not faults:
        empty = [one for one in zones if one not in {record.zone for record in records.values()}]
        faults += [f"no record lies in the zone {one}: nothing would move there" for one in empty]
    if faults:
        raise PlanError(expected="records that say what each side's clients shall be told", found="; ".join(faults))
    return list(records.values())


def doubtful(declared: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name what is read in a way that nobody means: a PTR to a single label would point into the reverse zone."""
    return [
        f"record {number} ({entry.get('name', 'without a name')}): {side}: PTR {value!r} is a single label, which "
        "would be read below the reverse zone: write the whole name, with a final dot"
        for number, entry in enumerate(declared, start=1)
        if str(entry.get("type", "")).upper() == "PTR" and isinstance(entry.get("values"), Mapping)
        for side, values in entry["values"].items()
        for value in _listed(values)
        if "." not in value
    ]


def state_name(zone: str) -> str:
    """Return the name of the TXT record that holds the state of the switch."""
    return f"_bascule.{zone.rstrip('.').lower()}."


def serial_moved(before: int, after: int) -> bool:
    """Compare zone serials as RFC 1982 does: they wrap around."""
    return before != after and ((after - before) % 2**32) < 2**31


def _listed(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
