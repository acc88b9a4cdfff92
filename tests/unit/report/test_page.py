"""The record of a migration and the page that a run fills: each figure leads to its lines of the journal."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bascule.errors import BasculeError, PlanError
from bascule.plugin import reporting
from bascule.plugin.preflight import sampled_by
from bascule.report import checklist, plots
from bascule.report.figures import pauses
from bascule.report.io import checklists, pdf
from bascule.report.page import report_html
from bascule.report.record import EXPECTED, FIELDS, STACKS, record
from bascule.report.records import Leg, client_account
from bascule.report.text import report_markdown
from bascule.run.chain import Reading
from bascule.run.commits import COMMIT
from bascule.run.plans import MADE

from .test_figures import FACTS, WALL, good_run
from .test_legs import Book
from .test_reporting import Scope, chained

NAMES = [*FACTS]
GATES = sampled_by(set(STACKS))
ODD = "<script>alert('1')</script> | *x*"


@pytest.fixture
def book() -> Book:
    """Return a run with samples, one of them let pass, a GO, a cutover and its verification."""
    made = Book()
    made.epoch = "dp"
    for value in (3, 5, 9):
        limit = {"max": 8, "unit": "s"}
        made.add("begin", "pretest", "check", NAMES[0], role="postgresql_replication", direction="forward")
        made.add(
            "sample", "pretest", "check", NAMES[0], name="lag", value=value, unit="s", go=value < 8, limit=limit,
            reason=f"{value} s", override="" if value < 8 else ODD,
        )  # fmt: skip
        made.add("end", "pretest", "check", NAMES[0], result="ok")
    made.add("decision", "cutover", "", "", decision="GO", by="anna on ctl", direction="forward", given_up=["logs"])
    made.move("cutover", *NAMES)
    made.verify(*NAMES)
    return made


def _plain(text: str) -> str:
    """Return a page without what Markdown escapes, and with the blanks of French as any others."""
    return text.replace("\\", "").replace("\N{NO-BREAK SPACE}", " ")


def made(book: Book, *more: str) -> tuple[dict[str, Any], list[Any]]:
    scope: Any = Scope(*NAMES, *more)
    entries = chained(book)
    return reporting.make(scope, "r", {"here": Reading(entries)}), entries


def said(summary: dict[str, Any], field: str) -> list[str]:
    """Return what a field says, by the kind of each line, with the component where it names one."""
    return [" ".join([one["say"], one["with"].get("component", "")]).strip() for one in summary["record"][field]]


def test_the_run_fills_all_eleven_fields(book: Book) -> None:
    summary, entries = made(book, "other_db")
    record = summary["record"]
    assert tuple(record) == FIELDS
    assert len(FIELDS) == 11
    assert said(summary, "status") == ["status_NOT_PROVED"], "nobody outside has measured: neither OK nor KO"
    assert said(summary, "rollback") == ["no_back"]
    assert said(summary, "problems") == ["reason"]
    assert said(summary, "tests") == [f"passed {NAMES[0]}", *(f"proved {name}" for name in NAMES)]
    assert [line["with"]["who"] for line in record["responsible"]] == ["anna on ctl"]
    assert [line["with"]["why"] for line in record["comment"]] == [ODD, "logs"]
    lines = {f"{entry['epoch']}.{entry['n']}": entry for entry in entries}
    (line,) = [one for one in record["tests"] if one["say"] == "passed"]
    assert [lines[name]["data"]["value"] for name in line["journal"]] == [9], "the last sample of the gate"


def test_what_was_not_executed_is_listed(book: Book) -> None:
    book.epoch = "dr"
    book.verb("rollback", "freeze", NAMES[0])
    book.verb("rollback", "sync", NAMES[0], result="failed")
    book.verb("rollback", "freeze", NAMES[1], result="")
    summary, _ = made(book, "other_db")
    steps = summary["record"]["steps"]
    lacking = {(s["with"]["phase"], s["with"]["verb"]): s["with"]["names"] for s in steps if s["say"] == "not_done"}
    assert lacking["rollback", "freeze"] == NAMES[1], "it was begun and has not ended"
    assert lacking["rollback", "sync"] == f"{NAMES[0]}, {NAMES[1]}"
    assert lacking["rollback", "thaw"] == f"{NAMES[0]}, {NAMES[1]}"
    assert lacking["cutover", "capture"] == ", ".join(NAMES)
    unrun = [step["with"]["phase"] for step in steps if step["say"] == "not_run"]
    assert unrun == ["audit", "prepare", "sync", "commit", "decommission"]
    assert steps[-1] == {"say": "not_moved", "with": {"names": "other_db"}, "journal": []}
    assert said(summary, "problems")[0] == f"failed {NAMES[0]}"
    assert said(summary, "rollback") == ["back"]
    assert said(summary, "status") == ["status_KO"]


def test_a_proof_from_before_the_last_move_proves_nothing(book: Book) -> None:
    book.move("rollback", *NAMES)
    summary, _ = made(book)
    assert said(summary, "tests")[1:] == [f"unseen {name}" for name in NAMES]
    assert summary["record"]["tests"][-1]["journal"] == []
    book.verify(*NAMES)
    summary, _ = made(book)
    assert said(summary, "tests")[1:] == [f"proved {name}" for name in NAMES]
    summary["back"]["not_proved"] = [f"{NAMES[1]}.verify: nothing was verified"]
    again = record(summary, chained(book))
    assert [one["say"] for one in again["tests"]][1:] == ["proved", "unproved", "proved", "proved"]
    text = report_markdown({**summary, "record": again}, "fr")
    assert f"NON PROUVÉ : {NAMES[1]}, vérification : aucune vérification n'a eu lieu" in _plain(text)


class Page(html.parser.HTMLParser):
    """The names of a page's parts, where its links lead, and what it asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.asked: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.names.append(str(value))
            elif name == "href":
                self.links.append(str(value))
            elif name in ("src", "srcset", "data", "action", "poster"):
                self.asked.append(str(value))


