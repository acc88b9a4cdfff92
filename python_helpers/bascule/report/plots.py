"""The plots of a report, each one piece of SVG without anything from outside. Pure.

Texts are given in the reader's language; colours are those of Okabe and Ito, and each kind has a letter as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Optional

WIDTH, _LEFT, _ROW, _RIGHT = 760, 170, 22, 60
COLOURS = {
    "freeze": "#0072B2", "sync": "#56B4E9", "switch": "#D55E00", "thaw": "#009E73", "planned": "#BBBBBB",
    "measured": "#777777",
}  # fmt: skip
# A letter that no other kind has; the others have their first.
_LETTERS = {"switch": "W"}
_PLOT = WIDTH - _LEFT - _RIGHT


@dataclass(frozen=True)
class Bar:
    """A stretch of a row, in seconds from the plot's beginning, and what it is."""

    begin: float
    end: float
    kind: str


def timeline(
    title: str,
    rows: Sequence[tuple[str, Sequence[Bar]]],
    unit: str,
    limit: Optional[float] = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return rows of bars over time.

    Args:
        title: what it shows.
        rows: the bars of each row, by its label.
        unit: the unit of time, as it stands at the axis.
        limit: the seconds that the plan allows; a line stands there.
        names: what kinds are called in the reader's language; the others stand for themselves.
    """
    ends = [bar.end for _, bars in rows for bar in bars]
    longest = max([*ends, limit or 0.0, 0.001])
    parts = []
    for place, (label, bars) in enumerate(rows):
        y = _ROW * place + 24
        parts.append(_text(_LEFT - 8, y + 12, label, "end"))
        for bar in bars:
            x, width = _x(bar.begin, longest), max(_x(bar.end, longest) - _x(bar.begin, longest), 1.0)
            said = f"{names.get(bar.kind, bar.kind)}: {bar.end - bar.begin:.1f} {unit}"
            fill = COLOURS.get(bar.kind, "#999999")
            box = f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" fill="{fill}">'
            parts.append(f"{box}<title>{escape(said)}</title></rect>")
            if width > 12:
                ink = "#000" if bar.kind in ("sync", "planned") else "#fff"
                parts.append(_text(x + width / 2, y + 12, _letter(bar.kind), "middle", ink))
    height = _ROW * len(rows) + 24
    kinds = dict.fromkeys(bar.kind for _, bars in rows for bar in bars)
    parts.append(_text(WIDTH - 4, 14, " · ".join(f"{_letter(kind)} {names.get(kind, kind)}" for kind in kinds), "end"))
    return _svg(title, height + 26, [*_axis(longest, unit, height), *_limit(limit, longest, height), *parts])


def trend(title: str, points: Sequence[tuple[float, float]], unit: str, limits: Sequence[float] = ()) -> str:
    """Return values over time as a line.

    Args:
        title: what it shows.
        points: seconds from the beginning, and the value.
        unit: the unit of the values.
        limits: the bounds of the plan; a line stands at each.
    """
    values = [value for _, value in points] + list(limits)
    low, high = min([*values, 0.0]), max([*values, 0.001])
    longest, height = max([at for at, _ in points] + [0.001]), 110

    def y(value: float) -> float:
        return height - (value - low) / (high - low) * (height - 30)

    line = " ".join(f"{_x(at, longest):.1f},{y(value):.1f}" for at, value in points)
    parts = [f'<polyline points="{line}" fill="none" stroke="#0072B2" stroke-width="2"/>']
    parts += [f'<circle cx="{_x(at, longest):.1f}" cy="{y(v):.1f}" r="3" fill="#0072B2"/>' for at, v in points]
    for bound in limits:
        at = f"{y(bound):.1f}"
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{at}" y2="{at}" stroke="#D55E00" stroke-dasharray="6 3"/>'
        )
        parts.append(_text(_LEFT + _PLOT + 4, y(bound) + 4, f"{bound:g}", "start", "#B04A00"))
    parts.append(_text(_LEFT - 8, y(high) + 4, f"{high:g} {unit}", "end"))
    parts.append(_text(_LEFT - 8, y(low) + 4, f"{low:g} {unit}", "end"))
    return _svg(title, height + 26, [*_axis(longest, "s", height), *parts])


def _letter(kind: str) -> str:
    return _LETTERS.get(kind, kind[:1].upper())


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {WIDTH} {height:.0f}" width="100%"'
    # Time runs from left to right, whatever the page around does.
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" direction="ltr">'
    return "".join(
        [head, f"<title>{escape(title)}</title>", _text(0, 14, title, "start", "#000", bold=True), *parts, "</svg>"]
    )


def _axis(longest: float, unit: str, y: float) -> list[str]:
    parts = [f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y}" y2="{y}" stroke="#666"/>']
    for quarter in range(5):
        at = longest * quarter / 4
        parts.append(
            _text(_x(at, longest), y + 16, f"{at:.0f} {unit}" if longest >= 8 else f"{at:.1f} {unit}", "middle")
        )
    return parts


def _limit(limit: Optional[float], longest: float, height: float) -> list[str]:
    if limit is None:
        return []
    x = f"{_x(limit, longest):.1f}"
    return [f'<line x1="{x}" x2="{x}" y1="20" y2="{height}" stroke="#B04A00" stroke-dasharray="6 3"/>']


def _x(at: float, longest: float) -> float:
    return _LEFT + at / longest * _PLOT


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333", *, bold: bool = False) -> str:
    look = f'font-size="11" text-anchor="{anchor}" fill="{colour}"{" font-weight=" + repr("bold") if bold else ""}'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'
