"""What stopped a move on the real API is named by Bascule before it, asked of a node that answers as the real one."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pve.pve_standin.access import PRIVILEGES

from bascule.guest import decisions, leftovers, observed, preflight, prepare
from bascule.guest.errors import NoSuchGuest, NotPermitted, ProxmoxError
from bascule.guest.guest import Guest, Side

from .over_tls import World, path
from .parts import TOKEN, add_guest

ISO = "local:iso/debian.iso"


@pytest.fixture
def guest(world: World) -> Callable[[], Guest]:
    """The guest 100, as Bascule sees it."""

    def made() -> Guest:
        side = Side(machine="pve1", node="pve1", vmid=100, storage="local")
        return Guest(world.api(), side, "courses_guest", sleep=lambda seconds: None)

    return made


def test_a_disk_marked_backup_0(world: World, guest: Callable[[], Guest]) -> None:
    world.node.store.change(100, scsi0=f"{world.node.store.load(100)['scsi0']},backup=0")
    with pytest.raises(ProxmoxError, match=r"no archive has scsi0 \(backup=0\); state now: nothing was archived"):
        prepare.back_up(guest())
    assert world.api().get(path("storage/local/content"), content="backup") == []


def test_an_image_that_is_not_there(world: World, guest: Callable[[], Guest]) -> None:
    world.node.store.change(100, ide0=f"{ISO},media=cdrom")
    (line,) = preflight.lent(guest(), observed.look(guest()), decisions.DELTA)
    assert f"ide0 is {ISO}, which pve1 has not (500 volume '{ISO}' does not exist)" in line
    image = world.node.paths.volume(ISO)
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_bytes(b"image")
    assert preflight.lent(guest(), observed.look(guest()), decisions.DELTA) == []


def test_rights_that_stand_on_the_guest(world: World, guest: Callable[[], Guest]) -> None:
    """Seen on the real API: the token was blind after a deletion, and both sides were down."""
    needed = sorted(PRIVILEGES)

    def granted(on: str) -> None:
        world.node.paths.privileges.write_text(
            json.dumps({TOKEN: {"/": ["Sys.Audit"], "/storage": needed, on: needed}})
        )

    granted("/vms/100")
    found = preflight.privileges(guest(), 8, decisions.DELTA, [])
    assert [line for line in found if "by an entry for /vms/100 or by its pool" in line] == found
    assert len(found) == 1
    seen = guest()
    leftovers.remove_guest(seen)
    add_guest(world.node, 100)
    with pytest.raises(NotPermitted, match=r"Permission check failed \(/vms/100, VM\.Audit\)"):
        seen.config()
    granted("/vms")
    assert preflight.privileges(guest(), 8, decisions.DELTA, []) == []
    leftovers.remove_guest(seen)
    with pytest.raises(NoSuchGuest):
        seen.config()
