"""Whether the copies of a journal agree."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bascule.run import agreement, chain


def entries(count: int, controller: str = "c") -> list[chain.Entry]:
    """Return a chain."""
    made: list[chain.Entry] = []
    for number in range(count):
        content = {
            "time": f"2026-01-01T00:00:{number:02}.000+00:00",
            "run": "r",
            "controller": controller,
            "epoch": "d",
            "kind": "state",
            "phase": "",
            "verb": "",
            "component": "",
            "data": {"number": number},
        }
        made.append(chain.make(made[-1] if made else None, content))
    return made


def reading(*found: Sequence[chain.Entry], broken: int = 0) -> chain.Reading:
    """Return what was found in a copy."""
    return chain.Reading([one for part in found for one in part], ["x"] * broken)


ALL = entries(4)
OTHERS = entries(2, "another")
CHANGED = [*ALL[:2], {**ALL[2], "data": {"number": 7}}, ALL[3]]


def test_copies_that_agree() -> None:
    # A chain may lie on another machine of its site, and this controller need not hold what others have written.
    copies = {"mtp": {"a": reading(ALL), "b": reading(OTHERS)}, "tls": {"c": reading(OTHERS, ALL)}}
    found = agreement.compare("r", reading(ALL), copies, {})
    assert found.agrees, found.lines
    assert found.lines[-1] == "all copies agree: 2 sites, 3 machines, all chains hold"


@pytest.mark.parametrize(
    ("here", "mtp", "tls", "unread", "said"),
    [
        (ALL, reading(ALL), reading(ALL[:3]), {}, "MISSING: tls lacks 1 entries"),
        (
            ALL,
            reading(ALL[:2]),
            reading(ALL[:2]),
            {},
            "MISSING: mtp lacks 2 entries that others hold, the first of them",
        ),
        ([], reading(ALL), reading(ALL, OTHERS), {}, "MISSING: mtp lacks 2 entries"),
        (ALL, reading(CHANGED), reading(ALL), {}, "CHANGED: mtp (m): chain of c, decision d: entry 3 was changed"),
        (CHANGED, reading(ALL), reading(ALL), {}, "CHANGED: here: chain of c, decision d: entry 3 was changed"),
        (
            ALL,
            reading([*ALL[:1], *ALL[2:]]),
            reading(ALL),
            {},
            "CHANGED: mtp (m): chain of c, decision d: entry 3 follows",
        ),
        (ALL, reading(ALL, broken=2), reading(ALL), {}, "NO ENTRY: mtp (m) has 2 lines that are none"),
        (ALL, reading(ALL), reading(ALL), {"s": "no route"}, "NOT READ: s: no route"),
        ([], reading(), reading(), {}, "NOTHING: no site that was read holds an entry of it"),
        (ALL, reading(), reading(), {}, "NOTHING: no site that was read holds an entry of it"),
    ],
)
def test_what_is_missing_or_changed_is_said(
    here: list[chain.Entry], mtp: chain.Reading, tls: chain.Reading, unread: dict[str, str], said: str
) -> None:
    found = agreement.compare("r", reading(here), {"mtp": {"m": mtp}, "tls": {"t": tls}}, unread)
    assert not found.agrees
    assert [line for line in found.lines if line.startswith(said)], found.lines


def test_a_site_that_was_not_read_at_all_lacks_nothing_that_is_known() -> None:
    found = agreement.compare("r", reading(ALL), {"mtp": {"m": reading(ALL)}, "tls": {}}, {"t": "silent"})
    assert not found.agrees
    assert [line for line in found.lines if "lacks" in line] == []
