"""PgBouncer as Bascule runs or drives it: the texts of its files, and what its console's answers mean.

Each database host carries a pooler of its own, which always points to the active primary. Bascule's own instance
(`pooler: install`) has its own directory, unit and account, so that nobody else's pgbouncer.ini is ever written over,
several components fit on one host, and taking it away takes away everything.

Of the whole configuration a switch changes one file only: the databases with their target, read by `%include`. Tried
with PgBouncer 1.18: RELOAD reads it also while a database is paused, which stays paused; a database that is not paused
lets go of its connections to the former host as their transactions end.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ..errors import BasculeError
from .spec import Spec
from .wire import Answer

ACCOUNT = "bascule-pooler"
KNOCKER = "root"
ADMIN = "pgbouncer"
# How soon a failed login to the server is tried again: the default of 15 s would outlast the whole switch.
LOGIN_RETRY = "0.2"


def databases(spec: Spec) -> list[str]:
    """Return the databases that the pooler serves."""
    return sorted({client["database"] for client in spec.pooler_clients})


def seen_by_server(clients: Iterable[Mapping[str, Any]], addresses: Iterable[str]) -> list[dict[str, str]]:
    """Return the poolers' clients as each server's pg_hba.conf has to know them: at the poolers' addresses."""
    ordered = sorted(set(addresses))
    seen: list[dict[str, str]] = []
    for client in clients:
        for address in ordered:
            one = {**{str(key): str(value) for key, value in client.items()}, "address": address}
            if one not in seen:
                seen.append(one)
    return seen


def alias(side: str) -> str:
    """Return the database through which only knocks go: PAUSE does not name it."""
    return "bascule_knock_" + "".join(c if c.isalnum() else "_" for c in side.lower())


def hosts(spec: Spec) -> dict[str, tuple[str, int]]:
    """Return each side's server by the name the pooler calls it, for its TLS to check, and its port."""
    return {
        spec.side: (spec.pooler_host or spec.address, spec.port),
        spec.peer_side: (spec.pooler_peer_host or spec.peer_address, spec.peer_port),
    }


def server(spec: Spec, side: str) -> tuple[str, int]:
    """Return the address and port of a side's server."""
    return (spec.address, spec.port) if side == spec.side else (spec.peer_address, spec.peer_port)


def side_of(spec: Spec, host: str, port: int) -> str:
    """Return the side that an address or a name stands for."""
    for side, own in ((spec.side, spec.address), (spec.peer_side, spec.peer_address)):
        name, its_port = hosts(spec)[side]
        if host in (own, name, side) and port == its_port:
            return side
    known = ", ".join(f"{name}:{its_port}" for name, its_port in hosts(spec).values())
    raise BasculeError(
        expected=f"the pooler of {spec.component} to know {host}:{port}",
        found=f"it knows {known}",
        state="the pooler was not changed",
        next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {spec.component}",
    )


def render_databases(spec: Spec, target: str) -> str:
    """Return the included file: every served database at the target side, and an alias for knocking at each side."""
    known = hosts(spec)
    lines = [f"; Written by Bascule for {spec.component}: {spec.side} points to {target}."]
    for database in databases(spec):
        lines.append(f"{database} = host={known[target][0]} port={known[target][1]}")
    if spec.pooler_clients:
        client = spec.pooler_clients[0]
        for side in sorted(known):
            host, port = known[side]
            lines.append(
                f"{alias(side)} = host={host} port={port} dbname={client['database']} user={client['user']} "
                "pool_size=1 pool_mode=statement"
            )
    return "\n".join(lines) + "\n"


def render_main(spec: Spec) -> str:
    """Return pgbouncer.ini of Bascule's own instance."""
    home = spec.pooler_home
    settings = {
        "listen_addr": spec.pooler_listen,
        "listen_port": str(spec.pooler_port),
        "unix_socket_dir": spec.pooler_socket,
        "auth_type": "hba",
        "auth_hba_file": f"{home}/hba.conf",
        "auth_file": f"{home}/users.txt",
        "logfile": "",
        "pool_mode": spec.pooler_mode,
        "max_client_conn": str(spec.pooler_max_clients),
        "default_pool_size": str(spec.pooler_pool_size),
        "query_wait_timeout": str(spec.pooler_query_wait),
        "server_login_retry": LOGIN_RETRY,
        "server_fast_close": "1",
        "ignore_startup_parameters": "extra_float_digits",
        "client_tls_sslmode": "require",
        "client_tls_protocols": "tlsv1.3",
        "client_tls_cert_file": f"{home}/host.crt",
        "client_tls_key_file": f"{home}/host.key",
        "server_tls_sslmode": "verify-full",
        "server_tls_protocols": "tlsv1.3",
        "server_tls_ca_file": f"{home}/ca.crt",
    }
    lines = [f"; Written by Bascule for {spec.component} at {spec.side}.", "[databases]"]
    lines += [f"%include {home}/databases.ini", "", "[pgbouncer]"]
    return "\n".join(lines + [f"{name} = {value}".rstrip() for name, value in settings.items()]) + "\n"


