"""The window of the lab's seven components, all guests moved warm: against the work on its critical path, and the way
back against the way there.

Real playbooks move the lab's whole site to Toulouse and back. The journal says how long the window was and how much of
its critical path the operations themselves took where they ran: that sum stands for a bare script of the same
operations, which has no orchestration at all. A script that really moves the site is not measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import LOWER, Alternation, Benchmark, Measurement, Settings

ROOT = Path(__file__).resolve().parents[1]
LAB = [sys.executable, "tests/lab/lab.py"]
GUESTS = ("courses_guest", "login_guest", "board_guest")
# The guest that moves by delta where one does.
DELTA = "courses_guest"
# Beside them the lab itself keeps the machine at a load of ten and more.
BUSY, BUSY_SECONDS = 9, 6.0
WAYS = {"cutover": ("60_cutover", "toulouse"), "rollback": ("rollback", "montpellier")}
# A playbook that takes longer hangs.
LONGEST = 1800
# Guests that a move has started are emulated, and still at it when the playbook has ended. Seconds.
SETTLED_WITHIN, LOOK = 180, 3
IDLE = 0.5


def inventory(place: Path, *, delta: str = "") -> Path:
    """Write what lies over the lab's inventory: guests go the way of stateless ones, but one by delta."""
    (place / "host_vars").mkdir(parents=True)
    (place / "hosts.yml").write_text(f"components: {{hosts: {{{', '.join(f'{name}: {{}}' for name in GUESTS)}}}}}\n")
    for name in GUESTS:
        text = "proxmox_guest_move: warm\nproxmox_guest_stateless: true\nproxmox_guest_stops_beside: true\n"
        if name == delta:
            text = "proxmox_guest_move: delta\n"
        (place / "host_vars" / f"{name}.yml").write_text(text)
    return place


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep the processors busy with as many processes that do nothing but count."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


class Site:
    """The lab, and a run that moves it."""

    def __init__(self, scratch: Path, delta: str = "") -> None:
        self._inventory = inventory(scratch / "over", delta=delta)
        self._runs = scratch / "runs"
        self._log = scratch / "playbooks.log"

    def play(self, book: str, *arguments: str) -> None:
        """Run a playbook to its end."""
        command = ["ansible-playbook", "-i", "inventories/lab", "-i", str(self._inventory), f"playbooks/{book}.yml"]
        self._run([*command, *arguments])

    def lab(self, verb: str) -> None:
        """Bring the lab up, or remove it."""
        self._run([*LAB, verb])

    def window(self) -> dict[str, Any]:
        """Return the last window that the journal tells of."""
        lines = (self._runs / "latest" / "journal.jsonl").read_text().splitlines()
        told = [entry["data"] for entry in map(json.loads, lines) if entry["data"].get("event") == "window"]
        return dict(told[-1])

    def _run(self, command: list[str]) -> None:
        environment = {**os.environ, "BASCULE_RUNS": str(self._runs), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        with self._log.open("a") as log:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LONGEST,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {self._log.read_text()[-3000:]}")


def idle_share(before: list[int], after: list[int]) -> float:
    """Return the idle part of the time between two readings of the first line of /proc/stat (proc(5))."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return (spent[3] + spent[4]) / max(1, sum(spent))


def settle() -> None:
    """Wait until what the last move has left to do is done, for some minutes at most."""

    def read() -> list[int]:
        return [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]

    deadline = time.monotonic() + SETTLED_WITHIN
    while time.monotonic() < deadline:
        before = read()
        time.sleep(LOOK)
        if idle_share(before, read()) >= IDLE:
            return


def moved(settings: Settings, *, delta: str = "", beside: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Move the site there and back, with as many busy processes beside it; return the windows of both ways."""
    site = Site(settings.scratch, delta)
    windows: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    try:
        site.lab("up")
        for book in ("20_prepare", "30_sync"):
            site.play(book)
        for _ in range(settings.rounds):
            for name, (book, where) in WAYS.items():
                settle()
                with busy(beside):
                    site.play(book, "-e", f"confirm={where}")
                windows[name].append(site.window())
    finally:
        site.lab("down")
    return windows


def figures(windows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return both figures: a window against the work on its path, and the way back against the way there."""
    both = [*windows["cutover"], *windows["rollback"]]
    whole = tuple(one["window_seconds"] for one in both)
    work = tuple(one["window_seconds"] - one["orchestration_seconds"] for one in both)
    there, back = (tuple(one["window_seconds"] for one in windows[name]) for name in ("cutover", "rollback"))
    return {"whole": Alternation(whole, work), "return": Alternation(back, there)}


def measure(settings: Settings) -> Measurement:
    """Move the lab's site there and back, and set each window against its own work."""
    windows = moved(settings)
    found = figures(windows)
    told = {
        **found["whole"].figures("window", "work_on_its_path"),
        "return_against_cutover": round(found["return"].ratio, 3),
        "orchestration_seconds": {name: [one["orchestration_seconds"] for one in windows[name]] for name in windows},
        "load": {name: [one.get("load") for one in windows[name]] for name in windows},
        "critical_path": {name: windows[name][-1]["critical_path"] for name in windows},
    }
    return Measurement(
        found["whole"].ratio,
        told,
        {
            "window_within_5_s": found["whole"].our_median <= 5,
            "return_within_1_1_of_the_cutover": found["return"].ratio <= 1.1,
        },
    )


def measure_delta(settings: Settings) -> Measurement:
    """Move the site with one guest by delta; set each window against what was done for that guest where it ran."""
    windows = moved(settings, delta=DELTA)
    both = [*windows["cutover"], *windows["rollback"]]
    guest = tuple(one["components"][DELTA]["work_seconds"] for one in both)
    found = Alternation(tuple(one["window_seconds"] for one in both), guest)
    told = {
        **found.figures("window", "stop_delta_and_boot_of_the_guest"),
        "load": {name: [one.get("load") for one in windows[name]] for name in windows},
        "critical_path": {name: windows[name][-1]["critical_path"] for name in windows},
    }
    return Measurement(found.ratio, told, {"the_guest_was_moved": min(guest) > 0})


def measure_busy(settings: Settings) -> Measurement:
    """Move the site beside processes that keep the machine busy; look at the orchestration alone."""
    windows = moved(settings, beside=BUSY)
    spent = {name: [one["orchestration_seconds"] for one in windows[name]] for name in windows}
    both = tuple(second for seconds in spent.values() for second in seconds)
    load = [one.get("load") or 0 for name in windows for one in windows[name]]
    found = Alternation(both, (BUSY_SECONDS,) * len(both))
    told = {
        **found.figures("orchestration", "seconds_to_reach"),
        "orchestration_seconds": spent,
        "load": load,
    }
    return Measurement(found.ratio, told, {"load_was_ten": max(load) >= 10})


BENCHMARKS = [
    Benchmark(
        "window_warm",
        "a window of the lab's seven components, guests moved warm, there and back",
        "the work of its operations on the critical path (no script is run)",
        1.3,
        LOWER,
        measure,
    ),
    Benchmark(
        "window_delta",
        "the same window with one guest moved by delta",
        "the work done for that guest where it runs: its stop, its delta, its boot (no script is run)",
        1.3,
        LOWER,
        measure_delta,
    ),
    Benchmark(
        "window_busy",
        f"seconds of orchestration in a window, all guests moved warm, beside {BUSY} busy processes",
        f"{BUSY_SECONDS:g} seconds",
        1,
        LOWER,
        measure_busy,
    ),
]
