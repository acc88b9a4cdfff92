"""A component that has failed is said to have failed, or the playbook ends: others may wait for it."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.loader import callback_loader

from bascule.errors import StoreError
from bascule.plugin.telling import Teller

from .test_play import ROOT


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The callback, without a playbook."""
    callback_loader.add_directory(str(ROOT / "plugins/callback"))
    kind = callback_loader.get("bascule_journal", class_only=True)
    made = object.__new__(kind)
    made._active = {"db": SimpleNamespace(failure="", phase="cutover", verb="sync")}
    made._started, made._display = {}, SimpleNamespace(warning=print)
    made._teller = Teller(print)
    monkeypatch.setitem(kind._end_at_once.__globals__, "_PAUSE", 0)
    return made


def result() -> Any:
    """Return what Ansible tells of a task that failed."""
    task = SimpleNamespace(
        action="debug", get_name=lambda: "Do it", _uuid="1", _parent=None, ignore_unreachable=False, args={}
    )
    return SimpleNamespace(_host=SimpleNamespace(get_name=lambda: "db"), _task=task, _result={"msg": "no"})


@pytest.mark.parametrize("how", ["v2_runner_on_failed", "v2_runner_on_unreachable"])
def test_a_step_that_cannot_be_journalled_keeps_no_end_from_being_written(
    callback: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    ended: list[str] = []

    def fails(*_: Any) -> None:
        raise StoreError(expected="the journal's lock", found="another process holds it")

    monkeypatch.setattr(callback, "_step", fails)
    monkeypatch.setattr(callback, "_end_failed", ended.append)
    with pytest.raises(StoreError):
        getattr(callback, how)(result())
    assert ended == ["db"]
    assert callback._active["db"].failure == "Do it: no"


def test_a_playbook_whose_failures_cannot_be_written_down_ends(callback: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def full(only: str) -> None:
        tried.append(only)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callback, "_step", lambda *_: None)
    monkeypatch.setattr(callback, "_end_failed", full)
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    callback._active["db"].phase = "verify"
    callback.v2_runner_on_failed(result())
    assert raised == [], "outside of a window nobody waits for it"
    callback._active["db"].phase = "cutover"
    callback.v2_runner_on_failed(result())
    assert raised == [signal.SIGINT]
    assert set(tried) == {"db"}
    assert len(tried) > 1


def test_a_note_that_cannot_be_written_keeps_no_play_from_beginning(
    callback: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    callback._presence = SimpleNamespace(play=full, end=full)
    callback._active, callback._become_pass = {}, ""
    callback._books, callback._command, callback._carrier = 1, None, None
    monkeypatch.setattr(callback, "_finish", lambda *, last: None)
    monkeypatch.setitem(type(callback).v2_playbook_on_play_start.__globals__, "_scope", lambda *_: None)
    callback.v2_playbook_on_play_start(SimpleNamespace(get_name=lambda: "(6/7) CUTOVER"))
    callback.v2_playbook_on_stats(SimpleNamespace(failures={}, dark={}))
    assert capsys.readouterr().out.count("Others cannot see what this process is at: ") == 2