def render_hba(spec: Spec) -> str:
    """Return who may come to the pooler: declared clients over TLS, and a knock of root's over the local socket.

    The console is open to the pooler's own account over the socket, whatever stands here.
    """
    aliases = ",".join(alias(side) for side in sorted(hosts(spec)))
    lines = [f"local {aliases} {KNOCKER} peer", "local all all reject"]
    for client in spec.pooler_clients:
        address = client.get("address") or "all"
        ranges = ("0.0.0.0/0", "::/0") if address == "all" else (_cidr(address),)
        lines += [f"hostssl {client['database']} {client['user']} {one} scram-sha-256" for one in ranges]
    return "\n".join([*lines, "host all all 0.0.0.0/0 reject", "host all all ::/0 reject"]) + "\n"


def render_users(spec: Spec, secrets: Mapping[str, str | None]) -> str:
    """Return the file of the clients' verifiers, as the server itself holds them; no password is in it."""
    lines = []
    for user in sorted({client["user"] for client in spec.pooler_clients}):
        secret = secrets.get(user)
        if not secret or not secret.startswith("SCRAM-SHA-256$"):
            raise BasculeError(
                expected=f"the role {user} to have a SCRAM password at {spec.side}",
                found="no such role" if user not in secrets else ("another kind of password" if secret else "none"),
                state="the pooler was not changed",
                next_command=f"set the password of {user} with password_encryption = scram-sha-256, then prepare again",
            )
        lines.append(f'"{user}" "{secret}"')
    # Whoever knocks needs a name here; without a verifier it cannot log in but over the local socket.
    return "\n".join([*lines, f'"{KNOCKER}" ""']) + "\n"


def render_hosts(spec: Spec) -> str:
    """Return the hosts file that the unit alone sees: names that TLS checks, at the declared addresses, without DNS."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    pairs = ((spec.address, spec.pooler_host), (spec.peer_address, spec.pooler_peer_host))
    lines += [f"{address} {name}" for address, name in pairs if name and name != address]
    return "\n".join(lines) + "\n"


def render_unit(spec: Spec) -> str:
    """Return the unit of Bascule's own instance."""
    return f"""[Unit]
Description=Connection pooler of {spec.component} (Bascule)
Documentation=man:pgbouncer(1)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
User={ACCOUNT}
Group={ACCOUNT}
# The console writes times; they are read again.
Environment=TZ=UTC
RuntimeDirectory={spec.pooler_socket.removeprefix("/run/")}
RuntimeDirectoryMode=0700
BindReadOnlyPaths={spec.pooler_home}/hosts:/etc/hosts
ExecStart=/usr/sbin/pgbouncer {spec.pooler_home}/pgbouncer.ini
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=1
LimitNOFILE={max(1024, spec.pooler_max_clients + 4 * spec.pooler_pool_size + 100)}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
TimeoutStopSec=5

[Install]
WantedBy=multi-user.target
"""


def needs_restart(old: str | None, new: str) -> bool:
    """Whether RELOAD is not enough to get from one pgbouncer.ini to the other."""

    def fixed(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.split(" ")[0] in ("listen_addr", "listen_port")]

    return old is None or fixed(old) != fixed(new)


def rows(text: str) -> list[dict[str, str]]:
    """Read what the console printed as CSV with a header."""
    return [dict(row) for row in csv.DictReader(io.StringIO(text))]


def missing_include(include: str, text: str) -> bool:
    """Whether a pgbouncer.ini does not read the file of the databases."""
    return not any(line.split() == ["%include", include] for line in text.splitlines())


def holders(
    clients: Iterable[Mapping[str, str]],
    servers: Sequence[Mapping[str, str]],
    served: Sequence[str],
    activity: Mapping[int, Mapping[str, Any]],
    now: float,
) -> list[dict[str, Any]]:
    """Name who keeps a pause from ending: clients that hold a connection to the server.

    `activity` is what the server knows by process id, as far as it could be asked.
    """
    linked = {server["ptr"]: server for server in servers if server["database"] in served}
    found = []
    for client in clients:
        server = linked.pop(client["link"], None) if client["database"] in served and client["link"] else None
        if server is not None:
            found.append(_holder(client, server, activity, now))
    # A connection to the server without a client: it is being opened, or reset.
    found += [_holder({}, server, activity, now) for server in linked.values() if server["state"] != "idle"]
    return sorted(found, key=lambda one: -float(one["since_seconds"]))


