"""One side's VPN server: nothing opens without the rule, nothing counts as closed without proof."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.agent import boot
from bascule.errors import GuardRefused
from bascule.guard import state as rule
from bascule.guard.io import fence_settings, store
from bascule.guard.state import Epoch, GuardState, Word
from bascule.vpn.io import side as vpn_side
from bascule.vpn.io import way_in
from bascule.vpn.io.side import Side
from bascule.vpn.io.wireguard import WireGuard
from bascule.vpn.state import VpnError

from .world import ANNA, CONFIG, PRIVATE, SERVER, SHARED, FakeHost

OPTIONS = {"kind": "wireguard", "name": "wg0", "port": 51820}
OTHER = ("192.0.2.2", 51820)
Make = Callable[..., Side]


@pytest.fixture
def make(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a maker of sides that are all this host."""
    monkeypatch.setattr(
        vpn_side, "server", lambda options, _=None: WireGuard(options["name"], options["port"], host, host.root)
    )

    def side(status: str = "open", check: bool = False, seen: str = "refused") -> Side:
        if status:
            store.adopt("vpn", "vpn-a", status)
        return Side("vpn", "vpn-a", OPTIONS, check=check, ask=lambda *_: seen)

    return side


def receipt(epoch: str) -> dict[str, Any]:
    """Return the other side's receipt."""
    return {"component": "vpn", "side": "vpn-b", "epoch": epoch, "position": {}, "issued_at": "now"}


def world(host: FakeHost) -> tuple[bool, bool, bool, bool]:
    """Return running, enabled, masked, and whether the interface is there."""
    return host.running, host.enabled, host.masked, (host.root / "sys/class/net/wg0").is_dir()


OPEN, CLOSED = (True, True, False, True), (False, False, True, False)


def test_a_freeze_sends_peers_away_and_a_thaw_lets_them_in(make: Make, host: FakeHost) -> None:
    side = make()
    frozen = side.freeze()
    assert (frozen["changed"], frozen["active"], frozen["closed"]) == (True, True, True)
    assert world(host) == CLOSED
    assert store.read("vpn", "vpn-a").frozen
    assert not side.freeze()["changed"]
    assert side.thaw()["changed"]
    assert world(host) == OPEN
    assert not store.read("vpn", "vpn-a").frozen
    assert not side.thaw()["changed"]


def test_a_move_goes_by_the_rule_and_lets_nobody_in_before_the_thaw(make: Make, host: FakeHost) -> None:
    side = make()
    side.freeze()
    closed = side.close("1.a")
    assert closed["changed"]
    assert closed["receipt"]["epoch"] == "1.a"
    assert not side.close("1.a")["changed"]
    assert world(host) == CLOSED
    assert side.close("2.a")["receipt"]["epoch"] == "2.a"
    opened = side.open("2.b", receipt("2.b"), OTHER)
    assert (opened["changed"], opened["guard"]["status"], opened["guard"]["frozen"]) == (True, "open", True)
    assert world(host) == CLOSED
    assert not side.open("2.b", receipt("2.b"), OTHER)["changed"]
    side.thaw()
    assert world(host) == OPEN


@pytest.mark.parametrize(("status", "word"), [("silent", "proves nothing"), ("answered", "answers")])
def test_nothing_opens_unless_the_other_side_refuses(make: Make, host: FakeHost, status: str, word: str) -> None:
    make("closed").fence()
    side = make("", seen=status)
    with pytest.raises(GuardRefused, match=word):
        side.open("1.a", receipt("1.a"), OTHER)
    assert store.read("vpn", "vpn-a").status == "closed"
    assert world(host) == CLOSED


def test_a_side_without_permit_lets_nobody_in(make: Make, host: FakeHost) -> None:
    side = make()
    side.close("1.a")
    with pytest.raises(GuardRefused, match="a side with a live permit"):
        side.thaw()
    assert world(host) == CLOSED


def test_what_its_guard_does_not_call_open_is_closed_by_a_freeze(make: Make, host: FakeHost) -> None:
    assert make("closed").freeze() == {
        "changed": True,
        "guard": store.read("vpn", "vpn-a").to_dict(),
        "active": False,
    }
    assert world(host) == CLOSED