@pytest.mark.parametrize("lang", ["en", "fr"])
def test_every_figure_leads_to_a_line_of_the_journal_and_the_page_needs_nothing_else(book: Book, lang: str) -> None:
    summary, entries = made(book)
    text = report_html(summary, entries, lang)
    seen = Page(text)
    assert set(seen.links) <= {f"#{name}" for name in seen.names}, "a link that leads nowhere, or outside"
    assert len(seen.names) == len(set(seen.names)) == sum(entry["kind"] != "step" for entry in entries)
    assert seen.asked == []
    assert not re.search(r"@import|url\(|<link|<script", text)
    assert "script" not in seen.tags, "a reason that somebody has typed is text"
    journal = summary["forward"]["journal"]
    verified = [f"{e['epoch']}.{e['n']}" for e in entries if e["data"].get("event") == "verify"]
    assert journal["rows_compared"] == verified
    cell = re.search(r"1.000 / 0 / 0(.*?)</td>", text, re.S)
    assert cell
    assert re.findall(r'href="#([^"]+)"', cell[1]) == verified
    assert len(journal["phase:cutover"]) == 2
    assert seen.tags.count("svg") == 3, "the window, the phases, and the trend of the gate"
    label = {"en": "Final status", "fr": "Statut final"}[lang]
    status = {"en": "NOT PROVED", "fr": "NON PROUVÉ"}[lang]
    assert re.search(rf'{label}</th><td><span class="bad">{status}</span>', text)
    assert f"**{label}{' ' if lang == 'fr' else ''}:** {status}" in _plain(report_markdown(summary, lang))


def test_a_summary_of_an_earlier_version_has_its_page_as_well(book: Book) -> None:
    summary, entries = made(book)
    del summary["record"], summary["forward"]["journal"]
    assert "<h1>Run r</h1>" in report_html(summary, entries)
    assert "Final status" not in report_markdown(summary, "en")
    with pytest.raises(ValueError, match="expected one of en, fr, ar, found de"):
        report_html(summary, entries, "de")


