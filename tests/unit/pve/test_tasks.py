"""Tasks: identifiers, logs and how they end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pve.pve_standin.errors import ApiError, Failure, Vanished
from pve.pve_standin.tasks import Task, Tasks, Upid

RECORDED = "UPID:pve1:00000081:00028050:6B0008C9:vzdump:100:root@pam!mig:"


def test_a_recorded_upid_is_read_as_proxmox_shows_it() -> None:
    upid = Upid.parse(RECORDED)
    assert str(upid) == RECORDED
    assert upid.fields() == {
        "upid": RECORDED, "node": "pve1", "pid": 129, "pstart": 163920, "starttime": 1795164361, "type": "vzdump",
        "id": "100", "user": "root@pam", "tokenid": "mig",
    }  # fmt: skip
    assert Upid.parse("UPID:pve1:0000004D:000273EA:6B0008AA:vzdump::root@pam!mig:").id == ""


@given(
    pid=st.integers(0, 2**32 - 1), pstart=st.integers(0, 2**36 - 1), moment=st.integers(0, 2**32 - 1),
    ident=st.from_regex(r"[a-z0-9@]{0,12}", fullmatch=True),
)  # fmt: skip
def test_upids_survive(pid: int, pstart: int, moment: int, ident: str) -> None:
    upid = Upid("pve-mtp", pid, pstart, moment, "qmstart", ident, "bascule@pve!move")
    assert Upid.parse(str(upid)) == upid


@pytest.mark.parametrize("text", ["", "UPID:x", RECORDED[:-1], RECORDED.replace("00000081", "81")])
def test_a_bad_upid_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        Upid.parse(text)
    assert caught.value.errors == {"upid": "unable to parse worker upid"}


@pytest.fixture
def tasks(tmp_path: Path) -> Tasks:
    return Tasks(tmp_path, "pve1")


def test_a_task_that_ends_well(tasks: Tasks) -> None:
    upid = tasks.start("qmstart", "100", "bascule@pve!move", lambda task: task.log("one"))
    assert tasks.wait(upid) == "OK"
    assert tasks.log(upid, 0, 50) == ([{"n": 1, "t": "one"}, {"n": 2, "t": "TASK OK"}], 2)
    assert tasks.log(upid, 1, 1) == ([{"n": 2, "t": "TASK OK"}], 2)
    assert tasks.log(upid, 5, 50)[0] == [{"n": 1, "t": "no content"}]
    (listed,) = tasks.listed()
    assert (listed["upid"], listed["status"], listed["user"], listed["tokenid"]) == (upid, "OK", "bascule@pve", "move")


def test_the_log_gives_fifty_lines_unless_asked(tasks: Tasks) -> None:
    def talk(task: Task) -> None:
        for number in range(80):
            task.log(f"line {number}")

    upid = tasks.start("vzdump", "100", "root@pam", talk)
    tasks.wait(upid)
    assert [len(tasks.log(upid, 0, limit)[0]) for limit in (50, 0, 500)] == [50, 81, 81]


def fail(failure: Exception) -> object:
    def worker(task: Task) -> None:
        raise failure

    return worker


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("VM is locked (backup)"), "VM is locked (backup)"),
        (Failure("two\nlines"), "two lines"),
        (Vanished(), "unexpected status"),
        (ValueError("x"), "ValueError: x"),
    ],
)
def test_a_task_that_fails(tasks: Tasks, failure: Exception, status: str) -> None:
    worker = fail(failure)
    assert callable(worker)
    assert tasks.wait(tasks.start("qmstart", "100", "root@pam", worker)) == status


def test_a_stopped_task_is_interrupted(tasks: Tasks) -> None:
    begun = threading.Event()

    def work(task: Task) -> None:
        begun.set()
        task.stopped.wait(10)
        task.check()

    upid = tasks.start("vzdump", "100", "root@pam", work)
    begun.wait(10)
    running = tasks.status(upid)
    assert running["status"] == "running"
    assert "exitstatus" not in running
    assert [entry["upid"] for entry in tasks.listed("active")] == [upid]
    assert tasks.listed("archive") == []
    tasks.stop(upid)
    assert tasks.wait(upid) == "interrupted by signal"


def test_a_task_of_a_killed_daemon(tasks: Tasks, tmp_path: Path) -> None:
    upid = tasks.start("qmstart", "100", "root@pam", lambda task: task.log("working"))
    tasks.wait(upid)
    log = next(tmp_path.glob(f"?/{upid}"))
    log.write_text("working\n")
    assert Tasks(tmp_path, "pve1").status(upid)["exitstatus"] == "unexpected status"


def test_a_task_that_is_gone(tasks: Tasks) -> None:
    with pytest.raises(ApiError) as caught:
        tasks.status(RECORDED)
    assert caught.value.errors == {"upid": "no such task"}
