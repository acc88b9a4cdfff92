"""From the variables of a component to its two guests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .api import Api, Transport
from .config import ADDRESSES, is_address, is_net
from .errors import ProxmoxError
from .guest import Guest, Limits, Probe, Side
from .remote import Endpoint

_OF_A_CARD = frozenset({"bridge", "tag", *ADDRESSES})
Connect = Callable[[str, int, str, str, str, float, str], Transport]


@dataclass(frozen=True)
class Settings:
    """What the role's variables say, read once."""

    component: str
    sides: Mapping[str, Mapping[str, Any]]
    token_id: str
    secrets: Mapping[str, str]
    ca_file: str
    limits: Limits
    timeout: float


def limits(values: Mapping[str, Any]) -> Limits:
    """Read the limits, in seconds."""
    return Limits(**{name: float(value) for name, value in values.items()})


def settings(component: str, value: Callable[[str], Any]) -> Settings:
    """Read what the variables of the role say; `value` gives one by its name without the prefix."""
    return Settings(
        component=component,
        sides=value("sides"),
        token_id=str(value("token_id")),
        secrets=value("token_secrets"),
        ca_file=str(value("ca_file")),
        limits=limits(value("limits")),
        timeout=float(value("api_timeout")),
    )


def side(machine: str, settings: Settings) -> Side:
    """Return where one side lives; everything missing is named at once."""
    values = settings.sides.get(machine)
    if values is None:
        raise ProxmoxError(
            expected=f"an entry for {machine} in proxmox_guest_sides",
            found=f"entries for {', '.join(sorted(settings.sides)) or 'no machine'}",
            state="nothing was changed",
        )
    missing = [name for name in ("node", "vmid", "storage", "api_host") if values.get(name) in (None, "")]
    if missing:
        raise ProxmoxError(
            expected=f"{', '.join(missing)} for {machine} in proxmox_guest_sides",
            found="nothing",
            state="nothing was changed",
        )
    return Side(
        machine=machine,
        node=str(values["node"]),
        vmid=int(values["vmid"]),
        storage=str(values["storage"]),
        backup_storage=str(values.get("backup_storage") or ""),
        storages=_storages(machine, values.get("storages") or {}),
        bridge=str(values.get("bridge") or ""),
        tag=None if values.get("tag") is None else str(values["tag"]),
        cards=_cards(machine, values.get("nets") or {}),
        overrides={name: str(value) for name, value in values.items() if value and is_address(name)},
        health_url=str(values.get("health_url") or ""),
    )


def _storages(machine: str, given: Any) -> dict[str, str]:
    """Read where disks go that are not to go to `storage`, by the other side's names: `storages: {fast: local-zfs}`."""
    if isinstance(given, Mapping) and all(str(name) and isinstance(here, str) and here for name, here in given.items()):
        return {str(name): here for name, here in given.items()}
    raise ProxmoxError(
        expected=f"storages for {machine} in proxmox_guest_sides by the names of the other side, such as storages: "
        "{fast: local-zfs}",
        found=str(given),
        state="nothing was changed",
    )


def _cards(machine: str, given: Any) -> dict[str, dict[str, str]]:
    """Read what is declared for single interfaces: `nets: {net1: {bridge: vmbr1, tag: 20}}`; a tag of '' is none.

    A container's interface also has its addresses: `ip`, `gw`, `ip6`, `gw6`.
    """
    if isinstance(given, Mapping) and all(
        is_net(str(card)) and isinstance(own, Mapping) and set(own) <= _OF_A_CARD and own.get("bridge", "x")
        for card, own in given.items()
    ):
        return {
            str(card): {name: str(value) for name, value in own.items() if value is not None}
            for card, own in given.items()
        }
    raise ProxmoxError(
        expected=f"interfaces with their bridge and tag for {machine} in proxmox_guest_sides, such as nets: {{net1: "
        "{bridge: vmbr1, tag: 20}}",
        found=str(given),
        state="nothing was changed",
    )


def endpoint(machine: str, settings: Settings, fingerprint: Callable[[str, int, str, float], str]) -> Endpoint:
    """Return how the other side's cluster reaches this side's, with the fingerprint its certificate has now."""
    values = settings.sides[machine]
    host, port = str(values.get("transfer_address") or values["api_host"]), int(values.get("api_port") or 8006)
    found = fingerprint(str(values["api_host"]), port, settings.ca_file, settings.timeout)
    token = f"{values.get('token_id') or settings.token_id}={settings.secrets[machine]}"
    return Endpoint(host, port, token, found)


def guest(
    machine: str,
    settings: Settings,
    connect: Connect,
    report: Callable[[str], None],
    probe: Probe,
    journal: Callable[[str, str], None] = lambda component, text: None,
) -> Guest:
    """Return the guest at one side."""
    place = side(machine, settings)
    values = settings.sides[machine]
    given = settings.secrets
    secret = given.get(machine, "") if isinstance(given, Mapping) else ""
    if not isinstance(secret, str) or not secret:
        # What was found is never told: it may be a secret in the wrong place.
        raise ProxmoxError(
            expected=f"the token's secret for {machine} in proxmox_guest_token_secrets",
            found="none" if isinstance(given, Mapping) else "something that is no dictionary",
            state="nothing was changed",
        )
    transport = connect(
        str(values["api_host"]),
        int(values.get("api_port") or 8006),
        str(values.get("token_id") or settings.token_id),
        secret,
        settings.ca_file,
        settings.timeout,
        str(values.get("fingerprint") or ""),
    )
    return Guest(Api(transport, machine), place, settings.component, settings.limits, report, probe, journal=journal)
