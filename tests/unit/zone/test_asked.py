"""The questions of the preflight to name servers, real ones, by UDP and TCP; and to whom nobody waits for ever."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import pytest

from bascule.dns.io import servers
from bascule.errors import BasculeError
from bascule.plugin import asked
from bascule.plugin.asked import Question
from bascule.run.findings import Declared

from . import real


@pytest.fixture
def only_udp() -> Iterator[int]:
    """Answer by UDP alone, as behind a firewall that lets nothing else through."""
    port = real.free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.settimeout(0.05)
        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                try:
                    text, sender = server.recvfrom(4096)
                except TimeoutError:
                    continue
                server.sendto(dns.message.make_response(dns.message.from_wire(text)).to_wire(), sender)

        thread = threading.Thread(target=answer)
        thread.start()
        yield port
        done.set()
        thread.join()


def names(port: int, **more: Any) -> Declared:
    """Return a component of names whose servers are on this machine."""
    values = {"zone": real.ZONE, "servers": {"ns-a": "127.0.0.1"}, "port": port, **more}
    return Declared(
        "names", "dns_switchover", ("ns-a", "ns-b"), {f"dns_switchover_{key}": value for key, value in values.items()}
    )


def found(declared: Declared, phase: str = "audit") -> list[tuple[str, str]]:
    """Return variable and what was found, of each finding."""
    return [(one.key, one.found) for one in asked.answers([declared], phase, lambda host: "127.0.0.1")]


def test_a_real_server_answers_both_ways(tmp_path: Path) -> None:
    with real.serving("bind", tmp_path / "bind") as running:
        at = {"ns-a": running.address}
        assert found(names(running.port, servers=at, secondaries=at, resolvers=at)) == []


def test_a_server_that_answers_by_udp_alone_is_named(only_udp: int) -> None:
    """Updates, and long answers, take TCP; of a resolver that is not asked."""
    ((key, why),) = found(names(only_udp, resolvers={"r": "127.0.0.1"}))
    assert key == "dns_switchover_servers.ns-a"
    assert why.startswith("none (ConnectionRefusedError")
    (finding,) = asked.answers([names(only_udp)], "audit", str)
    expected = f"an answer of 127.0.0.1 about {real.ZONE} by TCP at port {only_udp}, asked from here"
    assert finding.text().startswith(f"names: dns_switchover_servers.ns-a: expected {expected}; found none")


def test_all_servers_of_all_zones_are_asked(only_udp: int) -> None:
    """Without addresses of their own, the machines of both sides."""
    further = [{"name": "example.net", "secondaries": {"s": "no-such-server.invalid"}}]
    listed = found(names(only_udp, servers={}, further_zones=further))
    assert {key for key, _ in listed} == {
        "dns_switchover_servers.ns-a",
        "dns_switchover_further_zones.ns-a",
        "dns_switchover_further_zones.s",
    }
    assert [why.partition(":")[0] for key, why in listed if key.endswith(".s")] == ["none (gaierror"] * 2


def test_a_server_may_be_given_by_its_name(tmp_path: Path) -> None:
    """As `ansible_host` may give a machine."""
    with real.serving("bind", tmp_path / "bind") as running:
        assert found(names(running.port, servers={"ns-a": "localhost"})) == []
        view = servers.read_server("ns-a", "localhost", real.ZONE, [], running.port)
        assert (view.error, view.serial) == ("", 7)
    assert "does not answer" in servers.read_server("ns-a", "no-such-server.invalid", real.ZONE, []).error


@pytest.mark.parametrize("phase", ["sync", "cutover", "verify", "commit", "rollback", "site_lost", "decommission"])
def test_no_phase_is_held_up_that_does_not_need_them(phase: str) -> None:
    assert found(names(1), phase) == []


def test_a_server_that_may_be_silent_holds_up_nothing() -> None:
    assert found(names(1, allow_unreachable=True)) == []
    assert found(names(1, zone="")) == []


def test_all_are_asked_at_once_and_none_is_waited_for_longer() -> None:
    """A hundred that take a moment, one that never answers, and one that fails with a text that nobody may read."""
    stuck, together = threading.Event(), threading.Barrier(100)

    def fails() -> str:
        raise ValueError("the secret")

    def refuses() -> str:
        raise BasculeError(expected="an answer", found="none")

    def never() -> str:
        stuck.wait()
        return "late"

    def with_all_others() -> str:
        # Comes through only where all hundred are under way at the same time.
        together.wait(20)
        return ""

    questions = [Question(f"c{number}", "k", "e", with_all_others) for number in range(100)]
    questions += [Question("x", "k", "e", never), Question("y", "k", "e", fails), Question("z", "k", "e", refuses)]
    begun = time.monotonic()
    listed = asked.put(questions, longest=5)
    stuck.set()
    assert [(one.subject, one.found) for one in listed] == [
        ("x", "no answer within 5 s"),
        ("y", "an error, ValueError"),
        ("z", "none"),
    ]
    assert time.monotonic() - begun < 60, "it has not waited for what never comes"


@pytest.mark.parametrize(
    ("ansible", "python", "wanted"),
    [
        ("2.19.4", "3.11.2", []),
        ("2.19.9", "3.14.0", []),
        ("2.19.3", "3.11.2", ["ansible-core"]),
        ("2.20.0", "3.10.9", ["ansible-core", "Python"]),
        ("2.18.1", "3.11.2", ["ansible-core"]),
    ],
)
def test_versions_of_the_controller(ansible: str, python: str, wanted: list[str]) -> None:
    assert [finding.key for finding in asked.versions(ansible, python)] == wanted
    assert asked.versions() == []


def test_versions_are_those_of_the_project() -> None:
    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text()
    assert f'requires-python = "{asked.PYTHON}"' in text
    assert f'"ansible-core{asked.CORE}"' in text
