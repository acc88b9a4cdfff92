"""What is next and the text of `status`, as the playbook makes them, from states that a test has built."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bascule.run import position, resume, status
from bascule.run.controllers import NOBODY, AtWork
from bascule.run.last import Last
from bascule.run.position import Sides, Standing


def following(standings: Sequence[Standing], last: Last, *names: str, **more: Any) -> str:
    """Return what is next and, behind it, what may be typed in its place."""
    choice = resume.choose(standings, last, (names[0], names[1]), **more)
    return "; ".join(text for text in (choice.line, choice.instead) if text)


def told(
    run: str,
    sides: Sequence[Sides],
    last: Last,
    copies: Mapping[str, str],
    problems: Sequence[str],
    names: tuple[str, str],
    gone: Collection[str] = (),
    silent: bool = False,
    work: AtWork = NOBODY,
    users: str = "",
    lacks: Sequence[str] = (),
    waiting: Collection[str] = (),
) -> list[str]:
    """Return the lines that `status` prints."""
    standings = [position.standing(one, one.component in gone) for one in sides]
    choice = resume.choose(standings, last, names, gone, silent, waiting, work)
    return status.report(run, sides, last, copies, problems, choice, gone, work, users, lacks)
