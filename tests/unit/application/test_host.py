"""Releases, link and lock in a real folder, with real archives; systemd and the application's answers are stand-ins."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pwd
import tarfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bascule.application.io import agent, fleet
from bascule.application.io.host import Host
from bascule.application.releases import DeployError
from bascule.entrance.requests import Answer
from bascule.system.io.process import Result, run
from bascule.system.ssh import Target

ME = pwd.getpwuid(os.getuid()).pw_name
Member = tuple[str, str, str]
FILE, LINK, DEVICE = "file", "link", "device"


def archive(path: Path, *members: Member) -> dict[str, str]:
    """Write an archive of (name, kind, content or aim); return what an order says of it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, content in members:
            one = tarfile.TarInfo(name)
            one.mode = 0o4777
            if kind == LINK:
                one.type, one.linkname = tarfile.SYMTYPE, content
            elif kind == DEVICE:
                one.type = tarfile.CHRTYPE
            else:
                one.size = len(content)
            tar.addfile(one, io.BytesIO(content.encode()))
    return {"archive": str(path), "digest": hashlib.sha256(path.read_bytes()).hexdigest()}


class World:
    """A host whose unit starts whatever the link names; `answers` is what the application says."""

    def __init__(self, place: Path) -> None:
        self.place = place / "srv"
        self.calls: list[list[str]] = []
        self.status = 200
        self.host = Host(str(self.place), "app-shop.service", self.run, self.ask)
        self.host.take({"token": "t"}, "")

    def run(self, argv: Sequence[str], **more: Any) -> Result:
        if argv[0] not in ("systemctl", "journalctl"):
            return run(argv, **more)
        self.calls.append(list(argv))
        # The process of this test stands in nothing; see `running`.
        return Result(tuple(argv), 0, "MainPID=0\n" if "show" in argv else "said nothing", "")

    def ask(self, target: Any, path: str, **_: Any) -> Answer:
        return Answer(status=self.status, body=path.encode())

    def order(self, name: str, *members: Member, **more: Any) -> dict[str, Any]:
        given = archive(self.place.parent / f"{name}.tar.gz", *(members or (("app.py", FILE, name),)))
        empty: dict[str, Any] = {"shared": [], "assets": [], "prerequisites": [], "build": [], "test": []}
        return {"name": name, "token": "t", "account": ME, **given, **empty, **more}

    def activation(self, name: str, lock: str = "t") -> dict[str, Any]:
        health = {"path": "/healthz", "status": 200, "seconds": 0}
        version = {"path": "/version", "contains": "version"}
        return {
            "name": name,
            "token": lock,
            "address": "a",
            "port": 1,
            "health": health,
            "version": version,
            "logs": "l",
        }


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    monkeypatch.setattr(Host, "running", lambda self: self.current())
    return made


def test_a_release_is_whole_once_it_has_its_mark_and_then_never_changes(world: World) -> None:
    order = world.order("a", build=[["sh", "-c", "echo built >built"]], test=[["grep", "-q", "built", "built"]])
    assert [world.host.stage(order), world.host.stage(order)] == [True, False]
    place = world.host.release("a")
    assert (place / "built").read_text() == "built\n"
    # No setuid, and nobody else's to write.
    assert oct((place / "app.py").stat().st_mode & 0o7777) == "0o755"
    assert world.host.look().releases == ("a",)


def test_what_was_broken_off_is_made_anew(world: World) -> None:
    with pytest.raises(DeployError, match=r"exit status 1.*as before"):
        world.host.stage(world.order("a", test=[["false"]]))
    assert world.host.look().releases == ()
    (world.host.release("a") / "left").write_text("x")
    world.host.stage(world.order("a"))
    assert not (world.host.release("a") / "left").exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../out", FILE, "x")],
        [("/etc/out", FILE, "x")],
        [("a/../../out", FILE, "x")],
        [("link", LINK, "/etc/passwd")],
        [("link", LINK, "../../out")],
        [("link", LINK, "sub"), ("link/x", FILE, "x")],
        [("dev", DEVICE, "")],
    ],
)
def test_an_archive_that_leads_elsewhere_is_refused(world: World, members: list[Member]) -> None:
    with pytest.raises(DeployError, match=r"leads out|neither file|behind a link"):
        world.host.stage(world.order("a", *members))
    assert world.host.look().releases == ()
    assert sorted(path.name for path in world.place.parent.iterdir()) == ["a.tar.gz", "srv"]


