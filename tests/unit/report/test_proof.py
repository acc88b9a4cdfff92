"""What verify has recorded is proved only where somebody has looked; each way to be green unseen is a test."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.guard import state as rule
from bascule.report import proof
from bascule.report.figures import leg_figures
from bascule.report.judge import leg_reasons, verdict

from .test_figures import FACTS, good_run, leg_input

DB, FILES, GUEST, NAMES = (FACTS[name] for name in ("accounts_db", "course_files", "courses_guest", "names"))
ENTRANCE = {
    "role": "web_entrance", "opened": "1.d", "requests_passed": 3, "active_side": "gw-tls", "passive_mode": "forward",
    "details": [],
}  # fmt: skip
VPN = {
    "role": "vpn_switchover", "opened": "1.d", "active_side": "vpn-tls", "passive_mode": "closed", "fence_refused": 1,
    "active_mode": "open", "active_faults": [],
    "peers_compared": 2, "peers_different": 0, "reach": "proved", "details": [], "not_compared": {},
}  # fmt: skip
UNTOLD: tuple[Any, ...] = (None, [], "nothing", 3, {"flags": ""}, {"flags": " "}, {"flags": None}, {"flags": 3})
TIMES = [f"2026-11-20T22:00:0{second}.000+00:00" for second in range(10)]


def keys(component: str, facts: dict[str, Any] | None) -> list[str]:
    """Name what is in doubt."""
    return [doubt.what for doubt in proof.doubts(component, facts)]


@pytest.mark.parametrize(
    "facts",
    [
        DB,
        FILES,
        GUEST,
        NAMES,
        ENTRANCE,
        VPN,
        {**DB, "safety_dump": "off"},
        {**FILES, "fence_from_outside": "off"},
        {**VPN, "reach": "off"},
    ],
)
def test_what_was_seen_is_proved(facts: dict[str, Any]) -> None:
    assert proof.doubts("it", facts) == []


@pytest.mark.parametrize(
    ("facts", "changes", "what"),
    [
        (VPN, {"passive_mode": "stopped"}, "passive_mode"),
        (VPN, {"active_mode": "stopped"}, "active_mode"),
        (VPN, {"active_mode": None}, "active_mode"),
        (VPN, {"active_faults": ["ip_forward is off"]}, "active_faults"),
        (VPN, {"active_faults": None}, "active_faults"),
        (VPN, {"fence_refused": 0}, "fence_refused"),
        (VPN, {"peers_compared": 0}, "peers_compared"),
        (VPN, {"peers_different": 1}, "peers_different"),
        (VPN, {"reach": "unproved"}, "reach"),
        (VPN, {"not_compared": None}, "not_compared"),
        (VPN, {"active_side": ""}, "active_side"),
        (DB, {"digested": {}}, "digested"),
        (DB, {"rows_compared": 0}, "rows_compared"),
        (DB, {"rows_compared": None}, "rows_compared"),
        (DB, {"rows_not_proved": 10_000_000}, "rows_not_proved"),
        (DB, {"rows_not_proved": None}, "rows_not_proved"),
        (DB, {"rows_different": True}, "rows_different"),
        (DB, {"rows_different": False}, "rows_different"),
        (DB, {"rows_compared": True}, "rows_compared"),
        (DB, {"rows_compared": float("inf")}, "rows_compared"),
        (DB, {"rows_different": float("nan")}, "rows_different"),
        # Beside rows_not_proved: 0.
        (DB, {"not_proved": ["database x: it was not looked at", "courses: the schema was not read"]}, "not_proved"),
        (DB, {"not_proved": None}, "not_proved"),
        (DB, {"details": ["table courses.a exists at one side only"]}, "details"),
        (DB, {"safety_dump": "not_proved", "safety_dump_reason": "something of kind column differs"}, "safety_dump"),
        (DB, {"safety_dump": None}, "safety_dump"),
        (DB, {"service": False}, "service"),
        (DB, {"service": "yes"}, "service"),
        (DB, {"fence_admitted": 1}, "fence_admitted"),
        (DB, {"fence_refused": 0}, "fence_refused"),
        (DB, {"opened": ""}, "opened"),
        (FILES, {"not_proved": ["not entered: a subvolume"]}, "not_proved"),
        (FILES, {"not_proved": None}, "not_proved"),
        # Silently left out: nobody has said what, or why.
        *((facts, {"not_compared": told}, "not_compared") for facts in (DB, FILES, GUEST) for told in UNTOLD),
        (FILES, {"files_compared": 0}, "files_compared"),
        (FILES, {"files_not_proved": 3}, "files_not_proved"),
        (FILES, {"files_different": None}, "files_different"),
        (FILES, {"fence_from_outside": "admitted"}, "fence_from_outside"),
        (FILES, {"fence_from_outside": "not_proved"}, "fence_from_outside"),
        (FILES, {"fence_from_outside": None}, "fence_from_outside"),
        # An empty receipt: no disk is named, none was compared.
        (GUEST, {"disks_compared": 0, "disks_stateless": 0}, "disks_compared"),
        (GUEST, {"disks_compared": 0, "disks_unmoved": 0}, "disks_compared"),
        (GUEST, {"asked": []}, "asked"),
        (GUEST, {"active_side": ""}, "active_side"),
        (GUEST, {"details": ["2 sides are open"]}, "details"),
        (GUEST, {"disks_different": 1}, "disks_different"),
        (FILES, {"files_different": 2}, "files_different"),
        (DB, {"rows_different": 0.5}, "rows_different"),
        (NAMES, {"active_side": ""}, "active_side"),
        (NAMES, {"details": ["ns1 says something else"]}, "details"),
        (ENTRANCE, {"active_side": None}, "active_side"),
        (NAMES, {"answers_checked": 0}, "answers_checked"),
        (NAMES, {"servers": []}, "servers"),
        (ENTRANCE, {"requests_passed": 0}, "requests_passed"),
    ],
)
def test_what_nobody_has_seen_is_in_doubt_and_named(facts: dict[str, Any], changes: dict[str, Any], what: str) -> None:
    assert keys("it", {**facts, **changes}) == [what]
    missing = {key: value for key, value in facts.items() if key not in changes}
    assert keys("it", missing) == [what]


@pytest.mark.parametrize("facts", [None, {}])
def test_nothing_recorded_is_nothing_proved(facts: dict[str, Any] | None) -> None:
    assert [doubt.text() for doubt in proof.doubts("it", facts)] == ["it.verify: nothing was verified"]


@pytest.mark.parametrize(
    ("facts", "changes", "line"),
    [
        (DB, {"rows_not_proved": 3}, "it.rows_not_proved: 3, must be 0"),
        (DB, {"rows_not_proved": None}, "it.rows_not_proved: null: nobody has counted"),
        (DB, {"rows_not_proved": "none"}, "it.rows_not_proved: none: nobody has counted"),
        (DB, {"rows_compared": None}, "it.rows_compared: null: nothing was looked at"),
        (DB, {"rows_compared": -1}, "it.rows_compared: -1: nothing was looked at"),
        (DB, {"details": "none"}, "it.details: none: nobody has looked"),
        (DB, {"details": ["a", "b", "c"]}, "it.details: a; b; c"),
        (DB, {"details": ["a", "b", "c", "d"]}, "it.details: a; b; c; and 1 more"),
        (DB, {"details": ["a", "b", "c", "d", "e"]}, "it.details: a; b; c; and 2 more"),
        (DB, {"service": None}, "it.service: null, must be true"),
        (DB, {"safety_dump": None}, "it.safety_dump: null, must be proved or off"),
        (
            DB,
            {"safety_dump": "not_proved", "safety_dump_reason": "a column differs"},
            "it.safety_dump: not_proved (a column differs), must be proved or off",
        ),
        (FILES, {"not_compared": None}, "it.not_compared: null: nobody has said what was not compared"),
        (
            FILES,
            {"not_compared": {"flags": "12 entries", "acl": None, "birth": ""}},
            "it.not_compared: nobody has said why these were not compared: acl, birth",
        ),
        (DB, {"opened": None}, "it.opened: which switch was verified is not known"),
        (GUEST, {"asked": []}, "it.asked: nothing is recorded"),
        (GUEST, {"disks_compared": 0, "disks_stateless": None}, "it.disks_compared: 0: nothing was looked at"),
    ],
)
def test_a_doubt_says_what_was_found_and_what_is_missing(facts: dict[str, Any], changes: Any, line: str) -> None:
    assert [doubt.text() for doubt in proof.doubts("it", {**facts, **changes})] == [line]


@given(st.sampled_from([DB, FILES, GUEST, NAMES, ENTRANCE]), st.data())
def test_no_figure_that_a_role_has_to_state_can_be_left_out(facts: dict[str, Any], data: st.DataObject) -> None:
    rule = proof.RULES[facts["role"]]
    named = [
        *rule.zero,
        *rule.full,
        *rule.nothing,
        *rule.true,
        *rule.one_of,
        *rule.told,
        *(group[0] for group in rule.some),
    ]
    left_out = data.draw(st.sampled_from(named))
    assert left_out in keys("it", {name: value for name, value in facts.items() if name != left_out})


def test_what_was_left_out_is_told_by_name_and_reason_and_is_no_doubt() -> None:
    facts = {**FILES, "not_compared": {"time of birth": "50 entries have it", "flags": "nobody tells them"}}
    assert keys("it", facts) == []
    assert proof.left_out("it", facts) == ["it: flags: nobody tells them", "it: time of birth: 50 entries have it"]
    silent: tuple[dict[str, Any], ...] = ({}, {"not_compared": {}}, {"not_compared": None}, {"not_compared": ["a"]})
    for nothing in silent:
        assert proof.left_out("it", nothing) == []


def test_a_passive_entrance_that_serves_or_was_not_asked_is_in_doubt() -> None:
    for mode in ("maintenance", "forward"):
        assert keys("it", {**ENTRANCE, "passive_mode": mode}) == []
    unseen: tuple[str | None, ...] = ("open", "", None)
    for found in unseen:
        assert keys("it", {**ENTRANCE, "passive_mode": found}) == ["passive_mode"]


def test_a_stateless_guest_has_no_disks_to_compare() -> None:
    assert keys("it", {**GUEST, "disks_compared": 0, "disks_stateless": 1}) == []
    assert keys("it", {**GUEST, "disks_compared": 0, "disks_unmoved": 1}) == []


def test_a_role_of_somebody_else_is_judged_by_the_names_of_its_figures() -> None:
    facts = {"role": "theirs", "opened": "1.d", "shares_compared": 3, "shares_different": 0, "details": []}
    assert keys("it", facts) == []
    assert keys("it", {**facts, "shares_compared": 0}) == ["shares_compared"]
    assert keys("it", {**facts, "shares_different": 1, "details": ["x"]}) == ["shares_different", "details"]
    assert keys("it", {"role": "theirs", "opened": "1.d", "fine": True}) == ["compared"]
    for looked in ("shares_compared", "calls_checked", "tries_passed"):
        assert keys("it", {"role": "theirs", "opened": "1.d", looked: 1}) == []
        assert keys("it", {"role": "theirs", "opened": "1.d", looked: 0, "calls_not_proved": 2}) == [
            "calls_not_proved",
            looked,
        ]


def test_where_nothing_was_switched_only_what_was_seen_counts() -> None:
    before = {"role": "postgresql_replication", "opened": proof.ADOPTED, "details": [], "service": True}
    assert keys("it", before) == []
    assert keys("it", {**before, "service": False, "rows_different": 2}) == ["rows_different", "service"]


def entry(second: int, kind: str, verb: str = "", component: str = "it", **data: Any) -> dict[str, Any]:
    """Make an entry of a journal."""
    return {"time": TIMES[second], "kind": kind, "verb": verb, "component": component, "data": data}


def verified(second: int, **found: Any) -> dict[str, Any]:
    """Make what bascule_record writes."""
    return entry(second, "state", "verify", event="verify", found={**FILES, **found})


@pytest.mark.parametrize("verb", ["switch", "take_over", "reopen"])
def test_whatever_opens_a_side_makes_a_verification_old(verb: str) -> None:
    _, stale = proof.last_proof([verified(2), entry(3, "begin", verb)], "it")
    assert [doubt.why for doubt in stale] == [f"it is older than the last {verb}, begun {TIMES[3][:19]}Z"]
    assert proof.last_proof([verified(2), entry(3, "begin", "sync")], "it")[1] == []


def test_the_last_verification_counts_and_one_before_a_switch_does_not() -> None:
    entries = [entry(1, "begin", "switch"), verified(2), verified(4, files_different=7)]
    facts, stale = proof.last_proof(entries, "it")
    assert facts is not None
    assert (facts["files_different"], stale) == (7, [])
    again = [*entries, entry(5, "begin", "switch"), entry(6, "begin", "switch", "other")]
    assert [doubt.why for doubt in proof.last_proof(again, "it")[1]] == [
        "it is older than the last switch, begun 2026-11-20T22:00:05Z"
    ]
    assert proof.last_proof([*entries, entry(5, "begin", "switch", check_mode=True)], "it")[1] == []
    assert proof.last_proof([*again, verified(7)], "it") == ({**FILES}, [])
    assert proof.last_proof(entries, "other") == (None, [])


def by(controller: str, one: dict[str, Any]) -> dict[str, Any]:
    """Let an entry be of another controller."""
    return {**one, "controller": controller, "epoch": f"e-{controller}"}


def test_two_verifications_side_by_side_are_told_apart() -> None:
    """Also one that is only tried: it takes nothing back, and makes nothing good."""
    ok, failed = {"result": "ok"}, {"result": "failed", "message": "3 ADMITTED"}
    both = [
        by("a", entry(1, "begin", "verify")), by("b", entry(2, "begin", "verify")), by("a", verified(3)),
        by("a", entry(4, "end", "verify", **ok)),
    ]  # fmt: skip
    # The other one has not ended; whether it was killed nobody can tell.
    assert "has come to no end" in proof.last_proof(both, "it")[1][0].why
    assert "3 ADMITTED" in proof.last_proof([*both, by("b", entry(5, "end", "verify", **failed))], "it")[1][0].why
    (silent,) = proof.last_proof([*both, by("b", entry(5, "end", "verify", **ok))], "it")[1]
    assert silent.why == "the last one, begun 2026-11-20T22:00:02Z, has recorded nothing"
    seen = [*both, by("b", verified(5)), by("b", entry(6, "end", "verify", **ok))]
    assert proof.last_proof(seen, "it") == (FILES, [])
    # One that began later has failed sooner: what the other one has seen may be older.
    sooner = [*both[:2], by("b", entry(3, "end", "verify", **failed)), by("a", verified(4)), both[3]]
    assert "3 ADMITTED" in proof.last_proof(sooner, "it")[1][0].why
    switched = [*both[:1], entry(2, "begin", "switch"), by("a", verified(3)), both[3]]
    assert "older than the last switch" in proof.last_proof(switched, "it")[1][0].why
    # By controller and by decision: one of the two is not enough.
    for other in ({"controller": "a", "epoch": "e-b"}, {"controller": "b", "epoch": "e-a"}):
        mixed = [both[0], {**both[1], **other}, *both[2:], {**entry(5, "end", "verify", **failed), **other}]
        assert "3 ADMITTED" in proof.last_proof(mixed, "it")[1][0].why
    # Of several reasons the last one is told.
    late = [*both, by("b", entry(5, "end", "verify", **failed)), entry(6, "begin", "switch")]
    assert "begun 2026-11-20T22:00:06Z" in proof.last_proof(late, "it")[1][0].why
    late = [both[0], entry(2, "begin", "switch"), by("b", entry(3, "begin", "verify")), *both[2:]]
    assert "begun 2026-11-20T22:00:03Z, has come to no end" in proof.last_proof(late, "it")[1][0].why
    # One that was killed is forgotten when a later one has come through.
    killed = [by("a", entry(1, "begin", "verify")), by("b", entry(2, "begin", "verify")), by("b", verified(3))]
    assert proof.last_proof([*killed, by("b", entry(4, "end", "verify", **ok))], "it") == (FILES, [])
    tried = [
        by("c", entry(7, "begin", "verify", check_mode=True)), by("c", verified(8)),
        by("c", entry(9, "end", "verify", **ok)),
    ]  # fmt: skip
    for before, why in (([*both, by("b", entry(5, "end", "verify", **failed))], "3 ADMITTED"), (both, "to no end")):
        assert why in proof.last_proof([*before, *tried], "it")[1][0].why
    assert proof.last_proof([*seen, *tried], "it") == (FILES, [])


def test_a_verification_that_failed_or_never_ended_takes_the_word_of_an_earlier_one_back() -> None:
    """What it has found may be recorded, or nothing: an alarm of the fence ends it before that."""
    green = [entry(1, "begin", "verify"), verified(2), entry(3, "end", "verify", result="ok")]
    assert proof.last_proof(green, "it") == (FILES, [])
    begun = entry(4, "begin", "verify")
    for entries, why in (
        ([*green, begun], "the last one, begun 2026-11-20T22:00:04Z, has come to no end"),
        ([*green, begun, verified(5)], "the last one, begun 2026-11-20T22:00:04Z, has come to no end"),
        (
            [*green, begun, verified(5), entry(6, "end", "verify", result="failed", message="3 ADMITTED")],
            "the last one, begun 2026-11-20T22:00:04Z, has failed: 3 ADMITTED",
        ),
        (
            [*green, begun, entry(6, "end", "verify", result="failed")],
            "the last one, begun 2026-11-20T22:00:04Z, has failed: no reason given",
        ),
        (
            [*green, begun, entry(6, "end", "verify")],
            "the last one, begun 2026-11-20T22:00:04Z, has failed: no reason given",
        ),
    ):
        facts, doubts = proof.last_proof(entries, "it")
        assert (facts, [(doubt.what, doubt.why) for doubt in doubts]) == (FILES, [("verify", why)])
    again = [*green, begun, entry(5, "end", "verify", result="failed"), entry(6, "begin", "verify"), verified(7)]
    assert proof.last_proof([*again, entry(8, "end", "verify", result="ok")], "it") == (FILES, [])
    for nothing in (
        entry(4, "begin", "verify", check_mode=True),
        entry(4, "begin", "verify", "other"),
        entry(4, "begin", "state"),
        entry(4, "end", "thaw", result="failed"),
        entry(4, "end", "verify", result="failed"),
    ):
        assert proof.last_proof([*green, nothing], "it") == (FILES, [])
    # What a task or another verb has come to is no end of a verification.
    for other in (entry(5, "step", "verify", result="ok"), entry(5, "end", "thaw", result="ok")):
        assert "has come to no end" in proof.last_proof([*green, begun, other], "it")[1][0].why
    silent = [*green, begun, entry(6, "end", "verify", result="ok")]
    assert [doubt.why for doubt in proof.last_proof(silent, "it")[1]] == [
        "the last one, begun 2026-11-20T22:00:04Z, has recorded nothing"
    ]
    switched = [
        entry(1, "begin", "verify"),
        verified(2),
        entry(3, "begin", "switch"),
        entry(4, "end", "verify", result="ok"),
    ]
    assert "older than the last switch" in proof.last_proof(switched, "it")[1][0].why
    # A decommission asks for the word of an earlier run, whose begin it may not have.
    assert proof.last_proof([verified(2), entry(3, "end", "verify", result="failed")], "it") == (FILES, [])


def test_the_order_of_copies_does_not_matter() -> None:
    entries = [verified(7), entry(5, "begin", "switch"), verified(2, files_different=7)]
    assert proof.last_proof(entries, "it") == ({**FILES}, [])


def test_a_verification_of_another_switch_is_in_doubt() -> None:
    assert proof.same_switch("it", FILES, "1.d") == []
    found = proof.same_switch("it", FILES, "2.e")
    assert [doubt.text() for doubt in found] == ["it.opened: epoch 1.d was verified, the side was opened under 2.e"]


def test_what_is_adopted_has_to_be_whole_as_far_as_it_was_seen() -> None:
    before = {"role": "postgresql_replication", "opened": proof.ADOPTED, "service": True}
    assert keys("it", before) == ["details"]
    assert keys("it", {**before, "details": ["x"], "not_proved": ["y"], "rows_not_proved": 0}) == ["details"]
    assert keys("it", {**before, "details": [], "rows_different": "many"}) == ["rows_different"]
    assert str(rule.ADOPTED) == proof.ADOPTED, "as the guard writes it"


def test_nothing_verified_is_no_verification_of_another_switch() -> None:
    nothing: tuple[dict[str, Any] | None, ...] = (None, {})
    for facts in nothing:
        assert proof.same_switch("it", facts, "2.e") == []


def test_a_verification_that_found_nothing_is_the_last_one() -> None:
    empty = {**entry(4, "state"), "data": {"event": "verify"}}
    assert proof.last_proof([verified(2), empty], "it") == ({}, [])
    other = [{**entry(5, "state"), "data": None}, entry(6, "state", event="opened"), entry(7, "begin", "thaw")]
    assert proof.last_proof([verified(2), *other], "it") == (FILES, [])
    assert proof.last_proof([entry(1, "begin", "switch")], "it") == (None, []), "there is nothing to be older"
    told = [verified(2), {**verified(3, files_different=7), "kind": "decision"}, entry(4, "end", "switch")]
    assert proof.last_proof(told, "it") == (FILES, []), "no other entry is a verification, or begins a switch"


def test_what_was_judged_stands() -> None:
    doubt = proof.Doubt("it", "service", "null")
    for subject, name in ((doubt, "why"), (proof.Verdict((doubt,)), "doubts"), (proof.Rule(), "zero")):
        with pytest.raises(FrozenInstanceError):
            setattr(subject, name, ())


def test_an_override_names_what_and_why() -> None:
    found = proof.doubts("it", {**DB, "safety_dump": "not_proved", "rows_not_proved": 3})
    made = proof.decide(found, {"it.safety_dump": " agreed with Nadia "})
    assert [doubt.key for doubt in made.doubts] == ["it.rows_not_proved"]
    assert [(doubt.key, reason) for doubt, reason in made.overridden] == [("it.safety_dump", "agreed with Nadia")]
    both = proof.decide(found, {"it.safety_dump": "x", "it.rows_not_proved": "y"})
    assert both.ok


@pytest.mark.parametrize("override", [{"it.safety_dump": ""}, {"it.safety_dump": None}, {"it.other": "why"}])
def test_an_override_without_a_reason_or_a_doubt_is_refused(override: dict[str, Any]) -> None:
    made = proof.decide(proof.doubts("it", {**DB, "safety_dump": "not_proved"}), override)
    assert not made.ok
    assert made.unused == tuple(override)


def test_an_override_of_what_is_proved_is_refused() -> None:
    assert not proof.decide([], {"it.safety_dump": "why"}).ok
    useless: tuple[Any, ...] = (None, {}, "it.safety_dump", ["it.safety_dump"])
    for nothing in useless:
        assert proof.decide([], nothing).ok
        assert not proof.decide(proof.doubts("it", None), nothing).ok


def test_the_report_counts_every_doubt() -> None:
    facts = {**FACTS, "accounts_db": {**DB, "safety_dump": "not_proved"}}
    figures = leg_figures(leg_input(*good_run(), facts=facts))
    assert figures["not_proved"] == ["accounts_db.safety_dump: not_proved, must be proved or off"]
    reasons = leg_reasons("forward", figures, {})
    assert [reason.text() for reason in reasons] == [
        "forward: not proved: accounts_db.safety_dump: not_proved, must be proved or off"
    ]
    assert reasons[0].text("fr").startswith("Aller, non prouvé : ")
    assert verdict(reasons) == "failed"


def test_what_the_components_of_a_run_have_to_state() -> None:
    db = proof.asked([{"role": "postgresql_replication"}])
    assert db == {"rows_different", "rows_not_proved", "fence_admitted", "rows_compared", "fence_refused"}
    assert proof.asked([]) == frozenset()
    both = proof.asked([{"role": "rsync_delta_sync"}, {"role": "dns_switchover"}])
    assert both == {"files_different", "files_not_proved", "files_compared", "answers_checked"}
    other = {"role": "of_another", "rows_checked": 0, "rows_different": 0}
    assert proof.asked([other]) == {"rows_different", "rows_checked"}


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        ({}, True),
        ({"disks_compared": 3}, True),
        ({"disks_stateless": 0}, True),
        ({"disks_stateless": "one"}, True),
        ({"disks_stateless": 1}, False),
        ({"disks_stateless": 2}, False),
        ({"disks_unmoved": 0}, True),
        ({"disks_unmoved": 1}, False),
    ],
)
def test_a_stateless_guest_need_not_compare_its_disks(facts: dict[str, Any], asked: bool) -> None:
    assert ("disks_compared" in proof.asked([{"role": "proxmox_guest", **facts}])) is asked
    assert "disks_different" in proof.asked([{"role": "proxmox_guest", **facts}])


def behind(second: int, *lines: str) -> dict[str, Any]:
    """Make what is written before a return freezes."""
    return entry(second, "state", "state", event="left_behind", found={"left_behind": list(lines)})


def test_what_a_return_left_behind_is_in_doubt_until_the_component_moves_forward_again() -> None:
    line = "unlogged table courses.app.cache (8192 bytes) at db-tls"
    back = entry(2, "begin", "switch", direction="back")
    forward = entry(3, "begin", "switch", direction="forward")
    assert proof.left_behind([behind(1, line), back], "it") == [line]
    # Whoever was not closed has left nothing yet; what was only tried has not either.
    assert proof.left_behind([behind(1, line)], "it") == []
    tried = entry(2, "begin", "switch", direction="back", check_mode=True)
    assert proof.left_behind([behind(1, line), tried], "it") == []
    # The next decision of the same return reads nothing of a side that is closed by then.
    assert proof.left_behind([behind(1, line), back, entry(4, "begin", "switch", direction="back")], "it") == [line]
    assert proof.left_behind([behind(1, line), back, forward], "it") == []
    later = [behind(3), entry(4, "begin", "switch", direction="back")]
    assert proof.left_behind([behind(1, line), back, *later], "it") == []
    assert proof.left_behind([back, behind(1, line)], "it") == [line], "by time, whoever wrote it"
    assert proof.left_behind([behind(1, line), back], "other") == []
    # What else a component's side says of itself is no word on it.
    guard = entry(2, "state", "state", event="guard", found={"left_behind": []})
    assert proof.left_behind([behind(1, line), back, guard], "it") == [line]
    # Only the begin of a switch says that a side was closed, and only a state of this event what is left.
    for other in (entry(2, "end", "switch", direction="back"), entry(2, "begin", "freeze", direction="back")):
        assert proof.left_behind([behind(1, line), other], "it") == []
    note = entry(1, "note", "state", event="left_behind", found={"left_behind": [line]})
    assert proof.left_behind([note, back], "it") == []
    # An entry that says nothing more, or nothing of it, ends nothing and adds nothing.
    for kind in ("end", "state"):
        bare: dict[str, Any] = {**entry(3, kind, "state"), "data": None}
        assert proof.left_behind([behind(1, line), back, bare], "it") == [line]
    for found in (None, {}, {"left_behind": None}):
        nothing = entry(3, "state", "state", event="left_behind", found=found)
        again = entry(4, "begin", "switch", direction="back")
        assert proof.left_behind([behind(1, line), back, nothing, again], "it") == []
    assert [one.text() for one in proof.doubts("it", {**DB, "left_behind": [line, "b"]})] == [
        f"it.left_behind: not carried by the return: {line}; b"
    ]
    assert keys("it", {**DB, "left_behind": []}) == keys("it", {**DB, "left_behind": None}) == []
    early = {**DB, "opened": proof.ADOPTED, "left_behind": [line]}
    assert keys("it", early) == ["left_behind"]
