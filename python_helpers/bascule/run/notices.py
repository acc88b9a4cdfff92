"""What is told to people, and to whom. Pure.

An address of theirs is a secret: it may hold a password, and stands in no text that is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .monitor import WITHIN, Judged
from .people import ROLES


@dataclass(frozen=True)
class Notice:
    """A text for who is on duty in a role."""

    role: str
    title: str
    body: str


def problems(declared: Any) -> list[str]:
    """Name what cannot be right in `notice_urls`, without an address; nothing where none is declared."""
    if declared is None:
        return []
    if not isinstance(declared, Mapping):
        return ["it is no table of addresses by role"]
    found = [f"{role}: no role; there are {', '.join(ROLES)}" for role in declared if role not in ROLES]
    return found + [
        f"{role}: no list of addresses"
        for role, urls in declared.items()
        if not isinstance(urls, list) or not urls or not all(isinstance(one, str) and "://" in one for one in urls)
    ]


def of_alarms(plan: str, run: str, judged: Iterable[Judged], people: Mapping[str, str], page: str) -> list[Notice]:
    """Return a notice for each role that a series calls, in English and French; what was measured stays as it is."""
    by_role: dict[str, list[Judged]] = {}
    for one in judged:
        if one.verdict != WITHIN:
            by_role.setdefault(one.call, []).append(one)
    return [
        Notice(
            role,
            f"Bascule {plan}: {len(wrong)} / {role}",
            f"{people.get(role, role)},\n"
            f"monitoring of {plan} (run {run}) calls you: {_lines(wrong)}\nPage: {page}\n\n"
            f"la surveillance de {plan} (exécution {run}) vous appelle : voir les lignes ci-dessus.\nPage : {page}\n",
        )
        for role, wrong in by_role.items()
    ]


def addressed(notices: Iterable[Notice], urls: Mapping[str, Sequence[str]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what the notifier is given, and the roles that reach nobody: those without an address go to the lead."""
    given, silent = [], []
    for one in notices:
        where = urls.get(one.role) or urls.get("lead")
        if where:
            given.append({"role": one.role, "urls": list(where), "title": one.title, "body": one.body})
        else:
            silent.append(one.role)
    return given, silent


def _lines(wrong: Iterable[Judged]) -> str:
    return "".join(f"\n- {one.series.key}: {one.verdict}: {one.reason}" for one in wrong)