def test_a_side_that_nobody_took_over_is_not_frozen(make: Make, host: FakeHost) -> None:
    with pytest.raises(GuardRefused, match="has not been taken over"):
        make("").freeze()
    assert world(host) == OPEN


def test_a_closed_side_has_no_configuration_that_another_starter_would_find(make: Make, host: FakeHost) -> None:
    """Not wg-quick by hand, in a cron table, or as a line of another interface."""
    place = host.root / "etc/wireguard/wg0.conf"
    aside = host.root / "etc/wireguard/wg0.conf.closed"
    place.chmod(0o644)
    side = make()
    side.freeze()
    assert not place.exists()
    assert (aside.read_text(), aside.stat().st_mode & 0o777) == (CONFIG, 0o600)
    assert side.server.configured()[0]["public_key"] == SERVER, "what was put aside is compared"
    side.server.ready()
    side.close("1.a")
    place.write_text(CONFIG.replace("10.99.0.3", "10.99.0.4"))
    assert side.server.seen().mode == "stopped", "somebody has carried it over to where it would start"
    assert side.fence()["changed"]
    assert "10.99.0.4" in aside.read_text()
    assert not place.exists()
    side.open("2.b", receipt("2.b"), OTHER)
    assert not place.exists()
    side.thaw()
    assert "10.99.0.4" in place.read_text()
    assert not aside.exists()


def test_a_socket_that_passes_keeps_no_receipt_back(make: Make, host: FakeHost) -> None:
    """A name server's question may go out from that port."""
    side = make()
    side.freeze()
    host.write("proc/net/udp6", "  sl\n 9: 00000000000000000000000000000000:CA6C 0:0 07\n")
    timer = threading.Timer(0.3, lambda: host.write("proc/net/udp6", ""))
    timer.start()
    assert side.close("1.a")["receipt"]["epoch"] == "1.a"
    timer.join()


