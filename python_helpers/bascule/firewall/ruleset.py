"""What `nft --json list ruleset` says (libnftables-json(5)): which tables there are, and who else decides. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# They change without anybody's doing.
_VOLATILE = frozenset({"handle", "packets", "bytes", "index", "expires"})


def tables(text: str) -> dict[str, str]:
    """Return a digest of each table's content, by family and name; counters and handles do not count."""
    found: dict[str, list[Any]] = {}
    for kind, item in _items(text):
        family, name = item.get("family"), item.get("name") if kind == "table" else item.get("table")
        if family and name:
            found.setdefault(f"{family} {name}", []).append({kind: _steady(item)})
    return {name: hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
            for name, content in found.items()}  # fmt: skip


def others(text: str, own: str) -> list[str]:
    """Return a sentence for each table of somebody else that may drop what the own one accepts."""
    hooked, dropping = set(), set()
    for kind, item in _items(text):
        whose = f"{item.get('family')} {item.get('table')}"
        if kind == "chain" and item.get("hook") == "input" and item.get("table") != own:
            hooked.add(whose)
            if item.get("policy") == "drop":
                dropping.add(whose)
        if kind == "rule" and {"drop", "reject"} & {key for part in item.get("expr", []) for key in part}:
            dropping.add(whose)
    return [
        f"table {name} decides on what comes in as well: what it drops stays dropped, though a rule here accepts it"
        for name in sorted(hooked & dropping)
    ]


def changed(before: str, now: str, own: str) -> list[str]:
    """Return a sentence for each table of somebody else that is not as it was captured."""
    was, are = tables(before), tables(now)
    return [
        f"table {name} {'is new' if name not in was else 'is gone' if name not in are else 'has changed'} since the "
        "rules were captured"
        for name in sorted({*was, *are} - {f"inet {own}"})
        if was.get(name) != are.get(name)
    ]


def _items(text: str) -> list[tuple[str, Mapping[str, Any]]]:
    content = json.loads(text).get("nftables", []) if text.strip() else []
    return [(kind, item) for entry in content for kind, item in entry.items() if kind != "metainfo"]


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(inner) for key, inner in value.items() if key not in _VOLATILE}
    return [_steady(inner) for inner in value] if isinstance(value, list) else value
