"""What two clusters must have in common before one can stand in for the other: every difference at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import conf

_REPLICATION = {"max_wal_senders": 4, "max_replication_slots": 2}
_MANAGED_ELSEWHERE = (
    "primary_conninfo",
    "primary_slot_name",
    "ssl_min_protocol_version",
    "hot_standby_feedback",
    "max_slot_wal_keep_size",
    "wal_keep_size",
)


def differences(source: Mapping[str, Any], target: Mapping[str, Any], *, free_factor: float = 2.0) -> list[str]:
    """Return what stands in the way, in words; empty when the target can follow the source and take over."""
    found: list[str] = []
    for side in (source, target):
        found += [
            f"{side['side']} is managed by {name}: it decides by itself who is primary" for name in side["managers"]
        ]
    if not source.get("running"):
        return [*found, f"{source['side']} does not run: nothing can be measured there"]
    settings = source["settings"]
    if source["version_major"] != target["version_major"]:
        found.append(f"major version: {source['version_major']} and {target['version_major']}")
    if source["libc"] != target["libc"]:
        found.append(
            f"C library: {source['libc']} and {target['libc']}: text would sort differently, indexes would break"
        )
    if source["icu"] != target["icu"] and any(db["provider"] == "i" for db in source["databases"]):
        found.append(f"ICU: {source['icu']} and {target['icu']}")
    if source["architecture"] != target["architecture"]:
        found.append(f"architecture: {source['architecture']} and {target['architecture']}")
    for database in source["databases"]:
        if database["provider"] == "c" and _locale(database["collate"]) not in map(_locale, target["locales"]):
            found.append(f"locale {database['collate']} of database {database['name']} is missing at the target")
        if database["unlogged"]:
            found.append(f"{database['unlogged']} unlogged tables in {database['name']}: they are not replicated")
        if database["subscriptions"]:
            found.append(f"{database['subscriptions']} subscriptions in {database['name']}: they write by themselves")
        for name, version in sorted(database["extensions"].items()):
            if name not in target["extensions_available"]:
                found.append(f"extension {name} {version} of {database['name']} is not installed at the target")
    if settings["wal_level"] not in ("replica", "logical"):
        found.append(f"wal_level is {settings['wal_level']} at the source; replica is needed (a restart)")
    for name, least in _REPLICATION.items():
        if int(settings[name]) < least:
            found.append(f"{name} is {settings[name]} at the source; at least {least} are needed (a restart)")
    if "*" not in settings["listen_addresses"] and source["address"] not in settings["listen_addresses"]:
        found.append(
            f"the source listens on {settings['listen_addresses']!r} only, not on {source['address']} (a restart)"
        )
    for name in sorted(set(source["auto_settings"]) & set(_MANAGED_ELSEWHERE)):
        found.append(f"{name} is set by ALTER SYSTEM at the source, which wins over Bascule's files: reset it")
    if source["tablespaces"]:
        found.append(f"tablespaces outside the data directory: {', '.join(source['tablespaces'])}")
    if source["wal_link"]:
        found.append("pg_wal is a symbolic link at the source: a copy of the data directory would be none")
    if source["prepared_transactions"]:
        found.append(f"{source['prepared_transactions']} prepared transactions at the source")
    if target.get("foreign_databases") and not target.get("prepared"):
        found.append(f"the target's cluster holds databases of its own: {', '.join(target['foreign_databases'])}")
    needed = int(source["size_bytes"] * free_factor)
    if not target.get("prepared") and target["free_bytes"] < needed:
        found.append(
            f"the target has {target['free_bytes']} bytes free; {needed} are needed (data, and the kept state)"
        )
    if source["free_bytes"] < source["size_bytes"]:
        found.append(
            f"the source has {source['free_bytes']} bytes free of {source['size_bytes']} to keep its state aside"
        )
    skew = abs(float(source["clock"]) - float(target["clock"]))
    if skew > 30:
        found.append(f"the clocks differ by about {skew:.0f} s")
    return found


def notes(source: Mapping[str, Any]) -> list[str]:
    """Return what is worth knowing and stands in nobody's way."""
    found: list[str] = []
    if not source.get("running"):
        return found
    if not source["checksums"]:
        found.append("the source has no data checksums: silent corruption would be copied")
    if source["long_transactions"]:
        found.append(f"{source['long_transactions']} transactions are older than 5 minutes")
    found += [f"other standby at the source: {name}" for name in source["other_standbys"]]
    return found


def raised(source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, int]:
    """Return the settings that the target must set at least as high as the source."""
    return {
        name: max(int(source.get(name, 0)), int(target.get(name, 0))) for name in conf.NOT_SMALLER if name in source
    }


def _locale(name: str) -> str:
    return name.lower().replace("-", "")
