"""One side's entrance: nothing opens without the rule, nothing counts as closed without proof."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.agent.__main__ import main as agent
from bascule.entrance.io.haproxy import Haproxy
from bascule.entrance.io.https import Target
from bascule.entrance.io.side import Side
from bascule.entrance.mode import EntranceError
from bascule.entrance.requests import Answer, Request
from bascule.errors import GuardRefused, StoreError
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.guard.state import GuardState, Word
from bascule.system.io import storage

from .world import FakeHaproxy

SMOKE = [Request("health", "/healthz")]
TOKEN = ("X-Bascule-Smoke", "secret")
OTHER = Target("192.0.2.2", "courses.example.org", "/none")
CLOSED = Answer(status=503, headers={"retry-after": "5"})
Make = Callable[..., Side]


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHaproxy]:
    """A running HAProxy, and guards in a directory of the test."""
    root = tmp_path / "lib" / "guard"
    monkeypatch.setattr(store, "GUARD_DIRECTORY", root)
    for function in (
        store.closing,
        store.opening,
        store.read,
        store.adopt,
        store.frozen,
        store.thawing,
        store.opening_by_word,
        store.giving_way,
    ):
        monkeypatch.setitem(inspect.unwrap(function).__kwdefaults__, "root", root)
    with FakeHaproxy(tmp_path).running() as fake:
        yield fake


@pytest.fixture
def make(haproxy: FakeHaproxy) -> Make:
    """Return a maker of sides that are all this host."""

    def side(status: str = "open", check: bool = False, ask: Any = None) -> Side:
        made = Side("entrance", "gw-a", haproxy.options(), check=check, ask=ask or haproxy.ask)
        if status:
            store.adopt("entrance", "gw-a", status)
        return made

    return side


def closed_receipt(epoch: str) -> dict[str, Any]:
    """Return the other side's receipt."""
    return {"component": "entrance", "side": "gw-b", "epoch": epoch, "position": {}, "issued_at": "now"}


def other(status: str) -> dict[str, Any]:
    """Return the other side's guard."""
    return GuardState("entrance", "gw-b", status=status).to_dict()


def passes(where: Target, *_: Any, **__: Any) -> Answer:
    """Our service answers; the other entrance shows its maintenance page."""
    return CLOSED if where == OTHER else Answer(status=200)


def test_freeze_drains_and_proves(make: Make, haproxy: FakeHaproxy) -> None:
    """Durable and effective; the second freeze changes nothing."""
    side = make()
    haproxy.busy = 3
    result = side.freeze(5, cut=False)
    assert (result["changed"], result["active"], result["drained"]["requests"]) == (True, True, 1)
    assert "mode maintenance" in haproxy.map_file.read_text()
    assert haproxy.mode == "maintenance"
    assert store.read("entrance", "gw-a").frozen
    assert not side.freeze(5, cut=False)["changed"]


def test_a_map_of_another_entrance_is_refused(make: Make, haproxy: FakeHaproxy) -> None:
    """One map holds one mode: a thaw of the one would let users in at the other, whatever its guard says."""
    make().prepare()
    other = Side("dashboard", "gw-a", haproxy.options(), ask=haproxy.ask)
    with pytest.raises(GuardRefused, match="entrance has control of it"):
        other.prepare()


def test_check_mode_touches_nothing(make: Make, haproxy: FakeHaproxy) -> None:
    """And says what would happen."""
    before = haproxy.map_file.read_text()
    side = make(check=True)
    assert side.freeze(5, cut=False)["changed"]
    assert side.close("1.a", 5, cut=False)["receipt"]["epoch"] == "1.a"
    assert not side.thaw()["changed"]
    assert side.forward(other("closed"))["changed"]
    assert side.prepare()
    assert (haproxy.map_file.read_text(), haproxy.mode) == (before, "open")
    assert store.read("entrance", "gw-a").status == "open"
    assert not [text for text in haproxy.commands if text.startswith(("set", "add"))]


def test_check_mode_goes_through_a_whole_move(make: Make, haproxy: FakeHaproxy) -> None:
    """The side that would be opened is still closed when the thaw is asked what it would do."""
    haproxy.mode = "maintenance"
    side = make("closed", check=True)
    assert side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 0, [OTHER])["changed"]
    assert side.thaw()["changed"]
    assert store.read("entrance", "gw-a").status == "closed"
    assert haproxy.mode == "maintenance"


def test_a_side_that_was_not_taken_over_is_left_alone(make: Make, haproxy: FakeHaproxy) -> None:
    """Whatever it does, it does for somebody; check mode says what would follow after prepare."""
    with pytest.raises(GuardRefused, match="20_prepare"):
        make("").freeze(1, cut=False)
    assert make("", check=True).freeze(1, cut=False)["changed"]
    assert haproxy.mode == "open"


