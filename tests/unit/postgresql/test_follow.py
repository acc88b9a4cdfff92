"""What is kept and proved before a closed side connects to the one that opened: in this order, or not at all."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import Epoch, GuardState
from bascule.postgresql.io.standby import follow
from bascule.postgresql.spec import Spec

from .test_files import make_spec

COPIED = ["stand down", "copy"]
CONNECTED = ["snapshot", "dump", "drop slot", "connect"]


class World:
    """A closed side on which every step only says that it was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unkept: str, kind: str) -> None:
        self.log: list[str] = []
        self.diverged: dict[str, Any] | None = None
        self.warnings: list[str] = []
        self.not_held = ""
        self.home = tmp_path
        (tmp_path / "accounts_db").mkdir()
        spec = replace(make_spec(), restore_point=kind, safety_dump=True)
        guard = GuardState("accounts_db", spec.side, status="closed", promised=Epoch.parse("3.x"))
        session: Any = SimpleNamespace(
            value=lambda sql: "" if "primary_conninfo" in sql else "0/1",
            query=lambda sql: [{"one": 1}],
            execute=lambda sql: self.log.append("drop slot"),
        )
        cluster = SimpleNamespace(
            spec=spec,
            fence=lambda: None,
            start=lambda timeout: self.log.append("start"),
            session=lambda: contextlib.nullcontext(session),
            follow_conf=lambda connect: self.log.append("connect"),
            reload=lambda: None,
        )
        for name, value in {
            "HOME": tmp_path,
            "load_spec": lambda component: spec,
            "Cluster": lambda spec: cluster,
            "world": lambda component: contextlib.nullcontext(),
            "_may_follow": lambda *a: guard,
            "_unkept": lambda *a: unkept,
            "_stand_down": lambda *a: self.log.append("stand down"),
            "keep_aside": lambda *a: self.log.append("copy"),
            "_settled": lambda session: "0/1",
            "_wait_streaming": lambda *a: None,
            "sight": SimpleNamespace(look=lambda *a: None),
            "store": SimpleNamespace(read=lambda *a: guard),
            "divergence": SimpleNamespace(export=self._export, described=lambda found: "3 rows"),
            "snapshot": SimpleNamespace(start_and_wait=lambda *a: self._say("snapshot", self.warnings)),
            "safety_dump": SimpleNamespace(
                begin=lambda *a: self._say("dump", []), not_held=lambda *a: self._say("held?", self.not_held)
            ),
        }.items():
            monkeypatch.setattr(follow, name, value)

    def _say(self, what: str, value: Any) -> Any:
        self.log.append(what)
        return value

    def _export(self, *_: Any) -> dict[str, Any] | None:
        self.log.append("compare")
        return self.diverged

    def notes(self) -> dict[str, Any]:
        """What was written down."""
        found: dict[str, Any] = json.loads((self.home / "accounts_db" / "follow.json").read_text())
        return found


@pytest.mark.parametrize(
    ("unkept", "kind", "done"),
    [
        (follow.NOTHING, "copy", ["start", "compare", *CONNECTED]),
        (follow.NOTHING, "dump", ["start", "compare", *CONNECTED]),
        (follow.CLOSED, "copy", [*COPIED, "start", "compare", *CONNECTED]),
        (follow.CLOSED, "dump", ["start", "compare", "snapshot", "dump", "held?", "drop slot", "connect"]),
        # Whatever the plan says.
        (follow.TOUCHED, "dump", [*COPIED, "start", "compare", *CONNECTED]),
    ],
)
def test_what_is_done_before_it_connects(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unkept: str, kind: str, done: list[str]
) -> None:
    side = World(monkeypatch, tmp_path, unkept, kind)
    assert follow.follow("accounts_db", "3.x") == 0
    assert side.log == done
    assert side.notes()["state"] == "streaming"


@pytest.mark.parametrize(("warnings", "not_held"), [(["no snapshot"], ""), ([], "no key")])
def test_a_dump_that_does_not_hold_the_state_keeps_it_standing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warnings: list[str], not_held: str
) -> None:
    side = World(monkeypatch, tmp_path, follow.CLOSED, "dump")
    side.warnings, side.not_held = warnings, not_held
    assert follow.follow("accounts_db", "3.x") == 1
    assert "connect" not in side.log
    assert (warnings or [not_held])[0] in side.notes()["error"]


