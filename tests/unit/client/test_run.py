"""How the demo runs phases, follows its watchers, and turns files into figures."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client import evidence, journey
from client.evidence import LegEvidence, figures, keep_facts, phase_times, point_latest
from client.phases import PhaseFailed, Phases, end
from client.screen import Screen
from client.setting import Setting, SiteAddresses, read_setting
from client.watchers import ProberFollower, UserFollower, Watchers
from rich.console import Console

from bascule.run.io import command as commands
from bascule.run.io import presence
from bascule.run.outcome import Status

SOURCE = SiteAddresses("mtp", "montpellier", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:1")
TARGET = SiteAddresses("tls", "toulouse", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:1")
PROBER = Path(__file__).resolve().parents[2] / "lab" / "client" / "prober.py"
SETTING = Setting("lab", SOURCE, TARGET, {"write_outage_seconds": 120.0}, {"cutover": 90.0})


def screen() -> Screen:
    return Screen(Console(file=io.StringIO(), width=200))


def shown(on: Screen) -> str:
    assert isinstance(on.console.file, io.StringIO)
    return on.console.file.getvalue()


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "fake-playbook"
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_plan_of_the_lab_can_be_read() -> None:
    setting = read_setting()
    assert (setting.source.name, setting.target.name) == ("montpellier", "toulouse")
    assert setting.source.probe_argument() == "mtp:db=198.18.1.10,files=198.18.1.20:8080,guest=198.18.1.100:8000"
    assert setting.site("tls") == setting.target
    assert setting.limits["write_outage_seconds"] == 120.0


def test_a_phase_shows_its_lines_and_gives_its_time(tmp_path: Path) -> None:
    view = screen()
    text = 'echo "$@ $BASCULE_RUN $ANSIBLE_STDOUT_CALLBACK"; echo complete >"$BASCULE_PROGRESS_LOG"; printf "last\\n"'
    phases = Phases("r1", tmp_path / "runs", view, program(tmp_path, text))
    assert phases.run("cutover", "-e", "confirm=toulouse") > 0
    assert "run cutover -e confirm=toulouse r1 bascule_progress" in shown(view)
    assert "last" in shown(view)
    assert (tmp_path / "runs/r1/ansible/01_cutover.log").read_text() == "complete\n"
    assert phases.started == ["cutover"]


def test_a_phase_that_fails_says_where_to_look(tmp_path: Path) -> None:
    phases = Phases("r1", tmp_path, screen(), program(tmp_path, "echo boom; exit 2"))
    with pytest.raises(PhaseFailed, match=r"sync ended with status 2; the complete output is in .*01_sync\.log"):
        phases.run("sync")


def test_what_has_a_command_of_its_own_is_begun_by_it(tmp_path: Path) -> None:
    view = screen()
    phases = Phases("r1", tmp_path, view, program(tmp_path, 'echo "words: $@"; [[ $1 != commit ]] || exit 3'))
    phases.run("rollback", "-e", "confirm=montpellier")
    phases.run("commit", ends=Status.NO_GO)
    assert "words: rollback -e confirm=montpellier\n" in shown(view)
    assert "words: commit\n" in shown(view)


def test_a_commit_that_is_not_refused_is_a_failure(tmp_path: Path) -> None:
    phases = Phases("r1", tmp_path, screen(), program(tmp_path, "exit 0"))
    with pytest.raises(PhaseFailed, match="commit ended with status 0"):
        phases.run("commit", ends=Status.NO_GO)


def test_a_playbook_that_its_follower_has_left_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Path] = []
    monkeypatch.setattr("client.phases.end", lambda command: ended.append(command.folder))
    earlier = tmp_path / ".commands/earlier"
    earlier.mkdir(parents=True)
    phases = Phases("r1", tmp_path, screen(), program(tmp_path, f"mkdir {tmp_path}/.commands/new; exit 7"))
    with pytest.raises(PhaseFailed):
        phases.run("sync")
    assert ended == [tmp_path / ".commands/new"]


def test_ending_a_command_waits_for_its_playbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASCULE_RUNS", str(tmp_path))
    command = commands.begin("sync")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        command.tell("process", presence.process(process.pid))
        assert command.lives()
        end(command)
        assert process.wait(timeout=10) == -signal.SIGINT or process.returncode == 1
    assert command.ended()


def test_a_phase_that_hangs_is_stopped(tmp_path: Path) -> None:
    view = screen()
    phases = Phases("r1", tmp_path, view, program(tmp_path, "trap 'echo going; exit 3' INT; sleep 60 & wait"))
    begun = time.monotonic()
    with pytest.raises(PhaseFailed):
        phases.run("sync", limit=0.5)
    assert time.monotonic() - begun < 10
    assert "it took too long" in shown(view)


def test_live_counts_of_the_client(tmp_path: Path) -> None:
    path = tmp_path / "user.jsonl"
    path.touch()
    user = UserFollower(path)
    user.start()
    with path.open("a") as out:
        # The third operation has no line yet.
        for number, outcome in ((1, "ack"), (2, "ack"), (4, "maintenance"), (5, "unknown")):
            line = {"op": "write", "kind": "login", "n": number, "outcome": outcome, "sent_wall": 99.0 + number}
            out.write(json.dumps(line) + "\n")
        out.write('{"op":"read","kind":"course","outcome":"error","problem":"HTTP 500"}\n{"op":"re')
        out.flush()
        out.write('ad","kind":"course","outcome":"ack"}\nnonsense\n')
    user.stop()
    assert user.line() == "writes 2 ok, 1 unanswered | reads 1 ok, 1 errors | maintenance pages 1"
    assert user.acked_since(100.5) == 1
    assert user.settled(101.5)
    assert not user.settled(104.0)
    assert user.first_acked() == 100.0
    assert user.last_problem == "course: HTTP 500"


def test_the_active_side_is_one_that_takes_every_kind_alone(tmp_path: Path) -> None:
    path = tmp_path / "prober.jsonl"
    prober = ProberFollower(path)

    def accept(kind: str, side: str, at: float) -> None:
        prober.take({"op": "probe", "kind": kind, "side": side, "result": "accept", "end_wall": at})

    accept("db", "mtp", 100.0)
    accept("files", "mtp", 100.0)
    assert prober.active_side(now=101.0) is None
    accept("guest", "mtp", 100.0)
    assert prober.active_side(now=101.0) == "mtp"
    assert prober.active_side(now=120.0) is None
    accept("db", "tls", 100.5)
    assert prober.active_side(now=101.0) is None


def test_facts_are_taken_aside_leg_by_leg(tmp_path: Path) -> None:
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts/accounts_db.verify.json").write_text('{"rows_compared": 5}')
    assert keep_facts(tmp_path, "forward") == {"accounts_db": {"rows_compared": 5}}
    (tmp_path / "facts/accounts_db.verify.json").write_text('{"rows_compared": 6}')
    assert keep_facts(tmp_path, "back") == {"accounts_db": {"rows_compared": 6}}
    assert json.loads((tmp_path / "facts/forward/accounts_db.verify.json").read_text()) == {"rows_compared": 5}


def test_latest_points_at_the_last_run(tmp_path: Path) -> None:
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        point_latest(tmp_path, run)
    assert (tmp_path / "latest").resolve() == tmp_path / "two"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["latest", "one", "two"]


def test_figures_of_a_run_that_broke_off(tmp_path: Path) -> None:
    for name in ("user.jsonl", "prober.jsonl"):
        (tmp_path / name).touch()
    found = figures(tmp_path, [LegEvidence("forward", 100.0, lookup=tmp_path / "none.json")], 200.0)
    assert found["forward"]["acknowledged_writes"] is None
    assert found["forward"]["lost_writes"] is None


def test_expected_times_stand_beside_measured_ones() -> None:
    assert phase_times(SETTING, {"cutover": 41.27, "verify": 3.0}) == {
        "cutover": {"expected": 90.0, "measured": 41.3},
        "verify": {"expected": None, "measured": 3.0},
    }


class FakeWatchers(Watchers):
    """Watchers whose programs never run: the accounts are written by the test."""

    def start(self) -> None:
        now = time.time()
        times = {"sent": 1.0, "answered": 1.0, "sent_wall": now + 1, "answered_wall": now + 1}
        write = {"op": "write", "kind": "login", "outcome": "ack", **times}
        self.user_path.write_text("".join(json.dumps(write | {"id": f"w{n}"}) + "\n" for n in range(40)))
        times = {"start": 1.0, "end": 1.0, "start_wall": now, "end_wall": now + 60}
        probe = {"op": "probe", "side": "tls", "result": "accept", **times}
        kinds = ("db", "files", "guest")
        self.prober_path.write_text("".join(json.dumps(probe | {"id": k, "kind": k}) + "\n" for k in kinds))
        self.user.start()
        self.prober.start()

    def start_data_layer(self) -> None:
        times = {"sent": 1.0, "answered": 1.0, "sent_wall": time.time(), "answered_wall": time.time()}
        write = {"op": "write", "kind": "data", "outcome": "not_sent", "problem": "no pooler there", **times}
        self.data_path.write_text("".join(json.dumps(write | {"id": f"d{n}"}) + "\n" for n in range(40)))
        self.data.start()


def start_journey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> journey.Journey:
    monkeypatch.setattr(journey, "Watchers", FakeWatchers)
    monkeypatch.setattr(journey.Journey, "_lab_up", lambda self: None)
    return journey.Journey(SETTING, screen(), tmp_path, "r1")


def test_it_does_not_start_from_the_wrong_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trip = start_journey(tmp_path, monkeypatch)
    with pytest.raises(
        journey.DemoStopped, match=r"toulouse is the active site: .*bascule rollback -e confirm=montpellier"
    ):
        trip.travel()
    trip.close()
    made = trip.summary("it stopped")
    assert made["result"] == "failed"
    assert made["active_site"] == "toulouse"
    for name in ("summary.json", "report.md", "report.fr.md", "report.html", "report.fr.html"):
        assert (tmp_path / "latest" / name).exists()
    assert trip.watchers is None


def test_a_failed_phase_ends_with_the_next_safe_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trip = start_journey(tmp_path, monkeypatch)
    monkeypatch.setattr(journey.Journey, "_watch", lambda self: None)
    made = f"mkdir {tmp_path}/r1/plans; touch {tmp_path}/r1/plans/p.json"
    text = f'echo "ran $@"; case "$*" in plan*) {made};; *cutover*) exit 1;; esac'
    trip.phases = Phases("r1", tmp_path, trip.screen, program(tmp_path, text))
    with pytest.raises(PhaseFailed, match="cutover ended with status 1"):
        trip.travel()
    trip.close()
    trip.stand()
    said = shown(trip.screen)
    assert "ran status\n" in said
    assert f"ran run cutover --plan {tmp_path}/r1/plans/p.json -e confirm=toulouse\n" in said
    assert "BASCULE_RUN=r1 bascule rollback -e confirm=montpellier" in said
    # Phases that ended keep their times although the leg did not.
    assert set(trip.legs[0].phases) == {"audit", "prepare", "sync", "pretest", "plan"}


@pytest.mark.parametrize(("status", "wanted"), [(3, "cutover"), (2, "plan")])
def test_a_machine_too_busy_for_a_plan_is_moved_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, wanted: str
) -> None:
    trip = start_journey(tmp_path, monkeypatch)
    monkeypatch.setattr(journey.Journey, "_watch", lambda self: None)
    text = f'echo "ran $@"; case "$*" in plan*) exit {status};; *cutover*) exit 1;; esac'
    trip.phases = Phases("r1", tmp_path, trip.screen, program(tmp_path, text))
    with pytest.raises(PhaseFailed, match=f"{wanted} ended with status"):
        trip.travel()
    trip.close()
    assert "--plan" not in shown(trip.screen)


def test_a_demo_whose_commit_goes_through_unproved_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trip = start_journey(tmp_path, monkeypatch)
    monkeypatch.setattr(journey.Journey, "_watch", lambda self: None)
    monkeypatch.setattr(journey.Journey, "_plan", lambda self: {})
    trip.phases = Phases("r1", tmp_path, trip.screen, program(tmp_path, "exit 0"))
    with pytest.raises(journey.DemoStopped, match="a commit has to be refused"):
        trip.travel()
    trip.close()


def test_one_demo_at_a_time(tmp_path: Path) -> None:
    held = journey._only_one(tmp_path)
    with pytest.raises(journey.DemoStopped, match="another demo"):
        journey._only_one(tmp_path)
    assert held > 0


def test_a_look_up_that_does_not_work_says_so(tmp_path: Path) -> None:
    out = tmp_path / "lookup.json"
    said = evidence.look_up(SOURCE, tmp_path, out)
    assert said.startswith("the look-up at montpellier did not work: FileNotFoundError")


def test_an_interrupted_demo_stops_its_phase_gently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = screen()
    text = "trap 'echo written >\"$BASCULE_PROGRESS_LOG\"; exit 3' INT; echo begun; sleep 60 & wait"
    phases = Phases("r1", tmp_path, view, program(tmp_path, text))

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(view, "relay", interrupt)
    with pytest.raises(KeyboardInterrupt):
        phases.run("sync")
    assert (tmp_path / "r1/ansible/01_sync.log").read_text() == "written\n"


def test_watchers_end_when_their_starter_is_gone(tmp_path: Path) -> None:
    """Nobody has to find and kill them: the end of their standard input is enough."""
    out = tmp_path / "prober.jsonl"
    command = [sys.executable, str(PROBER), "--out", str(out), "--kinds", "files", "--stop-on-eof", "--timeout", "0.2"]
    command += ["--side", "mtp:db=127.0.0.1,files=127.0.0.1:1,guest=127.0.0.1:1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not (out.exists() and out.read_text().count("\n") > 3):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=10) == 0
    assert json.loads(out.read_text().splitlines()[-1])["op"] == "end"
