"""Virtual addresses of keepalived: all that its configuration has, wherever it lies, are declared or named."""

from __future__ import annotations

import importlib
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.entrance import keepalived as rules
from bascule.entrance.io import keepalived
from bascule.system.io.process import Result

CONFIGURATION = """! Configuration File for keepalived
global_defs { router_id lb1 }
$NET=192.0.2
vrrp_instance VI_1 {   # the service's
    state MASTER
    interface eth0
    authentication { auth_type PASS
        auth_pass "se#cret" }
    virtual_ipaddress {
        192.0.2.10/24 dev eth0 label eth0:1
        ${NET}.11
        @lb2 192.0.2.12
        2001:DB8:0::10/64
    }
    virtual_ipaddress_excluded { 192.0.2.13 192.0.2.15/24 brd 192.0.2.255 dev eth0 }
    virtual_routes { 198.51.100.0/24 via 192.0.2.254 }
    track_script { chk }
}
virtual_server 192.0.2.14 443 { delay_loop 6 }
"""


def test_all_addresses_are_found() -> None:
    found = rules.read({"/k.conf": CONFIGURATION})
    assert found.unread == []
    assert found.addresses == {
        "192.0.2.10": "/k.conf:10",
        "192.0.2.11": "/k.conf:11",
        "192.0.2.12": "/k.conf:12",
        "2001:db8::10": "/k.conf:13",
        "192.0.2.13": "/k.conf:15",
        "192.0.2.15": "/k.conf:15",
        "192.0.2.14": "/k.conf:19",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("virtual_ipaddress {\n $ELSEWHERE\n}", "/k:2: $ELSEWHERE has no value"),
        ("virtual_ipaddress {\n ${NET}.1\n}", "/k:2: ${NET} has no value"),
        ("virtual_ipaddress {\n www.example.org\n}", "/k:2: 'www.example.org' is no address"),
        ("virtual_ipaddress {\n 192.0.2.~SEQ(1,9)\n}", "is no address"),
        ("virtual_server fwmark 1 {\n}", "'fwmark' is no address"),
        ("virtual_server_group web {\n 192.0.2.1 80\n}", "whose addresses are not read"),
    ],
)
def test_what_is_not_read_is_named(text: str, said: str) -> None:
    found = rules.read({"/k": text}, ["/gone.conf"])
    assert any(said in one for one in found.unread), found.unread
    assert "/gone.conf, which it includes, is not there or cannot be read" in found.unread
    assert all("is not known" in one for one in rules.faults(found, "lb1", "192.0.2.1", [], []))


@pytest.mark.parametrize(
    ("own", "further", "others", "said"),
    [
        ("192.0.2.1", ["192.0.2.10"], [], []),
        ("192.0.2.1", [], ["192.0.2.10"], []),
        ("192.0.2.1", ["192.0.2.9"], [], ["web_entrance_further_addresses.lb1: expected 192.0.2.10, which keepalived"]),
        ("192.0.2.10", ["192.0.2.10"], [], ["found that one again", "expected the machine's own address"]),
        ("192.0.2.10", [], [], ["web_entrance_addresses.lb1: expected the machine's own address; found 192.0.2.10"]),
        ("192.0.2.1", ["192.0.2.10", " "], [], ["expected addresses; found an empty one"]),
    ],
)
def test_every_virtual_address_is_declared(own: str, further: list[str], others: list[str], said: list[str]) -> None:
    found = rules.read({"/k": "virtual_ipaddress {\n192.0.2.10/24\n}"})
    named = rules.faults(found, "lb1", own, further, others)
    assert len(named) == len(said), named
    assert all(text in fault for text, fault in zip(said, named, strict=True)), named


def test_spelling_is_no_difference() -> None:
    found = rules.read({"/k": "virtual_ipaddress {\n2001:DB8::0:10/64\n}"})
    assert rules.faults(found, "lb1", "192.0.2.1", ["2001:db8:0:0::10"], []) == []


def ran(process: str) -> Any:
    """Return what stands in for systemd: keepalived's process, 0 where it does not run."""
    return lambda argv, **_: Result(tuple(argv), 0, f"{process}\n", "")


def test_an_included_file_may_define_what_is_used_before_it() -> None:
    found = rules.read({"/k": "include d\nvirtual_ipaddress {\n$NET.7\n}", "/d": "$NET=192.0.2"})
    assert (found.addresses, found.unread) == ({"192.0.2.7": "/k:3"}, [])


def test_includes_are_followed(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "k.conf").write_text("include conf.d/*.conf\ninclude more.conf\ninclude none/*.conf\n@lb9 include x\n")
    (tmp_path / "conf.d/a.conf").write_text("virtual_ipaddress {\n192.0.2.10\n}\ninclude ../k.conf\n")
    found = keepalived.configuration(ran("0"), tmp_path, str(tmp_path / "k.conf"))
    assert set(found.addresses) == {"192.0.2.10"}
    assert [one.partition(",")[0] for one in found.unread] == [str(tmp_path / "more.conf"), str(tmp_path / "x")]


@pytest.mark.parametrize("words", [("-f", "{}"), ("--use-file={}",), ("-f{}",), ("--use-file", "{}")])
def test_the_file_that_it_was_started_with(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "7/task/7").mkdir(parents=True)
    (tmp_path / "7/task/7/children").write_text("")
    other = tmp_path / "other.conf"
    arguments = [word.format(other) for word in words]
    (tmp_path / "7/cmdline").write_text("\0".join(["/usr/sbin/keepalived", "--dont-fork", *arguments, ""]))
    found = keepalived.configuration(ran("7"), tmp_path, str(tmp_path / "none"))
    assert found.unread == [f"it runs, and {other}, which it follows, is not there"]
    other.write_text("virtual_ipaddress {\n192.0.2.10\n}\n")
    assert set(keepalived.configuration(ran("7"), tmp_path).addresses) == {"192.0.2.10"}


def test_a_machine_without_it_has_none(tmp_path: Path) -> None:
    found = keepalived.configuration(ran("0"), tmp_path, str(tmp_path / "none"))
    assert (found.addresses, found.unread) == ({}, [])


def test_the_addresses_of_this_machine() -> None:
    """As its kernel tells them."""
    here = keepalived.here()
    assert "127.0.0.1" in here
    assert "192.0.2.10" not in here
    assert rules.local_addresses("", "20010db8000000000000000000000010 02 40 00 80 eth0\n") == {"2001:db8::10"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("127.0.0.1", 9))
        assert asked.getsockname()[0] in here


def test_the_module_tells_what_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that keepalived does not have cannot be at another machine of the pair: it has to be seen open."""
    found = rules.read({"/k": "virtual_ipaddress {\n127.0.0.1\n192.0.2.10\n}"})
    monkeypatch.setattr(keepalived, "configuration", lambda: found)
    module = importlib.import_module("bascule_entrance_addresses")
    further = ["127.0.0.1", "192.0.2.10", "203.0.113.1"]
    params = {"side": "lb1", "address": "192.0.2.1", "further": further, "others": []}
    result = module.main(SimpleNamespace(params=params, check_mode=False))
    assert result["elsewhere"] == ["192.0.2.10"]
    assert (set(result["virtual"]), result["faults"]) == ({"127.0.0.1", "192.0.2.10"}, [])