def test_another_archive_than_the_one_that_was_meant_is_refused(world: World) -> None:
    with pytest.raises(DeployError, match="not 00"):
        world.host.stage({**world.order("a"), "digest": "00"})


def test_a_host_that_lacks_something_is_told_what_to_install(world: World) -> None:
    for command in (["echo", "tool", "1.9"], ["no-such-tool"]):
        needed = {"name": "tool", "command": command, "at_least": "2", "package": "tool-pkg"}
        with pytest.raises(DeployError, match=r"tool 2 or newer.*apt-get install tool-pkg"):
            world.host.stage(world.order("a", prerequisites=[needed]))
    enough = {"name": "tool", "command": ["echo", "tool", "2.0"], "at_least": "2", "package": "p"}
    assert world.host.stage(world.order("a", prerequisites=[enough]))


def test_what_releases_share_lies_outside_and_an_artefact_cannot_hide_it(world: World) -> None:
    world.host.stage(world.order("a", shared=["data/uploads"]))
    (world.host.release("a") / "data/uploads/x").write_text("kept")
    world.host.stage(world.order("b", shared=["data/uploads"]))
    assert (world.host.release("b") / "data/uploads/x").read_text() == "kept"
    with pytest.raises(DeployError, match="would hide"):
        world.host.stage(world.order("c", ("data/uploads/x", FILE, "other"), shared=["data/uploads"]))


def test_files_that_open_pages_still_ask_for_are_kept(world: World) -> None:
    world.host.stage(world.order("a", ("static/a.js", FILE, "a"), ("static/same", FILE, "old")))
    world.host.activate(world.activation("a"))
    world.host.stage(world.order("b", ("static/b.js", FILE, "b"), ("static/same", FILE, "new"), assets=["static"]))
    static = world.host.release("b") / "static"
    assert {path.name: path.read_text() for path in static.iterdir()} == {"a.js": "a", "b.js": "b", "same": "new"}


def test_the_link_is_replaced_at_once_and_a_second_time_nothing_is_started_anew(world: World) -> None:
    for name in ("a", "b"):
        world.host.stage(world.order(name))
    assert world.host.activate(world.activation("a")) == {"changed": True, "before": ""}
    assert world.host.activate(world.activation("b")) == {"changed": True, "before": "a"}
    assert os.readlink(world.place / "current") == "releases/b"
    restarts = [call for call in world.calls if "restart" in call]
    assert world.host.activate(world.activation("b")) == {"changed": False, "before": "b"}
    assert [call for call in world.calls if "restart" in call] == restarts
    assert len(restarts) == 2


def test_what_answers_wrongly_is_named_with_what_it_said(world: World) -> None:
    world.host.stage(world.order("a"))
    world.status = 500
    with pytest.raises(DeployError, match="/healthz: status 500; the unit said last: said nothing"):
        world.host.activate(world.activation("a"))
    world.status = 200
    with pytest.raises(DeployError, match="/version: '/version', without"):
        world.host.activate({**world.activation("a"), "version": {"path": "/version", "contains": "2.0"}})
    with pytest.raises(DeployError, match="no whole release"):
        world.host.activate(world.activation("b"))


def test_a_process_of_the_release_before_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.host.stage(world.order("a"))
    monkeypatch.setattr(Host, "running", lambda self: "old")
    with pytest.raises(DeployError, match="the unit's process stands in old"):
        world.host.activate(world.activation("a"))


