"""What people read: each moment in both languages, and a site's own words where they can be filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.report import notice_texts
from bascule.report.notice_texts import SAMPLE, problems, render
from bascule.run.occasions import MOMENTS

FOLDER = Path(notice_texts.__file__).parent / "templates/notices"
NOTHING = {"notice_languages": None, "notice_roles": None, "notice_templates": None}


@pytest.mark.parametrize("moment", MOMENTS)
def test_each_moment_has_a_title_and_a_text_in_both_languages(moment: str) -> None:
    title, body, wrong = render(moment, SAMPLE)
    assert wrong == []
    english, french = title.split(" / ")
    assert english.startswith("sample: ")
    assert french.startswith("sample\N{NO-BREAK SPACE}: "), "French typography"
    assert body.count("22:00:00 CET") == 2
    assert "{" not in title + body
    # What is not known is left out, and nothing is said to be nothing.
    unknown = {**SAMPLE, **dict.fromkeys(("forecast_seconds", "seconds"))}
    assert "None" not in "".join(render(moment, {**unknown, "rollback": "", "waiting": []})[:2])


def test_there_is_no_text_for_anything_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{one}.{lang}.j2" for one in MOMENTS for lang in ("en", "fr")}


def test_phases_and_verbs_are_said_in_french() -> None:
    title, body, _ = render("failed", SAMPLE, ["fr"])
    assert title == "sample\N{NO-BREAK SPACE}: ÉCHEC, accounts, basculement"
    assert "Des utilisateurs attendent\N{NO-BREAK SPACE}: accounts." in body
    assert "bascule" in render("stopped", SAMPLE, ["fr"])[0]


def test_a_sites_own_words_are_used_where_they_can_be_filled_in() -> None:
    own = {"go.fr.j2": "Parti à {{ at }}\n{{ people.lead }}\n", "done.fr.j2": "{{ nobody }}", "begun.fr.j2": " \n"}
    assert render("go", SAMPLE, ["fr"], own) == ("Parti à 22:00:00 CET", "Léa\n", [])
    title, _, wrong = render("done", SAMPLE, ["fr"], own)
    assert "Toulouse est actif" in title
    assert wrong == ["done.fr.j2: UndefinedError: 'nobody' is undefined"]
    title, _, wrong = render("begun", SAMPLE, ["fr"], own)
    assert "la maintenance a commencé" in title
    assert wrong == ["begun.fr.j2: it says nothing"]
    reaches = {"go.en.j2": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}
    assert "SecurityError" in render("go", SAMPLE, ["en"], reaches)[2][0]


def test_all_that_cannot_be_right_is_named_at_once() -> None:
    declared = {
        "notice_languages": ["fr", "de"],
        "notice_roles": {"go": ["boss"], "launch": [], "done": ["lead"]},
        "notice_templates": "notices",
    }
    found = problems(declared, {"go.fr.j2": "{{ x }}", "done.en.j2": "{% if %}", "other.fr.j2": ""})
    assert [name for name, _ in found] == ["notice_languages", *["notice_roles"] * 2, *["notice_templates"] * 3]
    texts = " ".join(text for _, text in found)
    for word in ("'de'", "go: no list", "launch: no moment", "'x' is undefined", "done.en.j2", "other.fr.j2: no text"):
        assert word in texts
    assert problems(NOTHING, {}) == []
    assert [name for name, _ in problems({**NOTHING, "notice_templates": 3, "notice_roles": "lead"}, {})] == [
        *("notice_roles", "notice_templates")
    ]
