"""French as a French reader writes it: no names of figures, no English, a comma and units in numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bascule.report import french_lines
from bascule.report.dumps import dump_lines, safety_dumps
from bascule.report.french import french
from bascule.report.judge import Reason, leg_reasons
from bascule.report.notes import note_lines
from bascule.report.proof import RULES, doubts
from bascule.report.text import report_markdown
from bascule.run.gates import decide

from .test_summary import plain, summary

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


WINDOW = {
    "window_seconds": 13.27, "orchestration_seconds": 4.1, "window": {
        "components": {"db": {"work_seconds": 1.2, "waiting_seconds": 3.4, "orchestration_seconds": 0.6}},
        "load": 2.31, "cores": 2,
    },
    "critical_path": [{"component": "db", "verb": "freeze", "seconds": 1.2, "work_seconds": 1.0}],
}  # fmt: skip


def test_a_whole_page_has_no_key_and_no_english_of_its_own() -> None:
    """What a person has typed stays; names of components are names."""
    back: dict[str, Any] = {
        **WINDOW,
        "lost_writes": 2,
        "write_outage_seconds": 130.5,
        "not_proved": ["db.verify: it is older than the last switch, begun 2026-12-01T22:10:03Z"],
        "broken": ["rollback/switch of db did not come through: expected: a; found: b"],
        "overrides": [
            "gate file_delta of tree: MOT (1.2 is above 1)",
            "db.rows_different: 3, must be 0; let pass: MOT",
        ],
        "full_scans": [{"phase": "rollback", "component": "tree", "because": "the recorder does not answer"}],
        "row_digests": [{"component": "db", "mode": "fast", "tables": {"binary": 2}}],
        "not_compared": ["db: MOT: nobody tells them"],
        "guests_moved": {"delta": 1, "archive": 2},
    }
    unseen = ["journal: the copy at tls was not read: MOT", "journal: 2 lines of the copy here are no entry"]
    broken = "journal: the chain is broken: here: chain of c, decision d: entry 3 was changed after it was written"
    when = {"started": "2026-12-01 21:00:03 UTC", "ended": "2026-12-01 23:10:03 UTC"}
    page = plain(report_markdown(summary(back, unseen=unseen, failure=broken, **when), "fr"))
    for line in (
        "Du 01/12/2026 à 21 h 00 min 03 s (UTC) au 01/12/2026 à 23 h 10 min 03 s (UTC).",
        "- journal : la chaîne est rompue : here : chaîne de c, décision d : l'entrée 3 a été modifiée après son",
        "- Retour, basculement de db (phase « retour ») : n'a pas abouti : attendu : a ; constaté : b",
        "commencé le 01/12/2026 à 22 h 10 min 03 s (UTC)",
        "- journal : 2 lignes de la copie here ne sont pas des entrées",
        "| Machines virtuelles déplacées | 1 par blocs modifiés | 1 par blocs modifiés, 2 par archive |",
        "- Retour : 13,3 s du gel à la réouverture : 9,2 s de travail, 4,1 s d'orchestration ; charge 2,31 sur 2 cœurs",
        "- Retour : chemin critique : gel de db 1,2 s (1,0 s de travail)",
        "- Retour : seuil « volume de fichiers modifiés » de tree : MOT (1,2 est supérieur à 1)",
        "- Retour : db, lignes différentes : 3, doit être 0 ; admis par une personne : MOT",
        "- Retour : db, MOT : personne ne les relève",
    ):
        assert line in page, line
    assert not re.search(r"\w_\w", page)
    english = {"the", "of", "forward", "back", "must", "was", "is", "not", "gate", "work", "let", "switch", "freeze"}
    assert not english & set(re.findall(r"\w+", page.lower()))


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "unit", "sampled_at", "limit", "said"),
    [
        (1, "s", NOW, None, "le plan ne fixe aucune limite pour « file_delta »"),
        (1, "s", NOW, {"max": 1, "maxx": 2}, "la limite du plan contient des mots qui n'ont pas de sens : maxx"),
        (None, "s", NOW, {"max": 1, "unit": "s"}, "aucune mesure"),
        (1, "s", NOW, {"max": 1}, "la mesure est en s, la limite n'a pas d'unité"),
        (1, "", NOW, {"max": 1, "unit": "s"}, "la mesure n'a pas d'unité, la limite est en s"),
        (1, "B", NOW, {"max": 1, "unit": "s"}, "la mesure est en B, la limite en s"),
        (-1.5, "s", NOW, {"max": 1, "unit": "s"}, "-1,5 s est inférieur à zéro, ce qui est impossible : la mesure est"),
        (1, "s", "MOT", {"max": 1, "unit": "s"}, "l'heure de la mesure n'est pas connue : 'MOT'"),
        (1, "s", NOW - 400, {"max": 1, "unit": "s"}, "la mesure a 400 s, 300 s sont admises"),
        (1, "s", NOW + 90, {"max": 1, "unit": "s"}, "la mesure est datée de 90 s dans le futur : une horloge"),
        (1, "s", NOW, {"max": 1, "max_age": 0, "unit": "s"}, "la valeur « max_age » du plan n'est pas valable : 0"),
        (1, "s", NOW, {"max": "MOT", "unit": "s"}, "la valeur « max » du plan n'est pas valable : 'MOT'"),
        ("MOT", "s", NOW, {"max": 1, "unit": "s"}, "'MOT' n'est pas un nombre"),
        (3, "s", NOW, {"max": 1, "unit": "s"}, "3 est supérieur à 1"),
        (3, "s", NOW, {"min": 4.5, "unit": "s"}, "3 est inférieur à 4,5"),
        (False, "", NOW, {"equals": True}, "False n'est pas True"),
    ],
)
def test_no_reason_of_a_gate_that_was_let_pass_stays_english(
    value: Any, unit: str, sampled_at: Any, limit: Any, said: str
) -> None:
    verdict = decide("file_delta", value, unit, sampled_at, {"file_delta": limit}, {"file_delta": "MOT"}, NOW)
    assert verdict.override == "MOT"
    told = french_lines.line(f"gate file_delta of tree: MOT ({verdict.reason})").replace(NBSP, " ")
    assert told.startswith("seuil « volume de fichiers modifiés » de tree : MOT ("), told
    assert said.replace("file_delta", "volume de fichiers modifiés") in told, told
