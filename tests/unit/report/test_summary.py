"""The summary, and how people see it."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bascule.cli.summary import main as show
from bascule.report.digests import row_digests
from bascule.report.figures import leg_figures
from bascule.report.records import Leg
from bascule.report.render import summary_panel
from bascule.report.scans import full_scans
from bascule.report.summary import build
from bascule.report.text import report_markdown
from bascule.report.windows import leg_window
from bascule.report.words import number, word

from .test_figures import FACTS, leg_input

GOOD: dict[str, Any] = {
    "write_outage_seconds": 12.345, "data_layer_seconds": 0.9, "data_layer_writes": 900, "data_layer_errors": 0,
    "reads": 1800, "read_errors": 0, "maintenance_pages": 44,
    "acknowledged_writes": 1234, "unknown_writes": 0, "lost_writes": 0, "divergent_writes": 0,
    "two_writers_seconds": 0.0, "probes": 4000, "largest_probe_gap_seconds": 1.6, "rows_compared": 180000,
    "rows_different": 0, "rows_not_proved": 0, "files_compared": 2000, "files_different": 0, "disks_compared": 1,
    "disks_different": 0, "not_proved": [], "guests_moved": {"delta": 1},
    "phases": {"cutover": {"expected": 60, "measured": 41.5}},
}  # fmt: skip


def summary(back: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "run": "20260101-220000-lab", "plan": "lab", "legs": {"forward": GOOD, "back": GOOD | (back or {})},
        "active_site": "montpellier", "limits": {"write_outage_seconds": 120.0}, "expected_site": "montpellier",
    }  # fmt: skip
    return build(**(given | more))


def shown(what: dict[str, Any], lang: str) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(summary_panel(what, lang))
    return console.export_text()


def plain(page: str) -> str:
    """Return a page with ordinary blanks."""
    return page.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_a_good_run() -> None:
    made = summary()
    assert made["result"] == "ok"
    assert made["reasons"] == []
    assert made["forward"]["lost_writes"] == 0


def test_the_wrong_active_site_is_a_failure() -> None:
    made = summary(active_site=None)
    assert made["result"] == "failed"
    assert made["reasons"] == ["active_site: not known, expected montpellier"]


def test_what_stopped_the_run_comes_first() -> None:
    made = summary(legs={"forward": GOOD}, failure="cutover ended with status 2")
    assert made["result"] == "failed"
    assert made["reasons"][0] == "cutover ended with status 2"
    assert made["reasons"][1:] == ["back: this leg was not reached"]


def test_the_terminal_shows_verdict_figures_and_reasons() -> None:
    text = shown(summary({"lost_writes": 2}), "en")
    assert "FAILED" in text
    assert "Acknowledged writes lost" in text
    assert "back, acknowledged writes lost: 2, must be 0" in text
    assert "1,234" in text


@pytest.mark.parametrize("figures", [{}, {"lost_writes": None}, {"phases": {}}])
def test_a_run_that_broke_off_can_be_shown(figures: dict[str, Any]) -> None:
    made = summary(legs={"forward": figures})
    assert "no sample" in shown(made, "en")
    assert "no sample" in report_markdown(made, "en")


def test_french_for_those_who_read_french() -> None:
    text = shown(summary(), "fr")
    assert "Écritures confirmées perdues" in text
    assert "12,3" in text
    page = report_markdown(summary({"lost_writes": 2}), "fr")
    assert "**Résultat\N{NO-BREAK SPACE}: ÉCHEC.**" in page
    assert "- Retour, écritures confirmées perdues\N{NO-BREAK SPACE}: 2, doit être 0" in page
    assert "| Aller | bascule | 60\N{NO-BREAK SPACE}s | 41,5\N{NO-BREAK SPACE}s |" in page
    assert "| Écritures confirmées perdues | 0 | 2 (!) | 0 |" in page


def test_the_page_is_one_table_row_per_line() -> None:
    page = report_markdown(summary(), "en")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.count("|") == 5 for line in rows)
    assert "| Acknowledged writes lost | 0 | 0 | 0 |" in rows
    assert "\n\n\n" not in page


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="found de"):
        report_markdown(summary(), "de")


def test_numbers_as_people_write_them() -> None:
    assert number(1234567, "en") == "1,234,567"
    assert number(1.5, "fr", "s") == "1,5\N{NO-BREAK SPACE}s"
    assert number(0.004, "en", "s") == "0.004\N{NO-BREAK SPACE}s"
    assert number(0.0, "en") == "0"
    assert number(None, "fr") == "aucune mesure"


def test_a_summary_can_be_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show([str(tmp_path)]) == 2
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    assert show([str(tmp_path), "--lang", "fr", "--page"]) == 0
    assert "**Résultat\N{NO-BREAK SPACE}: OK.**" in capsys.readouterr().out
    (tmp_path / "summary.json").write_text(json.dumps(summary({"lost_writes": 1})))
    assert show([str(tmp_path)]) == 1
    assert "FAILED" in capsys.readouterr().out


SCAN = {"phase": "sync", "component": "course_files", "because": "the recorder does not answer"}


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_why_a_whole_tree_was_looked_at_is_said_wherever_the_run_is_shown(lang: str) -> None:
    made = summary({"full_scans": [SCAN]})
    line = {
        "en": "back, sync: course_files: the recorder does not answer",
        "fr": "Retour : course_files (phase « synchronisation ») : l'enregistreur ne répond pas",
    }[lang]
    assert line in plain(shown(made, lang))
    assert f"- {line}" in plain(report_markdown(made, lang))
    assert made["result"] == "ok"
    assert word("full_scans", lang) not in shown(summary({"full_scans": []}), lang)
    assert word("full_scans", lang) not in report_markdown(summary(), lang)


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_how_rows_were_compared_is_said_wherever_the_run_is_shown(lang: str) -> None:
    verified = {"mode": "strict", "digested": {"text stream": 2, "binary stream": 41}}
    told = row_digests({"course_files": {"files_compared": 5}, "accounts_db": verified})
    made = summary({"row_digests": told})
    line = {
        "en": "back: accounts_db: strict: binary stream 41, text stream 2",
        "fr": "Retour : accounts_db, mode strict : 41 en flux binaire, 2 en flux de texte",
    }[lang]
    assert line in plain(shown(made, lang))
    assert f"- {line}" in plain(report_markdown(made, lang))
    assert word("row_digests", lang) not in shown(summary(), lang)


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_what_no_comparison_looked_at_is_said_wherever_the_run_is_shown(lang: str) -> None:
    made = summary({"not_compared": leg_figures(leg_input([], [], facts=FACTS))["not_compared"]})
    lines = {
        "en": (
            "back: accounts_db: foreign table courses.app.far: its rows lie at another server",
            "back: course_files: time of birth: 50 entries have it",
        ),
        "fr": ("Retour : course_files, time of birth : 50 entrées en ont un",),
    }
    for line in lines[lang]:
        assert line in plain(shown(made, lang))
        assert f"- {line}" in plain(report_markdown(made, lang))
    assert made["result"] == "ok"
    title = {"en": "What no comparison looked at", "fr": "Ce qu'aucune comparaison n'a regardé"}[lang]
    assert f"## {title}" in report_markdown(made, lang)
    assert title not in report_markdown(summary(), lang)


def test_full_scans_are_told_from_the_journal_of_the_leg_they_happened_in() -> None:
    def line(second: int, because: str, event: str = "transfer") -> str:
        found = {"found_by": "scan" if because else "names", "scan_because": because}
        return json.dumps(
            {
                "time": f"2026-01-01T22:00:{second:02d}.500+00:00",
                "phase": "sync",
                "component": "course_files",
                "data": {"event": event, "found": found},
            }
        )

    start = datetime.datetime(2026, 1, 1, 22, 0, 10, tzinfo=datetime.timezone.utc).timestamp()
    lines = [
        line(5, "too early"),
        line(12, SCAN["because"]),
        line(13, ""),
        line(14, "x", "audit"),
        line(31, "too late"),
    ]
    lines += [line(15, "y")[:-3], '{"data": "transfer"}', '["transfer"]']
    assert full_scans(lines, Leg("forward", start, start + 20)) == [SCAN]


WINDOW: dict[str, Any] = {
    "event": "window", "phase": "cutover", "window_seconds": 40.0, "orchestration_seconds": 33.5,
    "critical_path": [{"component": "db", "verb": "thaw", "seconds": 40.0, "work_seconds": 6.5}],
    "load": 9.5, "cores": 2,
    "components": {"db": {"work_seconds": 6.5, "waiting_seconds": 0.0, "orchestration_seconds": 33.5}},
}  # fmt: skip


def journalled(second: int, data: dict[str, Any]) -> str:
    at = datetime.datetime.fromtimestamp(second, datetime.timezone.utc).isoformat()
    return json.dumps({"time": at, "kind": "state", "data": data}, separators=(",", ":"))


def test_where_the_window_of_a_leg_went() -> None:
    lines = [
        journalled(5, {**WINDOW, "window_seconds": 9.0}),
        journalled(15, WINDOW),
        '{"event":"window"',
        journalled(25, {}),
    ]
    found = leg_window(lines, Leg("forward", 10, 20))
    assert (found["window_seconds"], found["orchestration_seconds"]) == (40.0, 33.5)
    assert found["critical_path"] == WINDOW["critical_path"]
    assert found["window"]["components"]["db"]["work_seconds"] == 6.5
    assert set(leg_window(lines, Leg("back", 20, 30)).values()) == {None}


def test_the_window_is_shown_in_its_parts() -> None:
    made = summary(leg_window([journalled(15, WINDOW)], Leg("back", 10, 20)))
    assert made["result"] == "ok"
    for text in (shown(made, "en"), report_markdown(made, "en")):
        assert "back: 40.0 s from freeze to thaw: 6.5 s work, 33.5 s orchestration; load 9.5 on 2 cores" in text
        assert "back: db: 6.5 s work, 0.0 s waiting for others, 33.5 s orchestration" in text
        assert "critical path: thaw db 40.0 s (6.5 s work)" in text
    assert "From freeze to thaw / of that orchestration" in shown(made, "en")


def test_a_busy_machine_is_slow_and_fails_no_run() -> None:
    slow = {"write_outage_seconds": 141.0, **leg_window([journalled(15, WINDOW)], Leg("back", 10, 20))}
    made = summary(slow)
    assert (made["result"], made["reasons"]) == ("ok", [])
    said = (
        "back: Longest pause between two writes, as a user sees it: 141.0 s, the plan wants 120.0 s at most; load of "
        "the machine 9.5 on 2 cores"
    )
    assert f"- {said}" in plain(report_markdown(made, "en"))
    assert "le plan veut au plus 120,0 s ; charge de la machine 9,50 sur 2 cœurs" in plain(report_markdown(made, "fr"))


@pytest.mark.parametrize(
    ("figure", "value"),
    [("lost_writes", 1), ("divergent_writes", 1), ("two_writers_seconds", 0.1), ("rows_different", 1),
     ("files_different", 1), ("disks_different", 1), ("read_errors", 1), ("largest_probe_gap_seconds", 11.0)],
)  # fmt: skip
def test_what_judges_the_product_stays_hard_on_any_machine(figure: str, value: float) -> None:
    limits = {"write_outage_seconds": 1.0, "largest_probe_gap_seconds": 10.0}
    assert summary({figure: value}, limits=limits)["result"] == "failed"


def test_an_outage_that_never_ended_is_no_matter_of_speed() -> None:
    never = {"write_outage_seconds": 141.0, "unended_outages": ["write_outage_seconds"]}
    assert summary(never)["reasons"] == ["back.write_outage_seconds: 141.0, the plan's limit is 120.0"]
    assert "Slower than planned" not in shown(summary(never), "en")


@pytest.mark.parametrize("figure", ["write_outage_seconds", "data_layer_seconds"])
def test_a_speed_that_nobody_measured_is_no_speed(figure: str) -> None:
    assert summary({figure: None})["result"] == "invalid"
