"""The part of pg_hba.conf that Bascule manages: a block at the top, where the first match decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OPEN = "open"
FROZEN = "frozen"
CLOSED = "closed"
# A client that is marked so stays through a freeze, until the pause inside the switch.
RIDES = "switch"
# The database at which an open side admits the replication role: pg_rewind reads there, and proofs of a fence knock.
PROBED = "postgres"


def _begin(component: str) -> str:
    return f"# BEGIN bascule {component}"


def _end(component: str) -> str:
    return f"# END bascule {component}"


def block(
    component: str,
    mode: str,
    *,
    owner: str,
    replication_user: str,
    peer: str,
    clients: Sequence[Mapping[str, str]],
    own: str = "127.0.0.1",
) -> str:
    """Return the managed block.

    In every mode the cluster's owner comes in over the local socket and the peer's standby over TLS. While open, the
    declared clients, the peer's pg_rewind and the knocks of both hosts come in over TLS, and the rest of the file stays
    in force. While frozen, only clients that ride through a switch come in; while closed, nobody else, whatever the
    rest of the file says. A knock that is refused proves a fence because the open side lets the same one in.
    """
    lines = [
        f"{_begin(component)} (managed; mode: {mode})",
        f"local   all             {owner}                                peer",
        f"hostssl replication     {replication_user}    {_cidr(peer)}    scram-sha-256",
    ]
    if mode == OPEN:
        # A peer that has diverged goes back to the fork by pg_rewind, which reads files through a database.
        lines += [
            f"hostssl {PROBED}        {replication_user}    {_cidr(address)}    scram-sha-256"
            for address in (peer, own)
        ]
    admitted = {OPEN: list(clients), FROZEN: riding(clients)}.get(mode, [])
    lines += [
        f"hostssl {client['database']}    {client['user']}    {_cidr(client['address'])}    scram-sha-256"
        for client in admitted
    ]
    if mode != OPEN:
        lines += [
            "local   all             all                                     reject",
            "host    all             all             all                     reject",
        ]
    return "\n".join([*lines, _end(component)]) + "\n"


def riding(clients: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return the clients that ride through a freeze, until the pause inside the switch."""
    return [client for client in clients if client.get("until") == RIDES]


def sessions_that_ride(clients: Sequence[Mapping[str, str]]) -> str:
    """Return a condition on pg_stat_activity that is true for the sessions of clients that ride."""
    terms = []
    for client in riding(clients):
        term = f"(datname = {_literal(client['database'])} AND usename = {_literal(client['user'])}"
        if client["address"] != "all":
            term += f" AND client_addr <<= {_literal(_cidr(client['address']))}::inet"
        terms.append(term + ")")
    return " OR ".join(terms) or "false"


def replace(text: str, component: str, new: str) -> str:
    """Return the file's text with the component's block replaced, at the top."""
    return new + without(text, component)


def without(text: str, component: str) -> str:
    """Return the file's text without the component's block."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines(keepends=True):
        if line.startswith(_begin(component) + " ") or line.rstrip() == _begin(component):
            inside = True
        if not inside:
            kept.append(line)
        if inside and line.rstrip() == _end(component):
            inside = False
    return "".join(kept)


def mode_of(text: str, component: str) -> str | None:
    """Return the mode of the component's block, or None when there is none."""
    for line in text.splitlines():
        if line.startswith(_begin(component) + " ") and "mode: " in line:
            return line.split("mode: ", 1)[1].rstrip(") ")
    return None


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _cidr(address: str) -> str:
    if "/" in address or address == "all":
        return address
    return f"{address}/{128 if ':' in address else 32}"
