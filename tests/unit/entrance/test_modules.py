"""The modules hand their arguments to the helpers and their results out; a secret is marked as one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.bascule.entrance.mode import EntranceError

from bascule.entrance.io import https
from bascule.entrance.io import side as entrance_side
from bascule.entrance.requests import Answer
from bascule.errors import GuardRefused
from bascule.guard import lost
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.guard.state import Epoch, GuardState

from .world import FakeHaproxy

CLOSED = Answer(status=503, headers={"retry-after": "5"})


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHaproxy]:
    """A running HAProxy, and guards in a directory of the test."""
    root = tmp_path / "lib" / "guard"
    monkeypatch.setattr(store, "GUARD_DIRECTORY", root)
    for name in ("closing", "opening", "opening_by_word", "reopening", "read", "adopt", "frozen", "settled", "thawing"):
        monkeypatch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", root)
    with FakeHaproxy(tmp_path).running() as fake:
        monkeypatch.setattr(entrance_side.Side, "ask", staticmethod(fake.ask))
        monkeypatch.setattr(entrance_side.Side.__init__, "__defaults__", (False, fake.ask))
        yield fake


def call(name: str, /, check: bool = False, **params: Any) -> dict[str, Any]:
    """Run a module's main."""
    module = importlib.import_module(name)
    result: dict[str, Any] = module.main(SimpleNamespace(params=params, check_mode=check))
    return result


def side(haproxy: FakeHaproxy, **more: Any) -> dict[str, Any]:
    """Return the arguments that the entrance modules share."""
    defaults = {"drain_timeout": 1.0, "drain_cut": False, "other_guard": None, "word": None}
    return {"component": "entrance", "side": "gw-a", "entrance": haproxy.options(), **defaults, **more}


def test_mode_goes_through_a_life(haproxy: FakeHaproxy) -> None:
    """Prepared, frozen, thawed; each a second time unchanged."""
    for state in ("prepared", "frozen", "thawed"):
        assert call("bascule_entrance_mode", **side(haproxy, state=state), check=True) is not None
        if state == "prepared":
            store.adopt("entrance", "gw-a", "open")
        changed = [call("bascule_entrance_mode", **side(haproxy, state=state))["changed"] for _ in range(2)]
        assert changed == [True, False]
    assert haproxy.mode == "open"


@pytest.mark.parametrize("check", [True, False])
def test_a_gateway_built_anew_is_not_taken_over_beside_an_open_one(haproxy: FakeHaproxy, check: bool) -> None:
    """Its map says open as it was shipped; its guard is lost, the other side has been open."""
    arguments = {"component": "entrance", "side": "gw-a", "state": "adopt", "status": "open"}
    closed = GuardState("entrance", "gw-b")
    adopted = rule.opened(replace(closed, promised=Epoch(1, "a"), status="opening"), Epoch(1, "a"))
    for other in (
        adopted,
        replace(adopted, frozen=True),
        replace(adopted, status="closed"),
        rule.adopt_closed(closed),
    ):
        with pytest.raises(GuardRefused, match="gw-b not to be taken over yet"):
            call("bascule_guard", **arguments, holds_data=True, other_guard=other.to_dict(), check=check)
        assert store.read("entrance", "gw-a").status == "unknown", "nothing was taken over"
    other_guard = closed.to_dict()
    assert (
        call("bascule_guard", **arguments, holds_data=True, other_guard=other_guard, check=check)["guard"]["status"]
        == "open"
    )
    store.adopt("entrance", "gw-a", "open")
    assert not call("bascule_guard", **arguments, holds_data=True, other_guard=adopted.to_dict(), check=check)[
        "changed"
    ]


