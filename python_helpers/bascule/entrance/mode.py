"""Read and write what HAProxy says about the entrance: its mode map, its statistics. Pure texts in, values out."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import BasculeError

OPEN = "open"
MAINTENANCE = "maintenance"
FORWARD = "forward"
MODES = (OPEN, MAINTENANCE, FORWARD)
# What is seen of an entrance that nobody here drives, where it comes to none of them.
UNKNOWN = "unknown"


class EntranceError(BasculeError):
    """The entrance does not do what it was told, or cannot be asked."""


@dataclass(frozen=True)
class Server:
    """One server behind the entrance."""

    backend: str
    name: str
    status: str
    check: str
    sessions: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return {
            "backend": self.backend,
            "name": self.name,
            "status": self.status,
            "check": self.check,
            "sessions": self.sessions,
        }


def checked(mode: str) -> str:
    """Return the mode, or refuse what is none."""
    if mode not in MODES:
        raise EntranceError(expected=f"a mode out of {', '.join(MODES)}", found=repr(mode))
    return mode


def render_map(key: str, mode: str) -> str:
    """Return the content of the map file."""
    return f"# Written by Bascule. What users get at this entrance: {', '.join(MODES)}.\n{key} {checked(mode)}\n"


def parse_map(text: str | None, key: str) -> str | None:
    """Return the mode that a map file gives, None when it gives none: HAProxy then shows the maintenance page."""
    return _lookup((line.split() for line in (text or "").splitlines() if not line.lstrip().startswith("#")), key)


def parse_show_map(answer: str, key: str) -> str | None:
    """Return the mode in the answer to `show map FILE`, whose lines start with an address."""
    if answer.lower().startswith("unknown map"):
        raise EntranceError(
            expected="HAProxy to have the mode map loaded",
            found=answer.strip(),
            next_command="let the frontend choose its backend by the map (README of role web_entrance), then reload",
        )
    return _lookup((line.split()[1:] for line in answer.splitlines()), key)


def parse_stat(answer: str) -> list[dict[str, str]]:
    """Return the rows of `show stat`."""
    text = answer.lstrip("# ").strip()
    if not text.startswith("pxname,"):
        raise EntranceError(expected="the statistics of HAProxy", found=answer.strip()[:200] or "nothing")
    return list(csv.DictReader(text.splitlines()))


def servers(rows: Iterable[dict[str, str]]) -> list[Server]:
    """Return the servers among the rows of `show stat`."""
    return [
        Server(row["pxname"], row["svname"], row["status"], row.get("check_status") or "", int(row["scur"] or 0))
        for row in rows
        if row["svname"] not in ("FRONTEND", "BACKEND")
    ]


def backends(rows: Iterable[dict[str, str]]) -> list[str]:
    """Return the names of the backends among the rows of `show stat`."""
    return [row["pxname"] for row in rows if row["svname"] == "BACKEND"]


def in_flight(rows: Iterable[dict[str, str]], backend: str) -> int:
    """Return how many requests a backend is working on."""
    for row in rows:
        if row["pxname"] == backend and row["svname"] == "BACKEND":
            return int(row["scur"] or 0) + int(row["qcur"] or 0)
    raise EntranceError(
        expected=f"a backend {backend} in HAProxy",
        found="none of this name",
        next_command="compare web_entrance_backend with the configuration of HAProxy",
    )


def parse_info(answer: str) -> dict[str, str]:
    """Return `show info` as a mapping."""
    pairs = (line.partition(":") for line in answer.splitlines())
    return {name.strip(): value.strip() for name, sign, value in pairs if sign}


def _lookup(rows: Iterable[list[str]], key: str) -> str | None:
    found = {row[1] for row in rows if len(row) >= 2 and row[0] == key}
    if len(found) > 1:
        raise EntranceError(expected=f"one mode under {key}", found=", ".join(sorted(found)))
    return found.pop() if found else None
