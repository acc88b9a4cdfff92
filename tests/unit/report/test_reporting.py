"""What the report of a run says of what it has not read and of what was not moved."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bascule.plugin import reporting
from bascule.report.text import report_markdown
from bascule.run import chain
from bascule.run.chain import Reading

from .test_legs import Book


class Scope:
    """Stands in for the variables of a plan of two components."""

    plan = "toy"
    hostvars: Mapping[str, Any] = {"a-tls": {"site": "tls"}, "a-mtp": {"site": "mtp"}}

    def __init__(self, *components: str) -> None:
        self.components = list(components)

    def get(self, name: str) -> Any:
        return {
            "plan_sites": {"tls": {"name": "toulouse"}, "mtp": {"name": "montpellier"}},
            "plan_source_site": "mtp", "plan_target_site": "tls",
        }.get(name)  # fmt: skip

    def journal_targets(self) -> dict[str, Any]:
        return {}


def chained(book: Book, heads: Mapping[str, str] | None = None, controller: str = "c", late: float = 0.0) -> list[Any]:
    """Return the book as chains that hold; the first start entry names these heads."""
    found: list[Any] = []
    last: dict[str, Any] = {}
    for entry in book.entries:
        epoch = entry["epoch"]
        when = (datetime.datetime.fromisoformat(entry["time"]) + datetime.timedelta(seconds=late)).isoformat()
        content = {**{key: entry[key] for key in chain.FIELDS[1:-2]}, "controller": controller, "time": when}
        if epoch not in last:
            start = {
                **content, "kind": "state", "verb": "", "component": "",
                "data": {"event": "start", "plan": "toy", "heads": {"tls": dict(heads or {})}},
            }  # fmt: skip
            last[epoch] = chain.make(None, start)
            found.append(last[epoch])
        last[epoch] = chain.make(last[epoch], content)
        found.append(last[epoch])
    return found


@pytest.fixture
def entries() -> list[Any]:
    book = Book()
    book.move("cutover", "names")
    book.verify("names")
    return chained(book)


def made(copies: Mapping[str, Reading], silent: Mapping[str, str] | None = None, *more: str) -> dict[str, Any]:
    scope: Any = Scope("names", *more)
    return reporting.make(scope, "r", copies, silent=silent)


def test_what_was_read_whole_is_good(entries: list[Any]) -> None:
    found = made({"here": Reading(entries)})
    assert (found["result"], found["reasons"]) == ("inside", ["forward: nobody outside measured"])


def test_a_chain_that_was_seen_and_not_read_is_a_reason() -> None:
    book = Book()
    book.move("cutover", "names")
    book.verify("names")
    found = made({"here": Reading(chained(book, {"B-dX": "0123456789abcdef"}))})
    assert found["result"] == "invalid"
    assert "journal: chain B-dX was seen up to 0123456789ab, and was not read" in found["reasons"]


def test_a_site_that_was_not_read_and_a_line_that_is_no_entry_are_reasons(entries: list[Any]) -> None:
    found = made({"here": Reading(entries)}, {"tls": "no route"})
    assert (found["result"], found["reasons"][-1]) == ("invalid", "journal: the copy at tls was not read: no route")
    found = made({"here": Reading(entries, ['{"n":30,"kind":"beg'])})
    assert (found["result"], found["reasons"][-1]) == ("invalid", "journal: 1 line of the copy here is no entry")


def test_the_verdict_names_what_was_not_moved(entries: list[Any], tmp_path: Path) -> None:
    found = made({"here": Reading(entries)}, None, "db", "web")
    (line, *_) = reporting.lines(found, tmp_path / "report.md", "en")
    assert line.endswith("PROVED, nobody outside measured; not moved: db, web")
    assert "**Result: PROVED, nobody outside measured; not moved: db, web.**" in report_markdown(found, "en")
    assert "\N{NO-BREAK SPACE}; n'a pas été déplacé\N{NO-BREAK SPACE}: db, web.**" in report_markdown(found, "fr")


@pytest.mark.parametrize("late", [-600.0, 600.0])
def test_what_knows_of_another_came_after_it_whatever_the_clocks_say(late: float) -> None:
    there, back = Book(), Book()
    there.move("cutover", "names")
    there.verify("names")
    back.entries = list(there.entries)
    back.move("rollback", "names")
    del back.entries[: len(there.entries)]
    first = chained(there)
    second = chained(back, chain.heads(first), "B", late)
    found = made({"here": Reading([*second, *first])})
    assert found["legs"] == ["forward", "back"]
    assert found["active_site"] == "montpellier"
    odd = [line for line in found["reasons"] if "its time" in line]
    assert bool(odd) is (late < 0)


def test_inside_a_chain_its_numbers_say_the_order() -> None:
    book = Book()
    book.move("cutover", "names")
    for entry in book.entries[-2:]:
        entry["time"] = book.entries[0]["time"]
    ordered = chain.in_order(reversed(chained(book)))
    assert [entry["n"] for entry in ordered] == list(range(1, len(ordered) + 1))
    assert any("its time" in line for line in chain.contradictions(ordered))


def test_a_message_is_one_line_and_no_markup() -> None:
    book = Book()
    book.verb("cutover", "freeze", "names", "failed")
    book.entries[-1]["data"]["message"] = "item1: no\nitem2: **x** <b>\x1b[2J\n\n## Result: OK"
    found = made({"here": Reading(chained(book))})
    for lang in ("en", "fr"):
        page = report_markdown(found, lang)
        assert "## Result: OK" not in page.splitlines()
        assert "item1: no item2: \\*\\*x\\*\\* \\<b\\> \\[2J ## Result: OK" in page
    assert all(line.isprintable() for line in reporting.lines(found, Path("report.md"), "en"))


@pytest.mark.parametrize("torn", [b'{"result": "o', b"\xff\xfe"])
def test_a_summary_that_cannot_be_read_keeps_no_new_one_away(entries: list[Any], tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "summary.json").write_bytes(torn)
    page = reporting.write(tmp_path, made({"here": Reading(entries)}), "en", entries)
    assert page.read_text().startswith("# Run r")
    assert json.loads((tmp_path / "summary.json").read_text())["result"] == "inside"
