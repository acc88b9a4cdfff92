"""Text that can travel: names on a host may have bytes that are no UTF-8, and a result with such a byte is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def readable(value: Any) -> Any:
    """Return a value with every stray byte of its texts, those that name things too, written as \\udcXX."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {readable(key): readable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [readable(one) for one in value]
    return value
