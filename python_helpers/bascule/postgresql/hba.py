"""The parts of pg_hba.conf that Bascule manages: a block at the top, and one at the end while a side is open."""

from __future__ import annotations

import ipaddress
import shlex
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
    owner_comes_in: bool = False,
) -> str:
    """Return the managed block at the top, where the first match decides.

    In every mode the cluster's owner comes in over the local socket and the peer's standby over TLS. While open, so do
    the peer's pg_rewind and the knocks of both hosts, and nothing else is said before the rest of the file: who comes
    in by that goes on as before. While frozen, only clients that ride through a switch come in; while closed, nobody
    else, whatever the rest says. A knock that is refused proves a fence because the open side lets the same one in.
    """
    lines = [f"{_begin(component)} (managed; mode: {mode})"]
    if mode != OPEN or not owner_comes_in:
        lines.append(_owner(owner))
    lines.append(_standby(replication_user, peer))
    if mode == OPEN:
        # A peer that has diverged goes back to the fork by pg_rewind, which reads files through a database.
        lines += [
            f"hostssl {PROBED}        {replication_user}    {_cidr(address)}    scram-sha-256"
            for address in (peer, own)
        ]
    if mode == FROZEN:
        lines += [_admit(client) for client in riding(clients)]
    if mode != OPEN:
        lines += [
            "local   all             all                                     reject",
            "host    all             all             all                     reject",
        ]
    return "\n".join([*lines, _end(component)]) + "\n"


def for_scratch(owner: str, replication_user: str = "", peer: str = "") -> str:
    """Return the whole file of a server that is made for a trial: its owner comes in, and the peer's standby if given.

    The line of the standby is the one of every mode, so that what a trial shows holds for a return.
    """
    lines = [_owner(owner), *([_standby(replication_user, peer)] if replication_user else [])]
    return "\n".join(lines) + "\n"


def _owner(owner: str) -> str:
    return f"local   all             {owner}                                peer"


def _standby(replication_user: str, peer: str) -> str:
    return f"hostssl replication     {replication_user}    {_cidr(peer)}    scram-sha-256"


def admitted(component: str, clients: Sequence[Mapping[str, str]]) -> str:
    """Return the managed block at the end of an open side's file: declared clients of whom the rest says nothing."""
    if not clients:
        return ""
    lines = [f"{_begin(component)} (managed; clients)", *(_admit(client) for client in clients), _end(component)]
    return "\n".join(lines) + "\n"


def _admit(client: Mapping[str, str]) -> str:
    method = client.get("method") or "scram-sha-256"
    return f"hostssl {client['database']}    {client['user']}    {_cidr(client['address'])}    {method}"


def lets_in(rest: str, owner: str) -> bool:
    """Whether the rest of the file lets the cluster's owner into every database over the local socket."""
    for words in _rules(rest):
        if words[0].startswith("include") or words == ["?"]:
            return False
        if words[0] != "local" or len(words) < 4 or words[1] == "replication":
            continue
        users = words[2].split(",")
        if not any(user in ("all", owner) or user[0] in "+@/" for user in users):
            continue
        if words[3] not in ("peer", "trust") or any(word.startswith("map=") for word in words[4:]):
            return False
        if words[1] == "all" and {"all", owner} & set(users):
            return True
    return False


def shut_out(rest: str, clients: Sequence[Mapping[str, str]]) -> list[str]:
    """Name the declared clients that a rule of the rest rejects before their own is reached."""
    found = []
    for client in clients:
        for words in _rules(rest):
            if words[0] in ("host", "hostssl") and _meets(words, client):
                # An address may be followed by a mask of its own.
                if "reject" in words[4:6]:
                    found.append(
                        f"{client['user']} in {client['database']} from {client['address']}: {' '.join(words)}"
                    )
                break
    return found


def _rules(text: str) -> list[list[str]]:
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True)
        lexer.quotes, lexer.escape, lexer.commenters, lexer.whitespace_split = '"', "", "#", True
        try:
            words = list(lexer)
        except ValueError:
            words = ["?"]
        found += [words] if words else []
    return found


def _meets(words: Sequence[str], client: Mapping[str, str]) -> bool:
    if len(words) < 5:
        return False
    databases, users = words[1].split(","), words[2].split(",")
    return (
        bool({"all", client["database"]} & set(databases))
        and bool({"all", client["user"]} & set(users))
        and _overlap(words, client["address"])
    )


def _overlap(words: Sequence[str], address: str) -> bool:
    if words[3] == "all" or address == "all":
        return True
    try:
        mask = words[4] if words[4][0].isdigit() else ""
        rule = ipaddress.ip_network(f"{words[3]}/{mask}" if mask else _cidr(words[3]), strict=False)
        own = ipaddress.ip_network(_cidr(address), strict=False)
    except ValueError:
        # A name: whom it means, only the server knows.
        return False
    return rule.version == own.version and rule.overlaps(own)


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


def managed(
    text: str,
    component: str,
    mode: str,
    *,
    owner: str,
    replication_user: str,
    peer: str,
    clients: Sequence[Mapping[str, str]],
    own: str = "127.0.0.1",
) -> str:
    """Return the file's text as it has to be in a mode; what is not Bascule's stays as it is."""
    rest = without(text, component)
    top = block(
        component,
        mode,
        owner=owner,
        replication_user=replication_user,
        peer=peer,
        clients=clients,
        own=own,
        owner_comes_in=lets_in(rest, owner),
    )
    bottom = admitted(component, clients) if mode == OPEN else ""
    newline = "\n" if bottom and rest and not rest.endswith("\n") else ""
    return top + rest + newline + bottom


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
