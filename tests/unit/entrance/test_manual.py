"""A balancer that a person drives: what is asked for is exact, and nothing counts but what both balancers answer."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import action_loader, init_plugin_loader

from bascule.agent.__main__ import main as agent
from bascule.entrance import manual
from bascule.entrance.io import https
from bascule.entrance.io import side as entrance_side
from bascule.entrance.requests import Answer
from bascule.errors import BasculeError, GuardRefused
from bascule.guard import state as rule
from bascule.guard.io import fence_settings, store
from bascule.guard.state import GuardState
from bascule.plugin import by_hand

from .balancers import HEADER, SIDES, SMOKE, A, B, Pair, running

GUARDED = (
    "closing", "giving_way", "opening", "opening_by_word", "reopening", "read", "adopt", "frozen", "settled", "thawing",
)  # fmt: skip
PAGE, SERVED, SILENT = Answer(status=503, headers={"retry-after": "5"}), Answer(status=200), Answer(error="timed out")


class Move:
    """Both hosts with their guards, the actions of the tree over the real modules, and a person.

    A person acts when asked: `hand` is called with each text that is said; time passes only while somebody waits.
    """

    def __init__(self, path: Path, pair: Pair, patch: pytest.MonkeyPatch) -> None:
        self.path, self.pair, self._patch = path, pair, patch
        self.said: list[str] = []
        self.hand: Callable[[str], None] = lambda text: None
        self.now = 0.0
        self.forward = False
        patch.setattr(ActionBase, "run", lambda *_: {})
        # As seldom as still shows all: each look is a dozen handshakes.
        patch.setattr(by_hand.ByHandAction, "PAUSE", 15.0)
        patch.setattr(by_hand, "Display", lambda: SimpleNamespace(display=self._display))
        patch.setattr(by_hand, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._pass))
        patch.setattr("bascule.entrance.io.manual.time.sleep", self._pass)

        patch.setattr(entrance_side.Side, "ask", staticmethod(pair.ask))
        patch.setattr(entrance_side.Side.__init__, "__defaults__", (False, pair.ask))

    def asks_servers(self) -> None:
        """From here on the balancers are asked over TLS."""
        self._patch.setattr(entrance_side.Side, "ask", staticmethod(https.request))
        self._patch.setattr(entrance_side.Side.__init__, "__defaults__", (False, https.request))

    def _display(self, text: str) -> None:
        self.said.append(text)
        self.hand(text)

    def _pass(self, seconds: float) -> None:
        self.now += seconds

    def on(self, side: str) -> None:
        """Go to a side's guard host."""
        root = self.path / side / "guard"
        self._patch.setattr(store, "GUARD_DIRECTORY", root)
        for name in GUARDED:
            self._patch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", root)

    def guard(self, side: str) -> GuardState:
        """Read a guard."""
        self.on(side)
        return store.read("entrance", side)

    def act(self, name: str, side: str, check: bool = False, wait: float = 60.0, **more: Any) -> dict[str, Any]:
        """Run a task as Ansible does: the action on the controller, the module on the side's host."""
        action: Any = object.__new__(action_loader.get(f"bascule_entrance_{name}", class_only=True))
        module = importlib.import_module(f"bascule_entrance_{name}")

        def execute(called: str, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
            assert called == module.__name__
            try:
                return dict(module.main(SimpleNamespace(params=arguments, check_mode=check)))
            except BasculeError as error:
                return {"failed": True, "msg": error.message(), **error.fields()}

        self.on(side)
        options = self.pair.options(side, forward=self.forward, manual_wait=wait)
        defaults = {"drain_timeout": 5.0, "drain_cut": False, "other_guard": None, "word": None}
        arguments = {"component": "entrance", "side": side, "entrance": options, **defaults, **more}
        action._task = SimpleNamespace(args=arguments)
        action._execute_module = execute
        return dict(action.run(None, {"inventory_hostname": "entrance"}))

    def mode(self, side: str, state: str, **more: Any) -> dict[str, Any]:
        return self.act("mode", side, state=state, **more)

    def open(self, side: str, epoch: str, **more: Any) -> dict[str, Any]:
        """Open a side with what is given: a receipt or a word."""
        other = next(address for name, address in SIDES.items() if name != side)
        smoke: dict[str, Any] = {
            "smoke": [{"name": "health", "path": "/healthz"}],
            "smoke_header": SMOKE,
            "smoke_token": "t",
        }
        return self.act("open", side, epoch=epoch, other_address=other, smoke_timeout=0.0, **smoke, **more)

    def closed(self, side: str, epoch: str) -> dict[str, Any]:
        """Freeze and close a side whose balancer shows the page already; return the receipt."""
        assert "failed" not in self.mode(side, "frozen")
        return dict(self.act("close", side, epoch=epoch)["receipt"])

    def does(self, a: str, b: str, on: str = "At the balancer") -> None:
        """Have the person do this when asked."""
        self.hand = lambda text: self.pair.do(a, b) if on in text else None


@pytest.fixture(scope="module", autouse=True)
def loaders() -> None:
    """Have Ansible find the tree's actions."""
    init_plugin_loader([])
    action_loader.add_directory(str(Path(__file__).resolve().parents[3] / "plugins/action"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running(tmp_path_factory.mktemp("balancers")) as found:
        yield found


@pytest.fixture
def move(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Move:
    """Users are served at gw-a; both sides are taken over."""
    made = Move(tmp_path, pair, monkeypatch)
    pair.do("serves", "page")
    for side, status in (("gw-a", "open"), ("gw-b", "closed")):
        prepared = made.mode(side, "prepared")
        assert prepared["mode"] == {"open": "open", "closed": "maintenance"}[status]
        store.adopt("entrance", side, status)
    return made


def test_a_move_and_its_way_back_ask_once_for_each_change(move: Move) -> None:
    """Freeze and thaw ask; closing and opening find what was asked for already; a second run asks for nothing."""
    move.does("page", "page")
    frozen = move.mode("gw-a", "frozen")
    assert (frozen["drained"], frozen["changed"], move.now) == ({"requests": None, "seconds": 5.0}, True, 20.0)
    assert frozen["by_hand_seconds"] == frozen["work_seconds"] == 20.0, "people's time is no orchestration"
    assert move.said[0].startswith(
        f"entrance: At the balancer of gw-a, {A}:{move.pair.port} (courses.example.org): show"
    )
    assert "status 503 with a header Retry-After" in move.said[0]
    assert "serves users: status 200" in move.said[1]
    assert move.said[-1] == "entrance: This was seen."
    move.said.clear()
    assert not move.mode("gw-a", "frozen")["changed"]
    receipt = move.act("close", "gw-a", epoch="1.a")["receipt"]
    assert move.open("gw-b", "1.a", receipt=receipt)["guard"]["frozen"]
    assert move.said == []
    move.does("page", "serves")
    thawed = move.mode("gw-b", "thawed")
    assert (thawed["guard"]["status"], thawed["guard"]["frozen"]) == ("open", False)
    assert "serve users from this site" in move.said[0]
    move.said.clear()
    assert not move.mode("gw-b", "thawed")["changed"]
    assert move.mode("gw-a", "forwarding", other_guard=thawed["guard"])["mode"] == "maintenance"
    assert move.said == [], "the old one keeps its page, and was seen to"
    move.does("page", "page")
    receipt = move.closed("gw-b", "2.a")
    assert "failed" not in move.open("gw-a", "2.a", receipt=receipt)
    move.does("serves", "page")
    assert move.mode("gw-a", "thawed")["mode"] == "open"
    assert (move.guard("gw-a").status, move.guard("gw-b").status) == ("open", "closed")


def test_forwarding_is_asked_for_where_it_is_declared(move: Move) -> None:
    """And one that hands on what was forwarded once is no forwarding: two of them would be a loop."""
    move.forward = True
    move.does("page", "page")
    receipt = move.closed("gw-a", "1.a")
    move.open("gw-b", "1.a", receipt=receipt)
    move.does("page", "serves")
    guard = move.mode("gw-b", "thawed")["guard"]
    move.does("blindly", "serves")
    refused = move.mode("gw-a", "forwarding", other_guard=guard, wait=0)
    assert refused["failed"]
    move.said.clear()
    refused = move.mode("gw-a", "forwarding", other_guard=guard)
    assert "those who were forwarded once have to get the page, and do not" in refused["msg"]
    assert f"with the header {HEADER}: 1" in move.said[0]
    move.does("forwards", "serves")
    assert move.mode("gw-a", "forwarding", other_guard=guard)["mode"] == "forward"
    move.does("page", "serves")
    assert move.mode("gw-a", "closed")["mode"] == "maintenance"


def test_it_is_seen_over_tls(move: Move) -> None:
    """A server that ends the connection without a word, and one that forwards to the other, are what they are."""
    move.asks_servers()
    move.pair.do("off", "forwards")
    frozen = move.mode("gw-a", "frozen", wait=0)
    assert "gives no answer, which proves nothing" in frozen["msg"]
    move.pair.do("page", "forwards")
    assert move.mode("gw-a", "frozen")["drained"]


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("serves", "page", "gw-a, {a} serves users: status 200"),
        ("503", "page", "status 503 without Retry-After: a failing backend, not the maintenance page"),
        ("off", "page", "gw-a, {a} gives no answer, which proves nothing"),
        ("302", "page", "gw-a, {a} serves users: status 302"),
        ("502", "page", "gw-a, {a} shows no maintenance page, and no service: status 502"),
        ("mixed", "page", "gw-a, {a} serves users with 2 of 6 answers: status 200"),
        # The wrong one: what the other one does is named as well.
        ("serves", "off", "the other one, {b}, gives no answer, which proves nothing"),
        ("serves", "serves", "the other one, {b}, serves users: status 200"),
    ],
)
def test_what_is_no_maintenance_page_closes_nothing(move: Move, a: str, b: str, why: str) -> None:
    """Named by what was seen, at once and at the end; there is no receipt, and nothing opens."""
    move.does(a, b)
    places = {name: f"{address}:{move.pair.port} (courses.example.org)" for name, address in (("a", A), ("b", B))}
    frozen = move.mode("gw-a", "frozen")
    assert frozen["failed"]
    assert why.format(**places) in frozen["msg"]
    assert "a person was waited for 60 of 60 s" in frozen["msg"]
    assert any(why.format(**places) in line for line in move.said)
    assert move.guard("gw-a").frozen, "the mark that forbids goes first"
    closed = move.act("close", "gw-a", epoch="1.a", wait=0)
    assert why.format(**places) in closed["msg"]
    assert "receipt" not in closed
    assert (move.guard("gw-a").status, move.guard("gw-a").receipt) == ("closing", None)


def test_a_person_is_told_every_half_minute_and_whenever_it_changes(move: Move) -> None:
    move.does("off", "page")
    move.mode("gw-a", "frozen")
    assert [line.split(" of ")[0].rpartition(" ")[2] for line in move.said[1:]] == ["0", "15", "45"]
    move.said.clear()
    move.does("page", "page", on="Waiting since 30")
    assert "failed" not in move.mode("gw-a", "frozen")
    assert move.now < 120


def opened(move: Move) -> GuardState:
    """Open gw-b behind its page."""
    move.does("page", "page")
    receipt = move.closed("gw-a", "1.a")
    move.open("gw-b", "1.a", receipt=receipt)
    move.said.clear()
    return move.guard("gw-b")


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("serves", "serves", "serves as well, so that both are open"),
        ("serves", "page", "serves instead: the wrong one was opened"),
        ("page", "page", "gw-b, {b} shows the maintenance page"),
        ("page", "off", "gw-b, {b} gives no answer, which proves nothing"),
        ("page", "502", "gw-b, {b} shows no maintenance page, and no service: status 502"),
        ("page", "mixed", "gw-b, {b} serves users with"),
        ("page", "forwards", "gw-b, {b} shows the maintenance page"),
        ("once", "serves", "has to show its page to every user, and does not (forwards users: status 200)"),
        ("page", "once", "requests that were forwarded once get its page"),
    ],
)
def test_what_is_not_the_one_side_that_serves_lets_nobody_in(move: Move, a: str, b: str, why: str) -> None:
    """The guard stays frozen until this side, and it alone, is seen to serve."""
    before = opened(move)
    move.does(a, b)
    thawed = move.mode("gw-b", "thawed")
    assert thawed["failed"]
    assert why.format(b=f"{B}:{move.pair.port} (courses.example.org)") in thawed["msg"]
    assert "nobody may open this balancer later without being asked again" in thawed["msg"]
    assert move.guard("gw-b") == before
    move.does("page", "serves")
    assert "failed" not in move.mode("gw-b", "thawed")


