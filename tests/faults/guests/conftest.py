"""The pair of nodes, started once for a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.guests.nodes import Nodes


@pytest.fixture(scope="module")
def nodes(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Two nodes; the guest serves at the source, and is moved by archives: every task of a move comes up."""
    pair = Nodes(
        "pve",
        "guests",
        tmp_path_factory.mktemp("guests"),
        variables={
            "proxmox_guest_move": "archive",
            "proxmox_guest_proof_command": ["wget", "-qO", "/dev/null", "http://127.0.0.1:8000/cgi-bin/healthz"],
        },
        gates={"guest_boots": {"equals": True, "max_age": 600}, "guest_differences": {"max": 0}},
    )
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
