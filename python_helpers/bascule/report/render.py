"""A summary for the terminal. Makes what rich prints; the caller prints it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .bidi import isolated
from .notes import note_lines
from .rows import figure_rows, headline, phase_rows, reason_lines
from .words import colon, said, word

_COLOUR = {"ok": "green", "failed": "red", "inside": "yellow", "invalid": "yellow"}


def summary_panel(summary: Mapping[str, Any], lang: str = "en") -> RenderableType:
    """The verdict, the figures of both legs side by side, the phases, and why not when it is not good."""
    result = str(summary.get("result", "invalid"))
    colour = _COLOUR.get(result, "red")
    parts: list[RenderableType] = [_head(summary, result, colour, lang), Text(), _figures(summary, lang)]
    phases = phase_rows(summary, lang)
    if phases:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("forward", "phase", "expected", "measured"):
            table.add_column(
                "" if name == "forward" else word(name, lang),
                justify="left" if name in ("forward", "phase") else "right",
            )
        for row in phases:
            table.add_row(Text(row.leg, style="dim"), row.name, Text(row.expected, style="dim"), row.measured)
        parts += [Text(), table]
    for title, lines in note_lines(summary, lang).items():
        if lines:
            parts += [Text(), Text(word(title, lang), style="dim")]
            parts += [Text(f"  {line}") for line in lines]
    reasons = reason_lines(summary, lang)
    if reasons:
        parts += [Text(), Text(word("reasons", lang), style="bold red")]
        parts += [Text(f"  {reason}", style="red") for reason in reasons]
    return Panel(
        Group(*parts),
        title=said("title", lang, run=summary.get("run", "")),
        border_style=colour,
        padding=(1, 2),
        expand=False,
    )


def _head(summary: Mapping[str, Any], result: str, colour: str, lang: str) -> Text:
    head = Text()
    head.append(f"{word('result', lang)}{colon(lang)} ")
    head.append(headline({**summary, "result": result}, lang), style=f"bold {colour}")
    head.append(f"    {word('active_site', lang)}{colon(lang)} ")
    site = summary.get("active_site")
    head.append(isolated(site, lang) if site else word("unknown_site", lang), style="bold")
    return head


def _figures(summary: Mapping[str, Any], lang: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(word("figure", lang))
    for leg in ("forward", "back"):
        table.add_column(word(leg, lang), justify="right")
    table.add_column(word("limit", lang), justify="right", style="dim")
    for row in figure_rows(summary, lang):
        table.add_row(
            row.label,
            Text(row.forward, style="" if row.forward_good else "bold red"),
            Text(row.back, style="" if row.back_good else "bold red"),
            row.limit,
        )
    return table
