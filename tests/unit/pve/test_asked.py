"""The question that the preflight puts to each node's API, over TLS; no secret is ever in what is found."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest

from bascule.plugin import asked
from bascule.run.findings import Declared

from .over_tls import World
from .parts import TOKEN

SECRET = "5f0c6d1e-8f6f-4a5c-9c0d-2f1d7c9b3a41"


def guest(world: World, **more: Any) -> Declared:
    """Return a guest whose two nodes are this one."""
    side = {"api_host": "127.0.0.1", "api_port": world.port, "node": "pve1", "vmid": 100, "storage": "local", **more}
    values = {
        "proxmox_guest_sides": {"a": side, "b": {**side, "api_port": more.get("other", world.port)}},
        "proxmox_guest_token_id": TOKEN,
        "proxmox_guest_token_secrets": {"a": "secret", "b": "secret"},
        "proxmox_guest_ca_file": str(world.directory / "ca.crt"),
    }
    return Declared("guest", "proxmox_guest", ("a", "b"), values)


def found(declared: Declared, phase: str = "audit") -> list[tuple[str, str]]:
    """Return variable and what was found, of each finding."""
    return [(one.key, one.found) for one in asked.answers([declared], phase, str)]


def test_nodes_that_answer_are_no_finding(world: World) -> None:
    assert found(guest(world)) == []
    assert found(guest(world, fingerprint=world.fingerprint)) == []


def test_each_node_that_does_not_answer_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        # Nobody listens there.
        taken.bind(("127.0.0.1", 0))
        ((key, why),) = found(guest(world, other=taken.getsockname()[1]))
    assert key == "proxmox_guest_sides.b.api_host"
    assert "NewConnectionError" in why or "refused" in why
    one = guest(world)
    ((key, why),) = found(replace(one, values={**one.values, "proxmox_guest_ca_file": ""}))
    assert key == "proxmox_guest_sides.a.api_host", "one node is asked once"
    assert "CERTIFICATE_VERIFY_FAILED" in why
    ((_, why),) = found(replace(one, values={**one.values, "proxmox_guest_ca_file": "/no/such/ca.pem"}))
    assert "/no/such/ca.pem" in why
    monkeypatch.setattr(asked, "RELEASES", ("7",))
    assert [why.partition(" ")[0] for _, why in found(one)] == ["Proxmox"]


@pytest.mark.parametrize("secret", [SECRET, "with a blank", "\ttab", "line\nbreak", "naïve", ""])
def test_a_token_that_is_refused_shows_no_secret(world: World, secret: str) -> None:
    one = guest(world)
    values = {**one.values, "proxmox_guest_token_secrets": {"a": secret, "b": "secret"}}
    ((key, why),) = found(replace(one, values=values))
    assert key == "proxmox_guest_sides.a.api_host"
    assert ("401" in why) if secret == SECRET else ("not shown" in why)
    assert not secret or secret not in why


@pytest.mark.parametrize("secret", ["it's", 'back\\slash"', SECRET])
def test_a_secret_is_taken_out_of_what_is_said(secret: str) -> None:
    for text in (secret, repr(secret), str(ValueError(f"Invalid header: {secret.encode()!r}"))):
        assert secret not in asked.without(secret, text)
        assert "(not shown)" in asked.without(secret, text)


@pytest.mark.parametrize("phase", ["cutover", "verify", "commit", "rollback", "site_lost", "site_back", "decommission"])
def test_no_phase_is_held_up_that_asks_by_itself(world: World, phase: str) -> None:
    assert found(guest(world, other=1), phase) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"api_port": "https"}, "'https', which is no port"),
        ({"token_id": f"bascule@pve!move={SECRET}"}, "a token's id with a secret in it (not shown)"),
    ],
)
def test_what_cannot_be_asked_is_named(world: World, more: dict[str, Any], said: str) -> None:
    listed = asked.answers([guest(world, **more)], "audit", str)
    assert {one.found for one in listed} == {said}
    assert all(SECRET not in one.text() for one in listed)


def test_other_roles_are_asked_nothing() -> None:
    assert asked.answers([Declared("tree", "rsync_delta_sync", ("a", "b"))], "audit", str) == []
