"""Scheduled backups are held off by the first component that moves a guest of the node, and let go by the last."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.guest import backup_jobs
from bascule.guest.errors import NodeUnreachable
from bascule.guest.io import backup_holds


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's registry."""
    path = tmp_path / "backup-holds.json"
    monkeypatch.setattr(backup_holds, "REGISTRY", path)
    return path


def call(component: str, state: str, enabled: tuple[str, ...] = (), check: bool = False) -> dict[str, Any]:
    module = importlib.import_module("bascule_guest_backup_hold")
    params = {"component": component, "state": state, "enabled": list(enabled)}
    result: dict[str, Any] = module.main(SimpleNamespace(params=params, check_mode=check))
    return result


def test_the_last_one_switches_on_what_the_first_has_switched_off(registry: Path) -> None:
    assert call("a", "held", ("nightly",))["jobs"] == ["nightly"]
    assert call("b", "held")["jobs"] == []  # it is off already, and held by both from here on
    assert call("a", "leaving")["jobs"] == []
    assert call("a", "left")["changed"] is True
    assert call("b", "leaving")["jobs"] == ["nightly"]
    assert call("b", "leaving")["jobs"] == ["nightly"]  # interrupted before it let go: asked again
    assert call("b", "left")["changed"] is True
    assert call("b", "left")["changed"] is False
    assert json.loads(registry.read_text()) == {}


def test_check_mode_writes_nothing(registry: Path) -> None:
    assert call("a", "held", ("nightly",), check=True)["jobs"] == ["nightly"]
    assert list(registry.parent.iterdir()) == []


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["held", "leaving", "left"])), max_size=20)


@given(STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_job_stays_off_when_everybody_has_let_go(registry: Path, steps: list[tuple[str, str]]) -> None:
    """Whatever the order, and whoever stops halfway: after everybody has let go in order, every job is on."""
    registry.unlink(missing_ok=True)
    on = {"nightly"}
    for component, state in [*steps, *((c, s) for c in "abc" for s in ("leaving", "left"))]:
        if state == "held":
            on -= set(call(component, "held", tuple(on))["jobs"])
        elif state == "leaving":
            on |= set(call(component, "leaving")["jobs"])
        elif component in {c for holders in _holds(registry).values() for c, s in holders.items() if s == "leaves"}:
            call(component, "left")
    assert on == {"nightly"}
    assert _holds(registry) == {}


def _holds(registry: Path) -> dict[str, dict[str, str]]:
    return dict(json.loads(registry.read_text())) if registry.exists() else {}


def test_jobs_of_a_node(nodes: Any) -> None:
    here, _, source, _ = nodes
    here.jobs = {
        "nightly": {"id": "nightly", "all": 1},
        "other": {"id": "other", "node": "pve-elsewhere", "enabled": 1},
        "resting": {"id": "resting", "enabled": 0, "vmid": "100"},
    }
    assert backup_jobs.jobs_of(source) == {"jobs": ["nightly", "resting"], "enabled": ["nightly"], "unseen": ""}
    assert backup_jobs.set_enabled(source, ["nightly", "gone"], False, check=True)["changed"] is True
    assert here.written() == []
    assert backup_jobs.set_enabled(source, ["nightly", "gone"], False) == {"changed": True, "jobs": ["nightly"]}
    assert backup_jobs.set_enabled(source, ["nightly"], False)["changed"] is False
    assert here.jobs["nightly"]["enabled"] == 0
    assert backup_jobs.set_enabled(source, ["nightly"], True)["jobs"] == ["nightly"]
    here.fail_next.append(("GET", "cluster/backup", (403, "Permission check failed (/, Sys.Audit)", None, None)))
    assert backup_jobs.jobs_of(source)["unseen"] == "403 Permission check failed (/, Sys.Audit)"


GONE = (595, "No route to host", None, None)


def test_a_guest_that_serves_does_not_wait_for_the_node_that_was_left(prepared: Any) -> None:
    here, there, source, target = prepared
    for node in (here, there):
        node.jobs = {"nightly": {"id": "nightly", "all": 1}}
    both = {"scheduled": ["pve-mtp", "pve-tls"], "unasked": []}
    assert backup_jobs.after_thaw(None, source, target) == both
    alone = {"scheduled": ["pve-tls"], "unasked": ["pve-mtp"]}
    assert backup_jobs.after_thaw("pve-tls", source, target) == alone
    here.fail_next += [("GET", "cluster/backup", GONE)] * 99
    assert backup_jobs.after_thaw(None, source, target) == alone
    # The node at which it serves has just answered.
    there.fail_next += [("GET", "cluster/backup", GONE)] * 99
    with pytest.raises(NodeUnreachable):
        backup_jobs.after_thaw(None, source, target)
