"""An opening is killed (kill -9) at each boundary, and gone on with: again, after a start of the host, or back."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bascule.guard import state as rule
from bascule.sqlite.io import database, fence
from bascule.sqlite.io import side as sqlite_side
from bascule.sqlite.io.side import Side

from .conftest import Make, fetch, made

# All by which an opening changes what a power cut leaves: the guard's file and the names of the database.
CALLS = ("rename", "replace", "link", "unlink", "rmdir", "mkdir", "chmod", "chown", "fsync")
Receipt = dict[str, Any]


def killed_before(number: int, work: Callable[[], object]) -> bool:
    """Do work in a process that is killed before its change of this number; return whether it got that far."""
    child = os.fork()
    if not child:
        _count_down(number, work)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the opening has failed by itself"
    return False


def _count_down(left: int, work: Callable[[], object]) -> NoReturn:
    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*arguments, **more)

        return call

    try:
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        fence._exchange = counted(fence._exchange)
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def receipt_for(here: Side, given: Receipt) -> Receipt:
    """Return a receipt as the other side reads it: both sides are on one host, so component and paths differ."""
    position = dict(zip([here.places[0].path], given["position"].values()))
    return {**given, "component": here.component, "position": position}


def pull(here: Side, there: Side) -> None:
    """Bring the copies of one side over to the other."""
    there.pull([{**one, "path": there.places[0].path} for one in here.publish()["copies"]], fetch)


def content(side: Side) -> dict[str, Any]:
    """Return all that is in its database, wherever that lies."""
    return database.read(side.places[0].file, still=True)


def writes(side: Side) -> bool:
    """Tell whether somebody who opens the path can write."""
    try:
        with closing(sqlite3.connect(f"file:{side.places[0].path}?mode=rw", uri=True, isolation_level=None)) as one:
            one.execute("INSERT INTO keys VALUES ('tried', 1)")
            one.execute("DELETE FROM keys WHERE name = 'tried'")
    except sqlite3.Error:
        return False
    return True


def arrived(here: Side, there: Side) -> tuple[Side, Side, str, Receipt]:
    """The target opens what has arrived: return who opens, the other side, the epoch and its receipt."""
    here.freeze()
    pull(here, there)
    return there, here, "1.x", receipt_for(there, here.close("1.x")["receipt"])


def brought_back(here: Side, there: Side) -> tuple[Side, Side, str, Receipt]:
    """The source opens what it had itself when it closed, as the target never opened."""
    arrived(here, there)
    return here, there, "2.y", receipt_for(here, there.close("2.y")["receipt"])


def again(opens: Side, other: Side, epoch: str, receipt: Receipt) -> Side:
    """Go on with the same switch."""
    opens.open(epoch, receipt, other.guard())
    opens.thaw()
    return opens


def after_a_start(opens: Side, other: Side, epoch: str, receipt: Receipt) -> Side:
    """Start the host first: its fence closes what the guard does not call open to users."""
    sqlite_side.fence(opens.component)
    guard = opens.guard()
    # One that may serve is left to whoever goes on, however far it has come.
    assert opens.mode() == "closed" or (guard.status == rule.OPEN and not guard.frozen)
    return again(opens, other, epoch, receipt)


def the_other_way(opens: Side, other: Side, epoch: str, receipt: Receipt) -> Side:
    """Go back instead: the side that was to open closes for a higher epoch, and the other one opens."""
    opens.freeze(written=False)
    if opens.guard().status == rule.OPEN:
        pull(opens, other)
    given = opens.close("3.z")["receipt"]
    other.open("3.z", receipt_for(other, given), opens.guard())
    other.thaw()
    return other


@pytest.mark.parametrize("went_on", [again, after_a_start, the_other_way])
@pytest.mark.parametrize("begun", [arrived, brought_back])
def test_an_opening_that_is_killed_anywhere_opens_one_side_and_loses_nothing(
    make: Make,
    tmp_path: Path,
    begun: Callable[[Side, Side], tuple[Side, Side, str, Receipt]],
    went_on: Callable[[Side, Side, str, Receipt], Side],
) -> None:
    here, there = make("a", "open"), make("b", "closed")
    made(Path(here.places[0].path))
    for side in (here, there):
        side.prepare()
    there.fenced()
    opens, other, epoch, receipt = begun(here, there)
    wanted = content(other)
    kept = tmp_path / "before"
    kept.mkdir()
    subprocess.run(["cp", "-a", *(str(tmp_path / name) for name in ("a", "b", "lib")), str(kept)], check=True)

    def work() -> None:
        again(opens, other, epoch, receipt)

    boundary, seen = 0, set[tuple[str, str, bool]]()
    while killed_before(boundary, work):
        guard = opens.guard()
        seen.add((guard.status, opens.mode(), guard.frozen))
        # Nobody writes here before the permit is durable, and never at the other side.
        assert not writes(opens) or guard.status == rule.OPEN
        assert not writes(other)
        active = went_on(opens, other, epoch, receipt)
        passive = other if active is opens else opens
        assert [writes(active), writes(passive)] == [True, False]
        assert (active.guard().status, passive.guard().status) == (rule.OPEN, rule.CLOSED)
        assert content(active) == wanted
        assert database.check(active.places[0].path) == []
        for name in ("a", "b", "lib"):
            shutil.rmtree(tmp_path / name)
        subprocess.run(["cp", "-a", *(str(kept / name) for name in ("a", "b", "lib")), str(tmp_path)], check=True)
        boundary += 1
    assert boundary >= 10
    # It was cut before the permit, with the permit, between two names, and when all but the end had been done.
    assert seen >= {("closed", "closed", False), ("opening", "closed", False), ("open", "closed", True)}
    assert seen >= {("open", "between", False), ("open", "open", False)}
    assert [writes(opens), writes(other)] == [True, False]
    assert content(opens) == wanted