def test_close_gives_the_receipt_that_open_takes(haproxy: FakeHaproxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side then forwards, and at last shows the maintenance page for good."""
    store.adopt("entrance", "gw-a", "open")
    closed = call("bascule_entrance_close", **side(haproxy, epoch="1.a"))
    assert closed["receipt"]["epoch"] == "1.a"
    receipt = {**closed["receipt"], "side": "gw-b", "epoch": "2.b"}
    monkeypatch.setattr(
        entrance_side.Side.__init__,
        "__defaults__",
        (False, lambda where, *_, **__: CLOSED if where.address == "192.0.2.2" else Answer(status=200)),
    )
    opened = call(
        "bascule_entrance_open",
        **side(haproxy, epoch="2.b", receipt=receipt),
        other_address="192.0.2.2",
        smoke=[{"name": "health", "path": "/healthz"}],
        smoke_header="X-Bascule-Smoke",
        smoke_token="t",
        smoke_timeout=1.0,
    )
    assert (opened["guard"]["status"], opened["smoke"][0]["fault"]) == ("open", "")


def test_forwarding_and_its_end(haproxy: FakeHaproxy) -> None:
    """With the guard of the other side as it was just read."""
    store.adopt("entrance", "gw-a", "open")
    call("bascule_entrance_close", **side(haproxy, epoch="1.a"))
    other = {"component": "entrance", "side": "gw-b", "status": "open"}
    assert call("bascule_entrance_mode", **side(haproxy, state="forwarding", other_guard=other))["mode"] == "forward"
    assert call("bascule_entrance_mode", **side(haproxy, state="closed"))["mode"] == "maintenance"


@pytest.mark.parametrize(
    ("expect", "answer", "reachable"),
    [
        ("answer", CLOSED, True),
        ("answer", Answer(status=200), True),
        ("answer", Answer(error="timed out"), False),
        ("answer", Answer(status=502), False),
        ("maintenance", CLOSED, True),
        ("maintenance", Answer(status=200), None),
        ("service", Answer(status=200), True),
        ("service", CLOSED, None),
        ("otherwise", CLOSED, None),
        ("otherwise", Answer(error="timed out"), None),
        ("otherwise", Answer(status=200), True),
        # A service that fails is no maintenance page: a rollback from it is possible.
        ("otherwise", Answer(status=502), True),
        ("otherwise", Answer(status=503), True),
    ],
)
def test_probe(monkeypatch: pytest.MonkeyPatch, expect: str, answer: Answer, reachable: bool | None) -> None:
    """Asking only tells; expecting fails."""
    monkeypatch.setattr(https, "request", lambda *_, **__: answer)
    monkeypatch.setattr(entrance_side.make, "__defaults__", (None, https.request))
    params: dict[str, Any] = {
        "address": "192.0.2.1",
        "port": 443,
        "name": "courses.example.org",
        "ca_file": "/none",
        "expect": expect,
        "requests": [{"name": "health", "path": "/healthz"}],
        "headers": {},
        "patience": 0,
    }
    if reachable is None:
        with pytest.raises(EntranceError):
            call("bascule_entrance_probe", **params)
    else:
        assert call("bascule_entrance_probe", **params)["reachable"] is reachable


@pytest.mark.parametrize(
    ("expect", "patience", "asked"),
    [
        ("otherwise", 60, 3),
        ("answer", 60, 3),
        ("answer", 0, 1),
        ("service", 60, 3),
        ("service", 0, 1),
        ("maintenance", 60, 3),
        ("maintenance", 0, 1),
    ],
)
def test_a_busy_entrance_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, expect: str, patience: int, asked: int
) -> None:
    """Silence is asked again for as long as the caller says; the third answer is one that an open entrance gives."""
    answers = [Answer(error="timed out"), Answer(error="timed out"), Answer(status=200)]
    left = list(answers)
    monkeypatch.setattr(https, "request", lambda *_, **__: left.pop(0))
    monkeypatch.setattr(entrance_side.make, "__defaults__", (None, https.request))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    ask: dict[str, Any] = {
        "address": "192.0.2.1",
        "port": 443,
        "name": "courses.example.org",
        "ca_file": "/none",
        "expect": expect,
        "requests": [{"name": "health", "path": "/healthz"}],
        "headers": {},
        "patience": patience,
    }
    with suppress(EntranceError):
        call("bascule_entrance_probe", **ask)
    assert len(answers) - len(left) == asked


def test_an_entrance_that_serves_is_not_asked_until_it_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that comes after an answer of the service proves nothing about the time before."""
    left = [Answer(status=200), CLOSED]
    monkeypatch.setattr(https, "request", lambda *_, **__: left.pop(0))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with pytest.raises(EntranceError):
        call(
            "bascule_entrance_probe",
            address="192.0.2.1",
            port=443,
            name="courses.example.org",
            ca_file="/none",
            expect="maintenance",
            requests=[],
            headers={},
            patience=60,
        )
    assert len(left) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "first", "asked"),
    [
        ("GET", "/healthz", "", Answer(error="timed out"), 2),
        ("POST", "/login", '{"id": "{uuid}"}', Answer(error="timed out"), 2),
        # Both would stand twice in the books of the service, or hide that it fails now and then.
        ("POST", "/login", "{}", Answer(error="timed out"), 1),
        ("GET", "/healthz", "", Answer(status=500), 1),
    ],
)
def test_a_service_is_asked_again_only_where_that_hides_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: str, first: Answer, asked: int
) -> None:
    left = [first, Answer(status=200)]
    monkeypatch.setattr(https, "request", lambda *_, **__: left.pop(0))
    monkeypatch.setattr(entrance_side.make, "__defaults__", (None, https.request))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    ask: dict[str, Any] = {
        "address": "192.0.2.1",
        "port": 443,
        "name": "courses.example.org",
        "ca_file": "/none",
        "expect": "service",
        "requests": [{"name": "use", "path": path, "method": method, "body": body}],
        "headers": {},
        "patience": 60,
    }
    if asked == 1:
        with pytest.raises(EntranceError):
            call("bascule_entrance_probe", **ask)
    else:
        assert call("bascule_entrance_probe", **ask)["answers"][0]["attempts"] == 2
    assert 2 - len(left) == asked


