"""Where a run stands, in words a tired reader understands, with a next command that is safe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.state import Epoch, GuardState, Word
from bascule.run import position
from bascule.run.last import Last, last_verb
from bascule.run.position import Side, Sides

from . import telling

NAMES = ("montpellier", "toulouse")
SOURCE_OPEN = rule.adopt_open(GuardState("db", "db-mtp"))
TARGET_CLOSED = rule.adopt_closed(GuardState("db", "db-tls"))
E1 = Epoch(1, "d")
SOURCE_CLOSED, RECEIPT = rule.closed(rule.promise(SOURCE_OPEN, E1), E1, {}, "now")
TARGET_OPENING = rule.may_open(TARGET_CLOSED, E1, RECEIPT, True)
TARGET_OPEN = rule.opened(TARGET_OPENING, E1)
WORD = Word("db-mtp", rule.beyond(TARGET_CLOSED, "w"), "Nadia", "power cut", "now")
TARGET_BY_WORD = rule.opened(lost.open_by_word(TARGET_CLOSED, WORD.epoch, WORD), WORD.epoch)
WAY = rule.next_epoch(SOURCE_OPEN, TARGET_BY_WORD, "b")
GAVE_WAY = rule.closed(lost.give_way(SOURCE_OPEN, TARGET_BY_WORD, WAY), WAY, {}, "now")[0]


def sides(source: GuardState | None, target: GuardState | None, name: str = "db") -> Sides:
    """Return both sides of a component."""
    return Sides(
        name,
        Side("db-mtp", "Montpellier", source, "" if source else "timed out"),
        Side("db-tls", "Toulouse", target, "" if target else "timed out"),
    )


@pytest.mark.parametrize(
    ("source", "target", "where", "words"),
    [
        (SOURCE_OPEN, TARGET_CLOSED, "source", "active at Montpellier"),
        (replace(SOURCE_OPEN, frozen=True), TARGET_CLOSED, "source-frozen", "frozen at Montpellier"),
        (SOURCE_CLOSED, TARGET_CLOSED, "held", "HELD: no side is open, latest data at Montpellier"),
        (rule.promise(SOURCE_OPEN, E1), TARGET_CLOSED, "held", "interrupted"),
        (SOURCE_CLOSED, TARGET_OPENING, "held", "interrupted: no side is open, latest data at Toulouse"),
        (SOURCE_CLOSED, TARGET_OPEN, "target", "active at Toulouse"),
        (SOURCE_OPEN, TARGET_OPEN, "both", "BOTH SIDES OPEN"),
        (SOURCE_OPEN, None, "source-alone", "active at Montpellier (db-mtp open 0; db-tls NOT READ: timed out)"),
        (replace(SOURCE_OPEN, frozen=True), None, "source-frozen-alone", "frozen at Montpellier"),
        (None, TARGET_OPEN, "target-alone", "active at Toulouse (db-tls open 1; db-mtp NOT READ: timed out)"),
        (SOURCE_CLOSED, None, "unread", "db-mtp closed 1; db-tls NOT READ: timed out"),
        (None, None, "unread", "db-mtp NOT READ: timed out; db-tls NOT READ: timed out"),
        (GuardState("db", "db-mtp"), GuardState("db", "db-tls"), "unprepared", "not taken over"),
        (
            SOURCE_OPEN,
            GuardState("db", "db-tls"),
            "unprepared",
            "open at db-mtp, and not taken over by prepare at db-tls",
        ),
        (GuardState("db", "db-mtp"), TARGET_OPEN, "unprepared", "open at db-tls"),
        (GuardState("db", "db-mtp"), TARGET_BY_WORD, "guard-lost", "THE GUARD OF db-mtp IS LOST"),
        (SOURCE_CLOSED, GuardState("db", "db-tls"), "guard-lost", "THE GUARD OF db-tls IS LOST"),
        (GuardState("db", "db-mtp"), TARGET_CLOSED, "unprepared", "not taken over"),
        (SOURCE_OPEN, TARGET_BY_WORD, "back", "db-mtp open 0 must not serve; db-tls open 1001"),
        (SOURCE_CLOSED, TARGET_BY_WORD, "back", "BACK AFTER IT WAS GIVEN UP"),
        (GAVE_WAY, TARGET_BY_WORD, "target", "active at Toulouse (db-mtp closed 1002, db-tls open 1001)"),
    ],
)
def test_where_a_component_stands(source: GuardState | None, target: GuardState | None, where: str, words: str) -> None:
    standing = position.standing(sides(source, target))
    assert standing.where == where
    assert words in standing.words


@pytest.mark.parametrize(
    ("where", "last", "command"),
    [
        (["unprepared"], Last(), "playbooks/10_audit.yml"),
        (["unprepared"], Last("audit", "audit", outcome="ok"), "playbooks/20_prepare.yml"),
        (["source"], Last("prepare", "prepare", outcome="ok"), "playbooks/30_sync.yml"),
        (["source"], Last("prepare", "prepare", outcome="failed"), "playbooks/20_prepare.yml"),
        (["source"], Last("pretest", "check", outcome="ok"), "60_cutover.yml -e confirm=toulouse"),
        (
            ["source-frozen", "source"],
            Last("cutover", "freeze", outcome="failed"),
            "rollback.yml -e confirm=montpellier",
        ),
        (
            ["held", "target"],
            Last("cutover", "switch", outcome="not ended"),
            "60_cutover.yml -e confirm=toulouse to go",
        ),
        (["held", "target"], Last("cutover", "switch", outcome="ok"), "60_cutover.yml -e confirm=toulouse to go on"),
        (["held", "target"], Last("cutover", "switch", outcome="failed"), "a person must decide: ansible-playbook"),
        (["source", "target"], Last("cutover", "thaw", outcome="ok"), "to move what has not moved, or to return: "),
        (["source", "target"], Last("rollback", "thaw", outcome="ok"), "for what has not come back, or leave"),
        (["held", "target"], Last("rollback", "switch", outcome="not ended"), "rollback.yml -e confirm=montpellier"),
        (["target"], Last("cutover", "thaw", outcome="ok"), "70_verify.yml; to return"),
        (
            ["target"],
            Last("cutover", "thaw", outcome="failed"),
            "60_cutover.yml -e confirm=toulouse to go on, which lets",
        ),
        (["target"], Last("cutover", "thaw", outcome="not ended"), "60_cutover.yml -e confirm=toulouse to go on"),
        (
            ["target"],
            Last("rollback", "freeze", outcome="failed"),
            "rollback.yml -e confirm=montpellier to go on; to stay",
        ),
        (
            ["target"],
            Last("verify", "verify", outcome="failed"),
            "if users are not let in: ansible-playbook playbooks/60_",
        ),
        (["source"], Last("rollback", "thaw", outcome="failed"), "rollback.yml -e confirm=montpellier to go on"),
        (["source"], Last("rollback", "thaw", outcome="ok"), "playbooks/30_sync.yml"),
        (
            ["source"],
            Last("verify", "verify", outcome="ok"),
            "none is needed; to go on: ansible-playbook playbooks/30_",
        ),
        (["source"], Last("verify", "verify", outcome="failed"), "ansible-playbook playbooks/70_verify.yml"),
        (["target"], Last("verify", "verify", outcome="ok"), "none is needed; to return"),
        (["unread", "held"], Last("cutover", "switch"), "make the machine that was not read reachable"),
        (
            ["source-alone", "source-frozen-alone", "source"],
            Last("cutover", "sync", outcome="not ended"),
            "rollback.yml -e confirm=montpellier, which lets users in again",
        ),
        (["source-alone"], Last("sync", "sync", outcome="failed"), "make the machine that was not read reachable"),
        # One has died before it could close, others have moved already and answer: one command brings all back.
        (
            ["source-frozen-alone", "target", "held", "source-frozen"],
            Last("cutover", "switch", outcome="failed"),
            "rollback.yml -e confirm=montpellier, which lets users in again",
        ),
        (["source-alone", "held"], Last("cutover", "switch"), "rollback.yml -e confirm=montpellier, which lets"),
        (["source-alone", "unread"], Last("cutover", "switch"), "make the machine that was not read reachable"),
        (["source-alone", "target-alone"], Last("cutover", "switch"), "make the machine that was not read reachable"),
        (
            ["target-frozen-alone", "target"],
            Last("rollback", "freeze"),
            "60_cutover.yml -e confirm=toulouse, which lets",
        ),
        (["target-alone", "held"], Last("cutover", "thaw"), "60_cutover.yml -e confirm=toulouse, which lets"),
        (["target-alone"], Last("verify", "verify", outcome="ok"), "make the machine that was not read reachable"),
        (["both", "unread"], Last("cutover", "switch"), "close one side by hand"),
    ],
)
def test_the_next_command(where: list[str], last: Last, command: str) -> None:
    standings = [position.Standing(f"c{i}", w, "") for i, w in enumerate(where)]
    assert command in telling.following(standings, last, *NAMES)


def test_nothing_moves_while_the_journal_of_a_site_is_silent_or_there_is_no_way_back() -> None:
    standings = [position.Standing(f"c{i}", w, "") for i, w in enumerate(["source-frozen-alone", "target"])]
    last = Last("cutover", "switch", outcome="failed")
    ways: list[dict[str, Any]] = [{"silent": True}, {"gone": ["c1"]}]
    for more in ways:
        said = telling.following(standings, last, *NAMES, **more)
        assert said.startswith("make the machine that was not read reachable"), said


@pytest.mark.parametrize(
    ("entered", "left", "journal_silent", "found"),
    [
        (SOURCE_OPEN, None, False, True),
        (replace(SOURCE_OPEN, frozen=True), None, True, True),
        (SOURCE_OPEN, TARGET_CLOSED, True, True),
        (SOURCE_OPEN, TARGET_CLOSED, False, False),
        (SOURCE_CLOSED, None, True, False),
        (rule.promise(SOURCE_OPEN, E1), None, True, False),
        (TARGET_OPENING, None, True, False),
        (GuardState("db", "db-mtp"), None, True, False),
        (None, None, True, False),
    ],
)
def test_only_a_side_with_its_permit_does_without_the_other_one(
    entered: GuardState | None, left: GuardState | None, journal_silent: bool, found: bool
) -> None:
    both = sides(entered, left)
    assert position.alone(both.source, both.target, journal_silent) is found


@pytest.mark.parametrize(
    ("entered", "left", "retired", "why"),
    [
        (TARGET_OPEN, SOURCE_CLOSED, False, ""),
        (TARGET_OPEN, None, True, ""),
        (TARGET_OPEN, None, False, "db-mtp not read, not closed"),
        (replace(TARGET_OPEN, frozen=True), SOURCE_CLOSED, False, "db-tls open 1, frozen, not open to users"),
        (TARGET_CLOSED, SOURCE_OPEN, False, "db-tls closed, not open to users"),
        (None, SOURCE_CLOSED, True, "db-tls not read, not open to users"),
        (TARGET_OPENING, SOURCE_CLOSED, False, "db-tls opening 1, not open to users"),
        (TARGET_OPEN, GuardState("db", "db-mtp"), False, "db-mtp unknown, not closed"),
    ],
)
def test_only_what_stands_where_it_stays_is_retired(
    entered: GuardState | None, left: GuardState | None, retired: bool, why: str
) -> None:
    both = sides(left, entered)
    assert position.unsettled(both.target, both.source, retired) == why


def entry(kind: str, component: str, second: int, **data: Any) -> dict[str, Any]:
    """Return an entry of a cutover's switch."""
    return {
        "kind": kind,
        "component": component,
        "time": f"2026-01-01T00:00:{second:02d}",
        "epoch": "d",
        "controller": "ctl",
        "phase": "cutover",
        "verb": "switch",
        "data": data,
    }


