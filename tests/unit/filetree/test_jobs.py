"""Long operations: started once, found again, followed to the end; and how the other side's requests are served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bascule.agent.__main__ import main as agent
from bascule.filetree import transfer
from bascule.filetree.io import transitions
from bascule.filetree.io.fence import mounts
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.manifest import take as manifest_take
from bascule.filetree.io.transfer import job, verify
from bascule.filetree.io.transfer import push as transfer_push
from bascule.filetree.io.transfer import rsync as transfer_rsync
from bascule.filetree.mounts import PASSIVE, Step, TreeBusy, TreeError, View
from bascule.filetree.transfer import Push, TransferError
from bascule.system.io import storage, units

from .world import COMPONENT, Kernel, adopt, fill, host, use

TOKEN = "0123456789abcdef"
OPTIONS = {"address": "192.0.2.2", "port": 22, "final": False, "backup_dir": "", "max_delete": 5, "retries": 0}


@pytest.fixture
def active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = host(tmp_path, monkeypatch)
    fill(kernel.side, a="one")
    adopt(kernel.side, "open")
    return kernel


@pytest.fixture
def passive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = host(tmp_path, monkeypatch, "files-tls")
    fill(kernel.side, a="one")
    adopt(kernel.side, "closed")
    transitions.make_ready(COMPONENT, kernel.side.name)
    return kernel


class Unit:
    """A unit that runs until it is told its result."""

    def __init__(self, kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = transfer_push.jobs(kernel.side, "push")
        self.running = False
        self.started: list[list[str]] = []
        monkeypatch.setattr(units, "is_running", lambda unit: self.running)
        monkeypatch.setattr(units, "wait", lambda unit, seconds: not self.running)
        monkeypatch.setattr(units, "start", self.start)
        monkeypatch.setattr(units, "last_messages", lambda unit: "killed")

    def start(self, unit: str, argv: Any) -> None:
        self.running = True
        self.started.append([unit, *argv])

    def end(self, **result: Any) -> None:
        request = storage.read_json(self.paths["request"])
        storage.write_json(self.paths["result"], {"id": request["id"], **result})
        self.running = False


@pytest.fixture
def unit(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> Unit:
    return Unit(active, monkeypatch)


def follow(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"start": True, "job_id": "", "wait": 0, **more}
    options = {**OPTIONS, **values.pop("options", {})}
    return job.follow(COMPONENT, "push", options, **values)


def test_a_unit_is_started_once_and_found_by_the_next_controller(unit: Unit) -> None:
    first = follow()
    assert first["running"]
    assert follow()["id"] == first["id"]
    assert len(unit.started) == 1
    assert unit.started[0][0] == "bascule-course_files-push"
    unit.end(ok=True, changed_entries=3)
    ended = follow(start=False, job_id=first["id"])
    assert (ended["running"], ended["changed"], ended["result"]["changed_entries"]) == (False, True, 3)


def test_a_different_one_that_runs_must_end_first(unit: Unit) -> None:
    follow()
    other = follow(options={"final": True})
    assert (other["running"], other["id"]) == (True, "")
    unit.end(ok=True)
    assert follow(options={"final": True})["id"] not in ("", None)
    assert len(unit.started) == 2


def test_a_failure_keeps_its_four_parts(unit: Unit) -> None:
    first = follow()
    unit.end(ok=False, error={"expected": "a", "found": "b", "state": "c", "next_command": "d"})
    with pytest.raises(TransferError) as caught:
        follow(start=False, job_id=first["id"])
    assert caught.value.fields() == {"expected": "a", "found": "b", "state": "c", "next_command": "d"}


def test_a_unit_that_died_is_told_as_such(unit: Unit) -> None:
    first = follow()
    unit.running = False
    with pytest.raises(TransferError, match="it ended without one; killed"):
        follow(start=False, job_id=first["id"])


def test_progress_of_another_run_is_not_shown(unit: Unit) -> None:
    first = follow()
    unit.paths["progress"].write_text(json.dumps({"id": "other", "stage": "transfer"}))
    assert follow(start=False, job_id=first["id"])["progress"] == {}
    unit.paths["progress"].write_text(json.dumps({"id": first["id"], "stage": "transfer"}))
    assert follow(start=False, job_id=first["id"])["progress"]["stage"] == "transfer"


def test_before_prepare_there_is_nothing_to_preview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host(tmp_path, monkeypatch)
    assert job.at_once(COMPONENT, "preview", OPTIONS)["result"] is None
    assert job.foresee(COMPONENT, "verify", OPTIONS)["result"] is None
    with pytest.raises(TreeError, match="20_prepare"):
        job.at_once(COMPONENT, "hello", OPTIONS)


def test_before_prepare_there_is_no_ssh_to_measure_the_link_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host(tmp_path, monkeypatch)
    assert job.at_once(COMPONENT, "rate", {**OPTIONS, "rate_seconds": 1})["result"] is None


def test_the_link_is_measured_over_the_ssh_of_both_sides(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The request goes to the other side's forced command, which takes it from whoever may ask for anything at all."""
    active.side.identity.parent.mkdir(parents=True, exist_ok=True)
    active.side.identity.touch()
    told = tmp_path / "asked"
    script = f'''echo "$2" > {told}; exec {sys.executable} -c "
import os, time
from bascule.system.io import throughput
print(throughput.collect(lambda into: os.readv(0, [into]), time.monotonic() + 60).decode())"'''
    monkeypatch.setattr(transfer, "ssh_command", lambda push: ["sh", "-c", script, "sh"])
    found = job.at_once(COMPONENT, "rate", {**OPTIONS, "rate_seconds": 1})["result"]
    assert found["rate"]["mbit"] > 0
    assert abs(found["clock_difference"]) < 2
    assert found["sampled_at"] <= time.time()
    command = told.read_text().strip()
    assert command == "bascule-receive 0.adopted rate"
    reading, writing = os.pipe()
    saved = os.dup(0)
    try:
        os.dup2(reading, 0)
        os.close(reading)
        os.write(writing, b"x" * 1000)
        os.close(writing)
        answered = tmp_path / "answered"
        with answered.open("w") as out:
            monkeypatch.setattr(sys, "stdout", out)
            assert receive(monkeypatch, command) == 0
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    assert sum(size for _, size in json.loads(answered.read_text())["intervals"]) == 1000


