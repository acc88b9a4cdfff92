"""No failure recorded from Proxmox lacks a test through the role, and each test asks for the recorded words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.faults.guests.recorded import ACCEPTED, BROKEN_RESTORE, FRESH, PREPARED, Failure

from .schema import FOLDER

RECORDINGS: Path = FOLDER / "captures" / "errors.txt"
ENTRY = re.compile(r"^(?P<name>\S.*?) +(?P<status>\d{3}) ")
TESTED = [failure for failure in (*FRESH, *PREPARED) if failure is not BROKEN_RESTORE]


@pytest.fixture(scope="module")
def entries() -> dict[str, tuple[int, str]]:
    """What was recorded, by name: the status, and all that was said."""
    if not RECORDINGS.is_file():
        pytest.skip(f"the recordings of Proxmox are not at hand ({RECORDINGS}): set BASCULE_PVE_SCHEMAS")
    found: dict[str, tuple[int, str]] = {}
    name = ""
    for line in RECORDINGS.read_text().splitlines():
        entry = ENTRY.match(line)
        if entry:
            name = entry["name"]
            assert name not in found
            found[name] = (int(entry["status"]), line)
        else:
            found[name] = (found[name][0], f"{found[name][1]}\n{line}")
    return found


def test_every_recorded_failure_has_a_test_through_the_role(entries: dict[str, tuple[int, str]]) -> None:
    assert len(entries) > 30
    assert {failure.name for failure in TESTED} | set(ACCEPTED) == set(entries)
    assert len({failure.name for failure in TESTED}) == len(TESTED)


def test_what_counts_as_accepted_was_accepted(entries: dict[str, tuple[int, str]]) -> None:
    for name in ACCEPTED:
        status, said = entries[name]
        assert status == 200
        assert "exitstatus=" not in said


@pytest.mark.parametrize("failure", TESTED, ids=lambda failure: failure.name)
def test_the_words_asked_for_are_the_recorded_ones(failure: Failure, entries: dict[str, tuple[int, str]]) -> None:
    status, said = entries[failure.name]
    assert failure.status == (status if status != 200 else failure.status)
    if failure.name == "cur locked":
        # A state that is read, not a refusal: the audit makes a refusal of it.
        assert '"lock":"backup"' in said
        return
    assert failure.said(failure.number, "pve1") in said
