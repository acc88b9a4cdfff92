"""Following a unit on a machine: the module is called until the unit has ended, and what is shown is worth showing."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase

from bascule.filetree.transfer import ARMED
from bascule.plugin import follow

ACTIONS = Path(__file__).resolve().parents[3] / "plugins/action"
VARS = {"inventory_hostname": "here"}


class Following:
    """An action of the tree whose module gives these answers, one for each call."""

    def __init__(self, name: str, answers: list[dict[str, Any]], patch: pytest.MonkeyPatch) -> None:
        spec = importlib.util.spec_from_file_location(name, ACTIONS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.action = module.ActionModule.__new__(module.ActionModule)
        self.calls: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.answers = answers
        self.now = 0.0
        patch.setattr(ActionBase, "run", lambda *_: {})
        patch.setattr(self.action, "_execute_module", self.execute, raising=False)
        patch.setattr(follow, "Display", lambda: SimpleNamespace(display=self.said.append))
        patch.setattr(time, "monotonic", lambda: self.now)
        patch.setattr(time, "sleep", lambda seconds: None)

    def execute(self, name: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        """Take the place of Ansible."""
        assert (name, task_vars) == (self.action.MODULE, VARS)
        self.calls.append(dict(arguments))
        self.now += 3
        return self.answers.pop(0)

    def run(self, **arguments: Any) -> dict[str, Any]:
        """Run the task."""
        self.action._task = SimpleNamespace(args=arguments)
        found: dict[str, Any] = self.action.run(None, VARS)
        return found


def test_an_operation_on_a_tree_is_asked_for_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"running": True, "id": "7", "progress": {"stage": "copying"}}
    other = {"running": True, "id": "", "progress": {"stage": "waiting for an earlier one"}}
    followed = Following("bascule_filetree_job", [other, running, running, {"result": {"files": 3}}], monkeypatch)
    assert followed.run(operation="push")["result"] == {"files": 3}
    # What else runs ends first: then this one is started; after that it is only followed.
    assert [call.get("start") for call in followed.calls] == [None, True, False, False]
    assert [call.get("id") for call in followed.calls] == [None, "", "7", "7"]
    assert followed.said == ["here: waiting for an earlier one", "here: copying"]


def test_one_that_stands_in_is_left_when_it_is_set_up_or_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    armed = {"running": True, "id": "7", "progress": {"stage": ARMED}}
    assert Following("bascule_filetree_job", [armed], monkeypatch).run(stands_in=1)["connected"] is True
    slow = [{"running": True, "id": "7", "progress": {"stage": "copying"}}] * 9
    followed = Following("bascule_filetree_job", slow, monkeypatch)
    assert followed.run(stands_in=1)["connected"] is False
    assert len(followed.calls) == 6


@pytest.mark.parametrize("name", ["bascule_filetree_job", "bascule_guest_pull", "bascule_postgresql_dump"])
def test_a_failure_is_the_result_at_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    failed = {"failed": True, "running": True, "state": "running", "msg": "no"}
    followed = Following(name, [failed], monkeypatch)
    assert followed.run() == failed
    assert followed.said == []


def test_a_dump_begins_once_and_a_transfer_has_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Following(
        "bascule_postgresql_dump", [{"running": True, "progress": "1 of 2"}, {"result": {}}], monkeypatch
    )
    followed.run(component="db")
    assert followed.calls == [{"component": "db"}, {"component": "db", "begin": False}]
    answers = [{"state": "running", "job_id": "3", "progress": "5 %"}, {"state": "done", "job_id": "3"}]
    followed = Following("bascule_guest_pull", answers, monkeypatch)
    assert followed.run(job={"name": "disks"})["state"] == "done"
    assert (followed.calls[1]["job_id"], followed.said) == ("3", ["here: disks: 5 %"])


def test_a_base_backup_that_takes_too_long_fails_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    copying = {"seed": {"state": "running", "step": "copying", "bytes": 2e6, "total": 4e6, "bytes_per_second": 1e6}}
    followed = Following("bascule_postgresql_seed", [copying] * 4, monkeypatch)
    done = followed.run(spec={"component": "db"}, wait=10)
    assert done["failed"] is True
    assert "has not ended in time; it goes on" in done["msg"]
    assert all("wait" not in call for call in followed.calls)
    # A line every five seconds at most.
    assert followed.said == ["here: copying: 2 MB of about 4 MB, 1.0 MB/s"]
    ended = {"seed": {"state": "done", "aside": "/srv/old"}}
    followed = Following("bascule_postgresql_seed", [ended], monkeypatch)
    assert followed.run(spec={"component": "db"}) == {**ended, "work_seconds": 0.0}
    assert followed.said == ["db: what lay there before was put aside, to /srv/old"]


def test_a_unit_works_on_between_two_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"running": True, "id": "7", "work_seconds": 0.5}
    followed = Following("bascule_filetree_job", [asked, asked, {"result": {}, "work_seconds": 0.1}], monkeypatch)
    # Half a second in the first call, then six until the last one has ended.
    assert followed.run(operation="push")["work_seconds"] == 6.5
