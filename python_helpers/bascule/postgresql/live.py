"""Who uses the side that serves now, and what of a move each of them would notice: said before anything is changed."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from typing import Any

from . import conf

MD5 = "md5"


def differences(source: Mapping[str, Any], target: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """Return what would keep declared clients out once the target serves."""
    found = [
        f"pg_hba.conf of {target['side']} rejects a declared client before the line that lets it in: {rule}"
        for rule in target.get("shut_out") or []
    ]
    hashes = source.get("md5_roles") or []
    declared = [*(spec.get("clients") or []), *(spec.get("peer_clients") or [])]
    users = sorted({client["user"] for client in declared if client.get("method") != MD5} & set(hashes))
    found += [
        f"the password of {user} is stored as md5, and its line would ask for SCRAM: set its password again with "
        "password_encryption = scram-sha-256, or declare the client with method: md5"
        for user in users
    ]
    return found


def notes(source: Mapping[str, Any], target: Mapping[str, Any], spec: Mapping[str, Any]) -> list[str]:
    """Return who would notice, and what prepare leaves alone for their sake."""
    found: list[str] = []
    sessions = source.get("sessions") or []
    declared = list(spec.get("peer_clients") or [])
    for one in sessions:
        who = f"{one['username']} in {one['database']} from {one['address']} ({one['count']} sessions"
        who += f", {one['version']})" if one["ssl"] else ", without TLS)"
        line = next((client for client in declared if _covers(client, one)), None)
        if line is None:
            found.append(f"{who} is no declared client of {target['side']}: refused there after the switch")
        elif not one["ssl"]:
            found.append(f"{who} is refused at {target['side']} after the switch: declared clients come over TLS")
        elif one["version"] != "TLSv1.3" and spec.get("pooler") == "install":
            found.append(f"{who} cannot come through the pooler, which takes TLS 1.3 only")
    if source.get("tls_wanting"):
        encrypted = sum(int(one["count"]) for one in sessions if one["ssl"])
        found.append(
            f"a standby could not trust {source['side']} as it is ({source['tls_wanting']}): prepare puts the declared "
            f"certificate in its place, for the {encrypted} sessions over TLS too; where its present authority is to "
            "stay, name that in postgresql_replication_ca_file"
        )
    found += _slots(source)
    return found


def _slots(source: Mapping[str, Any]) -> list[str]:
    slots = source.get("other_slots") or []
    if not slots:
        return []
    kept = str((source.get("settings") or {}).get("max_slot_wal_keep_size", "-1"))
    if conf.bytes_of(kept) >= 0:
        return [f"other slots at the source ({', '.join(slots)}): max_slot_wal_keep_size stays at {kept} MB"]
    rate = int(source.get("wal_bytes_per_second") or 0)
    hours = f"{source['free_bytes'] / rate / 3600:.1f} hours" if rate else "a time that nobody knows (no log came)"
    return [
        f"other slots at the source ({', '.join(slots)}): no limit is set to the log they keep, nor to that for the "
        f"standby; cut off, it would fill {source['free_bytes']} bytes in {hours}"
    ]


def _covers(client: Mapping[str, str], one: Mapping[str, Any]) -> bool:
    if client["database"] not in ("all", one["database"]) or client["user"] not in ("all", one["username"]):
        return False
    if client["address"] == "all":
        return True
    try:
        return ipaddress.ip_address(one["address"]) in ipaddress.ip_network(client["address"], strict=False)
    except ValueError:
        # A name: whom it means, only the server knows.
        return True


def listens(addresses: str, own: str) -> bool:
    """Whether a server with this listen_addresses is reached at its address."""
    for word in addresses.split(","):
        if word.strip() in ("*", own):
            return True
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(word.strip())
            if address.is_unspecified and address.version == (6 if ":" in own else 4):
                return True
    return False
