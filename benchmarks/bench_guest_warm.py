"""What a warm guest costs the window: shut down, closed with its receipt, and the other one connected and serving.

Each turn goes one way, there and back in alternation; the guest to be connected has been booted before, cut from its
network. Ansible's own time around these calls is not in it: it is shared by all components that move side by side.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from bascule.guard.state import Epoch, Receipt
from bascule.guest import decisions, transitions
from bascule.guest.guest import Guest
from benchmarks import guest_nodes
from benchmarks.harness import LOWER, Benchmark, Measurement, Settings


def switch(source: Guest, target: Guest, number: int) -> dict[str, float]:
    """One move in the window; return the seconds of its steps."""
    epoch, position = Epoch(number, "bench"), {decisions.STATELESS: "local writes are not carried over"}
    moments = [time.monotonic()]
    transitions.freeze(source, force=False)
    moments.append(time.monotonic())
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, position, "2026-11-20T09:00:00Z")["receipt"])
    moments.append(time.monotonic())
    reached = transitions.reached(receipt.position, {}, False, stateless=True)
    transitions.open_side(target, epoch, receipt, reached, onboot=True, leads=False, stateless=True)
    moments.append(time.monotonic())
    steps = ("shut_down", "close", "open")
    return {name: round(end - begin, 3) for name, begin, end in zip(steps, moments, moments[1:], strict=False)}


def measure(settings: Settings) -> Measurement:
    """Measure on two nodes that are removed again."""
    variables: dict[str, Any] = {"proxmox_guest_move": "warm", "proxmox_guest_stateless": True}
    turns: list[dict[str, float]] = []
    connected: list[int] = []
    with guest_nodes.started("guest-warm", Path(settings.scratch), **variables) as pair:
        pair.must("prepare")
        sides = guest_nodes.guests(pair)
        sides[1].wait_up()
        for number in range(1, settings.rounds + 1):
            source, target = sides if number % 2 else sides[::-1]
            transitions.boot_apart(target)
            target.wait_up()
            turns.append(switch(source, target, number))
            connected.append(len(pair.connected()))
    seconds = [round(sum(turn.values()), 3) for turn in turns]
    figures = {"turns": turns, "window_seconds": seconds}
    return Measurement(statistics.median(seconds), figures, {"one_guest_connected": set(connected) == {1}})


BENCHMARK = Benchmark(
    name="guest_warm",
    what="seconds of the window for a guest that is moved warm",
    against="the plan's 3 seconds",
    limit=3,
    better=LOWER,
    measure=measure,
)