def test_a_lost_balancer_keeps_nobody_out_of_the_one_with_the_permit(move: Move) -> None:
    """Its silence closes nothing, and was answered for by its receipt."""
    opened(move)
    move.does("off", "serves")
    assert "failed" not in move.mode("gw-b", "thawed")


def test_no_person_is_asked_to_open_without_a_permit(move: Move) -> None:
    """Neither before the switch nor after another run has taken over."""
    assert "live permit" in move.mode("gw-b", "thawed")["msg"]
    assert move.said == []
    opened(move)

    def overtaken(text: str) -> None:
        if "serve users from this site" in text:
            with store.closing("entrance", "gw-b", "2.x") as guard:
                guard.closed({})

    move.hand, before = overtaken, move.now
    thawed = move.mode("gw-b", "thawed")
    assert "live permit" in thawed["msg"]
    assert move.now - before == 15.0, "nobody is waited for any more"


@pytest.mark.parametrize("a", ["serves", "off", "mixed", "503"])
def test_no_opening_while_the_other_balancer_may_serve(move: Move, a: str) -> None:
    """A receipt is not enough: somebody has opened the closed one again since."""
    move.does("page", "page")
    receipt = move.closed("gw-a", "1.a")
    move.pair.do(a, "page")
    opening = move.open("gw-b", "1.a", receipt=receipt)
    assert opening["failed"]
    assert move.guard("gw-b").status == "closed"


