"""Which guests are booted, or asked, before a cutover: no state that a failure leaves is stopped by that."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).resolve().parents[3]
VARIABLES: dict[str, Any] = yaml.safe_load((ROOT / "roles/proxmox_guest/vars/main.yml").read_text(encoding="utf-8"))


def provable(source: dict[str, Any], target: dict[str, Any], move: str = "delta") -> bool:
    """Return what the role's variable says of two sides."""
    facts: dict[str, Any] = {
        "__proxmox_guest_state": {"source": {"guard": source}, "target": {"guard": target, "disks": ["scsi0"]}},
        "proxmox_guest_move": move,
        "proxmox_guest_proof_restore": True,
    }
    for name in ("__proxmox_guest_serves", "__proxmox_guest_provable"):
        facts[name] = NativeEnvironment().from_string(VARIABLES[name].strip()).render(facts)
    return bool(facts["__proxmox_guest_provable"])


def guard(status: str, frozen: bool = False) -> dict[str, Any]:
    """Return the part of a guard that is looked at."""
    return {"status": status, "frozen": frozen}


def test_a_passive_guest_is_booted_before_the_window_and_one_that_serves_is_asked() -> None:
    assert provable(guard("open"), guard("closed"))
    assert provable(guard("closed"), guard("open"))


@pytest.mark.parametrize("move", ["delta", "archive", "warm", "remote_migrate"])
def test_a_guest_that_a_failed_return_has_frozen_is_not_called_stopped(move: str) -> None:
    """It holds its permit where the cutover leads, and was shut down by the freeze: the thaw starts it."""
    for source in ("closed", "closing", "opening"):
        assert not provable(guard(source), guard("open", frozen=True), move)


def test_what_may_be_half_written_is_not_booted_in_the_window() -> None:
    for source, target in product(("closed", "closing", "opening"), ("closed", "closing", "opening")):
        assert not provable(guard(source), guard(target))
    assert not provable(guard("open", frozen=True), guard("closed"))
