"""Each runbook page answers what somebody asks at night: before, command, how long, stop, undo, and each error."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bascule.cli.main import COMMANDS

from .tree import ROOT

FOLDER = ROOT / "docs/runbooks"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
BEFORE, COMMAND, SEE = "Before you start", "Command", "What you see, and how long"
STOP, UNDO, ERRORS = "How to stop", "How to undo", "What each error means"
LEADS = (BEFORE, COMMAND, SEE, STOP, UNDO, ERRORS)
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


def answers(page: Path) -> dict[str, str]:
    """Return what stands under each bold lead of a page, in its order."""
    parts = re.split(r"^\*\*([^*\n]+)\*\*", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {lead.strip().rstrip(".:"): text.strip() for lead, text in zip(parts[1::2], parts[2::2], strict=True)}


@by_page
def test_a_page_has_all_that_is_asked_in_this_order(page: Path) -> None:
    found = answers(page)
    assert [lead for lead in found if lead in LEADS] == list(LEADS)
    assert [lead for lead in LEADS if len(found[lead]) < 20] == [], "a lead without an answer"


@by_page
def test_the_command_is_one_that_there_is(page: Path) -> None:
    blocks = re.findall(r"^```\n(.*?)^```", answers(page)[COMMAND], re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert lines
    for line in lines:
        words = line.split()
        assert words[0] in ("ansible-playbook", "bascule", "systemctl", "journalctl"), line
        if words[0] == "ansible-playbook":
            assert (ROOT / words[1]).is_file(), line
        if words[0] == "bascule":
            assert words[1] in COMMANDS, line


@by_page
def test_every_playbook_and_page_it_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"playbooks/[\w.]+\.yml", text):
        assert (ROOT / name).is_file(), name
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        assert (page.parent / target).exists(), target


@by_page
def test_it_says_how_long(page: Path) -> None:
    assert re.search(r"\b(seconds?|minutes?|hours?)\b", answers(page)[SEE].lower())


@by_page
def test_each_error_has_its_meaning_and_what_to_type(page: Path) -> None:
    table = re.search(r"(?:^\|.*\n?)+", answers(page)[ERRORS], re.MULTILINE)
    assert table is not None
    rows = table[0].splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in rows]
    assert cells[0][2] == "type"
    assert len(cells) > 2, "no error is explained"
    for row in cells[2:]:
        assert len(row) == 3, row
        assert all(row), row


def test_the_first_page_leads_to_each() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if f"({page.name})" not in text] == []
