"""The stand-in has no containers, and says so in Proxmox's words: a client that asks for both kinds finds its guest."""

from __future__ import annotations

from typing import Any

import pytest
from pve.pve_standin.access import PRIVILEGES, Caller
from pve.pve_standin.errors import ApiError
from pve.pve_standin.node import Node
from pve.pve_standin.routes import answer

from bascule.guest import errors, kinds
from bascule.guest.api import Api
from bascule.guest.guest import Guest, Side

from .parts import TOKEN, Ask


def test_there_is_none(ask: Ask) -> None:
    assert ask("GET", "/nodes/pve1/lxc") == []
    with pytest.raises(ApiError) as caught:
        ask("GET", "/nodes/pve1/lxc/100/config")
    assert (caught.value.status, caught.value.reason) == (
        500,
        "Configuration file 'nodes/pve1/lxc/100.conf' does not exist",
    )


def test_a_client_finds_out_what_a_number_is(node: Node, guest: int) -> None:
    caller = Caller(TOKEN, {"/": frozenset(PRIVILEGES)})

    def transport(method: str, path: str, values: Any) -> Any:
        try:
            return 200, "OK", answer(node, caller, method, f"/{path}", dict(values)), None
        except ApiError as error:
            return error.status, error.reason, None, None

    def at(vmid: int) -> Guest:
        return Guest(Api(transport, "pve1"), Side("pve1", "pve1", vmid, "local"), "courses_guest")

    assert at(guest).kind is kinds.QEMU
    assert at(guest).config()["name"] == "vm1"
    assert at(999).config_if_any() is None
    with pytest.raises(errors.NoSuchGuest):
        at(999).config()