def test_no_receipt_while_something_takes_datagrams(
    make: Make, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket of whoever it is: from outside it looks like an open server."""
    side = make()
    side.freeze()
    monkeypatch.setattr("bascule.vpn.io.wireguard._PASSING", 0.1)
    host.write("proc/net/udp6", "  sl\n 9: 00000000000000000000000000000000:CA6C 0:0 07\n")
    with pytest.raises(VpnError, match="a socket takes datagrams at its port"):
        side.close("1.a")
    guard = store.read("vpn", "vpn-a")
    assert (guard.status, guard.receipt) == ("closing", None)


def test_no_receipt_while_the_unit_does_not_stop(make: Make, host: FakeHost) -> None:
    host.stubborn = True
    with pytest.raises(VpnError, match="its unit runs"):
        make().close("1.a")
    assert store.read("vpn", "vpn-a").receipt is None


def test_a_server_is_stopped_before_it_is_masked(make: Make, host: FakeHost) -> None:
    make().freeze()
    verbs = [words[1] for words in host.commands if words[0] == "systemctl" and words[1] != "show"]
    assert verbs == ["stop", "disable", "mask"]


def test_an_interface_that_was_brought_up_by_hand_goes_as_well(make: Make, host: FakeHost) -> None:
    side = make()
    side.close("1.a")
    host.link(True)
    host.write("etc/wireguard/wg0.conf", CONFIG)
    assert side.fence()["changed"]
    assert ("wg-quick", "down", "wg0") in host.commands
    assert world(host) == CLOSED
    assert not side.fence()["changed"]


def test_a_fence_leaves_an_open_side_alone(make: Make, host: FakeHost) -> None:
    assert not make().fence()["changed"]
    assert world(host) == OPEN


def test_a_thaw_that_fails_leaves_the_side_frozen_and_closed(
    make: Make, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = make()
    side.freeze()
    monkeypatch.setattr("bascule.vpn.io.wireguard._START", 0.0)
    host.stubborn = True
    with pytest.raises(VpnError, match="to run, to start at boot"):
        side.thaw()
    assert store.read("vpn", "vpn-a").frozen
    assert (host.running, host.masked) == (False, True)
    host.stubborn = False
    assert side.thaw()["changed"]


def test_a_server_that_was_taken_down_behind_its_unit_is_restarted(make: Make, host: FakeHost) -> None:
    side = make()
    host.link(False)
    assert side.thaw()["changed"]
    assert ("systemctl", "restart", "wg-quick@wg0.service") in host.commands
    assert world(host) == OPEN


def test_check_mode_touches_nothing(make: Make, host: FakeHost) -> None:
    side = make(check=True)
    assert side.prepare()
    assert side.freeze() == {"changed": True, "guard": side.guard().to_dict() | {"frozen": True}, "active": True}
    assert side.close("1.a")["receipt"]["epoch"] == "1.a"
    assert not side.thaw()["changed"]
    assert not side.fence()["changed"]
    assert world(host) == OPEN
    assert {words[1] for words in host.commands} == {"show"}
    assert not store.read("vpn", "vpn-a").frozen


def test_check_mode_goes_through_a_whole_move(make: Make, host: FakeHost) -> None:
    """Also before prepare has taken anything over."""
    side = make("", check=True)
    assert side.freeze()["active"]
    assert side.close("1.a")["changed"]
    assert side.open("1.a", receipt("1.a"), OTHER)["changed"]
    assert side.thaw()["changed"]
    assert world(host) == OPEN


def test_a_person_opens_the_side_that_is_left(make: Make, host: FakeHost) -> None:
    side = make("closed")
    word = Word("vpn-b", Epoch(1001, "w"), "Nadia", "its machine is off", "now")
    assert side.take_over(word)["guard"]["status"] == "open"
    assert world(host) == CLOSED
    side.thaw()
    assert world(host) == OPEN


def test_a_side_that_is_back_gives_way(make: Make, host: FakeHost) -> None:
    side = make()
    word = Word("vpn-a", Epoch(1001, "w"), "Nadia", "its machine is off", "now")
    survivor = GuardState("vpn", "vpn-b", Epoch(1001, "w"), rule.OPEN, Epoch(1001, "w"), word=word)
    given = side.close("1002.c", survivor)
    assert given["guard"]["gave_way"] == "1002.c"
    assert world(host) == CLOSED


@pytest.mark.parametrize("way", ["no file", "no key", "other port", "no program"])
def test_a_server_that_could_not_start_is_not_opened(make: Make, host: FakeHost, way: str) -> None:
    """It is looked at while the other side could still be let in again."""
    side = make("closed")
    config = host.root / "etc/wireguard/wg0.conf"
    if way == "no file":
        config.unlink()
    elif way == "no key":
        config.write_text(CONFIG.replace(PRIVATE, "damaged"))
    elif way == "other port":
        _config(host, "51820", "51821")
    else:
        host.programs.remove("wg-quick")
    with pytest.raises(VpnError, match="ready to start") as told:
        side.open("1.a", receipt("1.a"), OTHER)
    assert "damaged" not in str(told.value)
    assert store.read("vpn", "vpn-a").status == "closed"
    with pytest.raises(VpnError, match="ready to start"):
        side.server.ready()


def test_a_key_that_is_none_is_given_to_nobody(make: Make, host: FakeHost) -> None:
    """Programs quote it in their errors, and these stand in logs and reports."""
    side = make()
    side.freeze()
    aside = host.root / "etc/wireguard/wg0.conf.closed"
    aside.write_text(CONFIG.replace(SHARED, f"{SHARED}="))
    host.commands.clear()
    with pytest.raises(VpnError, match="its PresharedKey of peer 1") as told:
        side.thaw()
    assert "secret" not in str(told.value)
    assert not [words for words in host.commands if words[0] == "wg" or "start" in words]
    assert store.read("vpn", "vpn-a").frozen
    assert world(host) == CLOSED


def test_what_keeps_no_server_from_starting_keeps_none_from_being_opened(make: Make, host: FakeHost) -> None:
    side = make("closed")
    (host.root / "etc/wireguard/wg0.conf").chmod(0o644)
    _config(host, "ListenPort = 51820", "ListenPort = 51820\nSaveConfig = true\nAnything = else")
    assert len(side.server.configured()[1]) == 3, "audit and check name them"
    assert side.open("1.a", receipt("1.a"), OTHER)["changed"]


@pytest.mark.parametrize(
    ("status", "frozen", "closed"), [("open", False, False), ("open", True, True), ("closed", False, True)]
)
def test_a_start_of_the_host_closes_what_its_guard_does_not_call_open(
    make: Make, host: FakeHost, status: str, frozen: bool, closed: bool
) -> None:
    side = make(status)
    side.prepare()
    if frozen:
        store.frozen("vpn", "vpn-a", True)
    assert boot.boot(["vpn"]) == 0
    assert world(host) == (CLOSED if closed else OPEN)
    assert vpn_side.fence("vpn").endswith(store.read("vpn", "vpn-a").describe())


@pytest.mark.parametrize("left", ["interface", "socket"])
def test_a_tunnel_that_is_up_without_its_unit_is_not_taken_over(make: Make, host: FakeHost, left: str) -> None:
    """It would be adopted as closed, and somebody may use it."""
    host.running = host.enabled = False
    if left == "socket":
        host.link(False)
        host.write("proc/net/udp6", "  sl\n 9: 00000000000000000000000000000000:CA6C 00000000:0000 07\n")
    side = make("")
    with pytest.raises(VpnError, match="interface: True" if left == "interface" else "socket: True"):
        side.prepare()
    assert fence_settings.read("vpn", store.GUARD_DIRECTORY.parent) is None, "a boot fence would cut it as well"
    store.adopt("vpn", "vpn-a", "closed")
    assert side.prepare(), "one that was taken over as closed is fenced"


def test_two_components_have_no_control_of_one_server(make: Make) -> None:
    make().prepare()
    with pytest.raises(GuardRefused, match="vpn has control of it"):
        Side("other", "vpn-a", OPTIONS).prepare()


def test_a_server_that_is_as_it_should_be_has_no_fault(make: Make) -> None:
    measured, faults = make().server.measure(["10.1.0.20"], True)
    assert faults == []
    assert (measured["mode"], measured["version"]) == ("open", "wireguard-tools v1.0.20210914")
    assert "secret" not in str(measured)


def _fault(name: str, change: Callable[[FakeHost], Any]) -> Any:
    return pytest.param(name, change, id=name)


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        _fault("apt-get install wireguard-tools", lambda host: host.programs.remove("wg")),
        _fault("apt-get install wireguard-go", lambda host: host.programs.remove("wireguard-go")),
        _fault("vpn_switchover_port says 51820", lambda host: _config(host, "51820", "51821")),
        _fault("may be read by others", lambda host: (host.root / "etc/wireguard/wg0.conf").chmod(0o644)),
        _fault("its PresharedKey of peer 1 is", lambda host: _config(host, SHARED, "secretly")),
        _fault("its PrivateKey is missing, or no key", lambda host: _config(host, PRIVATE, "x")),
        _fault("there is no ", lambda host: (host.root / "etc/wireguard/wg0.conf").unlink()),
        _fault("does not start at boot", lambda host: setattr(host, "enabled", False)),
        _fault("ip_forward is off", lambda host: host.write("proc/sys/net/ipv4/ip_forward", "0\n")),
        _fault("no route leads to 10.1.0.20", lambda host: setattr(host, "route", "")),
        _fault("no route leads to", lambda host: setattr(host, "route", "10.1.0.20 dev wg0 src 10.99.0.1")),
        _fault(f"peer {ANNA} is in its file", lambda host: host.peers.pop(ANNA)),
        _fault("has to do with wg0 as well", lambda host: host.write("etc/network/interfaces", "auto wg0\n")),
        _fault("x.netdev.d/n.conf has", lambda host: host.write("run/systemd/network/x.netdev.d/n.conf", "Name=wg0\n")),
        _fault("/site/vpn has", lambda host: _sourced(host, "source /etc/site/*\n", "etc/site/vpn")),
        _fault("/more/vpn has", lambda host: _sourced(host, "source-directory more\n", "etc/network/more/vpn")),
        _fault(
            "cannot mask it",
            lambda host: setattr(host, "fragment", "/etc/systemd/system/wg-quick@wg0.service"),
        ),
    ],
)
def test_what_keeps_a_server_from_being_moved_is_named(
    make: Make, host: FakeHost, fault: str, change: Callable[[FakeHost], Any]
) -> None:
    server = make().server
    change(host)
    faults = server.measure(["10.1.0.20"], True)[1]
    assert [text for text in faults if fault in text], faults
    assert "secret" not in str(faults)


@pytest.mark.parametrize(
    ("up", "route", "address", "cut"),
    [
        (True, "10.1.0.9 via 192.0.2.254 dev eth0", "10.99.0.2", False),
        (True, "10.1.0.9 dev wg0 src 10.99.0.1", "10.1.0.9", True),
        (True, "", "10.99.0.2", False),
        (False, "", "10.99.0.77", True),
        (False, "", "10.98.0.9", True),
        (False, "", "192.0.2.9", False),
        (False, "", "fe80::1%eth0", False),
        (False, "", "no-address", False),
    ],
)
def test_nobody_is_cut_off_by_the_tunnel_that_stops(
    make: Make, host: FakeHost, up: bool, route: str, address: str, cut: bool
) -> None:
    host.link(up)
    host.route = route
    _config(host, "AllowedIPs = 10.99.0.3", "AllowedIPs = 10.99.0.3, 0.0.0.0/0")
    faults = make().server.measure([], True, {"the controller": address})[1]
    wanted = f"the controller, {address}, is reached through wg0: a freeze would cut it off, and nobody could go on"
    assert (wanted in faults) == cut


def test_from_where_a_connection_comes_is_asked_of_the_parents(tmp_path: Path) -> None:
    """As sudo takes the variable away."""
    for number, parent, environ in (
        (9, 8, "A=b\0"),
        (8, 7, "SSH_CONNECTION=10.99.0.2 50000 10.1.0.5 22\0"),
        (7, 1, ""),
    ):
        place = tmp_path / "proc" / str(number)
        place.mkdir(parents=True)
        (place / "environ").write_text(environ)
        (place / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
    assert way_in.came_from(tmp_path, 9) == "10.99.0.2"
    assert way_in.came_from(tmp_path, 7) == way_in.came_from(tmp_path, 99) == ""


def test_a_template_of_the_site_can_be_masked(make: Make, host: FakeHost) -> None:
    host.fragment = "/etc/systemd/system/wg-quick@.service"
    assert make().server.measure([], True)[1] == []


def test_a_hook_may_switch_forwarding_on(make: Make, host: FakeHost) -> None:
    host.write("proc/sys/net/ipv4/ip_forward", "0\n")
    _config(host, "ListenPort", "PostUp = sysctl net.ipv4.ip_forward=1\nListenPort")
    side = make()
    assert "ip_forward is off" in side.server.measure([], True)[1][0], "it serves, and the hook has not seen to it"
    side.freeze()
    assert side.server.measure([], True)[1] == []


def test_what_stops_with_the_server_and_what_only_the_default_route_leads_to_are_noted(
    make: Make, host: FakeHost
) -> None:
    server = make().server
    assert server.measure(["10.1.0.20"], True)[0]["notes"] == []
    host.required_by, host.bound_by = "dnsmasq.service", "nftables-vpn.service wg-quick@wg0.service"
    host.own_route = "default via 192.0.2.254 dev eth0"
    notes = server.measure(["10.1.0.20"], True)[0]["notes"]
    assert [text.split(",")[0] for text in notes] == [
        "only the default route leads to 10.1.0.20",
        "dnsmasq.service stops with wg-quick@wg0.service",
        "nftables-vpn.service stops with wg-quick@wg0.service",
    ]


def test_one_that_passes_nothing_on_needs_no_forwarding(make: Make, host: FakeHost) -> None:
    host.write("proc/sys/net/ipv4/ip_forward", "0\n")
    assert make().server.measure([], False)[1] == []


def _sourced(host: FakeHost, line: str, name: str) -> None:
    host.write("etc/network/interfaces", line)
    host.write(name, "iface wg0 inet static\n")


def _config(host: FakeHost, before: str, after: str) -> None:
    path: Path = host.root / "etc/wireguard/wg0.conf"
    path.write_text(path.read_text().replace(before, after))
