"""A file goes to the other side by real rsync and the real forced command, into no tree. A script stands in for ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree import transfer
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.transfer import job, push, receive, scratch
from bascule.filetree.transfer import TransferError

from .world import COMPONENT, Kernel, adopt, fill, host

ROOT = Path(__file__).resolve().parents[3]
# As sshd does it: what was asked for is in a variable, and the forced command runs here.
SSH = """#!{python}
import os, sys
from pathlib import Path
words = sys.argv[1:]
while words[0].startswith("-"):
    words = words[2:] if words[0] == "-l" else words[1:]
asked = " ".join(words[1:])
with open({log!r}, "a") as log:
    log.write(asked + "\\n")
if os.path.exists({cut!r}):
    print("ssh: connect to host: No route to host", file=sys.stderr)
    sys.exit(255)
os.environ["SSH_ORIGINAL_COMMAND"] = asked
os.environ["PATH"] = {path!r}
sys.path.insert(0, {helpers!r})
from bascule.filetree.io.fence import side
base = Path({base!r})
side.BASE = base
side.load.__defaults__ = (base,)
from bascule.errors import BasculeError
from bascule.filetree.io.transfer import receive, scratch
scratch.ROOM = int(Path({room!r}).read_text())
try:
    sys.exit(receive.serve({component!r}))
except BasculeError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


class Link:
    """Two sides, and the way from the first to the second."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, there: str) -> None:
        # The same place at both: each rsync names the path of the other side.
        self.there = self._host(tmp_path / "there", monkeypatch, "files-mtp", there)
        self.here = self._host(tmp_path / "here", monkeypatch, "files-tls", here)
        self.log, self.cut, self.room = (tmp_path / name for name in ("log", "cut", "room"))
        self.room.write_text("1")
        self.path = tmp_path / "bin"
        self.path.mkdir()
        base = self.there.side.base
        words = {
            "python": sys.executable,
            "log": str(self.log),
            "cut": str(self.cut),
            "room": str(self.room),
            "helpers": str(ROOT / "python_helpers"),
            "base": str(base),
            "component": COMPONENT,
            "path": os.environ["PATH"],
        }
        (self.path / "ssh").write_text(SSH.format(**words))
        (self.path / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{self.path}:{os.environ['PATH']}")
        # The paths of both hosts are one in the field.
        monkeypatch.setattr(scratch, "place", lambda side: self.there.side.home / "scratch")
        self.here.side.identity.parent.mkdir()
        self.here.side.identity.touch()

    @staticmethod
    def _host(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: str) -> Kernel:
        kernel = host(place, monkeypatch, name)
        fill(kernel.side, a="one")
        adopt(kernel.side, status)
        return kernel

    def send(self) -> dict[str, Any]:
        found = job.at_once(COMPONENT, "scratch", {"address": "192.0.2.2", "port": 22})
        assert (found["running"], found["id"]) == (False, "")
        return dict(found["result"])

    def left(self) -> list[str]:
        """Return what lies at both sides beside what was there before."""
        names = ("scratch", "scratch.out", "scratch.json")
        return [
            str(k.side.home / name) for k in (self.here, self.there) for name in names if (k.side.home / name).exists()
        ]

    def trees(self) -> list[list[str]]:
        return [sorted(os.listdir(kernel.side.path)) for kernel in (self.here, self.there)]


@pytest.fixture
def back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Link:
    """After the switch: from the open side to the closed one."""
    return Link(tmp_path, monkeypatch, "open", "closed")


@pytest.fixture
def ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Link:
    """Before it: from the closed side to the one that serves."""
    return Link(tmp_path, monkeypatch, "closed", "open")


@pytest.mark.parametrize(("way", "status"), [("back", "closed"), ("ahead", "open")])
def test_it_comes_as_it_was_sent_and_nothing_is_left(way: str, status: str, request: pytest.FixtureRequest) -> None:
    link: Link = request.getfixturevalue(way)
    before = link.trees()
    found = link.send()
    assert {key: found[key] for key in ("side", "status", "bytes")} == {
        "side": "files-mtp",
        "status": status,
        "bytes": scratch.SIZE,
    }
    assert found["seconds"] > 0
    assert link.left() == []
    assert link.trees() == before
    asked = link.log.read_text().splitlines()
    assert " --server " in asked[0]
    assert asked[0].endswith(str(scratch.place(link.there.side)) + "/")
    assert asked[1].endswith(" scratch")


def test_a_link_that_is_cut_a_full_disk_and_a_missing_program_are_said_and_leave_nothing(
    ahead: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.cut.touch()
    with pytest.raises(TransferError, match="No route to host"):
        ahead.send()
    assert ahead.left() == []
    ahead.cut.unlink()
    ahead.room.write_text(str(1 << 62))
    with pytest.raises(TransferError, match=r"MiB free where .* at files-mtp"):
        ahead.send()
    assert ahead.left() == []
    with monkeypatch.context() as patch:
        patch.setattr(scratch, "ROOM", 1 << 62)
        with pytest.raises(TransferError, match=r"MiB free where .* at files-tls"):
            ahead.send()
        patch.setattr(scratch, "ROOM", 1)
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(OSError, match="rsync"):
            ahead.send()
    assert ahead.left() == []


def test_what_came_is_told_once_and_another_file_is_no_arrival(ahead: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    side = ahead.there.side
    (side.home / "scratch.json").write_text(json.dumps({"canary-of-before": "digest"}))
    assert scratch.told(side)["files"] == {"canary-of-before": "digest"}
    assert scratch.told(side)["files"] == {}
    # What somebody else has tried at the same time is not what was sent here.
    monkeypatch.setattr(push, "ask", lambda *_: {"side": "files-mtp", "files": {"other": "digest"}})
    with pytest.raises(TransferError, match=r"found: other"):
        ahead.send()


@pytest.mark.parametrize(
    "words",
    [
        "--server -logDtpr . {tree}/",
        "--server -logDtpr . {scratch}/../tree/",
        "--server --sender -logDtpr . {scratch}/",
        "--server -logDtprL . {scratch}/",
        "--server -logDtpr --backup --backup-dir={kept}/1.a/0001 . {scratch}/",
        "--server -logDtpr . {scratch}/ {tree}/",
    ],
)
def test_without_a_permit_nothing_else_is_let_in(ahead: Link, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    side: Side = ahead.there.side
    monkeypatch.setattr(fence_side, "load", lambda component: side)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("rsync was started"))
    places = {"tree": side.tree, "scratch": scratch.place(side), "kept": side.kept}
    command = f"{transfer.first_word(side.owners)} 9.z {words.format(**places)} --numeric-ids"
    head, dot, tail = command.removesuffix(" --numeric-ids").partition(" . ")
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", f"{head} --numeric-ids{dot}{tail}")
    with pytest.raises(TransferError):
        receive.serve(COMPONENT)


def test_one_that_stays_too_long_is_ended_and_what_it_brought_is_gone(
    ahead: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, run = ahead.there.side, subprocess.run
    monkeypatch.setattr(scratch, "_LONGEST", 0.2)
    # It waits for a client that says nothing.
    reads, writes = os.pipe()
    with os.fdopen(writes, "wb"), os.fdopen(reads, "rb") as silent:
        monkeypatch.setattr(subprocess, "run", lambda argv, **more: run(argv, stdin=silent, **more))
        command = f"{transfer.first_word(side.owners)} none --server -logDtpr --numeric-ids . {scratch.place(side)}/"
        assert scratch.receive(side, command) == transfer.STREAM_BROKEN
    assert ahead.left() == []