def test_the_pauses_that_a_client_outside_has_seen_are_drawn(book: Book) -> None:
    client, _ = good_run(60.0, (30.0, 35.0))
    (pause,) = pauses(client_account(client), Leg("forward", WALL, WALL + 60))
    assert pause == pytest.approx([29.95, 5.1], abs=0.01)
    assert pauses(client_account([]), Leg("forward", WALL, WALL + 60)) == [[0.0, 60.0]], "nobody has written at all"
    summary, entries = made(book)
    summary["forward"]["outages"] = [pause]
    (plot,) = [
        plot for plot in re.findall(r"<svg.*?</svg>", report_html(summary, entries, "fr"), re.S) if "pause:" in plot
    ]
    assert "Aller : pauses entre deux écritures, vues par un client extérieur" in plot
    assert "pause: 5.1 s" in plot


def test_what_was_forecast_stands_beside_what_it_was(book: Book) -> None:
    ahead = {"seconds": 20.0, "parts": {NAMES[0]: 12.0, NAMES[1]: None}}
    decision = next(entry["epoch"] for entry in book.entries if entry["verb"] == "switch")
    book.epoch = decision
    book.add("decision", "cutover", "", "", decision="GO", by="anna on ctl", direction="forward", forecast=ahead)
    shares = {name: {"work_seconds": 3.0, "waiting_seconds": 1.0, "orchestration_seconds": 1.0} for name in NAMES[:2]}
    window = {"window_seconds": 10.0, "orchestration_seconds": 2.0, "critical_path": [], "components": shares}
    book.add("state", "cutover", "", "", event="window")
    book.entries[-1]["data"] |= {"phase": "cutover", **window}
    summary, entries = made(book)
    found = re.findall(r"<svg.*?</svg>", report_html(summary, entries), re.S)
    (share,) = [plot for plot in found if "Work in the window of the cutover" in plot]
    assert re.findall(rf">({NAMES[0]} [PM]|{NAMES[1]} [PM])<", share) == [
        f"{NAMES[0]} P",
        f"{NAMES[0]} M",
        f"{NAMES[1]} M",
    ]
    assert re.findall(r"<title>(\w+: [\d.]+ s)", share) == ["planned: 12.0 s", "measured: 3.0 s", "measured: 3.0 s"]
    (window_plot,) = [plot for plot in found if "window, forecast" in plot]
    assert "planned: 20.0 s" in window_plot


def test_plots_are_drawn_to_scale() -> None:
    bars = [plots.Bar(0, 10, "freeze"), plots.Bar(10, 40, "switch")]
    bars_drawn = plots.timeline("a < b", [("db", bars)], "s", limit=80)
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', bars_drawn)]
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)
    assert "a &lt; b" in bars_drawn
    line = re.search(r'<line x1="([\d.]+)"[^>]*stroke="#B04A00"', bars_drawn)
    ends = [float(x) + width for x, width in zip(re.findall(r'<rect x="([\d.]+)"', bars_drawn), widths, strict=True)]
    assert line
    left = float(re.findall(r'<rect x="([\d.]+)"', bars_drawn)[0])
    assert float(line[1]) - left == pytest.approx(2 * (ends[1] - left), rel=0.01), "the limit is twice the window"
    points = re.search(r'points="([^"]+)"', plots.trend("t", [(0, 0.0), (10, 5.0), (20, 10.0)], "s", [8.0]))
    assert points
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, one.split(","))) for one in points[1].split())
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert y2 < y0, "more is higher"


def sheet(book: Book, answers: dict[str, Any], **more: Any) -> dict[str, dict[str, Any]]:
    """Return TechCorp's checklist as this run fills it, by item."""
    summary, entries = made(book)
    summary["forward"].update(more)
    items = yaml.safe_load((Path(checklists.__file__).parents[1] / "checklists/techcorp.yml").read_text())["items"]
    return {item["id"]: item for item in checklist.filled(items, answers, summary, entries)}


