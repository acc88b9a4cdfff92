"""Ask this host's SSH server whom it would let in; changes nothing."""

from __future__ import annotations

import ipaddress

from ...errors import BasculeError
from .. import sshd
from . import reach
from .process import Runner, run

PROGRAM = "/usr/sbin/sshd"


def refusals(address: str, user: str = sshd.USER, *, runner: Runner = run) -> list[str]:
    """Return why a user would not be let in here from an address by a key of one forced command.

    Where the server cannot be asked (another program, a `Match` that wants to know more, a name of several addresses)
    nothing is known against it.
    """
    known = [address] if _is_address(address) else reach.addresses(address)
    if len(known) != 1:
        return []
    address = known[0]
    who = f"user={user},host={address},addr={address}"
    try:
        done = runner([PROGRAM, "-T", "-C", who], check=False)
    except BasculeError:
        return []
    return sshd.refusals(done.stdout, address, user) if done.rc == 0 else []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