def test_the_last_verb_shows_the_worst_of_what_ran_side_by_side() -> None:
    entries = [entry("begin", "db", 1), entry("begin", "files", 2), entry("end", "files", 3, result="ok")]
    last = last_verb(entries)
    assert (last.component, last.outcome) == ("db", "not ended")
    last = last_verb([*entries, entry("end", "db", 4, result="failed")])
    assert (last.component, last.outcome) == ("db", "failed")
    last = last_verb([*entries, entry("end", "db", 4, result="ok")])
    assert (last.component, last.outcome) == ("files", "ok")


def test_the_last_verb_is_not_that_of_one_who_is_ahead() -> None:
    """In a window one is carried over while another one fails to freeze."""

    def of(verb: str, kind: str, component: str, second: int, **data: Any) -> dict[str, Any]:
        return {**entry(kind, component, second, **data), "verb": verb}

    entries = [
        of("freeze", "begin", "guest", 1),
        of("freeze", "end", "guest", 2, result="ok"),
        of("freeze", "begin", "db", 3),
        of("sync", "begin", "guest", 4),
    ]
    ahead = [*entries, of("sync", "end", "guest", 5, result="ok")]
    last = last_verb(ahead)
    assert (last.verb, last.component, last.outcome) == ("freeze", "db", "not ended")
    last = last_verb([*ahead, of("freeze", "end", "db", 6, result="failed")])
    assert (last.verb, last.component, last.outcome) == ("freeze", "db", "failed")
    last = last_verb([*entries, of("freeze", "end", "db", 6, result="ok")])
    assert (last.verb, last.component, last.outcome) == ("sync", "guest", "not ended")
    last = last_verb([*ahead, of("freeze", "end", "db", 6, result="ok")])
    assert (last.verb, last.component, last.outcome) == ("sync", "guest", "ok")


