"""What a verb has to do to a file tree, for task files: the decisions themselves are in bascule.files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from bascule.errors import BasculeError
from bascule.filetree import audit, decisions
from bascule.guard.state import GuardState

_VERBS = {"sync": decisions.sync, "switch": decisions.switch, "verify": decisions.verify}


def bascule_files_decide(source: Mapping[str, Any], verb: str, target: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a verb has to do, from the guards of the side we come from and the one we move to."""
    try:
        return _VERBS[verb](GuardState.from_dict(source), GuardState.from_dict(target)).to_dict()
    except BasculeError as error:
        raise AnsibleFilterError(error.message()) from error


def bascule_files_faults(
    source: Mapping[str, Any],
    target: Mapping[str, Any],
    room_percent: float,
    clock_difference: float,
    clock_limit: float,
) -> list[str]:
    """Return why a tree cannot move, from the states of both sides."""
    names = [str(one["guard"]["side"]) for one in (source, target)]
    return audit.faults(
        names[0],
        source,
        names[1],
        target,
        room_percent=float(room_percent),
        clock_difference=float(clock_difference),
        clock_limit=float(clock_limit),
    )


def bascule_files_notes(source: Mapping[str, Any]) -> list[str]:
    """Return what a freeze would meet at the side we come from, from its state."""
    return audit.notes(str(source["guard"]["side"]), source)


def bascule_files_left_out(survey: Mapping[str, Any]) -> dict[str, str]:
    """Return what no manifest compares, by name, each with the reason."""
    return audit.left_out(survey)


def bascule_files_fences(source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, str]:
    """Return what the fences of both sides do not prove, from their states."""
    return audit.fences(source, target)


def bascule_files_apart(survey: Mapping[str, Any]) -> list[str]:
    """Return what lies in a tree and was not entered."""
    return audit.apart(survey)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them by name."""
        return {
            "bascule_files_apart": bascule_files_apart,
            "bascule_files_decide": bascule_files_decide,
            "bascule_files_faults": bascule_files_faults,
            "bascule_files_fences": bascule_files_fences,
            "bascule_files_left_out": bascule_files_left_out,
            "bascule_files_notes": bascule_files_notes,
        }