def _holder(
    client: Mapping[str, str], server: Mapping[str, str], activity: Mapping[int, Mapping[str, Any]], now: float
) -> dict[str, Any]:
    pid = int(server["remote_pid"] or 0)
    known = activity.get(pid, {})
    since = known.get("since_seconds")
    if since is None:
        since = now - _moment(server["request_time"] or server["connect_time"], now)
    return {
        "user": client.get("user", server["user"]),
        "database": server["database"],
        "client": f"{client['addr']}:{client['port']}" if client else "the pooler itself",
        "application": client.get("application_name", ""),
        "since_seconds": round(max(0.0, float(since)), 1),
        "pid": pid,
        "state": str(known.get("state") or server["state"]),
    }


def _moment(text: str, now: float) -> float:
    """Read the console's time: UTC, as the unit says; another zone is the host's own."""
    day, _, zone = text.rpartition(" ")
    try:
        moment = datetime.strptime(day, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return now
    if zone == "UTC":
        return moment.replace(tzinfo=timezone.utc).timestamp()
    return moment.timestamp()


def persistent(clients: Iterable[Mapping[str, str]], seconds: float, now: float) -> list[dict[str, Any]]:
    """Name the clients that have been connected for long: they stay, rather than come for each piece of work."""
    found = [
        {
            "user": client["user"],
            "database": client["database"],
            "client": f"{client['addr']}:{client['port']}",
            "since_seconds": round(now - _moment(client["connect_time"], now), 1),
        }
        for client in clients
    ]
    return [one for one in found if float(str(one["since_seconds"])) >= seconds]


def describe_holders(found: Sequence[Mapping[str, Any]]) -> str:
    """Say who holds a pause, for a person."""
    return (
        "; ".join(
            f"{one['user']} in {one['database']} from {one['client']}, {one['state']} for {one['since_seconds']:g} s "
            f"(pid {one['pid']})"
            for one in found
        )
        or "nobody that the console names"
    )


def judge_knock(code: str, message: str) -> Answer:
    """Judge an error that came back through the pooler: it passes on what the server said."""
    if "pg_hba.conf" in message:
        return Answer("refused", "28000", message)
    if "wrong password type" in message or "password authentication failed" in message:
        return Answer("admitted", code, "the server asks the pooler for a password")
    return Answer("unclear", code, message)


def warnings(audit: Mapping[str, Any], budget: float) -> list[str]:
    """Name what may stand in the way of a pause, each with what to do about it."""
    found = []
    if audit["pool_mode"] == "session":
        found.append(
            f"pool_mode is session: a client keeps its server connection until it disconnects, {audit['linked']} do "
            "now, and PAUSE may never end; use pool_mode = transaction, or let these clients end before the switch"
        )
    if audit["persistent"] and audit["pool_mode"] != "transaction":
        names = ", ".join(f"{one['user']}@{one['client']}" for one in audit["persistent"][:5])
        found.append(f"clients that stay connected hold a server each: {names}; restart them before the switch")
    if audit["pool_mode"] != "session" and not audit["prepared_statements"]:
        found.append(
            "this PgBouncer keeps no prepared statements in transaction pooling: a client that prepares on the server "
            "fails already now; switch server-side prepare off in its driver"
        )
    wait = float(audit["query_wait_timeout"])
    if 0 < wait <= budget:
        found.append(
            f"query_wait_timeout is {wait:g} s, the switch may take {budget:g} s: waiting clients would get errors; "
            "set it above the budget (0 waits for ever)"
        )
    if float(audit["server_login_retry"]) > 1:
        found.append(
            f"server_login_retry is {audit['server_login_retry']} s: after one failed login clients get errors that "
            "long; set it to 0.2"
        )
    if audit["clients_tls"] in ("disable", "allow", "prefer"):
        found.append(f"client_tls_sslmode is {audit['clients_tls']}: clients may come in clear; set it to require")
    if not str(audit["servers_tls"]).startswith("verify-"):
        found.append(f"server_tls_sslmode is {audit['servers_tls']}: the server is not verified; set it to verify-full")
    return found


def _cidr(address: str) -> str:
    return address if "/" in address else f"{address}/{128 if ':' in address else 32}"