def test_requests_that_do_not_end_fail_the_freeze(make: Make, haproxy: FakeHaproxy) -> None:
    """Unless they may be cut."""
    side = make()
    haproxy.busy = 10_000
    with pytest.raises(EntranceError, match="1 requests in flight"):
        side.freeze(0.1, cut=False)
    side.freeze(0.1, cut=True)
    assert "shutdown sessions server be_courses/courses" in haproxy.commands


def test_a_mode_that_does_not_take_effect_is_an_error(make: Make, haproxy: FakeHaproxy) -> None:
    """What the process says is read again; the file says maintenance by then."""
    side = make()
    haproxy.stubborn = True
    with pytest.raises(EntranceError, match="file: maintenance, running process: open"):
        side.freeze(1, cut=False)


@pytest.mark.parametrize("answer", [Answer(error="timed out"), Answer(status=200), Answer(status=503)])
def test_no_receipt_without_proof(make: Make, answer: Answer) -> None:
    """The state stays "closing": the permit has ended, nothing may open."""
    side = make(ask=lambda *_, **__: answer)
    with pytest.raises(EntranceError, match="no receipt was given"):
        side.close("1.a", 1, cut=False)
    state = store.read("entrance", "gw-a")
    assert (state.status, state.receipt) == ("closing", None)


def test_closing_is_idempotent(make: Make) -> None:
    """The same epoch gives the same receipt."""
    side = make()
    first, again = side.close("1.a", 1, cut=False), side.close("1.a", 1, cut=False)
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["receipt"] == again["receipt"]


def test_opening_keeps_users_out_until_the_thaw(make: Make, haproxy: FakeHaproxy) -> None:
    """Then they are let in, and a second thaw changes nothing."""
    haproxy.mode = "forward"
    side = make("closed", ask=passes)
    result = side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 1, [OTHER])
    assert (result["guard"]["status"], result["guard"]["frozen"], haproxy.mode) == ("open", True, "maintenance")
    assert side.thaw()["changed"]
    assert (haproxy.mode, "mode open" in haproxy.map_file.read_text()) == ("open", True)
    assert not side.thaw()["changed"]


def test_no_moment_of_an_opening_lets_users_in(make: Make, haproxy: FakeHaproxy, monkeypatch: Any) -> None:
    """A controller that dies between two writes never leaves a side that says it serves."""
    haproxy.mode = "maintenance"
    written: list[tuple[str, bool]] = []
    save = store._save

    def noting(path: Path, state: GuardState) -> None:
        written.append((state.status, state.frozen))
        save(path, state)

    monkeypatch.setattr(store, "_save", noting)
    side = make("closed", ask=passes)
    written.clear()
    side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 1, [OTHER])
    assert written == [("opening", False), ("open", True)]


def test_a_thaw_that_fails_leaves_the_side_frozen(make: Make, haproxy: FakeHaproxy, tmp_path: Path) -> None:
    """Status must not say that users are served while they see the maintenance page; the file says so too."""
    side = make()
    side.freeze(1, cut=False)
    haproxy.stubborn = True
    with pytest.raises(EntranceError, match="file: open, running process: maintenance"):
        side.thaw()
    assert store.read("entrance", "gw-a").frozen
    assert "mode maintenance" in haproxy.map_file.read_text()
    assert isinstance(side.driver, Haproxy)
    side.driver.socket = str(tmp_path / "none.sock")
    with pytest.raises(EntranceError, match="when it answers again, run the same playbook again"):
        side.thaw()
    assert store.read("entrance", "gw-a").frozen
    assert "mode maintenance" in haproxy.map_file.read_text()
    haproxy.stubborn, side.driver.socket = False, str(haproxy.socket)
    assert side.thaw()["changed"]
    assert (haproxy.mode, store.read("entrance", "gw-a").frozen) == ("open", False)


def test_a_haproxy_that_dies_in_the_thaw_starts_with_the_page(
    make: Make, haproxy: FakeHaproxy, monkeypatch: Any
) -> None:
    """It had answered a moment ago; the command that lets users in was not taken."""
    side = make()
    side.freeze(1, cut=False)
    assert isinstance(side.driver, Haproxy)
    command = side.driver.command

    def dies(text: str, timeout: float = 5.0) -> str:
        if text.startswith("set"):
            raise ConnectionResetError
        return command(text, timeout)

    monkeypatch.setattr(side.driver, "command", dies)
    with pytest.raises(ConnectionResetError):
        side.thaw()
    assert "mode maintenance" in haproxy.map_file.read_text()
    assert store.read("entrance", "gw-a").frozen


