"""Why a task failed, of each item where it had a loop: Ansible's own message only says that some did. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def items(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the items of a loop that failed or got no answer, by their labels; nothing where there was no loop.

    Args:
        result: what Ansible's task has returned.
    """
    found = result.get("results")
    if not isinstance(found, (list, tuple)):
        return []
    bad = [one for one in found if isinstance(one, Mapping) and (one.get("failed") or one.get("unreachable"))]
    return [(_label(one), one) for one in bad]


def message(result: Mapping[str, Any]) -> str:
    """Return why one try of a task failed; what Ansible has hidden stays hidden."""
    said = str(result.get("msg") or result.get("censored") or "").strip()
    tries = result.get("attempts")
    if not tries:
        return said
    after = f"after {tries} attempt{'s' if tries != 1 else ''}"
    return f"{said}, {after}" if said else f"what the task waits for had not come {after}"


def _label(item: Mapping[str, Any]) -> str:
    label = item.get("_ansible_item_label")
    return str(item.get(str(item.get("ansible_loop_var") or "item"), "?") if label is None else label)
