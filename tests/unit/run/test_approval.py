"""GO wants the name of the site that the playbook leads to."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import PlanError
from bascule.run.approval import confirm, destination, give_up, given_up, preview

PLAN = {
    "plan_source_site": "mtp",
    "plan_target_site": "tls",
    "plan_sites": {"mtp": {"name": "montpellier"}, "tls": {"name": "toulouse"}},
}


@pytest.mark.parametrize(("direction", "name"), [("forward", "toulouse"), ("back", "montpellier")])
def test_the_name_of_the_destination_is_accepted(direction: str, name: str) -> None:
    assert destination(PLAN, direction) == name
    assert confirm(PLAN, direction, "cutover", name) == name


@pytest.mark.parametrize(
    "typed", ["", "  ", "yes", "montpellier", "toulouse!", "tls", "Toulouse", " toulouse", "toulouse "]
)
def test_anything_else_is_no_go(typed: str) -> None:
    with pytest.raises(PlanError) as caught:
        confirm(PLAN, "forward", "cutover", typed)
    assert "toulouse" in caught.value.expected
    assert caught.value.state == "NO-GO: nothing was changed"
    assert "confirm=toulouse" in caught.value.next_command


@pytest.mark.parametrize(
    "plan",
    [{}, {**PLAN, "plan_sites": {}}, {**PLAN, "plan_sites": {"tls": {"name": " "}}}, {**PLAN, "plan_target_site": "x"}],
)
def test_a_plan_without_the_name_is_refused(plan: dict[str, object]) -> None:
    with pytest.raises(PlanError, match="plan_target_site"):
        confirm(plan, "forward", "cutover", "toulouse")


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(PlanError, match="direction"):
        destination(PLAN, "sideways")


def test_what_a_go_gives_up_is_said_by_the_components_themselves() -> None:
    components: dict[str, dict[str, Any]] = {
        "accounts_db": {},
        "board_guest": {"component_go_note": "local writes are dropped\n"},
        "names": {"component_go_note": None},
    }
    assert given_up(components) == ["board_guest: local writes are dropped"]


@pytest.mark.parametrize(("site", "direction"), [(" Montpellier", "forward"), ("toulouse", "back")])
def test_a_site_is_given_up_by_name(site: str, direction: str) -> None:
    given = give_up(PLAN, site, " Nadia ", " power cut at the PDU")
    assert given == {
        "site": site.strip().lower(),
        "by": "Nadia",
        "fenced": "power cut at the PDU",
        "direction": direction,
    }


@pytest.mark.parametrize(
    ("site", "by", "fenced", "words"),
    [
        ("", "Nadia", "power cut", r"\(montpellier, toulouse\); found: nothing"),
        ("lyon", "Nadia", "power cut", "found: 'lyon'"),
        ("toulouse", " ", "power cut", "-e by="),
        ("toulouse", "Nadia", "", "nothing at toulouse accepts writes"),
    ],
)
def test_a_site_is_given_up_only_by_somebody_who_has_fenced_it(site: str, by: str, fenced: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        give_up(PLAN, site, by, fenced)


def test_what_takes_part_and_what_does_not_is_said_before_the_answer() -> None:
    told = preview("cutover", "toulouse", ["db", "guest"], ["names"], ["guest: local writes are dropped"], False)
    assert told == [
        "cutover: the active site afterwards is toulouse",
        "take part: db, guest",
        "left out by --limit: names",
        "GO includes: guest: local writes are dropped",
    ]
    assert preview("cutover", "toulouse", ["db"], [], ["guest: local writes are dropped"], True) == [
        "cutover: the active site afterwards would be toulouse",
        "would take part: db",
        "GO would include: guest: local writes are dropped",
    ]