def test_a_side_that_was_opened_too_early_is_closed_before_it_gets_its_permit(move: Move) -> None:
    move.does("page", "serves")
    receipt = move.closed("gw-a", "1.a")
    move.said.clear()
    move.hand = lambda text: None
    refused = move.open("gw-b", "1.a", receipt=receipt)
    assert "gw-b" in refused["msg"]
    assert "serves users" in refused["msg"]
    assert move.guard("gw-b").status == "closed"
    move.does("page", "page")
    assert move.open("gw-b", "1.a", receipt=receipt)["guard"]["status"] == "open"


def test_a_freeze_closes_what_serves_without_a_permit(move: Move) -> None:
    move.pair.do("serves", "serves")
    move.does("serves", "page")
    assert move.mode("gw-b", "frozen")["active"] is False
    assert f"At the balancer of gw-b, {B}" in move.said[0]
    move.pair.do("serves", "off")
    move.said.clear()
    assert not move.mode("gw-b", "frozen")["changed"], "a silent one serves nobody that could be seen: no return waits"
    assert move.said == []


def test_check_mode_says_what_would_be_asked_and_asks_nothing(move: Move) -> None:
    asked = move.pair.at[A].does
    move.mode("gw-a", "frozen", check=True)
    close = move.act("close", "gw-a", check=True, epoch="1.a")
    move.open("gw-b", "1.a", check=True, receipt=close["receipt"])
    move.mode("gw-b", "thawed", check=True)
    assert [line.split("(courses")[0] for line in move.said] == [
        f"entrance: A person would have to do this. At the balancer of gw-a, {A}:{move.pair.port} ",
        f"entrance: A person would have to do this. At the balancer of gw-b, {B}:{move.pair.port} ",
    ]
    assert (move.pair.at[A].does, move.now) == (asked, 0.0)
    assert not move.guard("gw-a").frozen


