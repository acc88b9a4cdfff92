"""The legs of a real run, out of its journal alone: what moved, what was verified, what stands where."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from bascule.report import legs
from bascule.report.judge import leg_reasons, verdict
from bascule.report.records import ClientAccount, Lookup, ProbeAccount, client_account, probe_account
from bascule.report.rows import figure_rows
from bascule.report.summary import build
from bascule.report.text import report_markdown

from .test_figures import FACTS, WALL, client_line, data_line, good_run

START = datetime.datetime(2026, 12, 1, 20, 0, tzinfo=datetime.timezone.utc)


class Book:
    """A journal that grows by the second."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.epoch = "d0"
        # Under which decision each component was opened last.
        self.opened: dict[str, str] = {}

    def facts(self, component: str) -> dict[str, Any]:
        return {**FACTS[component], "opened": f"1.{self.opened.get(component, 'd')}"}

    def add(self, kind: str, phase: str, verb: str, component: str, **data: Any) -> None:
        time = (START + datetime.timedelta(seconds=len(self.entries))).isoformat()
        self.entries.append(
            {
                "n": len(self.entries) + 1, "time": time, "run": "r", "controller": "c", "epoch": self.epoch,
                "kind": kind, "phase": phase, "verb": verb, "component": component, "data": data, "prev": "",
                "hash": str(len(self.entries)),
            }
        )  # fmt: skip

    def verb(self, phase: str, verb: str, component: str, result: str = "ok", **begin: Any) -> None:
        back = phase == "rollback"
        sides = {"from": "a-tls", "to": "a-mtp"} if back else {"from": "a-mtp", "to": "a-tls"}
        self.add(
            "begin", phase, verb, component, direction="back" if back else "forward", **sides,
            **({"role": FACTS[component]["role"]} if component in FACTS else {}), **begin,
        )  # fmt: skip
        if verb == "verify" and not begin.get("check_mode"):
            self.add("state", phase, verb, component, event="verify", found=self.facts(component))
        if result:
            self.add("end", phase, verb, component, result=result, **({"message": "no way"} if result != "ok" else {}))

    def move(self, phase: str, *components: str, check_mode: bool = False) -> None:
        self.epoch = f"d{len(self.entries)}"
        for verb in ("freeze", "sync", "switch", "thaw"):
            for component in components:
                self.verb(phase, verb, component, check_mode=check_mode)
        if not check_mode:
            self.opened |= dict.fromkeys(components, self.epoch)

    def verify(self, *components: str) -> None:
        self.epoch = f"d{len(self.entries)}"
        for component in components:
            self.verb("verify", "verify", component)


@pytest.fixture
def book() -> Book:
    return Book()


def names(found: dict[str, legs.Moved]) -> list[str]:
    return list(found)


def judged(book: Book, **more: Any) -> dict[str, Any]:
    """Return the summary of what the journal tells."""
    found = legs.read(book.entries)
    return build(
        run="r", plan="toy", limits={}, active_site=None, expected_legs=list(found) or ["forward"],
        legs={name: legs.figures(one, {}) for name, one in found.items()}, **more,
    )  # fmt: skip


def test_a_move_that_was_proved_is_not_called_ok_without_anybody_outside(book: Book) -> None:
    book.move("cutover", *FACTS)
    book.verify(*FACTS)
    made = judged(book)
    assert made["result"] == "inside"
    assert made["reasons"] == ["forward: nobody outside measured"]
    assert made["forward"]["rows_compared"] == 1000
    assert made["forward"]["write_outage_seconds"] is None
    assert made["forward"]["probes"] is None, "nobody has tried, so it is not zero"
    assert made["legs"] == ["forward"], "nobody had to come back"
    assert list(made["forward"]["phases"]) == ["cutover", "verify"]
    page = report_markdown(made, "en")
    assert "**Result: PROVED, nobody outside measured.**" in page
    assert "Nobody outside measured" in page.rpartition("|")[2]
    assert "(!)" not in page
    assert "Acknowledged writes lost" not in page, "a figure that nobody could have"
    assert "PROUVÉ" in report_markdown(made, "fr")
    assert "Aller\N{NO-BREAK SPACE}: personne n'a mesuré de l'extérieur" in report_markdown(made, "fr")


