"""What two clusters must have in common before one can be restored from the other's dump, and what is only noted.

A dump knows nothing of the files: C library, architecture and collation versions may differ, as every index is built
anew where it is restored. What the restore itself needs stays a gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import compatibility, hba
from .dump_restore import SOURCE_FACTOR, TARGET_FACTOR


def differences(
    source: Mapping[str, Any], target: Mapping[str, Any], spec: Mapping[str, Any], *, replace: bool = False
) -> list[str]:
    """Return what stands in the way, in words."""
    found = [
        f"{side['side']} is managed by {name}: it decides by itself who is primary"
        for side in (source, target)
        for name in side["managers"]
    ]
    found += compatibility.places(source, target)
    if not source.get("running"):
        return [*found, f"{source['side']} does not run: nothing can be measured there"]
    return [
        *found,
        *_method(source, target, spec),
        *compatibility.databases(source, target),
        *compatibility.writes(source, target),
        *_server(source, target),
        *_room(source, target, replace),
        *compatibility.clocks(source, target),
    ]


def _method(source: Mapping[str, Any], target: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    found = []
    if source["version_major"] != target["version_major"]:
        found.append(
            f"major version: {source['version_major']} and {target['version_major']}: an older server does not restore "
            "a newer one's dump, so there would be no way back"
        )
    if spec["pooler"] != "none":
        found.append("postgresql_replication_pooler is set: held clients do not wait as long as a restore takes")
    riders = sorted({client["user"] for client in hba.riding([*spec["clients"], *spec["peer_clients"]])})
    if riders:
        found.append(f"clients that ride through a switch (until: switch): {', '.join(riders)}; nobody rides a restore")
    return found


def _server(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    found = []
    if not source["superuser"]:
        found.append(f"the owner of {source['side']}'s cluster is no superuser: it cannot dump everything")
    found += [
        f"database {name} would be in no dump: ALTER DATABASE … IS_TEMPLATE false ALLOW_CONNECTIONS true, or drop it, "
        "or take out what it holds"
        for name in source["left_out"]
    ]
    if source["prepared_transactions"]:
        found.append(f"{source['prepared_transactions']} prepared transactions at the source: no dump has them")
    if source["logical_slots"]:
        found.append(f"logical replication slots are in no dump: {', '.join(source['logical_slots'])}")
    if source["tablespaces"]:
        found.append(f"tablespaces outside the data directory: {', '.join(source['tablespaces'])}")
    found += [
        f"shared library {name} is loaded at the source and not installed at the target"
        for name in compatibility.words(source["settings"]["shared_preload_libraries"])
        if name not in target["libraries"]
    ]
    return found


def _room(source: Mapping[str, Any], target: Mapping[str, Any], replace: bool) -> list[str]:
    found = []
    # What was restored here before may be replaced; a guard that was taken over says that it is ours.
    ours = (target.get("guard") or {}).get("status", "unknown") != "unknown"
    if target.get("foreign_databases") and not ours and not replace:
        found.append(f"the target's cluster holds databases of its own: {', '.join(target['foreign_databases'])}")
    for side, factor, what in (
        (target, TARGET_FACTOR, "a whole restored cluster, its dump, and databases decrypted beside it"),
        (source, SOURCE_FACTOR, "the dump"),
    ):
        needed = int(source["size_bytes"] * factor)
        if side["free_bytes"] < needed:
            found.append(f"{side['side']} has {side['free_bytes']} bytes free; {needed} are needed ({what})")
    return found


def notes(source: Mapping[str, Any], target: Mapping[str, Any]) -> list[str]:
    """Return what is worth knowing and stands in nobody's way, as every row and every index is written anew."""
    found: list[str] = []
    if not source.get("running"):
        return found
    for key, what in (("libc", "C library"), ("icu", "ICU"), ("architecture", "architecture")):
        if source[key] != target[key]:
            found.append(
                f"{what}: {source[key]} and {target[key]}: text may sort differently there, indexes are built anew"
            )
    if target.get("minor") and target["minor"] != source["minor"]:
        found.append(f"minor version: {source['minor']} and {target['minor']}")
    if source["auto_settings"]:
        found.append(f"set by ALTER SYSTEM at the source, which no dump holds: {', '.join(source['auto_settings'])}")
    found += [f"collation {text}" for database in source["databases"] for text in database["stale_collations"]]
    if source["long_transactions"]:
        found.append("transactions older than 5 minutes: " + "; ".join(source["long_transactions"]))
    found += [f"other standby at the source, which has to be built again: {name}" for name in source["other_standbys"]]
    return found
