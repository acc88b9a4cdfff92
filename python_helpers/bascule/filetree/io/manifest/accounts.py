"""What owners are called at this side, and which numbers names have here.

An owner is told as text in JSON: a number, or the name as a string. Which of the two is the choice of the plan
(`numbers` or `names`); with names, a number that has none here stays a number, and root is always 0, as for rsync.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
from collections.abc import Callable, Iterable
from typing import Optional

from ....errors import BasculeError
from ...manifest import printable, quoted, unescape
from ...transfer import NAMES, NUMBERS

ROOT = 0


class AccountUnknown(BasculeError):
    """A name that owns something does not exist here."""


class Told(dict[int, str]):
    """How numbers are told; each is looked up once."""

    def __init__(self, look_up: Optional[Callable[[int], Optional[str]]]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, number: int) -> str:
        name = self._look_up(number) if self._look_up and number != ROOT else None
        text = quoted(os.fsencode(name)) if name else str(number)
        self[number] = text
        return text


class Accounts:
    """The users and groups of this side."""

    def __init__(self, owners: str = NUMBERS) -> None:
        self.named = owners == NAMES
        self.users = Told(_user_name if self.named else None)
        self.groups = Told(_group_name if self.named else None)


def user_number(text: str) -> int:
    """Return the number here of a user as the other side tells it."""
    return _number("user", text, _user_number)


def group_number(text: str) -> int:
    """Return the number here of a group as the other side tells it."""
    return _number("group", text, _group_number)


def unmatched(users: Iterable[str], groups: Iterable[str], side: str) -> list[str]:
    """Return which of the other side's owners would be somebody else here, or nobody.

    A name has to have a number here that is called the same, and a number without a name there must have none here:
    else what rsync writes is not what a comparison by names finds.
    """
    found = []
    for kind, texts, number_of, name_of in (
        ("user", users, _user_number, _user_name),
        ("group", groups, _group_number, _group_name),
    ):
        for text in sorted(texts):
            owner = json.loads(text)
            if isinstance(owner, int):
                name = name_of(owner) if owner != ROOT else None
                if name:
                    found.append(f"{kind} {owner} is called {_shown(name)} at {side}, but nothing at the other side")
                continue
            name = os.fsdecode(unescape(owner))
            number = number_of(name)
            called = None if number is None else name_of(number)
            if number is None:
                found.append(f"{kind} {_shown(name)} does not exist at {side}")
            elif number == ROOT or called != name:
                found.append(f"{kind} {_shown(name)} has the number {number} at {side}, that of {_shown(called or '')}")
    return found


def _number(kind: str, text: str, look_up: Callable[[str], Optional[int]]) -> int:
    owner = json.loads(text)
    number = owner if isinstance(owner, int) else look_up(os.fsdecode(unescape(owner)))
    if number is None:
        raise AccountUnknown(
            expected=f"the {kind} {owner} at this side, as it owns something in the tree",
            found=f"no such {kind}",
            state="the passive side may be partly updated",
            next_command=f"make the {kind} there, then run the same playbook again",
        )
    return number


def _shown(name: str) -> str:
    return printable(os.fsencode(name))


def _user_name(number: int) -> Optional[str]:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return None


def _group_name(number: int) -> Optional[str]:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


def _user_number(name: str) -> Optional[int]:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _group_number(name: str) -> Optional[int]:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