def rsync(rc: int = 0, output: str = "", stderr: str = "") -> list[str]:
    """Return a command that answers as rsync would."""
    script = f"import sys; sys.stdout.write({output!r}); sys.stderr.write({stderr!r}); sys.exit({rc})"
    return [sys.executable, "-c", script]


STATS = "Number of files: 2 (reg: 1)\nTotal transferred file size: 3 bytes\n"


def answer(kernel: Kernel, **more: Any) -> Any:
    """Return what the other side answers when its tree is the same."""

    def ask(asked: Push, what: str, timeout: float = 0) -> dict[str, Any]:
        digest, _ = manifest_take.take_manifest(kernel.side.path, kernel.side.manifest.with_name("other.jsonl"))
        figures = {"read_files": 0, "read_bytes": 0, "files": 2, "moving_names": []}
        return {"manifest": digest, **figures, "receipt": "", "received": False, **more}

    return ask


def run_push(kernel: Kernel, **request: Any) -> dict[str, Any]:
    push = job._push(kernel.side, {**OPTIONS})
    return transfer_push.push(kernel.side, {"push": vars(push), "retries": 0, **request}, lambda _: None)


def test_a_push_counts_changes_and_takes_both_manifests(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    output = "<f+++++++++ a\r 3 50% 1.00MB/s 0:00:01\r.d..t...... ./\n" + STATS
    monkeypatch.setattr(transfer, "rsync_command", lambda asked: rsync(output=output))
    monkeypatch.setattr(transfer_push, "ask", answer(active))
    result = run_push(active, final=True)
    assert (result["changed_entries"], result["bytes_changed"], result["equal"]) == (2, 3, True)
    assert fence_side.facts(active.side)["pushed_ns"] > 0


def test_trees_that_are_not_equal_after_the_last_push_are_an_error(
    active: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "rsync_command", lambda asked: rsync(output=STATS))
    monkeypatch.setattr(transfer_push, "ask", answer(active, manifest="0" * 64))
    monkeypatch.setattr(transfer_push, "_name_differences", lambda side, asked: ["a: digest"])
    # More than can be written again by name.
    monkeypatch.setattr(transfer_push, "_different", lambda side, asked: None)
    assert not run_push(active)["equal"]
    with pytest.raises(TransferError, match="a: digest"):
        run_push(active, final=True)


def test_a_source_without_its_sentinel_is_never_sent(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_rsync, "once", lambda *_: pytest.fail("rsync was started"))
    (Path(active.side.path) / active.side.sentinel).unlink()
    with pytest.raises(TreeError, match="nothing deleted at the other side"):
        run_push(active)


def test_a_broken_link_is_gone_on_with_a_few_times(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [rsync(255, stderr="lost"), rsync(12), rsync(output=STATS)]
    monkeypatch.setattr(transfer_rsync, "_RETRY_PAUSE", 0.0)
    monkeypatch.setattr(transfer, "rsync_command", lambda asked: outcomes.pop(0))
    monkeypatch.setattr(transfer_push, "ask", answer(active))
    assert run_push(active, retries=2)["retries"] == 2
    outcomes[:] = [rsync(255, stderr="lost for good")] * 2
    with pytest.raises(TransferError, match="lost for good"):
        run_push(active, retries=1)


@pytest.mark.parametrize("final", [True, False])
def test_users_do_not_wait_long_for_a_link_that_stays_away(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, final: bool
) -> None:
    clock = [0.0]
    tried: list[float] = []

    def gone(*_: Any) -> Any:
        # As long as it takes to find out that nobody answers.
        tried.append(clock[0])
        clock[0] += 20
        raise transfer.LinkBroken(expected="the other side to answer", found="Connection timed out")

    monkeypatch.setattr(transfer_push, "_doubt", lambda side, asked: "")
    monkeypatch.setattr(transfer_push, "_by_names", gone)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    with pytest.raises(transfer.LinkBroken):
        run_push(active, final=final, retries=3)
    # A last transfer that has lost its link for a moment goes on once more.
    assert len(tried) == (2 if final else 4)
    assert (clock[0] < 60) == final


def test_verify_counts_what_changed_since_and_compares_the_rest(
    active: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(asked: Push, target: Path, what: str) -> None:
        manifest_take.take_manifest(active.side.path, target)

    monkeypatch.setattr(transfer_push, "ask", answer(active))
    monkeypatch.setattr(transfer_push, "fetch", fetch)
    push = vars(job._push(active.side, {**OPTIONS}))
    found = verify.verify(active.side, {"push": push, "final": True}, lambda _: None)
    assert (found["compared"], found["different"], found["moving"]) == (3, 0, 0)
    # Nothing was ever pushed or opened: everything may have changed since, nothing is proved.
    found = verify.verify(active.side, {"push": push, "final": False}, lambda _: None)
    assert (found["compared"], found["moving"]) == (0, 3)


def test_a_unit_leaves_its_result_or_its_error(active: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = transfer_push.jobs(active.side, "push")
    storage.write_json(paths["request"], {"id": "7", "push": vars(job._push(active.side, OPTIONS)), "retries": 0})
    monkeypatch.setattr(transfer, "rsync_command", lambda asked: rsync(output=STATS))
    monkeypatch.setattr(transfer_push, "ask", answer(active))
    assert agent(["files_job", COMPONENT, "push"]) == 0
    assert storage.read_json(paths["result"])["ok"]
    monkeypatch.setattr(transfer, "rsync_command", lambda asked: rsync(23, stderr="no space"))
    assert agent(["files_job", COMPONENT, "push"]) == 1
    assert "no space" in storage.read_json(paths["result"])["error"]["found"]
    assert agent(["files_job", "nothing", "push"]) == 1


def test_a_limit_is_a_share_of_what_the_link_was_measured_to_carry_unless_one_is_given(active: Kernel) -> None:
    def limit(**more: Any) -> str:
        return job._push(active.side, {**OPTIONS, "bwlimit": "", "link_percent": 70, **more}).bwlimit

    assert limit() == "0"
    # A look ahead writes nothing down.
    assert limit(link_mbit=200.0, dry_run=True) == "17089k"
    assert fence_side.link_mbit(active.side, "192.0.2.2") == 0.0
    assert limit(link_mbit=200.0) == "17089k"
    # Remembered, so that a later transfer need not measure again; and only for this link.
    assert (limit(), fence_side.link_mbit(active.side, "192.0.2.2")) == ("17089k", 200.0)
    assert limit(address="192.0.2.3") == "0"
    assert (limit(bwlimit="2m"), limit(bwlimit="0"), limit(link_percent=100)) == ("2m", "0", "0")
    assert limit(final=True) == "0"
    fence_side.note(active.side, link={"mbit": 200.0, "address": "192.0.2.2", "at": 0})
    assert (limit(), fence_side.link_mbit(active.side, "192.0.2.2")) == ("0", 0.0)


def receive(monkeypatch: pytest.MonkeyPatch, command: str) -> int:
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", command)
    return agent(["files_receive", COMPONENT])


TRANSFER = "--server -logDtpre.iLsfxCIvu --numeric-ids"


def test_the_other_side_gets_what_it_may_ask_for(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert receive(monkeypatch, "bascule-receive 0.adopted hello") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "closed"
    assert receive(monkeypatch, "bascule-receive 0.adopted manifest") == 0
    taken = json.loads(capsys.readouterr().out)
    assert receive(monkeypatch, f"bascule-receive 0.adopted reread {TOKEN}") == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["manifest"], again["receipt"], again["received"]) == (taken["manifest"], "", False)
    ran: list[Any] = []

    def run(argv: Any, **_: Any) -> subprocess.CompletedProcess[bytes]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setattr(subprocess, "run", run)
    assert receive(monkeypatch, f"bascule-receive 0.adopted {TRANSFER} . {passive.side.tree}/") == 0
    assert ran[0][0] == "rsync"


def test_an_open_side_receives_nothing(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in (f"{TRANSFER} . {active.side.tree}/", "manifest", f"reread {TOKEN}", "fetch own"):
        assert receive(monkeypatch, f"bascule-receive 9.z {what}") == 1
        assert "a closed side that was open before" in capsys.readouterr().err


def test_a_side_that_was_open_earlier_sends_nothing_to_one_that_was_open_later(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transitions.close(COMPONENT, active.side.name, "3.a")
    transitions.make_ready(COMPONENT, active.side.name)
    for opened in ("0.adopted", "none"):
        assert receive(monkeypatch, f"bascule-receive {opened} {TRANSFER} . {active.side.tree}/") == 1
        assert "a closed side that was open before" in capsys.readouterr().err


def test_a_side_that_was_active_wants_to_keep_what_is_replaced(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transitions.close(COMPONENT, active.side.name, "3.a")
    _, kept = transitions.make_ready(COMPONENT, active.side.name)
    monkeypatch.setattr(subprocess, "run", lambda argv, **_: subprocess.CompletedProcess(argv, 0))
    assert receive(monkeypatch, f"bascule-receive 3.a {TRANSFER} . {active.side.tree}/") == 1
    assert "keeps what it replaces" in capsys.readouterr().err
    assert receive(monkeypatch, f"bascule-receive 3.a {TRANSFER} --backup-dir {kept} . {active.side.tree}/") == 0
    # From here on this side is no longer what its receipt says.
    assert fence_side.facts(active.side)["received"] == "3.a"
    assert verify.answer(active.side, TOKEN)["received"]


def test_a_transfer_into_a_tree_that_is_not_ready_is_refused(
    active: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, kept = transitions.close(COMPONENT, active.side.name, "3.a"), fence_side.backup_dir(active.side)
    assert receive(monkeypatch, f"bascule-receive 3.a {TRANSFER} --backup-dir {kept} . {active.side.tree}/") == 1
    assert "a passive tree" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "id", "bascule-receive x", "sh -c id"])
def test_no_shell_is_to_be_had(passive: Kernel, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    assert receive(monkeypatch, command) == 1


def test_a_boot_closes_what_is_not_open(
    active: Kernel, passive: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(passive, monkeypatch)
    passive.super_ro = passive.public_ro = passive.private = False
    assert agent(["fence_files", COMPONENT]) == 0
    assert fence_side.look(passive.side).state == "closed"
    use(active, monkeypatch)
    assert agent(["fence_files", COMPONENT]) == 0
    assert fence_side.look(active.side).state == "active"
    transitions.freeze(COMPONENT, active.side.name, True)
    active.super_ro = False
    assert agent(["fence_files", COMPONENT]) == 0
    assert fence_side.look(active.side).state == "frozen"
    active.mounted = False
    assert agent(["fence_files", COMPONENT]) == 1
    assert "no mount there" in capsys.readouterr().err


def test_a_tree_that_is_mounted_again_during_a_transfer_is_shut_for_all_others(
    passive: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(passive, monkeypatch)
    fence_side.apply(passive.side, PASSIVE)
    passive.public_ro, take = False, mounts.take

    def taken(step: Step, view: View) -> None:
        if step.what == "super" and step.read_only:
            raise TreeBusy(expected=step.describe(), found="files are open for writing: rsync")
        take(step, view)

    monkeypatch.setattr(mounts, "take", taken)
    assert agent(["fence_files", COMPONENT]) == 0
    assert fence_side.look(passive.side).state == PASSIVE
    # Somebody else who writes is named, and nothing says that it was fenced.
    passive.public_ro, passive.busy = False, ["php"]
    assert agent(["fence_files", COMPONENT]) == 1
    assert "files are open for writing: php" in capsys.readouterr().err


def test_a_manifest_can_be_taken_by_hand(active: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent(["manifest", active.side.path, str(tmp_path / "m.jsonl"), "--all"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 2
