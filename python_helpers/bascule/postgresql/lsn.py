"""Positions in the write-ahead log, as numbers that compare."""

from __future__ import annotations

from ..errors import BasculeError


def parse(text: str) -> int:
    """Read an LSN such as 0/3000148."""
    high, slash, low = text.strip().partition("/")
    try:
        if not slash:
            raise ValueError(text)
        return (int(high, 16) << 32) + int(low, 16)
    except ValueError as error:
        raise BasculeError(expected="a WAL position such as 0/3000148", found=repr(text)) from error


def render(value: int) -> str:
    """Write what `parse` reads."""
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


def behind(position: str | None, target: str | None) -> int | None:
    """Return by how many bytes `position` is behind `target`; None when one of them is not known."""
    if not position or not target:
        return None
    return max(0, parse(target) - parse(position))
