"""What two clusters must have in common before one can stand in for the other: every difference at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import live, restore_point, slots

_REPLICATION = {"max_wal_senders": 4, "max_replication_slots": 2}
# What ALTER SYSTEM has set travels with a base backup and wins over every file of the other side's.
_MANAGED_ELSEWHERE = (
    "archive_cleanup_command",
    "hba_file",
    "hot_standby",
    "hot_standby_feedback",
    "ident_file",
    "listen_addresses",
    "max_slot_wal_keep_size",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "restore_command",
    "ssl",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_min_protocol_version",
    "synchronous_standby_names",
    "wal_keep_size",
)
# What each side's own files may do to writes as soon as it is the primary.
_KEEPS_WRITES = ("fsync", "full_page_writes", "synchronous_commit")
OWN_SETTINGS = (*_KEEPS_WRITES, "default_transaction_read_only", "listen_addresses", "synchronous_standby_names")


# What the audit compares by the clocks: tokens, certificates and time stamps go wrong beyond it.
MAX_SKEW = 10.0
# What was measured less closely than this has not been measured.
MAX_SLACK = 60.0


def differences(
    source: Mapping[str, Any], target: Mapping[str, Any], *, free_factor: float = 2.0, replace: bool = False
) -> list[str]:
    """Return what stands in the way, in words; empty when the target can follow the source and take over."""
    found: list[str] = []
    for side in (source, target):
        found += [
            f"{side['side']} is managed by {name}: it decides by itself who is primary" for name in side["managers"]
        ]
    found += places(source, target)
    if not source.get("running"):
        return [*found, f"{source['side']} does not run: nothing can be measured there"]
    return [
        *found,
        *_platform(source, target),
        *_collations(source, target),
        *databases(source, target),
        *_settings(source, target),
        *writes(source, target),
        *_privileges(source),
        *_room(source, target, free_factor, replace),
    ]


def is_copy(source: Mapping[str, Any], target: Mapping[str, Any]) -> bool:
    """Whether the target's cluster is a copy of the source's, which a standby is and an empty cluster is not."""
    mine, other = source.get("control") or {}, target.get("control") or {}
    return bool(mine) and mine.get("system_id") == other.get("system_id")


def places(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Name the data directories beside which nothing can be kept, and files that are not those the server goes by."""
    found = []
    for side in (source, target):
        if side["misplaced"]:
            found.append(f"{side['side']}: {side['misplaced']}; {side['place_wanted']}")
        found += [f"{side['side']}: {text}" for text in side.get("misplaced_files") or []]
    return found


