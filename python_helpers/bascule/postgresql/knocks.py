"""As whom a fence is tried, and what the answers prove: the refusal of somebody whom the open side has let in.

PostgreSQL answers "no pg_hba.conf entry" with the same SQLSTATE as "pg_hba.conf rejects": from an address that no rule
names, an open side refuses just as a closed one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import hba
from .spec import Spec
from .wire import REPLICATION, Answer

# How many accounts of declared clients are tried beside the prober's: each knock is a line in the server's log.
ACCOUNTS = 4
# The databases of pg_hba.conf that are no names of databases.
_NO_DATABASE = ("all", "sameuser", "samerole", "samegroup", REPLICATION)


class Knock(NamedTuple):
    """One account that asks to come in, and where."""

    user: str
    database: str
    address: str
    port: int


def own_address(spec: Spec) -> str:
    """Return the address at which the host itself reaches its server."""
    listens = [one.strip() for one in spec.listen.split(",") if one.strip()]
    named = [one for one in listens if one[:1].isdigit() and not one.startswith(("0.", "127."))]
    return named[0] if listens and listens == named else "127.0.0.1"


def own(spec: Spec) -> Knock:
    """Return the knock of the host itself: an open side's block admits it, a frozen or closed one's does not."""
    return Knock(spec.replication_user, hba.PROBED, own_address(spec), spec.port)


def outside(spec: Spec, *, frozen: bool = False) -> list[Knock]:
    """Return the knocks at the other side, the prober's first; nobody who rides through a freeze at a frozen one."""
    riders = {(client["database"], client["user"]) for client in hba.riding(spec.peer_clients)}
    accounts = [(spec.replication_user, hba.PROBED)]
    for client in [*hba.riding(spec.peer_clients), *spec.peer_clients]:
        user, database = client["user"].split(",")[0], client["database"].split(",")[0]
        named = user != "all" and user[:1] not in ("+", "/") and database not in _NO_DATABASE and database[:1] != "/"
        rides = frozen and (client["database"], client["user"]) in riders
        if named and not rides and (user, database) not in accounts:
            accounts.append((user, database))
    return [Knock(user, database, spec.peer_address, spec.peer_port) for user, database in accounts[: ACCOUNTS + 1]]


def replication(spec: Spec) -> Knock:
    """Return the knock that the other side's block admits in every mode: whether its server hears this host at all."""
    return Knock(spec.replication_user, REPLICATION, spec.peer_address, spec.peer_port)


def remembered(record: Any, since: str) -> dict[Knock, str]:
    """Read who was let in, and when; what was seen before this side's last receipt is about another time."""
    if not isinstance(record, Mapping) or record.get("since") != since:
        return {}
    return {
        Knock(str(one["user"]), str(one["database"]), str(one["address"]), int(one["port"])): str(one["at"])
        for one in record.get("let_in") or []
    }


def to_record(since: str, seen: Mapping[Knock, str]) -> dict[str, Any]:
    """Return what is kept on the host."""
    return {"since": since, "let_in": [{**knock._asdict(), "at": at} for knock, at in sorted(seen.items())]}


def verdict(answers: Iterable[tuple[Knock, Answer]], seen: Mapping[Knock, str], codes: Sequence[str]) -> Answer:
    """Judge a round of knocks: refused only when everybody who was let in before is refused, and somebody was."""
    proofs: list[Answer] = []
    for knock, answer in answers:
        if answer.kind == "admitted":
            return Answer("admitted", answer.code, f"{knock.user} at {knock.database}: {answer.text}")
        if knock not in seen:
            continue
        if not answer.is_refusal or answer.code not in codes:
            return Answer("unclear" if answer.is_refusal else answer.kind, answer.code, answer.text)
        proofs.append(Answer("refused", answer.code, f"{answer.text} ({knock.user} was let in at {seen[knock]})"))
    return proofs[0] if proofs else Answer("unclear", "", "nobody who knocks from here was ever let in")
