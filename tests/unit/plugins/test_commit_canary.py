"""A commit puts the canary of what sends one to its gate, with the sides and the epoch that stand now."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.plugin import standing
from bascule.report import sheet
from bascule.run import context

ROOT = Path(__file__).resolve().parents[3]
DATABASE, TREE, OTHER = "postgresql_replication", "rsync_delta_sync", "mysql_replication"
FOUND = {"written_at": "b", "seen_at": "a", "opened": "2.d", "value": 0.4, "why": ""}


@pytest.fixture
def commit() -> Any:
    spec = importlib.util.spec_from_file_location("commit_under_test", ROOT / "plugins/action/bascule_commit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def canaries(
    commit: Any, monkeypatch: pytest.MonkeyPatch, role: str, found: dict[str, Any] | None, apart: bool = True
) -> list[Any]:
    """Return the rows of the canary's gate on the sheet of one component."""
    now = time.time()
    monkeypatch.setattr(standing, "told", lambda *_: {})
    monkeypatch.setattr(standing, "opened_under", lambda *_: "2.d")
    monkeypatch.setattr(context, "announce", lambda *_: SimpleNamespace(from_host="a", to_host="b"))
    entry = {
        "controller": "c",
        "epoch": "d",
        "n": 1,
        "hash": "h",
        "time": "2026-12-03T00:00:00.000+00:00",
        "kind": "state",
        "phase": "verify",
        "verb": "verify",
        "component": "it",
        "data": {"event": "canary", "found": {**FOUND, "sampled_at": now - 20, **(found or {})}},
    }
    scope = SimpleNamespace(
        announced=SimpleNamespace(direction="forward"),
        in_play=["it"],
        get={"plan_max_age_seconds": 50}.get,
        hostvars={"it": {"component_role": role}},
    )
    action = commit.ActionModule.__new__(commit.ActionModule)
    rows = action._rows(scope, [] if found is None else [entry], {"it": ""} if apart else {})
    return [row for row in rows if row.verdict.name == "canary"]


@pytest.mark.parametrize("role", [DATABASE, TREE])
def test_one_that_has_come_is_on_the_sheet_with_value_limit_and_age(
    commit: Any, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    (row,) = canaries(commit, monkeypatch, role, {})
    assert row.verdict.go
    assert 20 <= row.age < 25
    told = "\n".join(sheet.lines("stay", [row], "somebody", {}))
    assert "canary  it         GO  0.4 s  max 60.0  20 s" in told, told


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "there is no sample"),
        ({"value": None, "why": "the link is cut"}, "the link is cut"),
        ({"sampled_at": time.time() - 90}, "old, 50 s are allowed"),
        ({"seen_at": "b"}, "the last one was looked for at b"),
        ({"opened": "1.c"}, "written under epoch 1.c"),
    ],
)
def test_everything_else_refuses(
    commit: Any, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any] | None, why: str
) -> None:
    rows = canaries(commit, monkeypatch, DATABASE, found)
    (said,) = sheet.no_go(rows)
    assert said.startswith("canary of it: ")
    assert why in said


def test_what_sends_none_is_asked_for_none(commit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert canaries(commit, monkeypatch, OTHER, None) == []
    # A database that is moved by a dump carries nothing back before a return.
    assert canaries(commit, monkeypatch, DATABASE, None, apart=False) == []
