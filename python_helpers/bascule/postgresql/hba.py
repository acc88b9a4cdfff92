"""The part of pg_hba.conf that Bascule manages: a block at the top, where the first match decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OPEN = "open"
CLOSED = "closed"


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
) -> str:
    """Return the managed block.

    In both modes the cluster's owner comes in over the local socket and the peer's standby over TLS. While open, the
    declared clients come in over TLS, and the rest of the file stays in force; while closed, everyone else is
    rejected, whatever the rest of the file says.
    """
    lines = [
        f"{_begin(component)} (managed; mode: {mode})",
        f"local   all             {owner}                                peer",
        f"hostssl replication     {replication_user}    {_cidr(peer)}    scram-sha-256",
    ]
    if mode == OPEN:
        lines += [
            f"hostssl {client['database']}    {client['user']}    {_cidr(client['address'])}    scram-sha-256"
            for client in clients
        ]
    else:
        lines += [
            "local   all             all                                     reject",
            "host    all             all             all                     reject",
        ]
    return "\n".join([*lines, _end(component)]) + "\n"


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


def _cidr(address: str) -> str:
    if "/" in address or address == "all":
        return address
    return f"{address}/{128 if ':' in address else 32}"
