"""What is told to people, and to whom. Pure.

An address of theirs is a secret: it may hold a password, and stands in no text that is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import chain, occasions
from .monitor import WITHIN, Judged
from .people import ROLES

# What the journal's entries about them are called.
EVENT = "notices"
# In which languages a text can be had, all of them where the inventory does not say (`notice_languages`).
LANGUAGES = ("en", "fr")
# A text of the site's own, in its folder (`notice_templates`): begun.fr.j2.
SUFFIX = ".j2"


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


def further_problems(declared: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name by variable what cannot be right in `notice_languages`, `notice_roles` and `notice_templates`."""
    found = []
    languages, roles, folder = (declared.get(f"notice_{name}") for name in ("languages", "roles", "templates"))
    if languages is not None and not (
        isinstance(languages, list) and languages and all(one in LANGUAGES for one in languages)
    ):
        found.append(("notice_languages", f"no list out of {', '.join(LANGUAGES)}: {languages!r}"))
    if roles is not None and not isinstance(roles, Mapping):
        found.append(("notice_roles", f"no table of roles by moment: {roles!r}"))
    for moment, told in roles.items() if isinstance(roles, Mapping) else ():
        if moment not in occasions.MOMENTS:
            found.append(("notice_roles", f"{moment}: no moment; there are {', '.join(occasions.MOMENTS)}"))
        elif not isinstance(told, list) or not all(one in ROLES for one in told):
            found.append(("notice_roles", f"{moment}: no list out of {', '.join(ROLES)}: {told!r}"))
    if folder is not None and not (isinstance(folder, str) and folder.strip()):
        found.append(("notice_templates", f"no folder: {folder!r}"))
    return found


def strangers(names: Iterable[str]) -> list[str]:
    """Return which files of a site's folder are the text of no moment in no language."""
    known = {f"{moment}.{lang}{SUFFIX}" for moment in occasions.MOMENTS for lang in LANGUAGES}
    return sorted(set(names) - known)


def told(moment: str, declared: Any) -> list[str]:
    """Return the roles that are told of a moment: those of a right `notice_roles`, else the usual ones."""
    table = declared if isinstance(declared, Mapping) else {}
    return [str(one) for one in table.get(moment, occasions.TOLD[moment])]


def each_once(given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what the notifier is given, where nobody is told the same twice: an address stands at its first role."""
    seen: set[str] = set()
    found = []
    for one in given:
        urls = [url for url in dict.fromkeys(one["urls"]) if url not in seen]
        seen |= set(urls)
        if urls:
            found.append({**one, "urls": urls})
    return found


def not_told(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the journal says of those of a window who were not told, the latest last, each once."""
    found: dict[str, None] = {}
    for entry in chain.in_order(entries):
        data = entry["data"] or {}
        if entry["kind"] == "state" and data.get("event") == EVENT and "sent" in data:
            found |= dict.fromkeys(str(one) for one in data.get("failed") or ())
    return list(found)


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
