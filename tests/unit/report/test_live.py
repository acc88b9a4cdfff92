"""The live view as a terminal shows it; in a low one what is at work stays."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bascule.report.live import render
from bascule.run.board import DONE, FAILED, RUNS, WAITS, Board, Cell, Row


def row(name: str, first: Cell, second: Cell, said: str = "") -> Row:
    return Row(name, {"freeze": first, "switch": second}, said)


def shown(board: Board, height: int = 40, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(board, width, height))
    text = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


ROWS = [
    row("db", Cell(DONE, 2.04), Cell(RUNS, 12.6), "12 of 40 MB, 3 MB/s, 9 s left [/x]"),
    row("guest", Cell(DONE, 1), Cell(FAILED, 4)),
    row("entrance", Cell(WAITS), Cell(WAITS)),
]


def test_components_and_verbs_below_the_clock() -> None:
    assert shown(Board("cutover", ["freeze", "switch"], ROWS, ["window: users wait for 15 s", "gates: 3 GO"])) == [
        "window: users wait for 15 s",
        "gates: 3 GO",
        "cutover   freeze      switch",
        "db         2.0 s      > 13 s  12 of 40 MB, 3 MB/s, 9 s left [/x]",
        "guest      1.0 s  FAILED 4 s",
        "entrance       -           -",
    ]


def test_in_a_low_terminal_what_failed_and_is_at_work_stays_in_its_order() -> None:
    many = [*(row(f"c{number}", Cell(DONE, 1), Cell(DONE, 1)) for number in range(500)), *ROWS]
    lines = shown(Board("cutover", ["freeze", "switch"], many), 9)
    assert [line.split()[0] for line in lines] == ["cutover", "db", "guest", "entrance", "and"]
    assert lines[-1] == "and 500 more: 1 failed, 1 at work, 500 done, 1 waiting"


def test_in_a_narrow_terminal_the_verb_of_now_and_what_is_said_stay() -> None:
    assert shown(Board("cutover", ["freeze", "switch"], ROWS, ["window: users wait for 15 s"]), width=50) == [
        "window: users wait for 15 s",
        "cutover                      done",
        "db            switch > 13 s   1/2  12 of 40 MB, 3…",
        "guest     switch FAILED 4 s   1/2",
        "entrance                  -   0/2",
    ]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 2), (20, 5), (80, 24)])
def test_the_smallest_terminal_has_a_view(width: int, height: int) -> None:
    lines = shown(Board("cutover", ["freeze", "switch"], ROWS, ["window: users wait for 15 s"]), height, width)
    assert "".join("".join(lines).split()).startswith("window:userswaitfor15s")
    assert max(map(len, lines)) <= width


def test_what_a_machine_says_moves_no_cursor() -> None:
    rows = [row("db", Cell(DONE, 1), Cell(RUNS, 2), "12\n of\x1b[2J 40\r MB\x9b1A")]
    lines = shown(Board("cutover", ["freeze", "switch"], rows, ["gates: NO-GO lag of db: \x1b]0;x\x07"]))
    assert lines[0] == "gates: NO-GO lag of db:  ]0;x"
    assert lines[-1].endswith("12  of [2J 40  MB 1A")