def _platform(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    found = []
    if source["version_major"] != target["version_major"]:
        found.append(f"major version: {source['version_major']} and {target['version_major']}")
    if source["libc"] != target["libc"]:
        found.append(
            f"C library: {source['libc']} and {target['libc']}: text would sort differently, indexes would break"
        )
    if source["icu"] != target["icu"] and any(db["provider"] == "i" or db["icu_columns"] for db in source["databases"]):
        found.append(f"ICU: {source['icu']} and {target['icu']}")
    if source["architecture"] != target["architecture"]:
        found.append(f"architecture: {source['architecture']} and {target['architecture']}")
    return found


def _collations(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Name every collation that sorts, or has sorted, in another way: indexes built by it would be silently wrong."""
    found = []
    other = {str(database["name"]): database for database in target.get("databases") or []}
    for database in source["databases"]:
        name, recorded, actual = database["name"], database["collation_version"], database["collation_actual"]
        if recorded is not None and recorded != actual:
            found.append(
                f"database {name} was sorted by collation version {recorded}, the source's library has {actual}: "
                f"REINDEX it, then ALTER DATABASE {name} REFRESH COLLATION VERSION"
            )
        found += [
            f"collation {text} of database {name}: REINDEX what uses it, then ALTER COLLATION … REFRESH VERSION"
            for text in database["stale_collations"]
        ]
        twin = other.get(str(name))
        if twin is None or not is_copy(source, target):
            continue
        if twin["collation_actual"] != actual:
            found.append(f"collation version of database {name}: {actual} and {twin['collation_actual']}")
        found += [
            f"collation {collation} of database {name}: version {version} and {twin['collations'][collation]}"
            for collation, version in sorted(database["collations"].items())
            if collation in twin["collations"] and twin["collations"][collation] != version
        ]
    return found


def databases(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Return what of the source's databases the target could not hold."""
    found = []
    available = target["extensions_available"]
    for database in source["databases"]:
        if database["provider"] == "c" and _locale(database["collate"]) not in map(_locale, target["locales"]):
            found.append(f"locale {database['collate']} of database {database['name']} is missing at the target")
        elif database["provider"] == "c" and _locale(database["ctype"]) not in map(_locale, target["locales"]):
            found.append(f"locale {database['ctype']} of database {database['name']} is missing at the target")
        found += unlogged(database)
        if database["subscriptions"]:
            found.append(f"{database['subscriptions']} subscriptions in {database['name']}: they write by themselves")
        for name, version in sorted(database["extensions"].items()):
            if name not in available:
                found.append(f"extension {name} {version} of {database['name']} is not installed at the target")
            elif version not in available[name]:
                found.append(
                    f"extension {name} {version} of {database['name']}: the target has "
                    f"{', '.join(available[name]) or 'no version of it'}"
                )
    return found


def unlogged(database: Mapping[str, Any]) -> list[str]:
    """Return what of a database no standby has, as it is in no log."""
    found = []
    if database["unlogged_tables"]:
        names = ", ".join(str(one["name"]) for one in database["unlogged_tables"])
        found.append(f"unlogged tables in {database['name']} are not replicated: {names}")
    if database["unlogged_sequences"]:
        found.append(
            f"unlogged sequences in {database['name']} are not replicated and would give values again: "
            f"{', '.join(database['unlogged_sequences'])}: ALTER SEQUENCE … SET LOGGED, or drop them"
        )
    return found


def left_behind(database: Mapping[str, Any], side: str) -> list[str]:
    """Return what a return would lose of a database of the side that it leaves: by name, and only what holds something.

    An empty unlogged table is lost by nobody: it is there at the other side as well, as empty.
    """
    return [
        *(
            f"unlogged table {database['name']}.{one['name']} ({one['bytes']} bytes) at {side}"
            for one in database["unlogged_tables"]
            # Gone since it was listed, or empty.
            if one["bytes"]
        ),
        *(
            f"unlogged sequence {database['name']}.{name} at {side}: it gives values again"
            for name in database["unlogged_sequences"]
        ),
    ]


def _settings(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    found = []
    settings = source["settings"]
    if settings["wal_level"] not in ("replica", "logical"):
        found.append(f"wal_level is {settings['wal_level']} at the source; replica is needed (a restart)")
    for name, least in _REPLICATION.items():
        if int(settings[name]) < least:
            found.append(f"{name} is {settings[name]} at the source; at least {least} are needed (a restart)")
    if not live.listens(settings["listen_addresses"], source["address"]):
        found.append(
            f"the source listens on {settings['listen_addresses']!r} only, not on {source['address']} (a restart)"
        )
    for name in sorted(source["auto_settings"]):
        if name == "listen_addresses" and source["own_settings"].get(name) == "*":
            # What Bascule's own file says by default.
            continue
        if name in _MANAGED_ELSEWHERE or name.startswith("recovery_"):
            found.append(
                f"{name} is set by ALTER SYSTEM at the source, which travels with the data and wins over every file: "
                "reset it"
            )
    found += [
        f"shared library {name} is loaded at the source and not installed at the target"
        for name in words(settings["shared_preload_libraries"])
        if name not in target["libraries"]
    ]
    if is_copy(source, target):
        found += [
            f"{name} is {mine} at {target['side']}, {settings[name]} at {source['side']}: a standby must not have less"
            for name, mine in sorted(target["effective"].items())
            if mine < int(settings[name])
        ]
    return found


def writes(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Name what the files of either side would do to writes once it is the primary: nobody sees it before."""
    found = []
    for side in (source, target):
        own = side["own_settings"]
        if not own:
            found.append(f"what the files of {side['side']} set could not be read: its server refuses them")
            continue
        found += [
            f"{name} is off in the files of {side['side']}: a crash would lose writes that were acknowledged"
            for name in _KEEPS_WRITES
            if own[name] == "off"
        ]
        if own["default_transaction_read_only"] == "on":
            found.append(f"default_transaction_read_only is on in the files of {side['side']}: every write would fail")
    if target["own_settings"].get("synchronous_standby_names"):
        found.append(
            f"synchronous_standby_names is {target['own_settings']['synchronous_standby_names']!r} in the files of "
            f"{target['side']}: after the switch every commit there would wait for a standby that is not there"
        )
    return found


def _privileges(source: Mapping[str, Any]) -> list[str]:
    found = []
    if not source["superuser"]:
        found.append(f"the owner of {source['side']}'s cluster is no superuser: it cannot make the replication role")
    role = source["replication_role"]
    if role and role["super"]:
        found.append("the replication role is a superuser: its password would open everything")
    if role and role["expired"]:
        found.append("the replication role's password has expired (VALID UNTIL)")
    if role and 0 <= role["connections"] < _REPLICATION["max_wal_senders"]:
        found.append(f"the replication role may have {role['connections']} connections only (CONNECTION LIMIT)")
    return found


def _room(source: Mapping[str, Any], target: Mapping[str, Any], free_factor: float, replace: bool) -> list[str]:
    found = []
    if source["tablespaces"]:
        found.append(f"tablespaces outside the data directory: {', '.join(source['tablespaces'])}")
    if source["wal_link"]:
        found.append("pg_wal is a symbolic link at the source: a copy of the data directory would be none")
    if source["prepared_transactions"]:
        found.append(f"{source['prepared_transactions']} prepared transactions at the source")
    if source["logical_slots"]:
        found.append(f"logical replication slots do not survive a switch: {', '.join(source['logical_slots'])}")
    copy = is_copy(source, target)
    if target.get("foreign_databases") and not copy and not replace:
        found.append(f"the target's cluster holds databases of its own: {', '.join(target['foreign_databases'])}")
    needed = int(source["size_bytes"] * free_factor)
    if not copy and target["free_bytes"] < needed:
        found.append(
            f"the target has {target['free_bytes']} bytes free; {needed} are needed (data, and the kept state)"
        )
    if source["log_kept_bytes"] < 0:
        found.append(
            "the slot keeps log without limit: a standby that is cut off would fill the source's disk; "
            "set postgresql_replication_max_slot_wal_keep_size"
        )
    elif source["free_bytes"] < source["log_kept_bytes"]:
        found.append(
            f"the source may keep {source['log_kept_bytes']} bytes of log for a standby that is cut off and has "
            f"{source['free_bytes']} bytes free: lower postgresql_replication_max_slot_wal_keep_size"
        )
    found += restore_point.differences(source, target)
    found += clocks(source, target)
    return found


def clocks(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Say when the clocks differ, or were not compared."""
    if source["clock_offset"] is None or target["clock_offset"] is None:
        return ["the clocks of both sides have not been compared"]
    if (slack := max(side.get("clock_slack", 0.0) for side in (source, target))) > MAX_SLACK:
        return [f"the clocks could not be compared: the questions took up to {slack:.0f} s; audit again"]
    if (skew := _skew(source, target)) > MAX_SKEW:
        return [f"the clocks differ by at least {skew:.0f} s"]
    return []


def _skew(source: Mapping[str, Any], target: Mapping[str, Any]) -> float:
    """Return by how many seconds the clocks differ at least.

    An offset was taken against the moment of the question, so it is too high by the time the question took to arrive,
    which on a busy machine is more than the limit: `clock_slack` bounds it.
    """
    low, high = sorted((side["clock_offset"], side.get("clock_slack", 0.0)) for side in (source, target))
    return max(0.0, float(high[0] - high[1] - low[0]))


def notes(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Return what is worth knowing and stands in nobody's way."""
    found: list[str] = []
    if not source.get("running"):
        return found
    if not source["checksums"]:
        found.append("the source has no data checksums: silent corruption would be copied")
    if source["long_transactions"]:
        found.append(
            "transactions older than 5 minutes, which a switch would wait for: "
            + "; ".join(source["long_transactions"])
        )
    settings = source["settings"]
    if settings["synchronous_standby_names"]:
        found.append(
            f"synchronous_standby_names is {settings['synchronous_standby_names']!r} in the source's own files: "
            "a switch does not carry it over"
        )
    if settings["archive_mode"] != "off":
        found.append("the source archives its log: the target needs an archive of its own")
    if target.get("minor") and target["minor"] != source["minor"]:
        found.append(f"minor version: {source['minor']} and {target['minor']}")
    if not is_copy(source, target):
        found += [
            f"{name} is {mine} at the target: prepare raises it to {settings[name]}"
            for name, mine in sorted(target["effective"].items())
            if mine < int(settings[name])
        ]
    found += [f"database {name} is copied, but never compared" for name in source["left_out"]]
    found += restore_point.notes(source, target)
    found += slots.notes(source, target)
    found += [f"other standby at the source: {name}" for name in source["other_standbys"]]
    return found


def words(text: str) -> list[str]:
    """Read a list of names as a setting holds it."""
    return [word.strip().strip('"') for word in text.split(",") if word.strip()]


def _locale(name: str) -> str:
    return name.lower().replace("-", "")