def test_what_a_component_found_stays_a_reason(book: Book) -> None:
    book.move("cutover", *FACTS)
    book.verify(*FACTS)
    book.entries[-2]["data"]["found"] = {**book.facts("names"), "details": ["ns1 differs"]}
    assert judged(book)["result"] == "failed"
    found = book.entries[-5]["data"]
    assert found["found"]["role"] == "proxmox_guest"
    found["found"] = {**found["found"], "disks_different": 1}
    assert "forward.disks_different: 1, must be 0" in judged(book)["reasons"]


def test_what_was_moved_and_not_verified_is_named_and_one_without_any_verification_proves_too_little(
    book: Book,
) -> None:
    book.move("cutover", "accounts_db", "names")
    assert judged(book)["result"] == "invalid"
    book.verify("accounts_db")
    made = judged(book)
    assert "forward: not proved: names.verify: nothing was verified" in made["reasons"]
    assert made["result"] == "failed"
    book.verify("names")
    assert judged(book)["result"] == "inside"


def test_figures_of_kinds_that_the_plan_does_not_have_are_not_asked_for(book: Book) -> None:
    book.move("cutover", "course_files")
    book.verify("course_files")
    made = judged(book)
    assert made["result"] == "inside"
    assert {row.label for row in figure_rows(made, "en")} == {
        "Files compared / different / not proved", "From freeze to thaw / of that orchestration",
    }  # fmt: skip
    # But a number that is there counts, whoever has stated it.
    figures = {**made["forward"], "rows_different": 2}
    assert [reason.figure for reason in leg_reasons("forward", figures, {})] == ["measured_outside", "rows_different"]
    assert verdict(leg_reasons("forward", figures, {})) == "failed"


def test_a_verification_before_the_last_move_proves_nothing_about_it(book: Book) -> None:
    book.move("cutover", "names")
    book.verify("names")
    seen = book.facts("names")
    book.move("rollback", "names")
    found = legs.read(book.entries)
    assert names(found) == ["forward", "back"]
    assert found["forward"].facts["names"] == seen
    assert not found["back"].facts.get("names")
    book.verify("names")
    assert judged(book)["result"] == "inside"
    # The next way there begins a report of its own, in which the old way back is no part.
    book.move("cutover", "names")
    assert names(legs.read(book.entries)) == ["forward"]


def test_a_move_that_went_on_is_one_leg_and_one_that_did_not_come_through_is_a_reason(book: Book) -> None:
    book.verb("cutover", "freeze", "accounts_db", "failed")
    made = judged(book)
    assert made["result"] == "failed"
    assert "forward: cutover/freeze of accounts_db did not come through: no way" in made["reasons"]
    assert legs.active(book.entries) == {"accounts_db": ""}
    book.move("cutover", "accounts_db")
    book.verify("accounts_db")
    assert names(legs.read(book.entries)) == ["forward"]
    assert judged(book)["result"] == "inside"
    assert legs.active(book.entries) == {"accounts_db": "a-tls"}
    book.verb("rollback", "freeze", "accounts_db", "")
    made = judged(book)
    assert "back: rollback/freeze of accounts_db has not ended" in made["reasons"]
    assert any(
        "retour, gel de accounts_db (phase «\N{NO-BREAK SPACE}retour\N{NO-BREAK SPACE}»)" in line.lower()
        for line in report_markdown(made, "fr").splitlines()
    )


def test_what_was_only_tried_and_what_was_refused_before_the_freeze_is_no_move(book: Book) -> None:
    book.move("cutover", "names", check_mode=True)
    book.epoch = "real"
    book.verb("cutover", "check", "names", "failed")
    assert legs.read(book.entries) == {}
    made = judged(book)
    assert made["result"] == "invalid"
    assert made["reasons"] == ["forward: this leg was not reached"]
    assert "- Aller\N{NO-BREAK SPACE}: cette étape n'a pas été atteinte" in report_markdown(made, "fr")