def by_word(move: Move) -> dict[str, str]:
    epoch = rule.beyond(move.guard("gw-b"), "w")
    return {"about": "gw-a", "epoch": str(epoch), "by": "Nadia", "fenced": "power cut", "given_at": "now"}


def test_a_lost_side_is_left_to_the_person_who_gave_their_word(move: Move) -> None:
    """They are told at which balancer; one that still serves is not lost."""
    word = by_word(move)
    refused = move.open("gw-b", word["epoch"], word=word)
    assert "to be lost, as Nadia has said" in refused["msg"]
    assert f"the balancer {A}:{move.pair.port} (courses.example.org) was given up by the word of Nadia" in move.said[0]
    assert move.guard("gw-b").status == "closed"
    move.pair.do("mixed", "page")
    assert move.open("gw-b", word["epoch"], word=word)["failed"], "one node of it serves"
    move.pair.do("off", "page")
    assert move.open("gw-b", word["epoch"], word=word)["guard"]["frozen"]
    move.does("off", "serves")
    assert move.mode("gw-b", "thawed")["mode"] == "open"
    # The lost site is back, and its balancer serves as before.
    move.pair.do("serves", "serves")
    move.said.clear()
    survivor = move.guard("gw-b")
    way = str(rule.next_epoch(move.guard("gw-a"), survivor, "b"))
    move.does("page", "serves")
    closed = move.act("close", "gw-a", epoch=way, other_guard=survivor.to_dict(), drain_cut=True)
    assert "failed" not in closed, closed["msg"]
    assert closed["guard"]["gave_way"] == way
    assert f"At the balancer of gw-a, {A}" in move.said[0]


