"""The live view of a phase: a table of components and verbs below its clock and gates. Makes what rich prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..run.board import DONE, FAILED, RUNS, WAITS, Board, Cell, Row

_STYLE = {FAILED: "bold red", RUNS: "cyan", DONE: "green", WAITS: "dim"}
# What is under way is never pushed out of a low terminal by what is done.
_ORDER = (FAILED, RUNS, WAITS, DONE)
# Lines of a terminal that are left to what is printed above the table.
_ABOVE = 6
# Columns between two of the table's; those that what is said of rates takes, at least, to be of use.
_GAP, _SAID = 2, 24


def render(board: Board, width: int, height: int) -> RenderableType:
    """Return the view of a board for a terminal of so many columns and lines."""
    above = [Text(_printable(line), style="bold") for line in board.lines]
    # A line that is wrapped takes several.
    taken = sum(-(-cell_len(line.plain) // max(1, width)) for line in above)
    room = max(1, height - _ABOVE - taken)
    rows = list(board.rows)
    if len(rows) > room:
        first = set(sorted(range(len(rows)), key=lambda at: _ORDER.index(rows[at].state))[:room])
        rows = [row for at, row in enumerate(rows) if at in first]
    table = _table(board, rows, wide=_needed(board, rows) <= width)
    left = len(board.rows) - len(rows)
    more = [Text(f"and {left} more: {_counted(board.rows)}", style="dim")] if left else []
    return Group(Text(), *above, table, *more)


def _table(board: Board, rows: Sequence[Row], *, wide: bool) -> Table:
    """Return a column for each verb; where there is no room for that, the verb of now and how many are done."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(board.phase, no_wrap=True)
    for title in board.verbs if wide else ("", "done"):
        table.add_column(title, justify="right", no_wrap=True)
    # The only column that gives way where there is little room.
    table.add_column("")
    for row in rows:
        name = Text(row.component, style=_STYLE[row.state])
        said = Text(_printable(row.said), no_wrap=True, overflow="ellipsis")
        cells = [_cell(row.cells[verb]) for verb in board.verbs] if wide else _narrow(row)
        table.add_row(name, *cells, said)
    return table


def _needed(board: Board, rows: Sequence[Row]) -> int:
    """Return how many columns of a terminal the wide table takes, with room for what is said."""
    names = max(cell_len(text) for text in (board.phase, *(row.component for row in rows)))
    verbs = [max([len(verb), *(len(_word(row.cells[verb])) for row in rows)]) for verb in board.verbs]
    said = _SAID if any(row.said for row in rows) else 0
    return names + sum(_GAP + one for one in (*verbs, said))


def _narrow(row: Row) -> list[Text]:
    now = next((verb for verb in reversed(list(row.cells)) if row.cells[verb].state in (FAILED, RUNS)), None)
    done = sum(1 for cell in row.cells.values() if cell.state == DONE)
    cell = Text("-", style=_STYLE[WAITS]) if now is None else _cell(row.cells[now], f"{now} ")
    return [cell, Text(f"{done}/{len(row.cells)}", style=_STYLE[DONE])]


def _printable(text: str) -> str:
    """Return a text, which may come from a machine, without what would move the cursor."""
    return "".join(one if one.isprintable() else " " for one in text)


def _cell(cell: Cell, before: str = "") -> Text:
    return Text(f"{before}{_word(cell)}", style=_STYLE[cell.state])


def _word(cell: Cell) -> str:
    if cell.state == WAITS:
        return "-"
    seconds = f"{cell.seconds:.1f} s" if cell.state == DONE else f"{cell.seconds:.0f} s"
    return f"FAILED {seconds}" if cell.state == FAILED else f"{'> ' if cell.state == RUNS else ''}{seconds}"


def _counted(rows: Sequence[Row]) -> str:
    states = [row.state for row in rows]
    words = {FAILED: "failed", RUNS: "at work", DONE: "done", WAITS: "waiting"}
    return ", ".join(f"{states.count(state)} {word}" for state, word in words.items() if state in states)