def test_what_a_person_let_pass_is_said_and_condemns_no_run(book: Book) -> None:
    book.verb("cutover", "check", "accounts_db")
    book.add("sample", "cutover", "check", "accounts_db", name="lag", go=False, reason="9 s", override="quiet night")
    book.move("cutover", "accounts_db")
    book.verb("verify", "verify", "accounts_db")
    book.entries[-2]["data"]["found"] = {**book.facts("accounts_db"), "safety_dump": "pending"}
    doubt = "accounts_db.safety_dump: pending, must be proved or off"
    assert f"forward: not proved: {doubt}" in judged(book)["reasons"]
    passed = [f"{doubt}; let pass: Nadia read the dump"]
    book.add("decision", "verify", "verify", "accounts_db", decision="proof override", passed=passed)
    made = judged(book)
    assert made["result"] == "inside"
    page = report_markdown(made, "en")
    assert "- forward: gate lag of accounts_db: quiet night (9 s)" in page
    assert f"- forward: {passed[0]}" in page
    book.verify("accounts_db")
    book.entries[-2]["data"]["found"] = {**book.facts("accounts_db"), "safety_dump": "pending"}
    assert judged(book)["result"] == "failed", "what was verified again has to be let pass again"


def test_what_a_closed_side_found_of_its_own_is_seen_without_anybody_outside(book: Book) -> None:
    book.move("cutover", "accounts_db")
    book.verify("accounts_db")
    assert judged(book)["forward"]["divergent_writes"] is None
    book.entries[-2]["data"]["found"] = {**book.facts("accounts_db"), "kept_side_as_at_its_receipt": False}
    made = judged(book)
    assert made["forward"]["divergent_writes"] == 1
    assert "forward.divergent_writes: 1, must be 0" in made["reasons"]


def test_with_an_account_from_outside_all_figures_are_asked_for(book: Book) -> None:
    book.move("cutover", *FACTS)
    book.verify(*FACTS)
    found = legs.read(book.entries)["forward"]
    outside = legs.Outside(ClientAccount(), ProbeAccount(), ClientAccount(), {"forward": Lookup("tls")}, {})
    figures = legs.figures(found, {"cutover": 9.0}, outside)
    rules = {(reason.figure, reason.rule) for reason in leg_reasons("forward", figures, {})}
    assert ("acknowledged_writes", "missing") in rules
    assert ("probes", "some") in rules
    assert figures["phases"]["cutover"]["expected"] == 9.0


def doubted(book: Book, leg: str, *parts: str) -> None:
    """See that the summary is not good, for this leg and for that."""
    made = judged(book)
    assert made["result"] not in ("ok", "inside"), made["result"]
    assert any(line.startswith(f"{leg}: ") and all(part in line for part in parts) for line in made["reasons"]), made


@pytest.mark.parametrize("result", ["ok", "failed"])
@pytest.mark.parametrize("phase", ["cutover", "rollback"])
def test_a_verification_that_began_before_the_leg_and_recorded_after_its_switch_proves_nothing(
    book: Book, phase: str, result: str
) -> None:
    if phase == "rollback":
        book.move("cutover", "names")
        book.verify("names")
    book.epoch = "V"
    book.add("begin", "verify", "verify", "names", direction="forward", role="dns_switchover")
    book.move(phase, "names")
    book.epoch = "V"
    book.add("state", "verify", "verify", "names", event="verify", found=book.facts("names"))
    book.add("end", "verify", "verify", "names", result=result, message="digest differs")
    doubted(book, "back" if phase == "rollback" else "forward", "names.verify", "older than")


@pytest.mark.parametrize("opened", ["7.someone.else", "0.adopted", ""])
def test_a_verification_of_another_switch_proves_nothing(book: Book, opened: str) -> None:
    book.move("cutover", "names")
    book.verify("names")
    book.move("rollback", "names")
    book.verify("names")
    assert judged(book)["result"] == "inside"
    book.entries[-2]["data"]["found"]["opened"] = opened
    doubted(book, "back", "names.opened")


def test_a_switch_that_went_on_is_the_same_and_one_that_finds_its_side_open_is_none(book: Book) -> None:
    book.epoch = "first"
    book.verb("cutover", "switch", "names", "")
    book.move("cutover", "names")
    for first in ("first", "first", book.opened["names"]):
        book.opened["names"] = first
        book.verify("names")
        assert judged(book)["result"] == "inside", judged(book)["reasons"]
    book.move("cutover", "names")
    book.opened["names"] = "first"
    book.verify("names")
    assert judged(book)["result"] == "inside", judged(book)["reasons"]


def test_what_came_back_before_its_switch_was_never_left(book: Book) -> None:
    book.epoch = "broken"
    book.verb("cutover", "freeze", "names", "failed")
    book.move("rollback", "names")
    book.opened["names"] = "adopted"
    book.verify("names")
    assert not [line for line in judged(book)["reasons"] if "names.opened" in line]


