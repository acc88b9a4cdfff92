"""A checklist before, during and after a move, filled by its run. Pure.

An item is measured, confirmed by a person's name, or not applicable with a reason. What a run measures, nobody ticks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import PlanError
from .judge import leg_reasons
from .record import real
from .references import Entry, name

TIMES = ("before", "during", "after")
MEASURES = frozenset({"gate", "verb", "proved", "figure", "decision"})
YES, NO, UNMEASURED, CONFIRMED, OPEN, NOT_APPLICABLE = "yes", "no", "unmeasured", "confirmed", "open", "not_applicable"
STATES = (YES, NO, UNMEASURED, CONFIRMED, OPEN, NOT_APPLICABLE)
_KEYS = frozenset({"id", "when", "roles", "fr", "en", *MEASURES})
# A state, and the lines of the journal that it rests on.
_Seen = tuple[str, Sequence[str]]


def filled(
    items: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Mapping[str, str]],
    summary: Mapping[str, Any],
    entries: Iterable[Entry],
) -> list[dict[str, Any]]:
    """Return each item with its `state`, what a person has `said`, and the lines of the `journal` that it rests on.

    Args:
        items: the checklist, as its file has it.
        answers: what persons have said, by item: `by`, or `not_applicable` with the reason.
        summary: the summary of the run, with its record.
        entries: the journal of the run.

    Raises:
        PlanError: an item means nothing, or an answer ticks what is measured, or no item.
    """
    known = real(entries)
    roles = {
        str(e["component"]): str(e["data"]["role"]) for e in known if e["kind"] == "begin" and e["data"].get("role")
    }
    _must_be_right(items, answers)
    found = []
    for item in items:
        said = dict(answers.get(item["id"]) or {})
        measured = MEASURES & set(item)
        state, lines = _measured(item, summary, known, roles) if measured else (OPEN, ())
        if said.get("by"):
            state = CONFIRMED
        elif said.get("not_applicable") and state in (OPEN, UNMEASURED):
            state = NOT_APPLICABLE
        found.append({**item, "state": state, "said": said, "measured": bool(measured), "journal": list(lines)})
    return found


def _must_be_right(items: Sequence[Mapping[str, Any]], answers: Mapping[str, Mapping[str, str]]) -> None:
    wrong = [
        f"item {item.get('id')!r}"
        for item in items
        if set(item) - _KEYS or item.get("when") not in TIMES or not {"id", "fr", "en"} <= set(item)
    ]
    by_id = {item.get("id"): item for item in items}
    for one, said in answers.items():
        if one not in by_id or set(said) not in ({"by"}, {"not_applicable"}) or not all(map(str.strip, said.values())):
            wrong.append(f"answer {one!r}")
        elif "by" in said and MEASURES & set(by_id[one]):
            wrong.append(f"answer {one!r}, which the run measures")
    if wrong:
        raise PlanError(
            expected="items with id, when, fr, en; answers by: NAME, of what no run measures, or not_applicable: WHY",
            found=", ".join(wrong),
            state="no checklist was made",
        )


def _measured(
    item: Mapping[str, Any], summary: Mapping[str, Any], known: Sequence[Entry], roles: Mapping[str, str]
) -> _Seen:
    wanted = item.get("roles")
    if gate := item.get("gate"):
        last = {e["component"]: e for e in known if e["kind"] == "sample" and e["data"].get("name") == gate}
        return _state([bool(e["data"].get("go")) for e in last.values()]), [name(e) for e in last.values()]
    if decision := item.get("decision"):
        made = [e for e in known if e["kind"] == "decision" and e["data"].get("decision") == decision]
        return YES if made else UNMEASURED, [name(e) for e in made[-1:]]
    if figure := item.get("figure"):
        leg = summary.get("forward") or {}
        wrong = [one for one in leg_reasons("forward", leg, summary["limits"]) if one.figure == figure]
        over = (leg.get(figure) or 0) > summary["limits"].get(figure, float("inf"))
        return UNMEASURED if leg.get(figure) is None else NO if wrong or over else YES, ()
    if item.get("proved"):
        lines = [one for one in summary["record"]["tests"] if roles.get(one["with"].get("component")) in item["proved"]]
        lines = [one for one in lines if one["say"] in ("proved", "unproved", "unseen")]
        seen = [one["say"] == "proved" for one in lines if one["say"] != "unseen"]
        state = UNMEASURED if len(seen) < len(lines) and all(seen) else _state(seen)
        return state, [line for one in lines for line in one["journal"]]
    phase, verb = item["verb"]
    lines = [
        one
        for one in summary["record"]["steps"]
        if (one["with"].get("phase"), one["with"].get("verb")) == (phase, verb)
    ]
    through = {
        component: one["say"] == "done"
        for one in lines
        for component in one["with"]["names"].split(", ")
        if not wanted or roles.get(component) in wanted
    }
    ends = {e["component"]: e for e in known if (e["phase"], e["verb"], e["kind"]) == (phase, verb, "end")}
    return _state(list(through.values())), [name(ends[one]) for one in through if one in ends]


def _state(seen: Sequence[bool]) -> str:
    return UNMEASURED if not seen else YES if all(seen) else NO
