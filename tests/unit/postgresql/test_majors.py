"""Which major versions are moved, and that the README says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.postgresql import majors

README = Path(__file__).resolve().parents[3] / "roles/postgresql_replication/README.md"


@pytest.mark.parametrize(
    ("major", "accepted", "taken"),
    [
        ("15", "", True),
        ("15", "17", True),
        ("17", "", True),
        ("16", "", False),
        ("16", "18", False),
        ("16", "16", True),
        # What is refused is taken by nobody's word.
        ("13", "13", False),
        ("14", "14", False),
        ("12", "12", False),
        ("19", "19", False),
        ("", "", False),
    ],
)
def test_a_major_is_moved_where_it_was_tested_or_is_named(major: str, accepted: str, taken: bool) -> None:
    found = majors.finding(major, accepted)
    assert (found == "") is taken
    if not taken:
        assert "tested: 15, 17; by variable: 16, 18; refused: 13, 14" in found
        assert ("postgresql_replication_untested_major: " in found) is (major in ("16", "18"))


def test_the_readme_lists_them() -> None:
    assert majors.table() in README.read_text()
