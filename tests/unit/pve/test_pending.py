"""Cards of a running guest: changed at once, or from its next start on where hotplug has none."""

from __future__ import annotations

from typing import Any

import pytest
from pve.pve_standin.node import Node

from .parts import Ask

CONFIG = "/nodes/pve1/qemu/100/config"
CARD = "virtio=BC:24:11:03:07:C1,bridge=vmbr0"
CUT = f"{CARD},link_down=1"


@pytest.fixture
def plugged(node: Node, guest: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A guest that runs; the cards that were changed in it."""
    seen: list[str] = []
    monkeypatch.setattr(node.qemu, "pid", lambda vmid: 1)
    monkeypatch.setattr(node.qemu, "replug", lambda vmid, key, value, say: seen.append(value))
    return seen


def cards(ask: Ask) -> tuple[Any, Any]:
    return ask("GET", CONFIG)["net0"], ask("GET", CONFIG, current="1")["net0"]


def waiting(ask: Ask) -> list[Any]:
    return [row for row in ask("GET", "/nodes/pve1/qemu/100/pending") if "pending" in row]


def test_a_card_follows_at_once(ask: Ask, plugged: list[str]) -> None:
    ask("PUT", CONFIG, net0=CUT)
    assert cards(ask) == (CUT, CUT)
    assert (plugged, waiting(ask)) == ([CUT], [])


@pytest.mark.parametrize("hotplug", ["disk,usb", "0"])
def test_without_hotplug_of_cards_it_waits_for_the_next_start(
    ask: Ask, node: Node, plugged: list[str], hotplug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("PUT", CONFIG, hotplug=hotplug)
    ask("PUT", CONFIG, net0=CUT)
    ask("PUT", CONFIG, net0=f"{CUT},firewall=1")
    assert cards(ask) == (f"{CUT},firewall=1", CARD)
    assert waiting(ask) == [{"key": "net0", "value": CARD, "pending": f"{CUT},firewall=1"}]
    assert plugged == []
    ask("PUT", CONFIG, net0=CARD)
    assert (cards(ask), waiting(ask)) == ((CARD, CARD), [])
    ask("PUT", CONFIG, net0=CUT)
    monkeypatch.setattr(node.qemu, "pid", lambda vmid: None)
    assert cards(ask) == (CUT, CUT), "a guest that does not run has nothing that waits"
