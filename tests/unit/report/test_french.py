"""French as a French reader writes it: no names of figures, no English, a comma and units in numbers."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.report.dumps import dump_lines, safety_dumps
from bascule.report.french import french
from bascule.report.judge import Reason, leg_reasons
from bascule.report.notes import note_lines
from bascule.report.proof import RULES, doubts

NBSP = "\N{NO-BREAK SPACE}"


def test_a_reason_has_its_label_its_unit_and_a_comma() -> None:
    reason = Reason("back", "largest_probe_gap_seconds", "limit", 12.34, 10)
    said = f"Retour, plus longue durée sans tentative : 12,3{NBSP}s, la limite du plan est 10{NBSP}s"
    assert reason.text("fr") == said
    assert Reason("forward", "probes", "unreached", None).text("fr") == "Aller : cette étape n'a pas été atteinte"


def test_no_reason_says_the_name_of_a_figure() -> None:
    for reason in [*leg_reasons("back", {}, {}), *leg_reasons("forward", {"lost_writes": 3, "not_proved": []}, {})]:
        assert "_" not in reason.text("fr"), reason


@pytest.mark.parametrize("role", RULES)
@pytest.mark.parametrize("opened", ["", "3.abc"])
def test_no_doubt_stays_english(role: str, opened: str) -> None:
    rule = RULES[role]
    figures: dict[str, Any] = {"role": role, "opened": opened}
    for wrong in (None, 3, "odd"):
        facts = figures | dict.fromkeys((*rule.zero, *rule.true, *rule.one_of), wrong)
        for doubt in doubts("db", facts):
            said = french(doubt.text())
            assert said.startswith("db, "), said
            assert "_" not in said, said
            assert not {"nobody", "nothing", "must", "null", "is"} & set(said.replace(":", " ").split()), said


@pytest.mark.parametrize(
    ("doubt", "said"),
    [
        ("db.rows_different: 3, must be 0", "db, lignes différentes : 3, doit être 0"),
        (
            "db.safety_dump: not_proved (no room), must be proved or off",
            "db, sauvegarde de sécurité : non prouvée (no room), doit être prouvée ou non prévue",
        ),
        ("db.verify: nothing was verified", "db, vérification : aucune vérification n'a eu lieu"),
        ("what nobody has translated", "what nobody has translated"),
    ],
)
def test_doubts(doubt: str, said: str) -> None:
    assert french(doubt) == said


def test_the_verdict_on_the_safety_dump_is_shown() -> None:
    facts: dict[str, dict[str, Any]] = {
        "db": {"safety_dump": "not_proved", "safety_dump_reason": "no room"},
        "other": {"safety_dump": "proved"},
        "tree": {"files_compared": 3},
    }
    made = {"back": {"safety_dumps": safety_dumps(facts)}}
    assert dump_lines(made) == ["back: db: NOT PROVED (no room)", "back: other: proved"]
    assert dump_lines(made, "fr") == [
        f"Retour{NBSP}: db{NBSP}: NON PROUVÉE (no room)",
        f"Retour{NBSP}: other{NBSP}: prouvée",
    ]
    assert note_lines(made, "fr")["safety_dumps"] == dump_lines(made, "fr")
