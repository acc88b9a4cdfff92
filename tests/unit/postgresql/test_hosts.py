"""What units and modules do on a host, with its files in a directory of the test."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.postgresql import control
from bascule.postgresql.control import Control
from bascule.postgresql.io.cluster import cluster as cluster_cluster
from bascule.postgresql.io.cluster.psql import SqlError
from bascule.postgresql.io.rows import comparison, snapshot
from bascule.postgresql.io.standby import follow, prepare
from bascule.postgresql.io.standby import retire as standby_retire
from bascule.system.io.process import Result

from .test_files import make_spec


def control_file(state: str = control.SHUT_DOWN, checkpoint: str = "0/1000") -> Control:
    """Make a control file."""
    return Control("7", state, 1, checkpoint, checkpoint, "0/0", 0, True, "replica", 16)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of the component on a host."""
    for module in (cluster_cluster, comparison, follow, snapshot, prepare, standby_retire):
        if hasattr(module, "HOME"):
            monkeypatch.setattr(module, "HOME", tmp_path / "bascule")
    directory = tmp_path / "bascule" / "accounts_db"
    directory.mkdir(parents=True)
    (directory / "postgresql.json").write_text(json.dumps(make_spec().to_dict()))
    return directory


@pytest.fixture
def stopped(home: Path, tmp_path: Path) -> Any:
    """A stopped cluster with a little data."""
    data = tmp_path / "main"
    (data / "base").mkdir(parents=True)
    (data / "base" / "1").write_text("rows")
    return SimpleNamespace(
        data=data,
        spec=make_spec(),
        control=control_file,
        exists=lambda: True,
        has_signal=lambda: True,
        connects=lambda: False,
        postmaster=lambda: None,
    )


def closed(opened: str | None = "1.x") -> GuardState:
    """A closed side, and under which epoch it was open last."""
    return GuardState("accounts_db", "db-mtp", status="closed", opened=Epoch.parse(opened) if opened else None)


def keep(cluster: Any, epoch: str, guard: GuardState | None = None) -> bool:
    """Keep the state at the fence aside, as far as there is one that is not kept."""
    guard = guard or closed()
    if follow._unkept(cluster, guard) == follow.NOTHING:
        return False
    follow.keep_aside(cluster, epoch, guard)
    return True


def copier(argv: list[str], **_: Any) -> Result:
    """Stand in for cp and sync."""
    if argv[0] == "cp":
        target = Path(argv[-1])
        target.mkdir()
        (target / "copied").write_text("rows")
    return Result(tuple(argv), 0, "", "")


def test_the_description_is_that_of_this_side(home: Path) -> None:
    assert cluster_cluster.load_spec("accounts_db", "db-mtp").side == "db-mtp"
    with pytest.raises(BasculeError, match="the side db-tls"):
        cluster_cluster.load_spec("accounts_db", "db-tls")
    with pytest.raises(BasculeError, match="to be prepared on this host"):
        cluster_cluster.load_spec("other")


