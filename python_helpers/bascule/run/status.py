"""What `status` prints: where the run stands, in about ten lines that end with what is to be typed next. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .controllers import NOBODY, AtWork
from .last import NOT_ENDED, Last
from .position import Sides, standing
from .progress import OK
from .resume import Choice


def report(
    run: str,
    sides: Sequence[Sides],
    last: Last,
    copies: Mapping[str, str],
    problems: Sequence[str],
    choice: Choice,
    gone: Collection[str] = (),
    work: AtWork = NOBODY,
    users: str = "",
    lacks: Sequence[str] = (),
) -> list[str]:
    """Return about ten lines that say where the run stands.

    Args:
        run: the run id.
        sides: the components in their order.
        last: the last verb begun.
        copies: what each copy of the journal holds, or why it could not be read, by place.
        problems: what is wrong with the journal's chains.
        choice: what is to be typed next.
        gone: components whose way back a decommission has begun to remove.
        work: who is at work in the run, or has died in it.
        users: what users see, as a line.
        lacks: which copies of the journal lack entries that others hold.
    """
    standings = [standing(one, one.component in gone) for one in sides]
    width = max((len(s.component) for s in standings), default=0)
    if last.phase:
        doing = f"{last.phase}/{last.verb} of {last.component}, begun {last.time[:19]}Z by {last.controller}"
        how = {
            OK: "came through",
            "failed": "FAILED",
            NOT_ENDED: work.last_words.get((last.controller, last.decision), "NOT ENDED: interrupted or under way"),
        }
        line = f"{doing}: {how.get(last.outcome, last.outcome)}"
    else:
        line = "nothing was run yet"
    lines = [
        f"Run {run}",
        f"Last verb: {line}",
        f"Journal: {', '.join(f'{place} {what}' for place, what in copies.items())}; "
        + (f"CHAIN BROKEN: {'; '.join(problems[:3])}" if problems else "chains hold"),
    ]
    lines[2:2] = [*work.lines, *([users] if users else [])]
    lines += [f"Copies: {'; '.join(lacks)}"] if lacks else []
    carried = [f"{one.component}: {one.carried}" for one in sides if one.carried and one.component not in gone]
    lines += [f"Carried over: {'; '.join(carried)}"] if carried else []
    lines += [f"  {s.component:<{width}}  {s.words}" for s in standings]
    return [*lines, *choice.lines()]