@pytest.mark.parametrize(
    ("unkept", "kind", "done"),
    [
        (follow.CLOSED, "dump", ["start", "compare", *COPIED, "start"]),
        (follow.CLOSED, "copy", [*COPIED, "start", "compare"]),
        (follow.TOUCHED, "dump", [*COPIED, "start", "compare"]),
    ],
)
def test_what_it_alone_has_is_copied_by_the_time_prepare_may_replace_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unkept: str, kind: str, done: list[str]
) -> None:
    """A side that was given up and came back: closed by its guard, with rows that the other one never had."""
    side = World(monkeypatch, tmp_path, unkept, kind)
    side.diverged = {"rows": {"logins": 3}}
    assert follow.follow("accounts_db", "3.x") == 1
    assert side.log == done
    assert side.notes()["diverged"] == side.diverged
    assert side.notes()["restore_point"] == "copy"


@pytest.mark.parametrize(
    ("wanted", "dumps", "captured", "kind"),
    [
        ("auto", True, None, "copy"),
        ("auto", True, {"restore_points": {"db-mtp": "dump"}}, "dump"),
        ("auto", True, {"restore_points": {"db-mtp": "reflink", "db-tls": "dump"}}, "copy"),
        ("auto", True, {"restore_points": {}}, "copy"),
        # No dump is taken there any more: what was chosen before cannot be.
        ("auto", False, {"restore_points": {"db-mtp": "dump"}}, "copy"),
        ("copy", True, {"restore_points": {"db-mtp": "dump"}}, "copy"),
        ("dump", True, None, "dump"),
    ],
)
def test_the_plan_decides_by_what_it_is_kept_then_capture_else_a_copy(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    wanted: str,
    dumps: bool,
    captured: dict[str, Any] | None,
    kind: str,
) -> None:
    monkeypatch.setattr(follow, "HOME", tmp_path)
    (tmp_path / "accounts_db").mkdir()
    if captured:
        (tmp_path / "accounts_db" / "captured.json").write_text(json.dumps(captured))
    assert follow.kind_of(replace(make_spec(), restore_point=wanted, safety_dump=dumps)) == kind


def test_a_restore_point_without_the_dump_it_is_made_of_is_refused() -> None:
    with pytest.raises(BasculeError, match="postgresql_replication_safety_dump: false"):
        Spec.from_dict({**make_spec().to_dict(), "restore_point": "dump"})
    with pytest.raises(BasculeError, match="one of auto, copy, dump"):
        Spec.from_dict({**make_spec().to_dict(), "restore_point": "snapshot"})


def test_nothing_follows_before_the_dump_holds_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "safety_dump", SimpleNamespace(not_held=lambda *a: ""))
    follow._require_held(make_spec(), "3.x", [])
    with pytest.raises(BasculeError, match=r"the comparison did not start.*closed and stands still"):
        follow._require_held(make_spec(), "3.x", ["the comparison did not start"])
    monkeypatch.setattr(follow, "safety_dump", SimpleNamespace(not_held=lambda *a: "its unit has ended"))
    with pytest.raises(BasculeError, match=r"its unit has ended.*keeps up to 8GB of log"):
        follow._require_held(make_spec(), "3.x", [])


@pytest.mark.parametrize(
    ("positions", "behind", "ended"),
    [
        (["0/1"], [False], False),
        # It stands still, with log to replay.
        (["0/1"], [True], True),
        (["0/1", "0/2", "0/2"], [True], True),
        # It is behind, moves, and catches up; or never does.
        (["0/1", "0/2", "0/3", "0/4"], [True, True, True, False], False),
        # It has moved for long, and rests for less than its patience.
        (["0/1", "0/2", "0/3", "0/4", "0/5", "0/6", "0/6", "0/7"], [True] * 7 + [False], False),
        ([f"0/{number}" for number in range(1, 999)], [True], False),
    ],
)
def test_a_dump_is_ended_only_where_it_keeps_replay_from_moving(
    monkeypatch: pytest.MonkeyPatch, positions: list[str], behind: list[bool], ended: bool
) -> None:
    ticks = iter(range(9999))
    log: list[str] = []

    def stop(name: str) -> bool:
        log.append(name)
        return True

    answers = (
        {"replayed": positions[min(n, len(positions) - 1)], "behind": behind[min(n, len(behind) - 1)]} for n in ticks
    )
    clock = iter(range(9999))
    monkeypatch.setattr(follow, "time", SimpleNamespace(monotonic=lambda: float(next(clock)), sleep=lambda s: None))
    monkeypatch.setattr(follow, "snapshot", SimpleNamespace(stop=lambda spec: False))
    monkeypatch.setattr(follow, "units", SimpleNamespace(stop=stop))
    session = SimpleNamespace(query=lambda sql: [next(answers)])
    cluster: Any = SimpleNamespace(spec=make_spec(), session=lambda: contextlib.nullcontext(session))
    assert follow.end_holding_comparison(cluster) is ended
    assert log == (["bascule-accounts_db-safety-dump"] if ended else [])
