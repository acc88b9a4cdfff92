"""Reasons without the values of rows: a log is read by more people than a table. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from .contract import RowRefused

# From the first quote to the last: a value may hold quotes and brackets itself.
_QUOTED = re.compile(r"\".*\"|'.*'|\(.*\)=\(.*\)")
_NUMBER = re.compile(r"\d[\d.,:-]*")
_LONGEST = 200


def reason(error: BaseException, values: Iterable[Any] = ()) -> str:
    """Return what an error says, with values, quoted texts and numbers of several digits left out.

    Args:
        values: those of the row, which are left out wherever they stand.
    """
    text = " ".join(str(error).split())
    for value in sorted({str(one) for one in values if one is not None}, key=len, reverse=True):
        if len(value) > 1:
            text = text.replace(value, "***")
    text = _NUMBER.sub("***", _QUOTED.sub("***", text))
    # The database's refusal is told by the name that the client's library has for it.
    cause = error.__cause__ if isinstance(error, RowRefused) and error.__cause__ else error
    about = f" ({error.about})" if isinstance(error, RowRefused) and error.about else ""
    return f"{type(cause).__name__}: {text}"[:_LONGEST] + about


def key(values: Iterable[Any]) -> str:
    """Return a key as it may be shown: numbers and identifiers whole, of a text its first letter."""
    shown = []
    for one in values:
        plain = isinstance(one, (int, UUID)) or (isinstance(one, str) and _is_uuid(one))
        shown.append(str(one) if plain else f"{str(one)[:1]}***")
    return ", ".join(shown)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
