"""What of an entrance is declared so that it cannot be right. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .findings import Declared, Finding, shown

_FURTHER = "web_entrance_further_addresses"
_SCHEME = "web_entrance_scheme"
# What only a certificate needs.
_OF_TLS = ("web_entrance_ca_file", "web_entrance_certificate_days")
# The port at which browsers speak the other one of the two.
_WRONG_PORT = {"http": 443, "https": 80}


def entrance_findings(one: Declared) -> list[Finding]:
    """Name what contradicts itself in an entrance's variables, and further addresses that are none."""
    if one.role != "web_entrance":
        return []
    return [*_of_scheme(one), *_of_addresses(one)]


def _of_scheme(one: Declared) -> Iterator[Finding]:
    scheme, port = one.values.get(_SCHEME) or "https", one.values.get("web_entrance_port", 443)
    if str(port) == str(_WRONG_PORT.get(str(scheme))):
        wanted = f"the port at which users speak {scheme}, as {_SCHEME} says"
        yield Finding(one.name, "web_entrance_port", wanted, str(port))
    for key in _OF_TLS if scheme == "http" else ():
        usual = one.options.get(key, {}).get("default")
        if key in one.values and str(one.values[key]) != str(usual):
            wanted = f"nothing, as {_SCHEME} is http, which has no certificate"
            yield Finding(one.name, key, wanted, shown(one.values[key]))


def _of_addresses(one: Declared) -> Iterator[Finding]:
    declared = one.values.get(_FURTHER) or {}
    if _FURTHER in one.faults or not isinstance(declared, Mapping):
        return
    own = one.values.get("web_entrance_addresses") or {}
    for host, addresses in declared.items():
        key = f"{_FURTHER}.{host}"
        if host not in one.sides:
            yield Finding(one.name, key, f"one of its two machines, {' and '.join(one.sides)}", str(host))
        elif not isinstance(addresses, list):
            yield Finding(one.name, key, "a list of addresses", shown(addresses))
        else:
            yield from _of_side(one, key, addresses, own.get(host) if isinstance(own, Mapping) else None)


def _of_side(one: Declared, key: str, addresses: list[Any], own: Any) -> Iterator[Finding]:
    texts = [str("" if address is None else address).strip() for address in addresses]
    if not all(texts):
        yield Finding(one.name, key, "addresses", "an empty one, by which nobody would be asked")
    if own and str(own).strip() in texts:
        yield Finding(one.name, key, f"addresses beside {own}, which web_entrance_addresses has", "that one again")
    if len({*texts}) < len(texts):
        yield Finding(one.name, key, "each address once", "one of them twice")