def test_info_names_faults(haproxy: FakeHaproxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing backend, a file that differs from the process, an entrance that does not answer."""
    monkeypatch.setattr(https, "request", lambda *_, **__: Answer(error="timed out"))
    haproxy.map_file.write_text("mode maintenance\n")
    found = call("bascule_entrance_info", **side(haproxy, backends=["be_courses", "be_forward"], certificate_days=3))
    assert found["entrance"]["version"] == "2.6.12"
    assert found["faults"][:3] == [
        "HAProxy has no backend be_forward",
        "the map file says maintenance, the running HAProxy open",
        "timed out",
    ]


def test_captured_keeps_what_it_is_given(haproxy: FakeHaproxy) -> None:
    """Added to what is there; the second time unchanged; check mode writes nothing."""
    assert call("bascule_captured", component="entrance", data=None)["captured"] is None
    assert call("bascule_captured", check=True, component="entrance", data={"a": 1})["changed"]
    assert call("bascule_captured", component="entrance", data=None)["captured"] is None
    assert call("bascule_captured", component="entrance", data={"a": 1})["changed"]
    assert call("bascule_captured", component="entrance", data={"b": 2})["captured"] == {"a": 1, "b": 2}
    assert not call("bascule_captured", component="entrance", data={"b": 2})["changed"]


def test_the_token_is_a_secret() -> None:
    """Ansible hides what is marked."""
    source = Path(importlib.import_module("bascule_entrance_open").__file__ or "").read_text()
    assert '"smoke_token": {"type": "str", "required": True, "no_log": True}' in source


def test_a_guard_that_is_lost_is_written_again_by_receipt_and_word(haproxy: FakeHaproxy) -> None:
    """And by nothing less; a guard that is there is never replaced."""
    before = rule.adopt_open(GuardState("entrance", "gw-b"))
    five = Epoch(5, "a")
    before, _ = rule.closed(rule.promise(before, five), five, {}, "now")
    epoch = rule.beyond(before, "w")
    _, receipt = rule.closed(rule.promise(before, epoch), epoch, {}, "now")
    word = {"about": "gw-a", "epoch": str(epoch), "by": "Nadia", "fenced": "it serves", "given_at": "now"}
    arguments: dict[str, Any] = {"component": "entrance", "side": "gw-a", "state": "reopen"}
    arguments["other_guard"] = before.to_dict()
    with pytest.raises(GuardRefused, match="expected: the receipt of gw-b"):
        call("bascule_guard", **arguments, word=word, receipt={**receipt.to_dict(), "epoch": "5.a"})
    assert call("bascule_guard", check=True, **arguments, word=word, receipt=receipt.to_dict())["changed"]
    assert store.read("entrance", "gw-a").status == "unknown"
    guard = call("bascule_guard", **arguments, word=word, receipt=receipt.to_dict())["guard"]
    assert (guard["status"], guard["opened"], guard["word"]["by"]) == ("open", str(epoch), "Nadia")
    with pytest.raises(GuardRefused, match="a side without a guard state"):
        call("bascule_guard", **arguments, word=word, receipt=receipt.to_dict())


def test_a_side_is_told_that_the_other_one_has_given_way(haproxy: FakeHaproxy) -> None:
    store.adopt("entrance", "gw-a", "closed")
    epoch = rule.beyond(store.read("entrance", "gw-a"), "w")
    with store.opening_by_word("entrance", "gw-a", rule.Word("gw-b", epoch, "Nadia", "power cut", "now")) as opening:
        served = opening.opened()
    back = rule.adopt_open(rule.GuardState("entrance", "gw-b"))
    way = rule.next_epoch(served, back, "b")
    closing = lost.give_way(back, served, way)
    arguments: dict[str, Any] = {"component": "entrance", "side": "gw-a", "state": "settle"}
    with pytest.raises(GuardRefused, match="gw-b to have given way"):
        call("bascule_guard", **arguments, other_guard=closing.to_dict())
    gone = rule.closed(closing, way, {}, "now")[0].to_dict()
    assert call("bascule_guard", check=True, **arguments, other_guard=gone)["changed"]
    assert store.read("entrance", "gw-a") == served
    for changes in (True, False):
        said = call("bascule_guard", **arguments, other_guard=gone)
        assert (said["changed"], said["guard"]["word"]["settled"]) == (changes, str(way))
