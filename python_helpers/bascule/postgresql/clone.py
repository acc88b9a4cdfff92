"""The clone of a standby that is promoted to try the way back, and the scratch standby of it: what they are told. Pure.

The clone carries whatever the database carries: jobs, subscriptions, archiving, followers. None of that may come to
life beside the real servers, so what starts it is switched off here, and nothing of the cluster's own files is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from . import conf, hba
from .spec import Spec

SUFFIX = "bascule-clone"
# What the scratch standby calls itself, and the database that holds the mark.
NAME = "bascule_clone"
# Where no port is declared: so far beyond the database's own.
BEYOND = 20000
# A path of a socket takes no more.
_SOCKET = 107
# A disk that serves is left this much, whatever the copy takes.
RESERVE = 1 << 30
# Taken over from the running standby: without the first ones a copy does not start, by the others TLS is proved.
TAKEN_OVER = (
    *conf.NOT_SMALLER,
    "ssl",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
    "ssl_min_protocol_version",
)
_QUIET = {
    "archive_cleanup_command": "",
    "archive_command": "",
    "archive_library": "",
    "archive_mode": "off",
    "autovacuum": "off",
    "cluster_name": NAME,
    "external_pid_file": "",
    "fsync": "off",
    "hot_standby": "on",
    "hot_standby_feedback": "off",
    "huge_pages": "off",
    "lc_messages": "C",
    "local_preload_libraries": "",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "logging_collector": "off",
    "max_logical_replication_workers": "0",
    "max_wal_size": "256MB",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "recovery_end_command": "",
    "recovery_target_timeline": "latest",
    "restore_command": "",
    "session_preload_libraries": "",
    "shared_buffers": "16MB",
    "shared_preload_libraries": "",
    "synchronous_standby_names": "",
    "unix_socket_permissions": "0700",
    "wal_keep_size": "128MB",
    "wal_retrieve_retry_interval": "500ms",
}


@dataclass(frozen=True)
class Room:
    """What a side has for a copy, in bytes: of what, what it takes, what is free."""

    size: int
    needed: int
    free: int


def port_of(spec: Spec, declared: int) -> int:
    """Return the port of the clone; the scratch standby has the same number, for the name of its socket alone."""
    if declared:
        return declared
    return spec.port + (BEYOND if spec.port + BEYOND < 1 << 16 else -BEYOND)


def place_of(spec: Spec) -> str:
    """Return the directory that holds all of it: copy, files, socket, log."""
    return f"{spec.data}.{SUFFIX}"


def untried(spec: Spec, port: int, room: Room, limit: int, tablespaces: bool) -> str:
    """Return why no copy is made on a side, or an empty text.

    Args:
        spec: the side.
        port: the clone's.
        room: what the copy takes, and what there is.
        limit: bytes of data above which none is made; 0 for never.
        tablespaces: whether data lies outside of the data directory.
    """
    if limit == 0:
        return "postgresql_replication_clone_limit is 0"
    if room.size > limit:
        return f"{room.size} bytes of data are more than postgresql_replication_clone_limit ({limit})"
    if room.free < room.needed + RESERVE:
        return f"a copy on {spec.side} takes {room.needed} bytes and leaves {RESERVE} free, of {room.free}"
    if tablespaces:
        return f"{spec.data} has tablespaces, which a copy would share"
    if len(f"{place_of(spec)}/.s.PGSQL.{port}") > _SOCKET:
        return f"{place_of(spec)} is too long for a path of a socket"
    return ""


def settings(spec: Spec, port: int, taken: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Return the only configuration file that is read.

    Args:
        spec: the side.
        port: the clone's.
        taken: values of TAKEN_OVER.
        own: what this server alone has.
    """
    place = place_of(spec)
    values = {
        **_QUIET,
        # A trigger at log-in came with this version, and so did the switch against it.
        **({"event_triggers": "off"} if int(spec.version) >= 17 else {}),
        "hba_file": f"{place}/pg_hba.conf",
        "ident_file": f"{place}/pg_ident.conf",
        "listen_addresses": "",
        "port": str(port),
        "unix_socket_directories": place,
        **taken,
        **own,
    }
    return "".join(f"{name} = {conf.quote(value)}\n" for name, value in sorted(values.items()))


def admits(spec: Spec, *, standby: bool) -> str:
    """Return who comes in: the cluster's owner by a socket nobody else reaches, and the other side's standby or not."""
    if not standby:
        return hba.for_scratch(spec.owner)
    return hba.for_scratch(spec.owner, spec.replication_user, spec.peer_address)


def password_file(text: str, peer_port: int, port: int) -> str:
    """Return the side's password file with the clone's port in place of the other side's; one of another form, empty.

    It is `prepare` that writes it.
    """
    begin = f"*:{peer_port}:"
    return f"*:{port}:{text[len(begin) :]}" if text.startswith(begin) else ""


def first_segment(label: str) -> str:
    """Return the name of the first file of the log that a backup needs, from its label.

    Its second line is `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)`.
    """
    return label.partition("(file ")[2].partition(")")[0]
