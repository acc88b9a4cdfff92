"""The configuration files Bascule writes next to the cluster's own: what stands in them, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .spec import Spec

BASE = "90-bascule.conf"
STANDBY = "95-bascule-standby.conf"

# A standby refuses to start when one of these is smaller than at its primary; and either side may be the primary.
NOT_SMALLER = (
    "max_connections",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_wal_senders",
    "max_worker_processes",
)
# No setting of the server's: it keeps and shows any name with a point in it.
MARK = "bascule.side"
_INCLUDE = re.compile(
    r"\s*(include_if_exists|include_dir|include)(?:\s*=\s*|\s+|(?='))('(?:[^']|'')*'|[^\s#'=]+)", re.IGNORECASE
)
_HEAD = "# Written by Bascule; changes here are lost.\n"


def quote(value: str) -> str:
    """Quote a value for a configuration file."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def quote_connection(value: str) -> str:
    """Quote a value for a connection string of libpq."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def whole(spec: Spec, wal_compression: str = "on") -> dict[str, str]:
    """Return what a side gets that has served nobody before: it has to serve alone one day."""
    settings = {
        **_tls(spec),
        "max_slot_wal_keep_size": spec.max_slot_wal_keep_size,
        "wal_compression": wal_compression,
        "wal_keep_size": spec.wal_keep_size,
    }
    if spec.listen:
        settings["listen_addresses"] = spec.listen
    return settings


def needed(spec: Spec, before: Mapping[str, str], *, tls: bool, other_slots: Sequence[str]) -> dict[str, str]:
    """Return what replication needs of a side that had clients before, and does not have.

    `before` is how it was set then, `tls` whether the standby could not trust it as it is. What suffices is left alone,
    and nothing becomes less; a limit to what slots keep is not set while it would hit slots of others.
    """
    settings = _tls(spec) if tls else {}
    kept = bytes_of(before.get("max_slot_wal_keep_size", "-1"))
    if not other_slots and (kept < 0 or kept < bytes_of(spec.max_slot_wal_keep_size)):
        settings["max_slot_wal_keep_size"] = spec.max_slot_wal_keep_size
    if bytes_of(before.get("wal_keep_size", "0")) < bytes_of(spec.wal_keep_size):
        settings["wal_keep_size"] = spec.wal_keep_size
    return settings


def base(spec: Spec, settings: Mapping[str, str], raised: Mapping[str, int]) -> str:
    """Return the file; by the first line the server says itself that it has read it."""
    lines = {MARK: spec.side, **settings, **{name: str(value) for name, value in raised.items()}}
    return _HEAD + "".join(f"{name} = {quote(value)}\n" for name, value in sorted(lines.items()))


def _tls(spec: Spec) -> dict[str, str]:
    settings = {"ssl": "on"}
    if spec.certificate:
        settings["ssl_cert_file"] = tls_path(spec, "host.crt")
        settings["ssl_key_file"] = tls_path(spec, "host.key")
    return settings


def set_in(text: str | None) -> dict[str, str]:
    """Return what a file of `base` sets."""
    pairs = (line.partition(" = ") for line in (text or "").splitlines() if not line.startswith("#"))
    return {name: value[1:-1].replace("''", "'").replace("\\\\", "\\") for name, found, value in pairs if found}


def includes(text: str) -> list[tuple[str, str]]:
    """Return which other files and directories a configuration file reads: (directive, place) in their order."""
    found = []
    for line in text.splitlines():
        if match := _INCLUDE.match(line):
            place = match.group(2)
            place = place[1:-1].replace("''", "'") if place.startswith("'") else place
            found.append((match.group(1).lower(), place))
    return found


def bytes_of(size: str) -> int:
    """Read a size as PostgreSQL writes it; a bare number is megabytes, as for the settings of the log."""
    units = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
    number = size.strip().rstrip("kMGTB ")
    return int(number) * units.get(size.strip()[len(number) :].strip() or "MB", 1)


def raised_in(text: str | None) -> dict[str, int]:
    """Return which of the settings that must not be smaller a file of `base` sets."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.partition(" = ")
        if name in NOT_SMALLER and value.strip("'").isdigit():
            found[name] = int(value.strip("'"))
    return found


def to_raise(written: Mapping[str, int], running: Mapping[str, int], needed: Mapping[str, int]) -> dict[str, int]:
    """Return what a standby's file has to set: what it sets already, and what would otherwise be too small."""
    result = dict(written)
    for name, value in needed.items():
        if max(running.get(name, 0), written.get(name, 0)) < value:
            result[name] = value
    return result


def standby(spec: Spec, *, connect: bool) -> str:
    """Return what makes this side a standby; without `connect` it stands still where its own log ends."""
    settings = {
        "hot_standby": "on",
        "hot_standby_feedback": "on",
        "lc_messages": "C",
        "max_standby_streaming_delay": "-1",
        "primary_conninfo": conninfo(spec) if connect else "",
        "primary_slot_name": spec.slot if connect else "",
        "recovery_target_timeline": "latest",
        "wal_receiver_timeout": "20s",
        "wal_retrieve_retry_interval": "500ms",
    }
    return _HEAD + "".join(f"{name} = {quote(value)}\n" for name, value in sorted(settings.items()))


def connects(text: str | None) -> bool:
    """Return whether a standby with this file connects to a primary."""
    lines = [line for line in (text or "").splitlines() if line.startswith("primary_conninfo ")]
    return bool(lines) and lines[-1] != f"primary_conninfo = {quote('')}"


def conninfo(spec: Spec, **others: str) -> str:
    """Return how this side reaches the other side's server; the password stands in the password file.

    `others` are words of libpq that replace what is said here.
    """
    words = {
        "host": spec.peer_name,
        "hostaddr": spec.peer_address,
        "port": str(spec.peer_port),
        "user": spec.replication_user,
        "passfile": passfile(spec),
        "sslmode": "verify-full",
        "sslrootcert": tls_path(spec, "ca.crt"),
        "ssl_min_protocol_version": "TLSv1.3",
        "channel_binding": "require",
        "application_name": spec.slot,
        "connect_timeout": "5",
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        **others,
    }
    return " ".join(f"{key}={value}" for key, value in words.items())


def passfile(spec: Spec) -> str:
    """Return the path of the password file."""
    return f"{spec.config}/bascule.pgpass"


def tls_path(spec: Spec, name: str) -> str:
    """Return the path of the cluster's own copy of a TLS file."""
    return f"{spec.config}/bascule-tls/{name}"


def start_conf(text: str, mode: str) -> str:
    """Return start.conf with its mode (auto or manual) set, comments kept."""
    lines = [line for line in text.splitlines() if line.strip().startswith("#") or not line.strip()]
    return "\n".join([*lines, mode]) + "\n"


def start_mode(text: str | None) -> str:
    """Return the mode start.conf asks for."""
    for line in (text or "").splitlines():
        if line.strip() and not line.strip().startswith("#"):
            return line.strip()
    return "auto"


def firewall(spec: Spec) -> str:
    """Return the firewall table of a closed side: only the other side's server reaches the port."""
    family = "ip6" if ":" in spec.peer_address else "ip"
    return (
        f"table inet {spec.table}\n"
        f"delete table inet {spec.table}\n"
        f"table inet {spec.table} {{\n"
        "  chain input {\n"
        "    type filter hook input priority -10; policy accept;\n"
        f'    iifname != "lo" tcp dport {spec.port} {family} saddr {spec.peer_address} accept\n'
        f'    iifname != "lo" tcp dport {spec.port} reject with tcp reset\n'
        "  }\n"
        "}\n"
    )
