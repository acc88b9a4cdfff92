"""A wildcard of type TXT answers for names of the component that are not there: what real servers say, and is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bascule.dns.io import servers
from bascule.dns.records import ServerView, parse_records

from . import real
from .real import Running

SIDES = ("ns-a", "ns-b")
STARS = '* IN TXT "v=spf1 -all"\n* IN TXT "second"\n*.deep IN TXT "deep"\nthere IN TXT "real"\n'
KINDS = ["bind", pytest.param("knot", marks=pytest.mark.long), pytest.param("powerdns", marks=pytest.mark.long)]


def records(*names: str, kind: str = "TXT") -> Any:
    """Return records of these names."""
    value = {"TXT": "a", "A": "192.0.2.1"}[kind]
    return parse_records(
        [{"name": n, "type": kind, "values": dict.fromkeys(SIDES, value)} for n in names], real.ZONE, SIDES
    )


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """Run a server whose zone has wildcards."""
    with real.serving(request.param, tmp_path / "server", text=real.TEXT + STARS) as running:
        yield running


def test_what_a_wildcard_says_is_no_state(server: Running) -> None:
    """It would be read as one that nobody understands; the reason is said instead."""
    view = servers.read_server("ns-a", server.address, real.ZONE, [], server.port)
    assert view.error.startswith("the wildcard *.example.org. of type TXT answers for it at 127.")
    assert (view.state_text, view.serial) == (None, None)


def test_each_wildcard_that_would_answer_is_named(server: Running) -> None:
    view = ServerView("ns-a", server.address)

    def said(*given: str, kind: str = "TXT") -> list[str]:
        found = servers.wildcards(view, real.ZONE, records(*given, kind=kind), server.port)
        return [text.partition(" of type TXT answers for ")[0].rpartition(" ")[2] for text in found]

    assert said("www", kind="A") == ["*.example.org."], "for the state, whatever moves"
    assert said("a.deep") == ["*.example.org.", "*.deep.example.org."]
    assert said("*", "a.deep") == ["*.deep.example.org."], "one that moves is the component's own"
    assert said("*", "*.deep", "x.deep") == []


def test_a_zone_without_wildcards_has_none(tmp_path: Path) -> None:
    with real.serving("bind", tmp_path / "bind") as running:
        view = servers.read_server("ns-a", running.address, real.ZONE, [], running.port)
        assert (view.error, view.state_text) == ("", None)
        assert servers.wildcards(view, real.ZONE, records("text", "a.b.c"), running.port) == []
    (silent,) = servers.wildcards(view, real.ZONE, records("www", kind="A"), running.port, 0.2)
    assert silent.startswith("ns-a: 127."), "what was not seen is none that is not there"
