"""The lines an operator sees while a phase runs."""

from __future__ import annotations

from bascule.run.display import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_per_verb_and_component() -> None:
    clock = Clock()
    progress = Progress(clock)
    assert progress.play("(4/7) CUTOVER: freeze writes") == [("head", "(4/7) CUTOVER: freeze writes")]
    progress.begin("accounts_db", "freeze")
    progress.begin("course_files", "freeze")
    clock.now += 2.5
    progress.step("accounts_db", changed=True)
    progress.step("accounts_db", changed=False)
    assert progress.end("accounts_db") == [("changed", "  accounts_db     freeze       2.5 s  changed")]
    assert progress.end("course_files") == [("good", "  course_files    freeze       2.5 s  unchanged")]
    assert progress.end("course_files") == []
    assert progress.finished(2, []) == [("good", "done: 2 components, 2.5 s")]


def test_a_look_says_what_would_be() -> None:
    progress = Progress(Clock(), check_mode=lambda: True)
    for changed, words in ((True, "would change"), (False, "would change nothing")):
        progress.begin("db", "freeze")
        progress.step("db", changed=changed)
        ((_, line),) = progress.end("db")
        assert line.endswith(f"s  {words}")


def test_a_play_in_batches_is_announced_once() -> None:
    progress = Progress(Clock())
    assert progress.play("open")
    assert progress.play("open") == []


def test_a_failure_says_what_a_tired_reader_needs() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin("accounts_db", "switch")
    clock.now += 3
    lines = progress.failed(
        "accounts_db",
        "Close the database",
        {
            "msg": "long",
            "expected": "no client session",
            "found": "2 sessions\nof courses",
            "state": "closing",
            "next_command": "x",
        },
    )
    assert [text for _, text in lines] == [
        "  accounts_db     FAILED in switch after 3.0 s: Close the database",
        "      expected:          no client session",
        "      found:             2 sessions",
        "                         of courses",
        "      state now:         closing",
        "      next safe command: x",
    ]
    assert progress.finished(5, ["accounts_db"]) == [("bad", "stopped after 3.0 s: accounts_db")]


def test_a_failure_without_fields_shows_its_message_and_errors() -> None:
    lines = Progress(Clock()).failed("names", "Ask", {"msg": "boom", "stderr": "why"}, reached=False)
    assert [text for _, text in lines] == [
        "  names           NO ANSWER: Ask",
        "      found:             boom",
        "      stderr:            why",
    ]


def test_a_gate_says_go_and_why() -> None:
    progress = Progress(Clock())
    verdict = {"name": "link_rate", "reason": "196 Mbit/s, at least 150", "override": ""}
    assert progress.gate("names", verdict) == [
        ("good", "  names           gate link_rate: GO, 196 Mbit/s, at least 150")
    ]
    tone, text = progress.gate("names", verdict | {"override": "known"})[0]
    assert tone == "bad"
    assert "OVERRIDDEN (known)" in text
    assert progress.gate("names", None) == []


def test_messages_are_shown_and_other_values_are_not() -> None:
    progress = Progress(Clock())
    assert progress.message("names", "a\nb") == [("plain", "  a"), ("plain", "  b")]
    assert progress.message("names", ["a", 1]) == [("plain", "  a"), ("plain", "  1")]
    assert progress.message("names", {"a": 1}) == []


def test_a_play_without_components_is_an_error_where_there_were_none_before() -> None:
    progress = Progress(Clock())
    assert progress.nobody() == [("bad", "no component matched: look at --limit")]
    progress.begin("accounts_db", "freeze")
    assert progress.nobody() == []


LOOPED = {
    "msg": "One or more items failed",
    "results": [
        {"item": "a", "changed": True},
        {
            "item": {"name": "b"},
            "_ansible_item_label": "b",
            "failed": True,
            "msg": "long",
            "expected": "room",
            "found": "none",
            "state": "nothing was changed",
            "next_command": "make some",
        },
        {"ansible_loop_var": "disk", "disk": "c", "failed": True, "msg": "boom", "stderr": "why"},
        {"item": "d", "unreachable": True, "msg": "no route"},
        {"item": "e", "failed": True, "censored": "the output has been hidden"},
        {"item": "f", "skipped": True},
    ],
}


def test_a_failure_in_a_loop_is_told_of_each_item() -> None:
    lines = Progress(Clock()).failed("names", "Ask", LOOPED)
    assert [text for _, text in lines] == [
        "  names           FAILED: Ask",
        "    item b",
        "      expected:          room",
        "      found:             none",
        "      state now:         nothing was changed",
        "      next safe command: make some",
        "    item c",
        "      found:             boom",
        "      stderr:            why",
        "    item d",
        "      found:             no route",
        "    item e",
        "      found:             the output has been hidden",
    ]


def test_a_wait_that_ran_out_says_so() -> None:
    lines = Progress(Clock()).failed("names", "Ask", {"failed": True, "attempts": 3})
    assert [text for _, text in lines][1:] == [
        "      found:             what the task waits for had not come after 3 attempts"
    ]
    lines = Progress(Clock()).failed("names", "Ask", {"failed": True, "attempts": 3, "msg": "busy"})
    assert [text for _, text in lines][1:] == ["      found:             busy, after 3 attempts"]
