"""The page of a day: alarms first, beside the day and the week before, in both languages, with who is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.report import monitored
from bascule.report.monitored import Day
from bascule.run import monitor, people
from bascule.run.monitor import Sample, Series, Wanted

from .test_words import phrases

NOW = 1_800_000_000.0
DISK, LAG, SERVES = Series("db", "disk_used", "db-tls"), Series("db", "replication_lag"), Series("db", "serves")
CERTIFICATE = Series("gate", "certificate_days", "gw")


def sample(series: Series, value: object) -> Sample:
    return Sample(series, value, monitor.KINDS[series.name].unit, NOW)


NOW_SEEN = {DISK: sample(DISK, 91.5), SERVES: sample(SERVES, "yes"), CERTIFICATE: sample(CERTIFICATE, 20)}
JUDGED = [monitor.judge(one, NOW_SEEN.get(one), Wanted(), NOW) for one in (SERVES, DISK, CERTIFICATE, LAG)]
DAY = Day(
    "2027-01-15",
    "20270108-220000-lab",
    "2027-01-15T08:00:00Z",
    JUDGED,
    [*NOW_SEEN.values(), sample(DISK, 90), sample(DISK, 93)],
    [sample(DISK, 61), sample(SERVES, "no")],
    [sample(DISK, 183)],
    {"system": "Nadia <Roux>"},
)


def test_alarms_come_first_with_what_was_measured_and_who_is_called() -> None:
    rows = monitored.rows(DAY, "en")
    assert [(row.series, row.verdict, row.good) for row in rows] == [
        ("fullest file system in use (db-tls)", "OVER", False),
        ("replication lag", "ABSENT", False),
        ("it serves", "within", True),
        ("certificate is good for (gw)", "within", True),
    ]
    assert rows[0].call == "Nadia <Roux> (system)"
    assert rows[1].call == "nobody is named for DBA"
    assert (rows[0].now, rows[0].limit, rows[0].worst) == (
        "91.50\N{NO-BREAK SPACE}%", "at most 85\N{NO-BREAK SPACE}%", "93\N{NO-BREAK SPACE}%"
    )  # fmt: skip
    assert (rows[1].now, rows[1].reason) == ("not known", "there is no sample")


def test_a_figure_stands_beside_the_day_and_the_week_before() -> None:
    disk, _, serves, certificate = monitored.rows(DAY, "en")
    assert disk.day_before == "61\N{NO-BREAK SPACE}% (+50\N{NO-BREAK SPACE}%)"
    assert disk.week_before == "183\N{NO-BREAK SPACE}% (-50\N{NO-BREAK SPACE}%)"
    assert (serves.day_before, serves.week_before) == ("NO", "not known")
    assert (certificate.now, certificate.limit) == ("20\N{NO-BREAK SPACE}d", "at least 14\N{NO-BREAK SPACE}d")


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("en", ["# Monitoring, 2027-01-15", "ALARM: 2 of 4 series", "**OVER** db", "Nadia", "| Component |"]),
        ("fr", ["# Surveillance, 2027-01-15", "ALERTE, 2 séries sur 4", "**HORS LIMITE** db", "91,50"]),
    ],
)
def test_both_pages_say_it_in_both_languages(lang: str, said: list[str]) -> None:
    text = monitored.page_markdown(DAY, lang)
    for word in said:
        assert word in text
    assert text.count("\n| ") == 6, "a head, its rule and four series"
    page = monitored.page_html(DAY, lang)
    assert f'<html lang="{lang}" dir="ltr">' in page
    assert "Nadia &lt;Roux&gt;" in page
    assert "<Roux>" not in page
    assert page.count("<tr><td>") == 4
    assert 'class="verdict alarm"' in page


def test_every_series_verdict_and_role_has_words() -> None:
    for name in (*monitor.KINDS, *monitor.VERDICTS, *(f"role {one}" for one in people.ROLES)):
        assert name in phrases("monitor"), name


def test_a_day_without_alarms_says_so_and_one_without_series_is_none() -> None:
    fine = replace(DAY, judged=[one for one in JUDGED if one.verdict == monitor.WITHIN])
    assert "OK: all 2 series are within their limits" in monitored.page_markdown(fine, "en")
    assert "## Alarms" not in monitored.page_markdown(fine, "en")
    assert 'class="verdict alarm"' not in monitored.page_html(fine, "fr")
    assert monitored.headline([], "fr") == "ALERTE, aucune série n'a été relevée"
    assert 'class="verdict alarm"' in monitored.page_html(replace(DAY, judged=[]), "en")