def test_what_was_refused_as_a_whole_has_failed_until_it_is_run_again() -> None:
    entries = [entry("begin", "db", 1), entry("end", "db", 2, result="ok"), entry("state", "", 3, event="refused")]
    last = last_verb(entries)
    assert (last.component, last.outcome) == ("db", "failed")
    again = last_verb([*entries, entry("begin", "db", 4), entry("end", "db", 5, result="ok")])
    assert again.outcome == "ok"
    assert last_verb([entries[0], entries[2]]).outcome == "not ended"


def test_a_dry_run_is_no_verb() -> None:
    assert last_verb([entry("begin", "db", 1, check_mode=True)]) == Last()


def test_a_guard_that_a_decommission_has_removed_is_not_missed() -> None:
    """Guests' guards go with the copies of a closed side; what stays open is active, and nothing is to be prepared."""
    both = sides(GuardState("db", "db-mtp"), TARGET_OPEN)
    assert position.standing(both).where == "unprepared"
    assert position.standing(both, retired=True).where == "target"
    assert "active at Toulouse" in "\n".join(telling.told("r", [both], Last(), {}, [], NAMES, {"db"}))
    # A side that is not open is not made good by a decommission.
    held = sides(GuardState("db", "db-mtp"), replace(TARGET_OPENING))
    assert position.standing(held, retired=True) == position.standing(held)


