"""What this decision's own journal says about its components: done, failed, or under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import JournalError
from .components import upstream
from .verbs import Verb

OK = "ok"
FAILED = "failed"


def failed_components(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the components whose last verb failed, with the verb.

    The entries are those of one decision in their order. The callback writes the failed end of a verb at once.
    """
    last: dict[str, tuple[str, str]] = {}
    for entry in entries:
        if entry["kind"] == "end":
            last[str(entry["component"])] = (str(entry["data"].get("result")), str(entry["verb"]))
    return {component: verb for component, (result, verb) in last.items() if result != OK}


def refuse_after_failure(
    component: str, verb: Verb, entries: Iterable[Mapping[str, Any]], depends_on: Mapping[str, Iterable[str]]
) -> None:
    """Refuse the verb when something it rests on has failed in this decision."""
    failed = failed_components(entries)
    failed.pop(component, None)
    reasons = (
        failed if verb.stopped_by_any else {n: v for n, v in failed.items() if n in upstream(component, depends_on)}
    )
    if reasons:
        refuse(
            component,
            verb.name,
            reasons,
            "every component" if verb.stopped_by_any else f"all that {component} depends on",
        )


def refuse(component: str, verb: str, failed: Mapping[str, str], who: str) -> None:
    """Refuse a verb because of what has failed, and in which verb; `who` should have come through.

    Raises:
        JournalError: always.
    """
    raise JournalError(
        expected=f"{who} to have come through before {verb}",
        found=", ".join(f"{name} failed in {failed_verb}" for name, failed_verb in sorted(failed.items())),
        state=f"{verb} of {component} was not started",
        next_command="ansible-playbook playbooks/status.yml",
    )
