"""The demo: the lab's live site goes to Toulouse and back while a client outside counts every read and every write.

The run has two legs. **Forward** reaches from the client's first acknowledged write to the moment the way back begins,
which is when the look-up at the target begins; **back** reaches from there to the end. A leg ends in steady state: 500
of its acknowledged writes are made after its switch and verify are over.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bascule.plugin import reporting
from bascule.report.judge import LEAST_WRITES
from bascule.report.render import summary_panel
from bascule.report.summary import build
from bascule.report.words import LANGUAGES
from bascule.run.outcome import Status

from .evidence import LegEvidence, behind, figures, journalled, keep_facts, look_up, phase_times, point_latest
from .phases import PhaseFailed, Phases
from .screen import Screen
from .setting import ROOT, Setting, SiteAddresses, read_setting
from .watchers import Watchers

FORWARD = ("audit", "prepare", "sync", "pretest", "plan", "cutover", "commit", "verify")
BACK = ("rollback", "verify")
LAB_UP_SECONDS = 1500.0
STEADY_SECONDS = 300.0
POOLER_SECONDS = 30.0
# Longer than the prober and the client wait for an answer.
PROBE_SECONDS = 2.5
SETTLE_SECONDS = 45.0


class DemoStopped(Exception):
    """The demo cannot go on; the message says why."""


class Journey:
    """One run of the demo."""

    def __init__(self, setting: Setting, screen: Screen, runs: Path, run: str) -> None:
        self.setting = setting
        self.screen = screen
        self.runs = runs
        self.run_name = run
        self.directory = runs / run
        self.directory.mkdir(mode=0o700, parents=True)
        self.phases = Phases(run, runs, screen)
        self.watchers: Watchers | None = None
        self.legs: list[LegEvidence] = []
        self.active: str | None = None
        self.plan: Path | None = None
        self.started = time.time()

    # The steps, in the order they happen.

    def travel(self) -> None:
        """Go there and back."""
        self._lab_up()
        self._watch()
        forward = self._leg("forward", self.watchers.user.first_acked() if self.watchers else None)
        self._walk(forward, FORWARD)
        self._steady(self.setting.target)
        self._prove(forward, self.setting.target)
        back = self._leg("back", forward.end)
        self._walk(back, BACK)
        self._steady(self.setting.source)
        self.active = self._active_name()
        self._stop_watching()
        self._prove(back, self.setting.source)

    def _lab_up(self) -> None:
        self.screen.heading("The lab: two sites on this machine")
        self.screen.begin("lab up")
        command = [sys.executable, str(ROOT / "tests" / "lab" / "lab.py"), "up"]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            late = threading.Timer(LAB_UP_SECONDS, process.send_signal, [signal.SIGINT])
            late.start()
            try:
                for line in process.stdout or ():
                    self.screen.relay(line.decode("utf-8", "replace").rstrip("\n"))
            finally:
                late.cancel()
                if process.poll() is None and sys.exc_info()[0] is not None:
                    # Asked, not killed: it ends what it has begun, so that nothing is left half made.
                    process.send_signal(signal.SIGINT)
        if process.returncode != 0:
            raise DemoStopped("the lab did not come up; what it said stands above")

    def _watch(self) -> None:
        self.screen.heading(
            "A client outside writes and reads through the entrance all the time; a prober tries both sites"
        )
        self.screen.begin("first writes")
        self.watchers = Watchers(self.directory / "clients", self.setting)
        self.watchers.start()
        self.screen.counters = self.watchers.user.line
        self._wait_for(lambda: self._acked(self.started) >= 20 and self._side() is not None, 90.0, "the first writes")
        if self._side() != self.setting.source.key:
            raise DemoStopped(
                f"{self.setting.target.name} is the active site: an earlier run has not come back; bring it back "
                f"first: bascule rollback -e confirm={self.setting.source.name}"
            )

    def _watch_data_layer(self) -> None:
        """From here on there is a pooler, and somebody behind it who does not know of any move."""
        if self.watchers is None:
            return
        watchers = self.watchers
        self.screen.begin("first writes through the pooler")
        watchers.start_data_layer()
        try:
            self._wait_for(lambda: watchers.data.acked() >= 5, POOLER_SECONDS, "writes through the pooler")
        except DemoStopped as stopped:
            raise DemoStopped(f"{stopped}; last problem through the pooler: {watchers.data.last_problem}") from stopped

    def _leg(self, name: str, start: float | None) -> LegEvidence:
        leg = LegEvidence(name, time.time() if start is None else start)
        self.legs.append(leg)
        return leg

    def _walk(self, leg: LegEvidence, phases: tuple[str, ...]) -> None:
        measured: dict[str, float] = {}
        try:
            for number, phase in enumerate(phases, 1):
                self.screen.heading(f"{leg.name.capitalize()} {number}/{len(phases)}: {phase}")
                if phase == "plan":
                    measured |= self._plan()
                elif phase == "commit":
                    self._refused()
                else:
                    measured[phase] = self.phases.run(phase, *self._arguments(phase))
                if phase == "prepare":
                    self._watch_data_layer()
        finally:
            leg.phases = phase_times(self.setting, measured)
        leg.facts = keep_facts(self.directory, leg.name)

    def _arguments(self, phase: str) -> tuple[str, ...]:
        if phase == "rollback":
            return ("-e", f"confirm={self.setting.source.name}")
        if phase != "cutover":
            return ()
        confirmed = ("-e", f"confirm={self.setting.target.name}")
        return ("--plan", str(self.plan), *confirmed) if self.plan else confirmed

    def _plan(self) -> dict[str, float]:
        """Have a plan written; a machine too busy for the window that is wanted gets none, and is moved without."""
        try:
            seconds = self.phases.run("plan")
        except PhaseFailed as refused:
            if refused.status != Status.NO_GO:
                raise
            self.screen.say(f"  no plan was written, as said above ({refused}); the cutover goes without one")
            return {}
        (self.plan,) = (self.directory / "plans").glob("*.json")
        return {"plan": seconds}

    def _refused(self) -> None:
        """See a commit refused: it has moved, and nothing is proved equal yet."""
        try:
            self.phases.run("commit", ends=Status.NO_GO)
        except PhaseFailed as wrong:
            raise DemoStopped(f"a commit has to be refused before anything is proved equal: {wrong}") from wrong

    def _steady(self, site: SiteAddresses) -> None:
        self.screen.heading(f"{LEAST_WRITES} writes more at {site.name.capitalize()}")
        self.screen.begin(f"writing at {site.name}")
        since = time.time()
        self._wait_for(lambda: self._side() == site.key, 60.0, f"writes at {site.name}")
        self._wait_for(lambda: self._acked(since) >= LEAST_WRITES, STEADY_SECONDS, f"{LEAST_WRITES} writes")

    def _prove(self, leg: LegEvidence, site: SiteAddresses) -> None:
        self.screen.begin(f"look-up at {site.name}")
        leg.end = time.time()
        if self.watchers is not None:
            # Let the answers to what was sent before this moment arrive, so that the look-up knows of every one.
            time.sleep(PROBE_SECONDS)
            user, end = self.watchers.user, leg.end
            self._wait_for(lambda: user.settled(end), SETTLE_SECONDS, "answers to what was sent")
        leg.lookup = self.directory / "clients" / f"lookup.{leg.name}.json"
        self.screen.say(f"  {look_up(site, self.directory / 'clients', leg.lookup)}")

    # Helpers.

    def _acked(self, since: float) -> int:
        return self.watchers.user.acked_since(since) if self.watchers else 0

    def _side(self) -> str | None:
        return self.watchers.prober.active_side() if self.watchers else None

    def _active_name(self) -> str | None:
        side = self._side()
        return self.setting.site(side).name if side else None

    def _wait_for(self, reached: Any, limit: float, what: str) -> None:
        deadline = time.monotonic() + limit
        while not reached():
            if self.watchers is not None:
                ended = self.watchers.dead()
                if ended:
                    raise DemoStopped(ended)
            if time.monotonic() > deadline:
                problem = self.watchers.user.last_problem if self.watchers else ""
                raise DemoStopped(
                    f"{what} did not come within {limit:.0f} s; last problem of the client: {problem or 'none'}"
                )
            time.sleep(0.25)

    def _stop_watching(self) -> None:
        self.screen.begin("stopping the client")
        if self.watchers is not None:
            watchers, self.watchers = self.watchers, None
            watchers.stop()

    def close(self) -> None:
        """Whatever happened: nothing that this run started goes on."""
        if self.watchers is not None:
            self.active = self._active_name()
            if self.legs and self.legs[-1].end is None:
                # What comes after this moment was not watched.
                self.legs[-1].end = time.time()
        self._stop_watching()
        self.screen.counters = str

    def summary(self, failure: str | None) -> dict[str, Any]:
        """Judge the run as far as it came, and write it down."""
        clients = self.directory / "clients"
        found = figures(clients, self.legs, time.time()) if (clients / "user.jsonl").exists() else {}
        made = build(
            run=self.run_name,
            plan=self.setting.plan,
            legs=found,
            active_site=self.active,
            limits=self.setting.limits,
            expected_site=self.setting.source.name,
            started=_time(self.started),
            ended=_time(time.time()),
            failure=failure,
        )
        entries = journalled(self.directory)
        made = behind(made, entries)
        reporting.write(self.directory, made, "en", entries)
        point_latest(self.runs, self.run_name)
        return made

    def stand(self) -> None:
        """After a failure: where things stand, and the next safe command."""
        screen, source = self.screen, self.setting.source
        if self.phases.started:
            screen.heading("Where things stand")
            try:
                self.phases.run("status", limit=120.0)
            except PhaseFailed as bad:
                screen.say(f"  {bad}", style="red")
        screen.heading("What to type next")
        if "cutover" in self.phases.started:
            screen.say("  the switch had begun; this brings everything back to the source, from wherever it stands:")
            screen.say(f"    BASCULE_RUN={self.run_name} bascule rollback -e confirm={source.name}")
        else:
            screen.say("  nothing was switched, the source still serves; every phase can be run again:")
            screen.say("    make demo")
        screen.say("    make lab-status")


def next_commands(screen: Screen, setting: Setting, run: str) -> None:
    """The lab stays up: what a curious person may try."""
    screen.heading("The lab is still up. Try next (after 'source .venv/bin/activate'):")
    for command, why in (
        ("bascule status", "where the run stands"),
        (f"bascule run cutover -e confirm={setting.target.name} --check", "what a cutover would do"),
        (f"bascule run cutover -e confirm={setting.target.name}", "do it yourself"),
        (f"bascule rollback -e confirm={setting.source.name}", "and come back"),
        (
            f"ansible-playbook playbooks/60_cutover.yml -e confirm={setting.target.name}",
            "the same without bascule's own command",
        ),
        (f"less runs/{run}/report.md", "this summary as a page (in French: report.fr.md)"),
        ("bascule summary --lang fr", "this summary again, in French"),
        ("make lab-status", "the lab's hosts and services"),
        ("make lab-down", "remove the lab"),
    ):
        screen.say(f"  {command:<78} {why}")


def _time(wall: float) -> str:
    return datetime.fromtimestamp(wall, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _interrupt(*_: object) -> None:
    """A lost terminal or a polite kill ends the demo as ctrl-C does: in order."""
    raise KeyboardInterrupt


def _only_one(runs: Path) -> int:
    runs.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(runs / ".demo.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as held:
        os.close(lock)
        raise DemoStopped("another demo is running") from held
    return lock


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Move the lab's live site to the target and back, under load.")
    parser.add_argument("--lang", choices=LANGUAGES, default="en", help="language of the summary")
    options = parser.parse_args(argv)
    screen, setting = Screen(), read_setting()
    runs = Path(os.environ.get("BASCULE_RUNS", ROOT / "runs")).resolve()
    try:
        lock = _only_one(runs)
    except DemoStopped as stopped:
        screen.say(str(stopped), style="bold red")
        return 2
    run = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{setting.plan}"
    journey = Journey(setting, screen, runs, run)
    point_latest(runs, run)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    failure: str | None = None
    try:
        with screen.living():
            try:
                journey.travel()
            finally:
                journey.close()
    except (PhaseFailed, DemoStopped) as stopped:
        failure = str(stopped)
    except KeyboardInterrupt:
        failure = "stopped by the keyboard"
    except Exception as bug:  # the summary and the way on are printed for a defect of the demo as well
        screen.console.print_exception()
        failure = f"{type(bug).__name__}: {bug}"
    finally:
        os.close(lock)
    summary = journey.summary(failure)
    if failure is not None:
        journey.stand()
    screen.console.print()
    if journey.legs:
        screen.say(summary_panel(summary, options.lang))
    else:
        screen.say(f"The run had not begun: {failure}", style="bold red")
    if summary["result"] != "ok":
        screen.say(f"Everything that was written down is in runs/{run}/", style="dim")
        return 1
    next_commands(screen, setting, run)
    return 0