def test_a_thaw_of_a_side_that_serves_shuts_nobody_out(make: Make, haproxy: FakeHaproxy) -> None:
    """Nobody froze it: a mode that does not take effect is told, not made worse."""
    side = make()
    haproxy.mode, haproxy.stubborn = "maintenance", True
    with pytest.raises(EntranceError, match="running process: maintenance"):
        side.thaw()
    assert not store.read("entrance", "gw-a").frozen
    assert "mode open" in haproxy.map_file.read_text()


def test_the_mode_is_set_under_the_guard_s_lock(make: Make, haproxy: FakeHaproxy, monkeypatch: Any) -> None:
    """So that what another run has made of this side meanwhile is not undone."""
    monkeypatch.setattr(store, "LOCK_WAIT", 0.05)
    haproxy.mode = "forward"
    side = make("closed")
    with storage.locked(store.GUARD_DIRECTORY / "entrance.lock"):
        with pytest.raises(StoreError, match="another command holds it"):
            side.freeze(1, cut=False)
        with pytest.raises(StoreError, match="another command holds it"):
            side.stop_forwarding()
    assert haproxy.mode == "forward"


def test_a_freeze_that_was_overtaken_leaves_the_mode(make: Make, haproxy: FakeHaproxy, monkeypatch: Any) -> None:
    """Another run closed this side between the mark and the mode."""
    side = make()
    closed = store.read("entrance", "gw-a")
    monkeypatch.setattr(store, "frozen", lambda *_, **__: (closed, True))
    with pytest.raises(GuardRefused, match="another run took over in between"):
        side.freeze(1, cut=False)
    assert haproxy.mode == "open"


@pytest.mark.parametrize(
    ("answer", "why"),
    [(Answer(status=200), "status 200, not 503"), (Answer(error="timed out"), "proves nothing")],
)
def test_no_opening_while_the_other_entrance_may_serve(
    make: Make, haproxy: FakeHaproxy, answer: Answer, why: str
) -> None:
    """A receipt alone is not enough: the attempt from outside has to be refused."""
    haproxy.mode = "maintenance"
    side = make("closed", ask=lambda where, *_, **__: answer if where == OTHER else Answer(status=200))
    with pytest.raises(GuardRefused, match=why):
        side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 1, [OTHER])
    assert store.read("entrance", "gw-a").status == "closed"


def test_no_opening_while_the_smoke_fails(make: Make, haproxy: FakeHaproxy) -> None:
    """The guard has not been touched, and the token is in no message."""
    haproxy.mode = "maintenance"
    side = make("closed", ask=lambda *_, **__: Answer(status=502))
    with pytest.raises(EntranceError, match="gave 502, not 200") as caught:
        side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 0, [OTHER])
    assert "secret" not in str(caught.value)
    assert store.read("entrance", "gw-a").status == "closed"


def test_only_a_live_permit_thaws(make: Make, haproxy: FakeHaproxy) -> None:
    """A side that gave its receipt does not."""
    side = make()
    side.close("1.a", 1, cut=False)
    with pytest.raises(GuardRefused, match="live permit"):
        side.thaw()
    assert haproxy.mode == "maintenance"


def test_a_closed_side_forwards_to_an_open_one_only(make: Make, haproxy: FakeHaproxy) -> None:
    """So that two sides never forward to each other."""
    side = make()
    with pytest.raises(GuardRefused, match="forwards to an open one"):
        side.forward(other("open"))
    side.close("1.a", 1, cut=False)
    for status in ("closed", "closing", "opening", "unknown"):
        with pytest.raises(GuardRefused, match="forwards to an open one"):
            side.forward(other(status))
    with pytest.raises(GuardRefused, match="other side"):
        side.forward({**other("open"), "side": "gw-a"})
    assert side.forward(other("open"))["changed"]
    assert haproxy.mode == "forward"
    assert not side.forward(other("open"))["changed"]
    assert side.stop_forwarding()["mode"] == "maintenance"


def test_a_side_that_never_served_does_not_forward(make: Make, haproxy: FakeHaproxy) -> None:
    """Nobody knows its address: a return before the switch leaves it as it was."""
    haproxy.mode = "maintenance"
    assert not make("closed").forward(other("open"))["changed"]
    assert haproxy.mode == "maintenance"


def test_an_open_side_is_not_closed_without_the_rule(make: Make) -> None:
    """Retire is for the passive side."""
    with pytest.raises(GuardRefused, match="a closed side"):
        make().stop_forwarding()


