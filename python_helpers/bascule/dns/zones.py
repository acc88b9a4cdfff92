"""The zones of one component: what is declared for each, and what it takes from the component. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import PlanError
from ..system.domain_names import origin
from .planner import Zone
from .records import parse_records

# How a zone is updated, what is done at once first: nobody waits for a person before a server that is only told.
UPDATES = ("signed", "octodns", "manual")
_TABLES = ("servers", "secondaries", "resolvers", "provider")
# An empty one says that there are none.
_MAY_BE_EMPTY = ("secondaries", "resolvers")
ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
_TEXTS = ("update", "tsig_name", "tsig_algorithm")
_SECRETS = ("tsig_secret", "provider_secrets")


@dataclass(frozen=True)
class Served:
    """A zone, who serves it, and how it is changed there.

    settings: its own key and provider, secrets included, by the component's variables without the role's name.
    """

    zone: Zone
    servers: Mapping[str, str]
    secondaries: Mapping[str, str]
    resolvers: Mapping[str, str]
    port: int
    update: str
    settings: Mapping[str, Any] = field(repr=False)


def served(args: Mapping[str, Any], secrets: Any) -> list[Served]:
    """Return the zones of a component, in the order in which they are updated.

    Args:
        args: `component`, `from`, `to`, `zone`, `records`, `servers`, `secondaries`, `resolvers`, `port`, `update` and
            `further_zones`, as the role declares them.
        secrets: dns_switchover_further_secrets; no value of it is ever in a text.

    What is wrong with the secrets of one zone is refused when that zone is changed, as it is no fault of the others.

    Raises:
        PlanError: with all that is wrong in the zones.
    """
    further = args["further_zones"]
    wrong = _zone_faults(args["zone"], further)
    if wrong:
        raise PlanError(expected="further zones that can be served", found="; ".join(wrong))
    sides = (args["from"], args["to"])
    records = parse_records(args["records"], args["zone"], sides, names(further))
    declared = [{"name": args["zone"]}, *further]
    found = []
    for number, entry in enumerate(declared):
        update = str(entry.get("update") or args["update"])
        own = [record for record in records if record.zone == entry["name"]]
        found.append(
            Served(
                Zone(entry["name"], args["component"], own, sides, quoteless=update == "octodns", further=number > 0),
                entry.get("servers") or args["servers"],
                # Another zone's secondaries need not have this one where it has servers of its own.
                entry.get("secondaries", {} if entry.get("servers") else args["secondaries"]),
                entry.get("resolvers", args["resolvers"]),
                int(entry.get("port") or args["port"]),
                update,
                {**_own(entry), **secrets_of(secrets, entry["name"])},
            )
        )
    return sorted(found, key=lambda one: UPDATES.index(one.update))


def names(further: Any) -> list[str]:
    """Return the names of the further zones, as far as they have any."""
    entries = further if isinstance(further, (list, tuple)) else []
    return [str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and entry.get("name")]


def faults(zone: str, further: Any, secrets: Any) -> list[str]:
    """Name what is wrong in dns_switchover_further_zones and _further_secrets; no secret is shown."""
    return _zone_faults(zone, further) + _secret_faults(further, secrets)


def _zone_faults(zone: str, further: Any) -> list[str]:
    if not isinstance(further, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in further):
        return ["dns_switchover_further_zones is no list of zones, each with its name"]
    found = []
    known = [origin(zone)]
    for number, entry in enumerate(further, start=1):
        label = _label(number, entry)
        if not entry.get("name"):
            found.append(f"{label}: a name is needed")
        elif origin(str(entry["name"])) in known:
            found.append(f"{label}: declared twice")
        known.append(origin(str(entry.get("name") or "")))
        for key in sorted(set(entry) - {"name", "port", *_TABLES, *_TEXTS}):
            found.append(f"{label}: {key} is none of name, port, {', '.join([*_TABLES, *_TEXTS])}")
        for key in _TABLES:
            if key in entry and not (isinstance(entry[key], Mapping) and (entry[key] or key in _MAY_BE_EMPTY)):
                found.append(f"{label}: {key} is no table")
        if "port" in entry and not (str(entry["port"]).isdecimal() and 0 < int(entry["port"]) < 2**16):
            found.append(f"{label}: port {entry['port']!r} is no port")
        if entry.get("update", UPDATES[0]) not in UPDATES:
            found.append(f"{label}: update {entry['update']!r} is none of {', '.join(UPDATES)}")
    return found


def _secret_faults(further: Any, secrets: Any) -> list[str]:
    if not isinstance(secrets, Mapping) or not all(isinstance(value, Mapping) for value in secrets.values()):
        return ["dns_switchover_further_secrets is no table of zones, each with its secrets (not shown)"]
    entries = [entry for entry in further if isinstance(entry, Mapping)] if isinstance(further, (list, tuple)) else []
    found = []
    for number, entry in enumerate(entries, start=1):
        label = _label(number, entry)
        hidden = secrets_of(secrets, str(entry.get("name")))
        if entry.get("tsig_name") and not hidden.get("tsig_secret"):
            found.append(f"{label}: the key {entry['tsig_name']} has no tsig_secret in dns_switchover_further_secrets")
        if not decodes(hidden.get("tsig_secret")):
            found.append(f"{label}: its tsig_secret is no base64 (not shown)")
        if (named := entry.get("tsig_algorithm")) and named not in ALGORITHMS:
            found.append(f"{label}: tsig_algorithm {named!r} is none of {', '.join(ALGORITHMS)}")
        # Without a name of its own the component's key or provider is used, and these would be nobody's.
        lost = [key for key, has in (("tsig_secret", hidden), ("tsig_algorithm", entry)) if has.get(key)]
        if lost and not entry.get("tsig_name"):
            found.append(f"{label}: it has {' and '.join(lost)}, and no tsig_name")
        if hidden.get("provider_secrets") and not entry.get("provider"):
            found.append(f"{label}: it has provider_secrets, and no provider")
    known = [origin(name) for name in names(entries)]
    for name, values in secrets.items():
        if origin(str(name)) not in known:
            found.append(f"dns_switchover_further_secrets: {name} is no further zone")
        for key in sorted(set(values) - set(_SECRETS)):
            found.append(f"dns_switchover_further_secrets: {name}: {key} is none of {', '.join(_SECRETS)}")
    return found


def _label(number: int, entry: Mapping[str, Any]) -> str:
    return f"further zone {number} ({entry.get('name') or 'without a name'})"


def secrets_of(secrets: Any, name: str) -> Mapping[str, Any]:
    """Return the secrets of a further zone; nothing where it has none, or there is no table of them."""
    known = secrets.items() if isinstance(secrets, Mapping) else ()
    return next((has for zone, has in known if origin(str(zone)) == origin(name) and isinstance(has, Mapping)), {})


def decodes(secret: Any) -> bool:
    """Whether a key's secret is base64; one that was copied may have blanks and line ends in it."""
    try:
        binascii.a2b_base64("".join(str(secret or "").split()).encode(), strict_mode=True)
    except ValueError:
        return False
    return True


def _own(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("provider", "tsig_name", "tsig_algorithm") if entry.get(key)}
