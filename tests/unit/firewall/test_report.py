"""What verify has recorded of firewalls is proved only where ports were asked, and nothing was wrong."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.report import forecast, proof

PROVED: dict[str, Any] = {
    "role": "firewall", "opened": "1.d", "ports_checked": 4, "ports_wrong": 0, "active_side": "gw-tls",
    "active_faults": [], "details": [], "not_compared": {},
}  # fmt: skip


def test_what_was_seen_is_proved() -> None:
    assert proof.doubts("it", PROVED) == []


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("ports_checked", 0),
        ("ports_checked", None),
        ("ports_wrong", 1),
        ("ports_wrong", None),
        ("active_faults", ["it was not loaded"]),
        ("active_faults", None),
        ("details", ["tcp 22 is silent"]),
        ("not_compared", None),
        ("active_side", ""),
    ],
)
def test_what_was_not_is_in_doubt(what: str, found: Any) -> None:
    assert what in [doubt.what for doubt in proof.doubts("it", {**PROVED, what: found})]


def test_a_firewall_adds_nothing_to_a_window() -> None:
    assert forecast.part(forecast.Known("firewall")).seconds == 0