def measured(book: Book, begin: float, seconds: float = 90.0, tail: int = 0, **bounds: tuple[float, float]) -> Any:
    """Return the figures' reasons, by an account that begins so many seconds after the first entry."""
    client, probes = good_run(seconds)
    client += [client_line("write", 10_000 + n, seconds + n / 10, "error") for n in range(tail)]
    data = [data_line(n, n / 10) for n in range(int(seconds * 10))]
    shift = START.timestamp() + begin - WALL
    moved = [
        [
            json.dumps({k: v + shift if k.endswith("_wall") else v for k, v in json.loads(line).items()})
            for line in lines
        ]
        for lines in (client, probes, data)
    ]
    idents = frozenset(json.loads(line).get("id", "") for lines in moved for line in lines)
    outside = legs.Outside(
        client_account(moved[0]), probe_account(moved[1]), client_account(moved[2]),
        {"forward": Lookup("tls", idents)}, bounds,
    )  # fmt: skip
    figures = legs.figures(legs.read(book.entries)["forward"], {}, outside)
    return [reason.text() for reason in leg_reasons("forward", figures, {})]


def test_an_account_that_does_not_cover_the_moves_measures_nothing(book: Book) -> None:
    book.move("cutover", *FACTS)
    book.verify(*FACTS)
    begin = START.timestamp()
    assert measured(book, -10) == []
    assert measured(book, -10, forward=(begin - 5, begin + 60)) == []
    for reasons in (
        measured(book, 5),
        measured(book, -80),
        measured(book, -10, forward=(begin - 3600, begin - 3000)),
        measured(book, -10, forward=(begin + 2, begin + 60)),
        measured(book, -10, forward=(begin - 5, begin + 20)),
    ):
        assert any("does not cover the moves" in line for line in reasons), reasons
        assert "forward: nobody outside measured" in reasons


def test_an_account_that_ends_in_an_outage_is_a_reason_without_any_limit(book: Book) -> None:
    book.move("cutover", *FACTS)
    book.verify(*FACTS)
    bounds = (START.timestamp() - 5, START.timestamp() + 85)
    assert measured(book, -10, tail=1, forward=bounds) == [], "one that was cut off with its client"
    (reason,) = measured(book, -10, tail=40, forward=bounds)
    assert reason.startswith("forward.write_outage_seconds: ")
    assert reason.endswith("and the account ends in it")


def lost(book: Book, phase: str, to: str, *verbs: str) -> None:
    """Let a person open the side that is left."""
    book.epoch = f"w{len(book.entries)}"
    given = {"site": "montpellier", "by": "Nadia", "fenced": "power cut at the PDU"}
    book.add("decision", phase, "", "", decision="GO", **{"lost" if phase == "site_lost" else "word": given})
    for verb in verbs:
        left = "a-mtp" if to == "a-tls" else "a-tls"
        book.add("begin", phase, verb, "names", direction="away", **{"from": left, "to": to})
        book.add("end", phase, verb, "names", result="ok")
    book.opened["names"] = book.epoch


@pytest.mark.parametrize(
    ("phase", "verbs"), [("site_lost", ("take_over", "thaw")), ("guard_lost", ("reopen",))], ids=str
)
@pytest.mark.parametrize(("to", "leg"), [("a-tls", "forward"), ("a-mtp", "back")])
def test_a_word_of_a_person_ends_a_proof_as_a_switch_does(
    book: Book, phase: str, verbs: tuple[str, ...], to: str, leg: str
) -> None:
    book.move("cutover", "names")
    book.verify("names")
    assert judged(book)["result"] == "inside"
    lost(book, phase, to, *verbs)
    made = judged(book)
    assert made["legs"][-1] == leg
    assert legs.active(book.entries) == {"names": to}
    assert any(line.startswith(f"{leg}: ") and "names.verify" in line for line in made["reasons"]) or (
        made["result"] == "invalid"
    )
    assert made["result"] not in ("ok", "inside")
    word = f"- {leg}: {phase}: the word of Nadia about montpellier: power cut at the PDU"
    assert word in report_markdown(made, "en")
    book.verify("names")
    assert judged(book)["result"] == "inside", judged(book)["reasons"]