def test_a_checklist_is_filled_by_the_run_and_by_names(book: Book) -> None:
    answers = {"users_told": {"by": "A. Person"}, "documented": {"not_applicable": "nothing is new"}}
    found = sheet(book, {**answers, "retired": {"not_applicable": "next year"}}, write_outage_seconds=7.0)
    states = {name: item["state"] for name, item in found.items()}
    assert {
        name: states[name] for name in ("switched", "stopped", "names", "rows", "guests", "go", "window")
    } == dict.fromkeys(("switched", "stopped", "names", "rows", "guests", "go", "window"), "yes")
    assert (states["users_told"], states["documented"], states["team"]) == ("confirmed", "not_applicable", "open")
    assert states["lag"] == "unmeasured", "this run's gate has another name"
    assert states["retired"] == "not_applicable"
    assert states["vpn"] == states["planned"] == states["stays"] == "unmeasured"
    assert len(found["rows"]["journal"]) == len(found["names"]["journal"]) == 1, "of the components that it speaks of"
    # What a run has measured is not talked away, and nobody ticks what is measured.
    book.verb("cutover", "thaw", NAMES[3], result="failed")
    assert sheet(book, {"names": {"not_applicable": "x"}})["names"]["state"] == "no"
    for odd, why in (
        ({"rows": {"by": "A. Person"}}, "answer 'rows', which the run measures"),
        ({"none": {"by": "A. Person"}}, "answer 'none'"),
        ({"team": {"by": " "}}, "answer 'team'"),
    ):
        with pytest.raises(PlanError, match=why):
            sheet(book, odd)


def test_after_a_return_the_checklist_says_what_is_not_proved_any_more(book: Book) -> None:
    book.move("rollback", *NAMES)
    found = sheet(book, {})
    assert {found[name]["state"] for name in ("rows", "files", "guests")} == {"unmeasured"}
    assert found["window"]["state"] == "unmeasured", "nobody outside has measured"
    assert sheet(book, {}, write_outage_seconds=7201.0)["window"]["state"] == "yes", "this plan has no limit"


LISTS = sorted((Path(checklists.__file__).parents[1] / "checklists").glob("*.yml"))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: str(path.stem))
def test_every_checklist_of_the_project_measures_what_there_is(book: Book, path: Path, tmp_path: Path) -> None:
    (tmp_path / "checklist.yml").write_text(f"checklist: {path.stem}\n")
    asked = checklists.read(tmp_path)
    assert asked
    items = asked[0]["items"]
    summary, entries = made(book)
    assert len({item["id"] for item in items}) == len(items) == len(checklist.filled(items, {}, summary, entries))
    assert all(asked[0]["title"][lang] for lang in ("en", "fr"))
    for item in items:
        assert len(checklist.MEASURES & set(item)) <= 1, item
        assert {*item.get("roles", ()), *item.get("proved", ())} <= set(STACKS), item
        if "gate" in item:
            assert item["gate"] in GATES, item
        if "verb" in item:
            phase, verb = item["verb"]
            assert verb in EXPECTED[phase], item
        assert item.get("decision", "GO") in ("GO", MADE, COMMIT), item
    assert {item["when"] for item in items} == {"before", "during", "after"}


def test_all_forms_are_written_and_printed(book: Book, tmp_path: Path) -> None:
    summary, entries = made(book)
    written = reporting.write(tmp_path, summary, "fr", entries)
    assert written == tmp_path / "report.fr.md"
    printed = reporting.write_pdf(written)
    assert [one.name for one in printed] == ["report.ar.pdf", "report.fr.pdf", "report.pdf"]
    assert all(one.read_bytes().startswith(b"%PDF-") for one in printed)
    assert json.loads((tmp_path / "summary.json").read_text())["record"] == summary["record"]
    (tmp_path / "checklist.yml").write_text("checklist: techcorp\nanswers: {team: {by: A. Person}}\n")
    reporting.write(tmp_path, summary, "fr", entries)
    sheet = (tmp_path / "checklist.fr.html").read_text()
    assert "Plan de migration TechCorp Formation, r" in sheet
    assert "confirmé par A. Person" in sheet
    named = re.findall(r'href="report\.fr\.html#([^"]+)"', sheet)
    assert named
    assert set(named) <= set(Page(written.with_suffix(".html").read_text()).names)
    (tmp_path / "checklist.yml").write_text("checklist: none\n")
    with pytest.raises(PlanError, match="none"):
        reporting.write(tmp_path, summary, "fr", entries)
    with pytest.raises(BasculeError, match="a page that needs nothing else"):
        pdf.write(tmp_path / "x.pdf", '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">')
