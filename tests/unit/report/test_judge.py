"""A run is good when every figure has a sample and keeps its limit; every reason why not names its figure."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from bascule.report.judge import Reason, leg_reasons, unreached, verdict

MUST_BE_ZERO = (
    "read_errors", "lost_writes", "divergent_writes", "two_writers_seconds", "rows_different", "rows_not_proved",
    "files_different", "disks_different",
)  # fmt: skip
MUST_BE_SOME = ("probes", "rows_compared", "files_compared", "disks_compared")
MUST_BE_KNOWN = (
    "write_outage_seconds", "data_layer_seconds", "maintenance_pages", "unknown_writes", "largest_probe_gap_seconds",
)  # fmt: skip
GOOD: dict[str, Any] = {
    **dict.fromkeys(MUST_BE_ZERO, 0),
    **dict.fromkeys(MUST_BE_SOME, 1),
    **dict.fromkeys(MUST_BE_KNOWN, 2.5),
    "acknowledged_writes": 500,
    "not_proved": [],
}


LIMITS = {"maintenance_pages": 3, "largest_probe_gap_seconds": 4.5}


def reasons(changes: dict[str, Any], **limits: float) -> list[tuple[str, str]]:
    """Judge good figures with changes in them; return the figures and the rules that they break."""
    return [(reason.figure, reason.rule) for reason in leg_reasons("forward", {**GOOD, **changes}, limits)]


def test_good_figures_leave_no_reason() -> None:
    assert reasons({}) == []
    assert reasons({}, write_outage_seconds=2.5, read_errors=0) == []
    assert verdict([]) == "ok"


@pytest.mark.parametrize("value", [None, True, False, float("nan"), "3", [1]])
@pytest.mark.parametrize("name", [*MUST_BE_ZERO, *MUST_BE_SOME, *MUST_BE_KNOWN, "acknowledged_writes"])
def test_what_is_no_number_is_no_sample(name: str, value: Any) -> None:
    assert reasons({name: value}) == [(name, "missing")]


@pytest.mark.parametrize("name", [*GOOD, "of_the_plan"])
def test_a_figure_that_is_left_out_is_a_reason(name: str) -> None:
    figures = {key: value for key, value in GOOD.items() if key != name}
    found = leg_reasons("back", figures, {"of_the_plan": 3} if name == "of_the_plan" else {})
    assert [(reason.leg, reason.figure, reason.rule) for reason in found] == [("back", name, "missing")]
    assert verdict(found) == "invalid"


@pytest.mark.parametrize("name", MUST_BE_ZERO)
@pytest.mark.parametrize("value", [1, 0.5, -1])
def test_no_plan_may_allow_a_loss_or_a_difference(name: str, value: float) -> None:
    assert reasons({name: value}, **{name: 1_000_000.0}) == [(name, "zero")]
    assert verdict(leg_reasons("forward", {**GOOD, name: value}, {})) == "failed"


@pytest.mark.parametrize("name", MUST_BE_SOME)
@pytest.mark.parametrize("value", [0, -1])
def test_a_comparison_of_nothing_proves_nothing(name: str, value: int) -> None:
    assert reasons({name: value}) == [(name, "some")]
    assert verdict(leg_reasons("forward", {**GOOD, name: value}, {})) == "invalid"


def test_500_acknowledged_writes_make_a_run_valid() -> None:
    assert reasons({"acknowledged_writes": 499}) == [("acknowledged_writes", "few")]
    assert leg_reasons("forward", {**GOOD, "acknowledged_writes": 499}, {})[0].limit == 500


@pytest.mark.parametrize("name", ["largest_probe_gap_seconds", "maintenance_pages", "of_the_plan"])
def test_a_limit_of_the_plan_is_kept_up_to_the_limit_itself(name: str) -> None:
    assert reasons({name: 3}, **{name: 3}) == []
    assert reasons({name: 3.5}, **{name: 3}) == [(name, "limit")]
    assert reasons({name: 3}, **{name: float("nan")}) == [(name, "limit")], "a limit that is no number lets nothing by"


@pytest.mark.parametrize("name", ["write_outage_seconds", "data_layer_seconds"])
def test_a_limit_on_speed_condemns_only_an_outage_that_never_ended(name: str) -> None:
    ended: tuple[dict[str, Any], ...] = ({}, *({"unended_outages": value} for value in ([], None, ["other"])))
    for unended in ended:
        assert reasons({name: 3.5, **unended}, **{name: 3}) == []
    for others in ([], ["other"]):
        unended = {"unended_outages": [*others, name]}
        assert reasons({name: 3.5, **unended}, **{name: 3}) == [(name, "limit")]
        assert reasons({name: 3, **unended}, **{name: 3}) == []


def test_an_outage_in_which_the_account_ends_is_a_failure_whatever_the_plan_allows() -> None:
    unended = {"never_ended": ["write_outage_seconds"]}
    assert reasons(unended, write_outage_seconds=60) == [("write_outage_seconds", "unended")]
    assert reasons({"never_ended": []}) == reasons({"never_ended": None}) == []
    assert verdict(leg_reasons("forward", {**GOOD, **unended}, {})) == "failed"


def test_what_did_not_come_through_is_a_failure() -> None:
    found = leg_reasons("forward", {**GOOD, "broken": ["switch of it has not ended", "thaw of it has not ended"]}, {})
    assert [(one.figure, one.rule, one.found) for one in found] == [
        ("not_ended", "broken", "switch of it has not ended"),
        ("not_ended", "broken", "thaw of it has not ended"),
    ]
    assert verdict(found) == "failed"


def test_each_figure_is_named_once() -> None:
    assert reasons({"lost_writes": None}, lost_writes=0.0) == [("lost_writes", "missing")]


@pytest.mark.parametrize("value", [None, "nothing", {}, 0])
def test_a_list_of_doubts_that_nobody_has_made_is_missing(value: Any) -> None:
    assert reasons({"not_proved": value}) == [("not_proved", "missing")]


def test_every_doubt_is_a_reason() -> None:
    found = leg_reasons("forward", {**GOOD, "not_proved": ["db.service: null", "names.servers: x"]}, {})
    assert [(one.figure, one.rule, one.found) for one in found] == [
        ("not_proved", "proof", "db.service: null"),
        ("not_proved", "proof", "names.servers: x"),
    ]
    assert verdict(found) == "failed"


@pytest.mark.parametrize(
    ("figures", "english", "french"),
    [
        (
            {"probes": None},
            "forward.probes: no sample stands behind it",
            "Aller, tentatives d'écriture sur les deux sites : aucune mesure",
        ),
        (
            {"not_proved": ["db.service: null, must be true"]},
            "forward: not proved: db.service: null, must be true",
            "Aller, non prouvé : db, service : aucune valeur, doit être vrai",
        ),
        (
            {"lost_writes": 2},
            "forward.lost_writes: 2, must be 0",
            "Aller, écritures confirmées perdues : 2, doit être 0",
        ),
        (
            {"probes": 0},
            "forward.probes: 0, nothing was compared",
            "Aller, tentatives d'écriture sur les deux sites : 0, rien n'a été comparé",
        ),
        (
            {"acknowledged_writes": 7},
            "forward.acknowledged_writes: 7, at least 500 make a run valid",
            "Aller, écritures confirmées : 7, il en faut au moins 500 pour que l'exécution soit valable",
        ),
        (
            {"maintenance_pages": 9},
            "forward.maintenance_pages: 9, the plan's limit is 3",
            "Aller, pages de maintenance affichées : 9, la limite du plan est 3",
        ),
        (
            {"largest_probe_gap_seconds": 1234.56},
            "forward.largest_probe_gap_seconds: 1234.56, the plan's limit is 4.5",
            "Aller, plus longue durée sans tentative : 1\N{NARROW NO-BREAK SPACE}234,6\N{NO-BREAK SPACE}s, "
            "la limite du plan est 4,5\N{NO-BREAK SPACE}s",
        ),
        (
            {"never_ended": ["write_outage_seconds"]},
            "forward.write_outage_seconds: 2.5, and the account ends in it",
            "Aller, plus longue coupure des écritures, vue d'un usager : 2,5\N{NO-BREAK SPACE}s, "
            "et le relevé s'arrête dedans",
        ),
        (
            {"broken": ["switch of it has not ended"]},
            "forward: switch of it has not ended",
            "Aller, basculement de it : n'est pas arrivé à son terme",
        ),
        (
            {"measured_outside": False},
            "forward: nobody outside measured",
            "Aller : personne n'a mesuré de l'extérieur",
        ),
    ],
)
def test_a_reason_says_what_was_found_and_what_is_wanted(figures: dict[str, Any], english: str, french: str) -> None:
    (reason,) = leg_reasons("forward", {**GOOD, **figures}, LIMITS)
    assert reason.text() == reason.text("en") == english
    assert reason.text("fr") == french


@pytest.mark.parametrize(
    ("lang", "said"),
    [("en", "back: this leg was not reached"), ("fr", "Retour : cette étape n'a pas été atteinte")],
)
def test_a_leg_that_was_not_reached_is_one_reason_and_no_failure(lang: str, said: str) -> None:
    reason = Reason("back", "all", "unreached", None)
    assert reason.text(lang) == said
    assert verdict([reason]) == "invalid"


def test_one_failure_outweighs_whatever_is_only_unknown() -> None:
    unknown = [Reason("back", "a", rule, None) for rule in ("unreached", "few", "missing", "some")]
    assert verdict(unknown) == "invalid"
    for rule in ("proof", "zero", "limit"):
        assert verdict([*unknown, Reason("back", "b", rule, 1)]) == "failed"


def test_a_leg_that_was_not_reached_is_made_so() -> None:
    assert unreached("back") == Reason("back", "probes", "unreached", None)


def test_that_nobody_measured_outside_hides_nothing_else() -> None:
    unmeasured = Reason("forward", "measured_outside", "unmeasured", None)
    assert verdict([unmeasured, unmeasured]) == "inside"
    assert verdict([unmeasured, Reason("forward", "probes", "some", 0)]) == "invalid"
    assert verdict([unmeasured, Reason("forward", "lost_writes", "zero", 1)]) == "failed"


def test_a_reason_stands_as_it_was_given() -> None:
    for name in ("rule", "found"):
        with pytest.raises(FrozenInstanceError):
            setattr(Reason("back", "a", "zero", 1), name, "few")


def test_what_nobody_could_state_is_no_reason_and_what_is_stated_is_judged() -> None:
    nobody = {**GOOD, "lost_writes": None, "measured_outside": False, "not_asked": ["lost_writes", "probes"]}
    found = leg_reasons("forward", nobody, {"lost_writes": 0})
    assert [(reason.figure, reason.rule) for reason in found] == [("measured_outside", "unmeasured")]
    assert verdict(found) == "inside"
    assert reasons({**nobody, "probes": 0}) == [("measured_outside", "unmeasured"), ("probes", "some")]
    assert reasons({**nobody, "reads": None, "rows_compared": None})[-1] == ("rows_compared", "missing")