def test_a_decommission_that_has_begun_leaves_no_way_back_until_prepare_has_made_one() -> None:
    def of(kind: str, verb: str, second: int, **data: Any) -> dict[str, Any]:
        return {**entry(kind, "db", second, **data), "verb": verb}

    begun = [of("end", "prepare", 1, result="ok"), of("begin", "retire", 2)]
    assert position.retired(begun) == {"db"}
    assert position.retired([*begun, of("end", "retire", 3, result="failed")]) == {"db"}
    assert position.retired([*begun, of("end", "prepare", 4, result="failed")]) == {"db"}
    assert position.retired([*begun, of("end", "prepare", 4, result="ok")]) == set()
    assert position.retired([of("begin", "retire", 2, check_mode=True)]) == set()
    there = [position.Standing("db", "target", ""), position.Standing("files", "target", "")]
    last = Last("decommission", "retire", outcome="failed")
    assert "there is no way back" in telling.following(there, last, *NAMES, gone={"db", "files"})
    assert "not retired yet: files" in telling.following(there, last, *NAMES, gone={"db"})
    assert "rollback" not in telling.following(there, last, *NAMES, gone={"db"})


def test_guards_are_found_whatever_a_role_calls_them() -> None:
    registered = {
        "failed": False,
        "results": [{"guard": SOURCE_OPEN.to_dict()}, {"guards": {"x": TARGET_CLOSED.to_dict()}}],
    }
    assert position.find_guards(registered) == [SOURCE_OPEN, TARGET_CLOSED]
    assert position.find_guards({"guard": {**SOURCE_OPEN.to_dict(), "status": "ajar"}}) == []


