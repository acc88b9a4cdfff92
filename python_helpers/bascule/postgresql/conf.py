"""The configuration files Bascule writes next to the cluster's own: what stands in them, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

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
_HEAD = "# Written by Bascule; changes here are lost.\n"


def quote(value: str) -> str:
    """Quote a value for a configuration file."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def quote_connection(value: str) -> str:
    """Quote a value for a connection string of libpq."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def base(spec: Spec, raised: Mapping[str, int], wal_compression: str = "on") -> str:
    """Return what both sides need, whichever of them is active."""
    settings: dict[str, str] = {
        "hot_standby": "on",
        "lc_messages": "C",
        "max_slot_wal_keep_size": spec.max_slot_wal_keep_size,
        "password_encryption": "scram-sha-256",
        "ssl": "on",
        "ssl_min_protocol_version": "TLSv1.3",
        "wal_compression": wal_compression,
        "wal_keep_size": spec.wal_keep_size,
    }
    if spec.certificate:
        settings["ssl_cert_file"] = tls_path(spec, "host.crt")
        settings["ssl_key_file"] = tls_path(spec, "host.key")
    if spec.listen:
        settings["listen_addresses"] = spec.listen
    settings.update({name: str(value) for name, value in raised.items()})
    return _HEAD + "".join(f"{name} = {quote(value)}\n" for name, value in sorted(settings.items()))


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
        "hot_standby_feedback": "on",
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


def conninfo(spec: Spec) -> str:
    """Return how this side reaches the other side's server; the password stands in the password file."""
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