def test_freezing_a_passive_side_leaves_it(make: Make, haproxy: FakeHaproxy) -> None:
    """It may forward; but whatever serves without a permit is stopped."""
    haproxy.mode = "forward"
    haproxy.map_file.write_text("mode forward\n")
    side = make("closed")
    assert not side.freeze(1, cut=False)["changed"]
    haproxy.mode = "open"
    assert side.freeze(1, cut=False)["changed"]
    assert haproxy.mode == "maintenance"


@pytest.mark.parametrize(
    ("status", "mode", "after"),
    [
        ("closed", "open", "maintenance"),
        ("closed", "forward", "forward"),
        ("closed", "maintenance", "maintenance"),
        ("open", "open", "open"),
    ],
)
def test_the_boot_fence(make: Make, haproxy: FakeHaproxy, status: str, mode: str, after: str) -> None:
    """Only the file is put right: at boot nothing runs yet."""
    make(status).prepare()
    haproxy.map_file.write_text(f"mode {mode}\n")
    assert agent(["fence_entrance", "entrance"]) == 0
    assert f"mode {after}\n" in haproxy.map_file.read_text()


def test_a_socket_that_is_away_is_told(tmp_path: Path) -> None:
    """With what HAProxy will do when it starts."""
    (tmp_path / "mode.map").write_text("mode maintenance\n")
    away = Haproxy(str(tmp_path / "mode.map"), str(tmp_path / "none.sock"), "mode")
    with pytest.raises(EntranceError, match="says maintenance, which HAProxy follows when it starts"):
        away.runtime()


def test_the_entrance_that_is_left_opens_by_a_word_behind_its_maintenance_page(
    make: Make, haproxy: FakeHaproxy
) -> None:
    haproxy.mode = "maintenance"
    epoch = rule.beyond(GuardState("entrance", "gw-a", status="closed"), "w")
    word = Word("gw-b", epoch, "Nadia", "power cut at the PDU", "now")

    def asked(gone: Answer) -> Any:
        return lambda where, *_, **__: gone if where == OTHER else Answer(status=200)

    serves = make("closed", ask=asked(Answer(status=200)))
    with pytest.raises(EntranceError, match=r"to be lost, as Nadia has said.*it answers"):
        serves.take_over(word, SMOKE, TOKEN, 0, [OTHER])
    assert store.read("entrance", "gw-a").status == "closed"
    side = make("closed", ask=asked(Answer(error="no route to host")))
    assert side.take_over(word, SMOKE, TOKEN, 0, [OTHER])["guard"]["frozen"]
    assert haproxy.mode == "maintenance"
    assert side.thaw()["mode"] == "open"
    assert store.read("entrance", "gw-a").word == word


def test_an_entrance_that_is_back_gives_way(make: Make, haproxy: FakeHaproxy) -> None:
    epoch = rule.beyond(GuardState("entrance", "gw-b", status="closed"), "w")
    other = GuardState("entrance", "gw-b", epoch, "open", epoch, word=Word("gw-a", epoch, "Nadia", "power cut", "now"))
    side = make()
    way = str(rule.next_epoch(side.guard(), other, "b"))
    closed = side.close(way, 1, True, other)
    assert (closed["guard"]["status"], closed["guard"]["gave_way"], haproxy.mode) == ("closed", way, "maintenance")


@pytest.mark.parametrize(("serves", "opens"), [("nothing", True), ("forwards", True), ("open", False)])
def test_a_side_opens_when_each_further_address_of_the_other_one_refuses(make: Make, serves: str, opens: bool) -> None:
    """One that forwards, as a machine of a pair that was moved before, shows its page to what was forwarded once."""
    further = Target("192.0.2.10", "courses.example.org", "/none")

    def ask(where: Target, *rest: Any, **more: Any) -> Answer:
        if where != further:
            return passes(where, *rest, **more)
        again = "X-Bascule-Forwarded" in (more.get("headers") or {})
        return CLOSED if serves == "nothing" or (serves == "forwards" and again) else Answer(status=200)

    side = make("closed", ask=ask)
    if opens:
        assert side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 1, [OTHER, further])["guard"]["status"] == "open"
        return
    with pytest.raises(GuardRefused) as refused:
        side.open("1.a", closed_receipt("1.a"), SMOKE, TOKEN, 1, [OTHER, further])
    assert "192.0.2.10" in refused.value.message()
    with pytest.raises(GuardRefused) as refused:
        side.open("2.a", closed_receipt("2.a"), SMOKE, TOKEN, 1, [])
    assert "no address of the other entrance" in refused.value.message()
    assert side.guard().status == "closed"