def test_the_boot_fence_says_that_it_closes_nothing(move: Move, capsys: pytest.CaptureFixture[str]) -> None:
    move.on("gw-a")
    kept = fence_settings.read("entrance", store.GUARD_DIRECTORY.parent)
    assert kept is not None
    assert kept["driver"] == "manual"
    assert agent(["fence_entrance", "entrance"]) == 0
    assert "is not fenced at boot, entrance at gw-a is open" in "".join(capsys.readouterr())


def test_the_audit_measures_what_is_seen_and_names_what_is_not_done(move: Move) -> None:
    move.asks_servers()

    def info(side: str, **more: Any) -> dict[str, Any]:
        module = importlib.import_module("bascule_entrance_info")
        params: dict[str, Any] = {
            "component": "entrance",
            "side": side,
            "entrance": move.pair.options(side),
            "backends": ["x"],
        }
        params |= {"certificate_days": 3, "drain_cut": False, **more}
        move.on(side)
        return dict(module.main(SimpleNamespace(params=params, check_mode=False)))

    found = info("gw-a")
    assert (found["faults"], found["entrance"]["mode"], found["entrance"]["status"]) == ([], "open", 200)
    assert set(found["entrance"]["not_done"]) == {"boot fence", "drain", "late hand"}
    assert "drain_cut" in str(info("gw-a", drain_cut=True)["faults"])
    move.pair.do("mixed", "off")
    assert "serves users with" in str(info("gw-a")["faults"])
    silent = info("gw-b")
    assert silent["entrance"]["mode"] == "unknown"
    assert "gives no answer, which proves nothing" in silent["faults"][0]


@pytest.mark.parametrize(
    ("plain", "again", "mode", "whole", "serves"),
    [
        ([PAGE] * 3, [PAGE] * 3, "maintenance", True, False),
        ([SERVED] * 3, [SERVED] * 3, "open", True, True),
        ([SERVED] * 3, [PAGE] * 3, "forward", True, False),
        ([SERVED, PAGE, SERVED], [PAGE] * 3, "unknown", False, False),
        ([PAGE] * 3, [PAGE, SERVED, PAGE], "open", False, True),
        ([SILENT], [SILENT], "unknown", False, False),
        ([PAGE, PAGE, SILENT], [PAGE] * 3, "unknown", False, False),
        ([PAGE, SERVED, SILENT], [PAGE] * 3, "unknown", False, False),
        ([SERVED] * 3, [SILENT], "open", False, True),
        ([Answer(status=500)] * 3, [Answer(status=500)] * 3, "open", False, True),
    ],
)
def test_what_answers_come_to(plain: Any, again: Any, mode: str, whole: bool, serves: bool) -> None:
    """Silence is never the page; a single answer that is not the page is enough to serve."""
    seen = manual.judge(plain, again)
    assert (seen.mode, seen.whole, seen.serves) == (mode, whole, serves)


def test_two_components_have_no_balancer_in_common(move: Move) -> None:
    """The thaw of the one would let users in at the other."""
    move.on("gw-a")
    with pytest.raises(GuardRefused, match="entrance has control of it"):
        entrance_side.Side("dashboard", "gw-a", move.pair.options("gw-a")).prepare()