def test_the_process_is_told_by_the_folder_it_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()

    def shown(argv: Sequence[str], **_: Any) -> Result:
        return Result(tuple(argv), 0, f"MainPID={os.getpid()}\n", "")

    monkeypatch.chdir(tmp_path / "a")
    assert Host(str(tmp_path), "app.service", shown).running() == "a"


def test_good_ones_are_noted_and_what_may_go_is_removed(world: World) -> None:
    for name in ("a", "b", "c", "d"):
        world.host.stage(world.order(name))
        if name != "c":
            world.host.activate(world.activation(name))
            world.host.settle({"token": "t", "good": name, "left": [], "keep": 9})
    settle = {"token": "t", "good": "d", "left": [], "keep": 2}
    # The one that never was good had gone with the first that was noted after it.
    assert world.host.settle(settle) == {"changed": True, "removed": ["a"]}
    assert world.host.look().releases == ("b", "d")
    assert world.host.settle(settle)["changed"] is False
    world.host.activate(world.activation("b"))
    world.host.settle({"token": "t", "good": "b", "left": ["d"], "keep": 2})
    assert (world.host.look().good[-1], "d" in world.host.look().good) == ("b", False)


def test_one_takes_the_lock_and_only_a_proof_takes_it_over(world: World) -> None:
    other = {"token": "o", "host": "elsewhere"}
    assert world.host.take(other, "") == {"token": "t"}
    assert world.host.take(other, "x") == {"token": "t"}
    assert world.host.take({"token": "t", "again": 1}, "") is None
    assert world.host.give("o") is False
    assert world.host.take(other, "t") is None
    for do in (world.host.stage, world.host.activate, world.host.settle):
        with pytest.raises(DeployError, match="the lock of this deployment"):
            do({**world.activation("a"), "good": "a", "left": [], "keep": 2})
    assert world.host.give("o") is True
    assert world.host.look().holder is None


def test_what_a_dead_one_has_begun_ends_before_its_lock_is_taken_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.host.stage(world.order("a"))
    order = {**world.activation("a"), "health": {"path": "/", "status": 200, "seconds": 60}}
    begun, may, real = threading.Event(), threading.Event(), world.run
    waits: list[int] = []
    flock = fcntl.flock

    def slow(argv: Sequence[str], **more: Any) -> Result:
        if "restart" in argv:
            begun.set()
            assert may.wait(60)
        return real(argv, **more)

    def seen(stream: Any, how: int) -> None:
        try:
            flock(stream, how | fcntl.LOCK_NB)
        except BlockingIOError:
            waits.append(how)
            may.set()
            flock(stream, how)

    world.host._run = slow
    monkeypatch.setattr(fcntl, "flock", seen)
    with ThreadPoolExecutor() as pool:
        working = pool.submit(world.host.activate, order)
        assert begun.wait(60)
        assert Host(str(world.place), "app-shop.service").take({"token": "u"}, "t") is None
        assert (working.result(), waits) == ({"changed": True, "before": ""}, [fcntl.LOCK_EX])
    with pytest.raises(DeployError, match="the lock of this deployment"):
        world.host.activate(order)


def test_orders_and_answers_travel_as_json(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"folder": str(world.place), "unit": "app-shop.service"}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({**own, "do": "look"})))
    assert json.loads(agent.work())["done"]["holder"] == {"token": "t"}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({**own, "do": "stage", "token": "x"})))
    assert json.loads(agent.work())["error"]["expected"] == "the lock of this deployment"


def test_a_machine_that_says_nothing_of_use_is_silent() -> None:
    here = Target("here", ("sh", "-c"))
    order = {"h": {"do": "look"}}
    (good,) = fleet.Fleet({"h": here}, ("echo", '{"done": 1}', "#")).ask(order).values()
    assert good.silent
    (dead,) = fleet.Fleet({"h": here}, ("false",)).ask(order).values()
    assert (dead.silent, dead.error["found"]) == (True, "exit status 1: no output")
