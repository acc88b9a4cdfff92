"""What a failure stops."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import JournalError
from bascule.run.progress import failed_components, refuse_after_failure
from bascule.run.verbs import verb

DEPENDS = {"db": [], "files": [], "guest": ["db", "files"], "entrance": ["guest"]}


def end(component: str, result: str, name: str = "check") -> dict[str, Any]:
    """Return the end of a verb."""
    return {"kind": "end", "component": component, "verb": name, "data": {"result": result}}


def test_the_last_end_counts() -> None:
    assert failed_components([end("db", "failed"), end("db", "ok"), end("files", "ok"), end("files", "failed")]) == {
        "files": "check"
    }


@pytest.mark.parametrize(
    ("component", "stopped"), [("guest", True), ("entrance", True), ("files", False), ("db", False)]
)
def test_a_failure_stops_what_depends_on_it(component: str, stopped: bool) -> None:
    entries = [end("db", "failed")]
    if not stopped:
        refuse_after_failure(component, verb("sync"), entries, DEPENDS)
        return
    with pytest.raises(JournalError, match=r"db failed in check.*was not started"):
        refuse_after_failure(component, verb("sync"), entries, DEPENDS)


@pytest.mark.parametrize("name", ["freeze", "switch", "retire"])
def test_any_failure_stops_what_closes_and_opens(name: str) -> None:
    with pytest.raises(JournalError, match="every component"):
        refuse_after_failure("db", verb(name), [end("entrance", "failed")], DEPENDS)


def test_a_component_may_try_again_after_its_own_failure() -> None:
    refuse_after_failure("db", verb("freeze"), [end("db", "failed")], DEPENDS)


def test_an_end_without_a_result_is_a_failure() -> None:
    assert failed_components([{"kind": "end", "component": "db", "verb": "sync", "data": {}}]) == {"db": "sync"}
