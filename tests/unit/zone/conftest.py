"""Name servers in memory for the tests of the action."""

from __future__ import annotations

import pytest

from bascule.dns.io import servers as io_dns
from bascule.dns.records import ServerView
from bascule.run.io import identity

from .world import World


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Name servers in memory in place of the network."""
    made = World()
    monkeypatch.setattr(io_dns, "read_server", lambda host, *_, **__: made.read(host))
    monkeypatch.setattr(io_dns, "name_servers", lambda *_: made.names)
    monkeypatch.setattr(io_dns, "refusal", lambda view, *_: made.refusals.get(view.host, ""))
    monkeypatch.setattr(io_dns, "homeless", lambda view, *_: made.homeless.get(view.host, []))
    monkeypatch.setattr(io_dns, "wildcards", lambda view, *_: made.wildcards.get(view.host, []))
    monkeypatch.setattr(io_dns, "apply", lambda change, *_, **__: made.write(change))
    resolver = ServerView("resolver", "192.0.2.80", rrsets=made.servers["ns-a"].rrsets)
    monkeypatch.setattr(io_dns, "read_resolver", lambda *_, **__: resolver)
    monkeypatch.setenv(identity.DECISION, "d1")
    return made