def test_the_report_is_about_ten_lines() -> None:
    lines = telling.told(
        "r",
        [sides(SOURCE_CLOSED, TARGET_OPEN), sides(SOURCE_OPEN, TARGET_CLOSED, "files")],
        last_verb([entry("begin", "db", 1)]),
        {"here": "3 entries", "tls": "NOT READ (timed out)"},
        [],
        NAMES,
    )
    assert len(lines) == 7
    assert lines[0] == "Run r"
    assert "cutover/switch of db" in lines[1]
    assert "NOT ENDED" in lines[1]
    assert lines[2] == "Journal: here 3 entries, tls NOT READ (timed out); chains hold"
    assert lines[-2:] == [
        "Or, to return: ansible-playbook playbooks/rollback.yml -e confirm=montpellier",
        "Next: ansible-playbook playbooks/60_cutover.yml -e confirm=toulouse to go on",
    ]
    assert "CHAIN BROKEN: x" in telling.told("r", [], Last(), {}, ["x"], NAMES)[2]


def test_before_its_switch_a_component_holds_its_permit_where_it_served() -> None:
    source = position.Side("db-mtp", "Montpellier", SOURCE_OPEN)
    closed = position.Side("db-tls", "Toulouse", rule.adopt_closed(rule.GuardState("db", "db-tls")))
    silent = position.Side("db-tls", "Toulouse", None)
    assert position.switched(source, closed) == ""
    assert position.switched(replace(source, guard=rule.freeze(SOURCE_OPEN)), silent) == ""
    closing = replace(source, guard=rule.promise(SOURCE_OPEN, rule.Epoch(5, "d")))
    assert "db-mtp closing" in position.switched(closing, closed)
    assert "does not answer" in position.switched(replace(source, guard=None), closed)
    opened = replace(closed, guard=TARGET_BY_WORD)
    assert "db-tls open" in position.switched(source, opened)


def test_a_side_that_was_given_up_is_back_also_while_the_other_one_is_silent() -> None:
    back = replace(sides(SOURCE_OPEN, None), given_up="db-mtp")
    assert position.standing(back).where == "back"
    assert position.standing(replace(back, given_up="db-tls")).where == "source-alone"
    assert position.standing(replace(sides(None, TARGET_BY_WORD), given_up="db-mtp")).where == "target-alone"


@pytest.mark.parametrize(
    ("where", "command"),
    [
        (["back", "back"], "ansible-playbook playbooks/site_back.yml"),
        (["back", "target"], "playbooks/site_back.yml --limit db0"),
        (["guard-lost", "source"], "docs/runbooks/guard_lost.md"),
        (["unread", "source"], "if it is lost for good: docs/runbooks/site_lost.md"),
    ],
)
def test_what_is_lost_or_back_comes_first(where: list[str], command: str) -> None:
    standings = [position.Standing(f"db{number}", word, "") for number, word in enumerate(where)]
    assert command in telling.following(standings, Last("cutover", "switch", outcome="failed"), *NAMES)


GIVEN_UP = replace(sides(None, TARGET_BY_WORD), given_up="db-mtp")
POINTS = sides(SOURCE_CLOSED, TARGET_OPEN, "names")
LATE = replace(POINTS, late="ns-mtp: courses/A says 198.51.100.1")