def test_the_state_at_the_fence_is_kept_once(stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(argv: list[str], **_: Any) -> Result:
        calls.append(argv[0])
        return copier(argv)

    monkeypatch.setattr(follow, "run", counted)
    assert keep(stopped, "3.x")
    kept = json.loads((home / "kept.json").read_text())
    assert Path(kept["path"]).name == "main.bascule-kept-1-3"
    assert (Path(kept["path"]) / "copied").exists()
    assert not keep(stopped, "3.x")
    # Started without the other side's log, and stopped again: what is kept is still what it was at the fence.
    stopped.control = lambda: control_file(control.SHUT_DOWN_IN_RECOVERY)
    assert not keep(stopped, "4.x")
    assert calls.count("cp") == 1


@pytest.mark.parametrize("shares", [True, False])
def test_a_copy_that_shares_its_blocks_needs_little_room_and_must_share_them(
    stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    copies: list[list[str]] = []

    def noted(argv: list[str], **_: Any) -> Result:
        copies.append(argv)
        return copier(argv)

    monkeypatch.setattr(follow, "run", noted)
    monkeypatch.setattr(follow, "size_of", lambda path: 1000)
    monkeypatch.setattr(
        "bascule.postgresql.io.standby.follow.shutil.disk_usage", lambda path: SimpleNamespace(free=500)
    )
    monkeypatch.setattr("bascule.postgresql.io.standby.restore_point.shares_blocks", lambda data: shares)
    if shares:
        assert keep(stopped, "3.x")
        assert copies[0][:3] == ["cp", "-a", "--reflink=always"]
    else:
        with pytest.raises(BasculeError, match="1100 bytes free beside"):
            keep(stopped, "3.x")
        assert copies == []


@pytest.mark.parametrize("state", [control.SHUT_DOWN_IN_RECOVERY, control.IN_RECOVERY])
def test_what_a_return_that_came_to_nothing_has_started_is_kept_before_it_follows(
    stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """It stands where it closed. Once it has connected it is not this side's own any more."""
    monkeypatch.setattr(follow, "run", copier)
    stopped.control = lambda: control_file(state)
    stopped.connects = lambda: True
    assert not keep(stopped, "3.x")
    stopped.connects = lambda: False
    assert not keep(stopped, "3.x", closed(None)), "it was never open"
    assert keep(stopped, "3.x")
    # It was open again since: what was kept before is not its state any more.
    assert not keep(stopped, "5.x")
    assert keep(stopped, "5.x", closed("4.x"))
    assert json.loads((home / "kept.json").read_text())["epoch"] == "5.x"


@pytest.mark.parametrize(
    ("standby", "stands", "unkept"),
    [(True, True, follow.CLOSED), (True, False, follow.NOTHING), (False, True, follow.TOUCHED)],
)
def test_a_server_that_runs_is_asked_what_it_is(
    stopped: Any, home: Path, standby: bool, stands: bool, unkept: str
) -> None:
    """A standby that stands, one that follows, and a primary that somebody has started."""
    session = SimpleNamespace(query=lambda sql: [{"standby": standby, "stands": stands}])
    stopped.postmaster = lambda: cluster_cluster.Postmaster(1, "ready")
    stopped.wait_ready = lambda timeout: None
    stopped.session = lambda: contextlib.nullcontext(session)
    assert follow._unkept(stopped, closed()) == unkept


@pytest.mark.parametrize(
    ("state", "checkpoint", "unkept"),
    [
        (control.SHUT_DOWN, "0/1000", follow.CLOSED),
        # Somebody has started it since, and written.
        (control.SHUT_DOWN, "0/2000", follow.TOUCHED),
        (control.IN_PRODUCTION, "0/1000", follow.TOUCHED),
        (control.SHUT_DOWN_IN_RECOVERY, "0/1000", follow.CLOSED),
    ],
)
def test_only_what_stands_where_the_guard_has_closed_it_may_go_without_a_copy(
    stopped: Any, home: Path, state: str, checkpoint: str, unkept: str
) -> None:
    receipt = Receipt("accounts_db", "db-mtp", Epoch.parse("3.x"), control_file().position(), "")
    stopped.control = lambda: control_file(state, checkpoint)
    assert follow._unkept(stopped, replace(closed(), receipt=receipt)) == unkept
    if state == control.SHUT_DOWN:
        assert follow._unkept(stopped, closed()) == follow.TOUCHED, "nobody has closed it"


def test_a_crash_after_the_fence_is_kept_beside_what_it_was_at_the_fence(
    stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody started it by hand, and it died: its control file still names the fence."""
    monkeypatch.setattr(follow, "run", copier)
    assert keep(stopped, "3.x")
    stopped.control = lambda: control_file(control.IN_PRODUCTION)
    assert keep(stopped, "5.x")
    names = [path.name for path in sorted(stopped.data.parent.glob("main.*"))]
    assert names == ["main.bascule-kept-1-3", "main.bascule-kept-1-5"]


def test_what_runs_is_stopped_behind_a_fence_before_it_is_copied(
    stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    monkeypatch.setattr(follow, "store", SimpleNamespace(read=lambda *a: closed()))
    stopped.postmaster = lambda: cluster_cluster.Postmaster(1, "ready")
    stopped.fence = lambda: log.append("fence")
    stopped.interrupt = lambda: log.append("interrupt")
    stopped.wait_stopped = lambda timeout: True
    stopped.settle_unit = lambda: log.append("settle")
    follow._stand_down(stopped, "3.x")
    assert log == ["fence", "interrupt", "settle"]
    stopped.wait_stopped = lambda timeout: False
    with pytest.raises(BasculeError, match="to stop, so that its state at the fence can be kept"):
        follow._stand_down(stopped, "3.x")


def test_a_newer_state_replaces_an_older_one_and_what_was_interrupted(
    stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "run", copier)
    assert keep(stopped, "3.x")
    interrupted = stopped.data.with_name("main.bascule-kept-1-4.partial")
    interrupted.mkdir()
    stopped.control = lambda: control_file(checkpoint="0/2000")
    assert keep(stopped, "5.x", closed("4.x"))
    assert [path.name for path in sorted(stopped.data.parent.glob("main.*"))] == ["main.bascule-kept-1-5"]


def test_without_space_nothing_is_kept_and_nothing_follows(
    stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "run", copier)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(BasculeError, match="bytes free beside"):
        keep(stopped, "3.x")
    assert not (home / "kept.json").exists()


def test_a_standby_has_nothing_of_its_own_to_keep(stopped: Any, home: Path) -> None:
    stopped.control = lambda: control_file(control.IN_RECOVERY)
    stopped.connects = lambda: True
    assert not keep(stopped, "3.x")
    assert not (home / "kept.json").exists()


def test_a_server_that_is_just_starting_does_not_stream(stopped: Any) -> None:
    """It has a process and no socket yet: whoever waits for it looks again."""

    def refuse() -> Any:
        raise SqlError(expected="a connection to the local server", found="no socket")

    assert not follow.streams(stopped)
    stopped.postmaster = lambda: cluster_cluster.Postmaster(1, "starting")
    stopped.session = refuse
    assert not follow.streams(stopped)


def test_databases_of_a_stopped_cluster_are_seen(stopped: Any) -> None:
    assert prepare.user_databases(stopped) == []
    (stopped.data / "base" / "16384").mkdir()
    (stopped.data / "base" / "pgsql_tmp").mkdir()
    assert prepare.user_databases(stopped) == ["16384"]


def test_a_copy_of_an_image_is_no_standby(stopped: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters made from one image have one system identifier; only what was built or closed here is a standby."""
    guard = GuardState("accounts_db", "db-mtp", status="closed")
    monkeypatch.setattr(prepare, "store", SimpleNamespace(read=lambda component, side: guard))
    assert not prepare.is_standby(stopped, "7")
    (home / "seed.json").write_text('{"state": "done"}')
    assert prepare.is_standby(stopped, "7")
    assert not prepare.is_standby(stopped, "8")


def result(status: str) -> dict[str, Any]:
    """Make a digest that has come so far."""
    tables = {"a.done": {"status": "done", "rows": 1}, "a.left": {"status": "pending", "rows": 0}}
    courses = {"tables": tables, "schema": {}, "listed": True}
    return {"status": status, "databases": {"courses": courses, "later": {"tables": {}, "schema": {}}}}


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the units run."""

    def set_running(value: bool) -> None:
        monkeypatch.setattr(
            comparison, "units", SimpleNamespace(is_running=lambda name: value, stop=lambda name: False)
        )

    return set_running


def test_a_comparison_that_died_proves_what_it_has_done(home: Path, running: Callable[[bool], None]) -> None:
    running(False)
    (home / "equality-1.x.json").write_text(json.dumps(result("running")))
    found = comparison.collect("accounts_db", "db-mtp", "1.x", wait=0, question=None, let_go=False)["result"]
    assert found["status"] == "cut"
    tables = found["databases"]["courses"]["tables"]
    assert (tables["a.done"]["status"], tables["a.left"]["status"]) == ("done", "not_proved")
    # What was not even listed is no difference: nobody knows what is there.
    assert "reason" not in found["databases"]["courses"]
    assert found["databases"]["later"]["reason"] == "the comparison was ended from outside"


def test_a_comparison_that_never_was(home: Path, running: Callable[[bool], None]) -> None:
    running(False)
    found = comparison.collect("accounts_db", "db-mtp", "1.x", wait=5, question={"courses": {}}, let_go=True)
    assert (found["changed"], found["ended"], found["result"], found["rows"]) == (False, True, None, None)


def test_a_comparison_that_was_killed_goes_on_while_its_snapshot_is_held(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    alive = {"bascule-accounts_db-snapshot"}

    def start(name: str, argv: list[str]) -> None:
        alive.add(name)
        started.append(argv)

    monkeypatch.setattr(
        comparison, "units", SimpleNamespace(is_running=lambda name: name in alive, start=start, AGENT=())
    )
    (home / "equality-1.x.json").write_text(json.dumps(result("running")))
    looked = comparison.collect("accounts_db", "db-mtp", "1.x", wait=0, question=None, let_go=False, resume=False)
    assert (looked["changed"], looked["ended"], started) == (False, True, [])
    assert looked["result"]["status"] == "cut"
    found = comparison.collect("accounts_db", "db-mtp", "1.x", wait=0, question=None, let_go=False)
    assert (found["changed"], found["ended"]) == (True, False)
    assert started[0][-3:] == ["accounts_db", "--epoch", "1.x"]


def test_a_database_is_asked_for_by_the_name_that_has_travelled(home: Path) -> None:
    comparer = comparison.Comparer("accounts_db", "1.x")
    comparer.connections = cast(Any, SimpleNamespace(open=lambda name: SimpleNamespace(close=lambda: None)))
    table = {"chunks": {"0": [1, "a"]}}
    schema = {"kinds": {"view": {"lines": {"app.v": "aa"}}}}
    comparer.result = {"layout": "physical", "databases": {"t\udce9l": {"tables": {"app.t": table}, "schema": schema}}}
    told = r"t\udce9l"
    asked = {"salt": "x", "kinds": {told: ["view"]}, "tables": {told: {"app.t": {"step": "chunks"}}}}
    answer = comparer._answer({"id": 1, "question": asked})
    assert answer["tables"] == {told: {"app.t": table}}
    assert set(answer["kinds"][told]["view"]["lines"]) == {"app.v"}


def test_how_far_it_has_come_is_a_line_to_read() -> None:
    known = {"rows": 1200, "rows_per_second": 600, "done_percent": 40.0, "remaining_seconds": 3}
    assert comparison.progress("db-tls", None) == "db-tls: the snapshot is not taken yet"
    assert comparison.progress("db-tls", {"status": "done"}) == "db-tls: done"
    running = {"status": "running", "progress": known}
    assert comparison.progress("db-tls", running) == "db-tls: 1200 rows, 40.0 %, 600 rows/s, 3 s left"
    running["progress"] = {**known, "remaining_seconds": None}
    assert comparison.progress("db-tls", running).endswith("unknown s left")
    assert "checking indexes" in comparison.progress("db-tls", {**running, "digested_at": "now"})


def test_letting_go(home: Path, running: Callable[[bool], None]) -> None:
    running(True)
    (home / "equality-1.x.json").write_text(json.dumps(result("done")))
    comparison.collect("accounts_db", "db-mtp", "1.x", wait=5, question=None, let_go=True)
    assert (home / "equality-1.x.released").exists()


def test_what_is_only_just_pinned_is_let_go_as_well(home: Path, running: Callable[[bool], None]) -> None:
    """A verify that failed at its first proof leaves nothing held, although there is no digest yet."""
    running(True)
    comparison.collect("accounts_db", "db-mtp", "1.x", wait=0, question=None, let_go=True)
    assert (home / "equality-1.x.released").exists()


@pytest.mark.parametrize(
    ("released", "digests", "holds"), [(True, 3, 3), (True, 0, 0), (False, 3, 2 + 5), (False, 0, 5)]
)
def test_a_snapshot_is_held_while_it_is_digested_and_no_longer_when_nobody_will_ask(
    home: Path, monkeypatch: pytest.MonkeyPatch, released: bool, digests: int, holds: int
) -> None:
    now = {"seconds": 0}
    clock = SimpleNamespace(
        monotonic=lambda: now["seconds"], sleep=lambda seconds: now.update(seconds=now["seconds"] + seconds)
    )
    monkeypatch.setattr(snapshot, "time", clock)
    monkeypatch.setattr(snapshot, "LINGER", 4.0)
    monkeypatch.setattr(snapshot, "units", SimpleNamespace(is_running=lambda name: now["seconds"] < digests))
    holder = snapshot.Holder("accounts_db", "1.x", "active")
    if released:
        (home / "equality-1.x.released").touch()
    asked: list[str] = []
    session: Any = SimpleNamespace(value=asked.append)
    holder._stay("unit", session)
    assert len(asked) == holds


def test_retire_keeps_everything_without_a_recipient(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = GuardState("accounts_db", "db-mtp", status="closed")
    monkeypatch.setattr(standby_retire, "store", SimpleNamespace(read=lambda component, side: guard))
    with pytest.raises(BasculeError, match="an age recipient"):
        standby_retire.retire("accounts_db", "db-mtp", active=False, recipient="", directory="/nowhere")
    with pytest.raises(BasculeError, match="db-mtp to be open"):
        standby_retire.retire("accounts_db", "db-mtp", active=True, recipient="", directory="/nowhere")


def test_what_was_retired_once_is_retired_again_after_another_move(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second decommission would say that nothing is left, and have no last dump."""
    guard = closed()
    monkeypatch.setattr(standby_retire, "store", SimpleNamespace(read=lambda component, side: guard))
    record = home / "retired.json"

    def retire() -> dict[str, Any]:
        return standby_retire.retire(
            "accounts_db", "db-mtp", active=False, recipient="age1x", directory="/nowhere", check=True
        )

    record.write_text(json.dumps({"dump": {"path": "first"}, "guard": guard.to_dict()}))
    assert retire() == {"changed": False, "changes": [], "dump": {"path": "first"}}
    guard = closed("5.x")
    assert "last dump in /nowhere" in retire()["changes"]
    record.write_text(json.dumps({"dump": {"path": "of an earlier version"}}))
    assert not retire()["changed"]
    for check in (True, False):
        changes = prepare.Changes(check)
        prepare.forget_retired("accounts_db", changes)
        assert changes.names == [str(record)]
        assert record.exists() == check
    assert "last dump in /nowhere" in retire()["changes"], "prepared anew"
    changes = prepare.Changes(False)
    prepare.forget_retired("accounts_db", changes)
    assert changes.names == []


def test_a_switch_goes_on_without_a_comparison(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison that does not start costs a proof, not the switch."""
    spec = make_spec()

    def refuse(unit: str, argv: list[str]) -> None:
        raise BasculeError(expected="a unit", found="no agent")

    monkeypatch.setattr(snapshot, "units", SimpleNamespace(stop=lambda name: False, start=refuse, AGENT=()))
    assert "did not start" in snapshot.start_and_wait(spec, "1.x", "active")[0]
    assert "not proved" in snapshot.wait(spec, "1.x", 0)[0]
    (home / "equality-1.x.pinned").write_text("now")
    assert snapshot.wait(spec, "1.x", 0) == []
