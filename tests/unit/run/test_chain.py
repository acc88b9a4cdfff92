"""The chain: what it proves, and what it does not swallow."""

from __future__ import annotations

import json

import pytest

from bascule.errors import JournalError
from bascule.run import chain
from bascule.run.chain import Entry


def entry(previous: Entry | None, controller: str = "ctl", decision: str = "d1", **data: object) -> Entry:
    """Return the next entry of a chain."""
    number = previous["n"] + 1 if previous else 1
    content = {
        "time": f"2026-01-01T00:00:{number:02d}.000+00:00",
        "run": "r",
        "controller": controller,
        "epoch": decision,
        "kind": "step",
        "phase": "cutover",
        "verb": "freeze",
        "component": "db",
        "data": data,
    }
    return chain.make(previous, content)


def make_chain(length: int = 4, controller: str = "ctl", decision: str = "d1") -> list[Entry]:
    """Return a chain."""
    entries: list[Entry] = []
    for number in range(length):
        entries.append(entry(entries[-1] if entries else None, controller, decision, number=number, word="é\udce9"))
    return entries


def text(entries: list[Entry]) -> str:
    """Return the journal's text."""
    return "".join(chain.line(e) for e in entries)


def test_what_was_written_is_read_and_holds() -> None:
    entries = make_chain()
    reading = chain.parse(text(entries))
    assert (reading.entries, reading.broken) == (entries, [])
    assert chain.verify(reading.entries) == []
    assert chain.heads(entries) == {"ctl-d1": entries[-1]["hash"]}


@pytest.mark.parametrize("field", [f for f in chain.FIELDS if f not in ("controller", "epoch", "n")])
def test_a_changed_field_is_seen(field: str) -> None:
    entries = make_chain()
    entries[1] = {**entries[1], field: {"number": 99} if field == "data" else "x"}
    assert chain.verify(entries), field


def test_a_changed_entry_with_a_fresh_hash_breaks_the_next_one() -> None:
    entries = make_chain()
    entries[1]["data"] = {"number": 99}
    entries[1]["hash"] = chain.digest(entries[1])
    assert chain.verify(entries) == ["chain of ctl, decision d1: entry 3 does not follow the entry before it"]


def test_a_removed_entry_is_seen_but_not_a_cut_end() -> None:
    entries = make_chain()
    assert "entries are missing" in chain.verify([entries[0], *entries[2:]])[0]
    assert "entries are missing" in chain.verify(entries[1:])[0]
    assert chain.verify(entries[:2]) == [], "the heads at the sites tell about a cut end"


def test_two_histories_of_one_decision_are_seen() -> None:
    first = make_chain(2)
    forged = [first[0], entry(first[0], number="other")]
    assert "there twice" in "; ".join(chain.verify([*first, *forged]))


def test_an_entry_copied_twice_is_one_entry() -> None:
    entries = make_chain()
    assert chain.verify([*entries, *entries[1:3]]) == []
    assert chain.merge(entries, entries[:2], entries[2:]) == entries


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_kept_apart(cut: int) -> None:
    entries = make_chain()
    reading = chain.parse(text(entries)[:-cut])
    expected = entries if cut == 1 else entries[:-1]
    assert reading.entries == expected
    assert len(reading.broken) == (0 if cut == 1 else 1)
    assert chain.verify(reading.entries) == []


@pytest.mark.parametrize(
    "line", ["not json", "[]", '{"n": 1}', json.dumps(dict.fromkeys(chain.FIELDS, 1) | {"more": 1})]
)
def test_what_is_no_entry_is_kept_apart(line: str) -> None:
    entries = make_chain(2)
    reading = chain.parse(text(entries[:1]) + line + "\n" + text(entries[1:]))
    assert (reading.entries, reading.broken) == (entries, [line])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", None),
        ("n", "2"),
        ("n", True),
        ("n", 0),
        ("n", 1.5),
        ("data", None),
        ("data", []),
        *((field, odd) for field in chain.FIELDS if field not in ("n", "data") for odd in (None, 7, ["x"])),
    ],
)
def test_an_entry_with_a_value_of_another_type_is_kept_apart(field: str, value: object) -> None:
    entries = make_chain(3)
    line = json.dumps({**entries[1], field: value})
    reading = chain.parse(text(entries[:1]) + line + "\n" + text(entries[2:]))
    assert (reading.entries, reading.broken) == ([entries[0], entries[2]], [line])
    assert chain.verify(reading.entries) == ["chain of ctl, decision d1: entry 3 follows 1: entries are missing"]
    assert chain.describe(reading) == "2 entries and 1 LINE THAT IS NO ENTRY"


def test_what_nests_without_end_is_no_entry() -> None:
    line = "[" * 100_000
    reading = chain.parse(f"{line}\n{line}")
    assert reading.broken == [line, line]
    assert chain.describe(reading) == "0 entries and 2 LINES THAT ARE NO ENTRIES"


@pytest.mark.parametrize("order", [("mtp", "tls"), ("tls", "mtp")])
def test_a_change_in_one_copy_is_seen_beside_the_other_one(order: tuple[str, str]) -> None:
    entries = make_chain(3)
    changed = [entries[0], {**entries[1], "data": {"number": 99}}, entries[2]]
    copies = {"mtp": chain.Reading(entries), "tls": chain.Reading(changed)}
    found = chain.problems({place: copies[place] for place in order})
    assert found == ["tls: chain of ctl, decision d1: entry 2 was changed after it was written"]
    assert chain.problems({"mtp": chain.Reading(entries), "tls": chain.Reading(entries[:2])}) == []
    forged = [entries[0], entry(entries[0], number="other")]
    between = chain.problems({"mtp": chain.Reading(entries), "tls": chain.Reading(forged)})
    assert "there twice" in between[0], "each holds by itself"


def test_two_controllers_have_their_own_chains_in_one_file() -> None:
    one, two = make_chain(3), make_chain(3, controller="other", decision="d2")
    mixed = [e for pair in zip(one, two) for e in pair]
    assert chain.verify(mixed) == []
    assert set(chain.heads(mixed)) == {"ctl-d1", "other-d2"}
    assert "other" in chain.verify([*one, two[0], two[2]])[0]


def test_an_entry_has_its_fields_and_a_known_kind() -> None:
    content = {key: "x" for key in chain.FIELDS if key not in ("n", "prev", "hash")}
    with pytest.raises(JournalError, match="kind"):
        chain.make(None, content)
    with pytest.raises(JournalError, match="an entry with"):
        chain.make(None, {**content, "kind": "step", "colour": "red"})
