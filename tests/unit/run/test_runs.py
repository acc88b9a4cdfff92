"""Which run goes on: the real one, of this plan, however little this controller has seen of it."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.run import runs
from bascule.run.runs import Choice, Run

EARLY, LATE, LATEST = (f"2026-11-21T2{hour}:00:00.000+00:00" for hour in range(3))
HERE = Run("here", "toy", LATE, "a")


def start(run: str, time: str = LATE, **data: Any) -> dict[str, Any]:
    """Return the entry that begins a chain."""
    data = {"event": "start", "check_mode": False, "plan": "toy", **data}
    return {"run": run, "time": time, "kind": "state", "controller": "a", "data": data}


@pytest.mark.parametrize(
    ("local", "at_sites", "name", "said"),
    [
        (None, [], "", ""),
        (HERE, [], "here", ""),
        (HERE, [HERE], "here", ""),
        (
            None,
            [HERE],
            "here",
            "going on with run here, which the sites hold: begun or joined last 2026-11-21T21:00:00Z",
        ),
        (None, [Run("lab", "lab", LATEST)], "", ""),
        (Run("lab", "lab", LATEST), [], "", ""),
        (Run("lab", "lab", LATEST), [HERE, Run("lab", "lab", LATEST)], "here", "going on with run here"),
        (Run("tried", "toy"), [HERE], "here", "going on with run here"),
        (Run("old", "toy", EARLY), [HERE], "here", "going on with run here"),
        (HERE, [Run("old", "toy", EARLY)], "here", ""),
        (
            HERE,
            [HERE, Run("more", "toy", LATEST, "b")],
            "here",
            "ANOTHER RUN OF THIS PLAN IS NEWER: more, begun or joined",
        ),
        (HERE, [Run("early", "toy", EARLY), HERE], "here", ""),
        (HERE, [HERE, Run("lab", "lab", LATEST)], "here", ""),
        (None, [Run("early", "toy", EARLY), Run("late", "toy", LATE)], "late", "going on with run late"),
    ],
)
def test_the_run_to_go_on_with(local: Run | None, at_sites: list[Run], name: str, said: str) -> None:
    choice = runs.choose("toy", local, at_sites)
    assert choice.name == name
    assert choice.said.startswith(said)
    assert bool(choice.said) == bool(said)


def test_a_run_is_of_the_plan_that_its_first_chain_names() -> None:
    found = runs.describe(
        [start("r", LATE, plan="other"), start("r", EARLY), start("20261120-200000-my-plan", plan="")]
    )
    assert [(run.name, run.plan) for run in found] == [("20261120-200000-my-plan", "my-plan"), ("r", "toy")]
    assert runs.of_plan(found[0], "my plan")
    assert not runs.of_plan(found[0], "plan")
    assert runs.choose("x", runs.describe_name("unheard_of"), []) == Choice(), "nothing says that it is of this plan"


def test_dry_decisions_do_not_make_a_run_newer() -> None:
    (run,) = runs.describe([start("r", EARLY), start("r", LATE, check_mode=True)])
    assert run.last == EARLY
    (tried,) = runs.describe([start("r", LATE, check_mode=True)])
    assert (tried.last, tried.plan) == ("", "toy")


def test_only_starts_with_a_name_that_can_be_a_directory_count() -> None:
    odd = [start("../r"), {**start("r"), "kind": "begin"}, start("r", event="other")]
    assert runs.starts([*odd, start("r")]) == [start("r")]


AUDITED = Run("mine", "toy", EARLY, "a")


def test_a_run_that_lies_here_alone_is_named_when_another_one_is_gone_on_with() -> None:
    said = runs.choose("toy", AUDITED, [HERE]).said
    assert said.endswith(
        "; run mine, begun or joined last 2026-11-21T20:00:00Z by a, lies here alone and no site holds it: what it has "
        "measured does not count in another run, so audit again; BASCULE_RUN=mine shows what it was"
    )
    assert "lies here alone" not in runs.choose("toy", Run("tried", "toy"), [HERE]).said, "nothing was measured"
    assert "lies here alone" not in runs.choose("toy", AUDITED, [AUDITED, HERE]).said


@pytest.mark.parametrize(
    ("here", "at_sites", "named"),
    [
        ([AUDITED], [HERE], "run mine, "),
        ([AUDITED, Run("more", "toy", LATE, "a")], [HERE], "run more (and 1 more), "),
        ([AUDITED], [], ""),
        ([AUDITED], [Run("lab", "lab", LATEST)], ""),
        ([AUDITED], [HERE, AUDITED], ""),
        ([Run("tried", "toy"), Run("lab", "lab", LATE)], [HERE], ""),
    ],
)
def test_audits_that_no_site_holds_are_named_beside_a_run_of_the_sites(
    here: list[Run], at_sites: list[Run], named: str
) -> None:
    said = runs.orphans("toy", here, at_sites)
    assert said.startswith(named)
    assert bool(said) == bool(named)
