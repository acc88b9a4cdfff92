"""What a reboot does to each side: open ones are left alone, frozen ones frozen again, all others closed again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bascule.agent import commands
from bascule.agent.boot import boot
from bascule.agent.commands import Command
from bascule.guard.io import store
from bascule.guard.state import Epoch


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose components are fenced by a stand-in that writes down what it was asked, or fails."""
    monkeypatch.setattr(store, "GUARD_DIRECTORY", tmp_path / "guard")
    stand_in = ModuleType("bascule.agent.stand_in")
    failures: dict[str, BaseException] = {"absent_minded": KeyError("spec"), "brusque": SystemExit(2)}

    def fence(component: str) -> int:
        with (tmp_path / "fenced").open("a") as stream:
            stream.write(f"{component}\n")
        if component in failures:
            raise failures[component]
        return 3 if component == "stubborn" else 0

    monkeypatch.setattr(stand_in, "fence", fence, raising=False)
    monkeypatch.setitem(sys.modules, "bascule.agent.stand_in", stand_in)
    monkeypatch.setitem(commands.COMMANDS, "fence_stand_in", Command("agent.stand_in:fence", "COMPONENT"))
    return tmp_path


def adopt(host: Path, component: str, status: str, kind: str | None = "stand_in") -> None:
    """Give the host a side of a component."""
    store.adopt(component, "here", status, root=host / "guard")
    if kind:
        (host / component).mkdir()
        (host / component / "fence.json").write_text(json.dumps({"kind": kind}))


def fenced(host: Path) -> list[str]:
    """Return the components that were fenced."""
    path = host / "fenced"
    return path.read_text().split() if path.exists() else []


def test_a_host_without_guards_boots(host: Path) -> None:
    assert boot([]) == 0


def test_only_what_is_not_open_is_fenced(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopt(host, "served", "open")
    adopt(host, "passive", "closed")
    adopt(host, "half", "open")
    with pytest.raises(KeyError), store.closing("half", "here", Epoch(1, "d"), root=host / "guard"):
        raise KeyError
    assert boot([]) == 0
    assert fenced(host) == ["half", "passive"]
    assert capsys.readouterr().out == "half: closing: fenced\npassive: closed: fenced\nserved: open: left alone\n"


def test_what_was_frozen_comes_back_frozen(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopt(host, "served", "open")
    adopt(host, "still", "open")
    store.frozen("still", "here", True, root=host / "guard")
    assert boot([]) == 0
    assert fenced(host) == ["still"]
    assert "still: open, frozen: kept frozen" in capsys.readouterr().out
    store.frozen("still", "here", False, root=host / "guard")
    assert boot([]) == 0
    assert fenced(host) == ["still"]


def test_one_that_cannot_be_fenced_is_told_and_stops_no_other(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopt(host, "broken", "closed")
    (host / "guard" / "broken.json").write_text("{")
    adopt(host, "nameless", "closed", kind=None)
    adopt(host, "odd", "closed", kind="../../evil")
    adopt(host, "passive", "closed")
    adopt(host, "stubborn", "closed")
    assert boot([]) == 1
    assert fenced(host) == ["passive", "stubborn"]
    told = capsys.readouterr().err
    for component in ("broken", "nameless", "odd", "stubborn"):
        assert f"{component}: NOT FENCED" in told
    assert "exit status 3" in told
    assert "playbooks/20_prepare.yml --limit nameless" in told


def test_whatever_goes_wrong_with_one_the_others_are_fenced(host: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for component in ("absent_minded", "brusque", "odd_receipt", "passive"):
        adopt(host, component, "closed")
    adopt(host, "later_kind", "closed", kind="hologram")
    path = host / "guard" / "odd_receipt.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "receipt": "5.a"}))
    assert boot([]) == 1
    assert fenced(host) == ["absent_minded", "brusque", "passive"]
    told = capsys.readouterr()
    assert "absent_minded: NOT FENCED: expected: its fence to come to an end; found: KeyError: 'spec'" in told.err
    assert "brusque: NOT FENCED: expected: its fence to come to an end; found: SystemExit: 2" in told.err
    assert "odd_receipt: NOT FENCED: expected: a receipt with its fields" in told.err
    assert "later_kind: NOT FENCED: expected: a host agent that knows how to fence hologram" in told.err
    assert "playbooks/20_prepare.yml --limit later_kind" in told.err
    assert told.out == "passive: closed: fenced\n"


def test_one_component_alone_can_be_fenced(host: Path) -> None:
    for component in ("a", "b"):
        adopt(host, component, "closed")
    assert boot(["b"]) == 0
    assert (host / "fenced").read_text() == "b\n"