@pytest.mark.parametrize(
    ("found", "last", "command"),
    [
        ([GIVEN_UP, POINTS], Last("site_lost", "thaw", outcome="ok"), "none while what was given up is silent"),
        ([GIVEN_UP, POINTS], Last("site_lost", "thaw", outcome="failed"), "60_cutover.yml -e confirm=toulouse, which"),
        ([sides(None, TARGET_BY_WORD)], Last("verify", "verify", outcome="ok"), "make the machine that was not read"),
        (
            [replace(sides(None, TARGET_CLOSED), given_up="db-mtp")],
            Last("site_lost", "take_over", outcome="ok"),
            "none while what was given up is silent",
        ),
        (
            [sides(SOURCE_OPEN, TARGET_BY_WORD), LATE],
            Last("site_lost", "thaw", outcome="ok"),
            "playbooks/site_back.yml",
        ),
        ([POINTS, LATE], Last("cutover", "thaw", outcome="ok"), "playbooks/site_back.yml --limit names"),
        ([POINTS, LATE], Last("cutover", "thaw", outcome="failed"), "60_cutover.yml -e confirm=toulouse to go on"),
        ([sides(GAVE_WAY, TARGET_BY_WORD)], Last("site_back", "give_way", outcome="ok"), "playbooks/20_prepare.yml"),
        ([sides(GAVE_WAY, TARGET_BY_WORD)], Last("site_back", "give_way", outcome="failed"), "playbooks/site_back.yml"),
        ([sides(SOURCE_OPEN, TARGET_CLOSED)], Last("site_back", "give_way", outcome="ok"), "playbooks/20_prepare.yml"),
        (
            [sides(GAVE_WAY, TARGET_BY_WORD)],
            Last("prepare", "prepare", outcome="ok"),
            "none is needed: what was opened",
        ),
        ([sides(GAVE_WAY, TARGET_BY_WORD)], Last("prepare", "prepare", outcome="failed"), "70_verify.yml"),
    ],
)
def test_the_next_command_after_a_site_was_given_up(found: list[Sides], last: Last, command: str) -> None:
    said = telling.following([position.standing(one) for one in found], last, *NAMES)
    assert command in said, said


def test_a_name_server_that_was_away_is_named_and_limits_nothing() -> None:
    found = position.standing(LATE)
    assert (found.where, found.words.rpartition("; ")[2]) == (
        "target",
        "STILL SENDS USERS ELSEWHERE: ns-mtp: courses/A says 198.51.100.1",
    )
    back = [position.standing(sides(SOURCE_OPEN, TARGET_BY_WORD)), found]
    assert "--limit" not in telling.following(back, Last("site_lost", "thaw", outcome="ok"), *NAMES)


def test_only_what_is_silent_and_what_was_prepared_can_be_given_up() -> None:
    def both(source: GuardState | None, target: GuardState | None) -> tuple[Side, Side]:
        found = sides(source, target)
        return found.target, found.source

    assert position.not_lost(*both(None, TARGET_CLOSED)) == ""
    assert position.not_lost(*both(SOURCE_CLOSED, TARGET_CLOSED)) == "db: db-mtp answers, it is closed"
    assert "does not answer" in position.not_lost(*both(None, None))
    assert "was never taken over" in position.not_lost(*both(None, GuardState("db", "db-tls")))


def noted(time: str, kind: str, verb: str, **data: Any) -> dict[str, Any]:
    return {"time": time, "kind": kind, "verb": verb, "component": "db", "data": data}


