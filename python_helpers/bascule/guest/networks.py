"""The interfaces and addresses that a guest has at each side: declared, of before, or those of where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from . import config as guest_config
from . import kinds
from .guest import Config, Guest


def passive_nets(guest: Guest, source: Config, home: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """Return the interfaces as the passive guest has them: on this side's bridge and VLAN, link down, same address.

    Bridge and VLAN are those declared for this side, or those that the guest had here before (`home`), or the source's.
    """
    result, own = {}, guest_config.nets(home or {})
    for name, net in guest_config.nets(source).items():
        bridge, tag = (guest.side.declared(option, name) for option in ("bridge", "tag"))
        if name in own:
            bridge = bridge or guest_config.bridge_of(own[name])
            tag = guest_config.tag_of(own[name]) if tag is None else tag
        net = guest_config.with_link(net, up=False, bridge=bridge, tag=tag)
        # Only a container has its addresses here.
        here = guest_config.options(own.get(name, ""))
        before = {option: here.get(option, "") for option in guest_config.ADDRESSES} if name in own else {}
        declared = guest.side.addresses_of(name)
        if guest.kind is kinds.LXC and (before or declared):
            net = guest_config.with_addresses(net, {**before, **declared})
        result[name] = net
    return result


def addresses(guest: Guest, home: Optional[Mapping[str, str]] = None) -> dict[str, str]:
    """Return the guest's own addresses at this side: those declared, or those that it had here before (`home`)."""
    before = {name: value for name, value in (home or {}).items() if guest_config.is_address(name)}
    return {**before, **guest.side.overrides}