def test_what_may_be_lost_is_said_in_figures() -> None:
    target = sides(None, TARGET_CLOSED).target
    synced = [
        noted("2026-11-30T01:00:00.1Z", "end", "sync", result="ok"),
        noted("2026-11-30T02:00:00.1Z", "end", "sync", result="failed"),
        noted("2026-11-30T03:00:00.1Z", "end", "sync", result="ok", check_mode=True),
        noted("2026-11-30T04:00:00.1Z", "end", "freeze", result="ok"),
    ]
    fresh = position.last_fresh(synced, "db")
    assert fresh == "2026-11-30T01:00:00Z (sync)"
    said = position.loss("db", target, False, fresh, "its log is replayed up to 0/5")
    assert said == f"db: everything written at the other side after {fresh}; its log is replayed up to 0/5"
    assert "nobody knows since when" in position.loss("db", target, False, position.last_fresh(synced, "x"), "")
    assert position.loss("db", sides(None, TARGET_OPEN).target, False, fresh, "").startswith(
        "db: nothing; db-tls holds"
    )
    assert position.loss("db", target, True, "", "").startswith("db: nothing; the names")


def test_a_side_stays_given_up_until_it_was_closed() -> None:
    given = noted("1", "decision", "", lost={"hosts": {"db": "db-mtp", "files": "f-mtp"}})
    failed = noted("2", "end", "give_way", result="failed")
    tried = noted("2", "end", "give_way", result="ok", check_mode=True)
    assert position.given_up([tried, failed, given]) == {"db": "db-mtp", "files": "f-mtp"}
    assert position.given_up([given, noted("3", "end", "give_way", result="ok")]) == {"files": "f-mtp"}
    assert position.given_up([noted("4", "decision", "", lost={"hosts": {"db": "x"}}, check_mode=True)]) == {}


def test_what_does_not_come_to_the_other_side_is_not_all_fine() -> None:
    cut = replace(sides(SOURCE_CLOSED, TARGET_OPEN), apart="nobody streams from db-tls")
    told = telling.told("r", [cut], Last("verify", "verify", "db", "t", "c", "ok"), {}, [], NAMES)
    assert told[-2].endswith("; NOT CARRIED OVER: nobody streams from db-tls")
    first = "mend what is not carried over, and ask again: ansible-playbook playbooks/status.yml"
    assert told[-1].startswith(f"Next: {first}; then: none is needed")
    gone = telling.told("r", [cut], Last("verify", "verify", "db", "t", "c", "ok"), {}, [], NAMES, gone={"db"})
    assert "NOT CARRIED" not in "".join(gone), "after a decommission there is nowhere to carry anything"
    # What is next sees to it by itself.
    back = telling.told("r", [cut], Last("site_back", "give_way", "db", "t", "c", "ok"), {}, [], NAMES)
    assert back[-1] == "Next: ansible-playbook playbooks/20_prepare.yml"
    # Users who wait come first.
    waits = replace(sides(replace(SOURCE_OPEN, frozen=True), TARGET_CLOSED), apart="the link is cut")
    assert "mend" not in telling.told("r", [waits], Last(), {}, [], NAMES)[-1]


def test_how_it_comes_to_the_other_side_is_one_line() -> None:
    follows = replace(sides(SOURCE_OPEN, TARGET_CLOSED), carried="its standby streams, 0 bytes behind")
    other = replace(follows, component="files", carried="")
    told = telling.told("r", [follows, other], Last("sync", "sync", "db", "t", "c", "ok"), {}, [], NAMES)
    assert [line for line in told if "arried" in line.lower()] == [
        "Carried over: db: its standby streams, 0 bytes behind"
    ]
    gone = telling.told("r", [follows], Last(), {}, [], NAMES, gone={"db"})
    assert "Carried over" not in "".join(gone)


def test_what_the_other_side_holds_is_said_where_one_is_silent() -> None:
    silent = sides(None, TARGET_CLOSED)
    silent = replace(silent, target=replace(silent.target, holds="replayed up to 0/5000060"))
    told = telling.told("r", [silent], Last(), {}, [], NAMES, users="Users: wait", lacks=["tls LACKS 3 entries"])
    assert told[-2].endswith("db-tls closed (of what was written elsewhere: replayed up to 0/5000060)")
    assert told[2:5:2] == ["Users: wait", "Copies: tls LACKS 3 entries"]
