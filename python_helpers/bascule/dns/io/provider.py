"""A hosted zone through a provider of octoDNS. Runs on the controller only.

octoDNS (https://octodns.readthedocs.io) plans whole zones: what the provider holds is read, ours is put in its place,
and the plan is looked at before it is carried out.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from ...errors import BasculeError, PlanError
from .. import hosted
from ..hosted import Content, Planned, ProviderError
from ..planner import DnsRefused, Zone
from ..records import RRset, normal_value, state_name

# What providers call the lowest time to live that they take, an argument's before the class's own. They raise a lower
# one in silence (octodns_cloudflare, MIN_TTL).
_LOWEST = ("min_ttl", "MIN_TTL", "minimum_ttl", "MINIMUM_TTL")
_HIDDEN = "(not shown)"


@dataclass(frozen=True)
class Settings:
    """The class of a provider and its arguments. The secret ones never appear in a text."""

    path: str
    arguments: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(repr=False)

    def without_secrets(self, text: str) -> str:
        """Return a provider's own words without any secret in them, also as an address spells it."""
        spelled = {
            spelling
            for value in _texts(self.secrets)
            for spelling in (value, quote(value), quote(value, safe=""), quote_plus(value))
        }
        for value in sorted(spelled, key=len, reverse=True):
            text = text.replace(value, _HIDDEN)
        return text


def settings(declared: Any, secrets: Any) -> Settings:
    """Read dns_switchover_provider and dns_switchover_provider_secrets.

    Raises:
        PlanError: they are none; a value of the secrets is never shown.
    """
    if not isinstance(declared, Mapping) or "." not in str(declared.get("class", "")).strip("."):
        raise PlanError(
            expected="dns_switchover_provider with the class of a provider, as octodns_powerdns.PowerDnsProvider",
            found="no class with its module's name",
        )
    if not isinstance(secrets, Mapping):
        raise PlanError(
            expected="dns_switchover_provider_secrets to be a mapping of arguments", found=f"another type {_HIDDEN}"
        )
    arguments = {str(key): value for key, value in declared.items() if key != "class"}
    twice = sorted(set(arguments) & {str(key) for key in secrets})
    if twice:
        raise PlanError(
            expected="each argument in one of dns_switchover_provider and dns_switchover_provider_secrets",
            found=f"in both: {', '.join(twice)}",
        )
    return Settings(str(declared["class"]), arguments, {str(key): value for key, value in secrets.items()})


def missing(path: str) -> str:
    """Return why the class of a provider cannot be loaded; nothing when it can."""
    try:
        _load(path)
    except PlanError as error:
        return error.found
    return ""


class OctoDnsZone:
    """The zone at the provider. A new provider is made for each call: many keep what they have read."""

    def __init__(self, declared: Settings, zone: Zone) -> None:
        self._declared = declared
        self._name = zone.name.rstrip(".").lower() + "."
        self._own = {f"{state_name(zone.name)}/TXT", *(record.key for record in zone.records)}

    def read(self) -> Content:
        """Ask for all that the provider holds."""
        with self._calling("to say what it holds", "nothing was changed by asking"):
            return self._content(self._read(self._made()))

    def put(self, wanted: Sequence[RRset], dry: bool = False) -> None:
        """Plan the zone with these record sets, refuse a plan of anything else, and carry it out unless dry."""
        with self._calling(f"to plan {self._name}", "no record was changed by planning"):
            provider = self._made()
            plan, held = self._plan(provider, wanted)
        refused = hosted.objections(self._planned(plan), held.own, wanted)
        if plan is not None and getattr(plan, "meta", None):
            refused.append("it would change the zone's own settings")
        if plan is not None and plan.exists is False:
            refused.append("it would create the zone")
        if refused:
            raise DnsRefused(
                expected="a plan of the provider that changes our record sets as told, and nothing else",
                found="; ".join(refused),
                state="this plan was not carried out",
                next_command="look at the provider's limits and at dns_switchover_provider, then audit again",
            )
        if dry or plan is None:
            return
        with self._calling(f"to change {self._name}", "unknown what of it the provider carried out"):
            count = provider.apply(plan)
        if count != len(plan.changes):
            raise ProviderError(
                expected=f"{self._declared.path} to carry out {len(plan.changes)} changes",
                found=f"it says that it did {count}: apply_disabled may be set",
                state="see what the servers say",
                next_command="look at dns_switchover_provider",
            )

    def refusals(self, probes: Sequence[Sequence[RRset]], ttl: int) -> list[str]:
        """Return why a move would not come through: it is planned to either side, and nothing is carried out."""
        found = []
        try:
            with self._calling("to be made", "nothing was changed"):
                provider = self._made()
                lowest = next((int(value) for name in _LOWEST if (value := getattr(provider, name, None))), 0)
                disabled = bool(getattr(provider, "apply_disabled", False))
            if disabled:
                found.append("the provider carries out nothing: apply_disabled is set")
            if lowest > ttl:
                found.append(f"the provider takes no time to live below {lowest} s: set dns_switchover_ttl to it")
            for probe in probes:
                self.put(probe, dry=True)
        except BasculeError as error:
            found.append(f"{error.expected}: {error.found}")
        return found

    def _made(self) -> Any:
        declared = self._declared
        return _load(declared.path)("bascule", **{**declared.arguments, **declared.secrets})

    def _read(self, provider: Any) -> Any:
        from octodns.zone import Zone as OctoZone

        zone = OctoZone(self._name, [])
        if provider.populate(zone, target=True, lenient=True) is False:
            raise PlanError(expected=f"the zone {self._name} at the provider", found="no such zone")
        return zone

    def _plan(self, provider: Any, wanted: Sequence[RRset]) -> tuple[Any, Content]:
        from octodns.record import Record, Rrset

        existing = self._read(provider)
        held = {_key(record): record for record in existing.records}
        desired = existing.copy()
        for rrset in wanted:
            record = Record.from_rrset(desired, Rrset(rrset.name, rrset.type, rrset.ttl, sorted(rrset.values)))
            there = held.get(rrset.key)
            if there is not None and (getattr(there, "dynamic", None) or getattr(there, "geo", None)):
                raise PlanError(
                    expected=f"a plain record {rrset.key}", found="one that the provider answers by its rules"
                )
            # What a provider keeps beside the values, such as a comment, stays.
            record.octodns = dict(there.octodns) if there is not None else {}
            desired.add_record(record, replace=True)
        if desired.root_ns and not provider.SUPPORTS_ROOT_NS:
            desired.remove_record(desired.root_ns)
        return provider.plan(desired, lenient=True), self._content(existing)

    def _planned(self, plan: Any) -> list[Planned]:
        return [
            Planned(type(change).__name__.lower(), _key(change.record), self._rrset(change.new) if change.new else None)
            for change in (plan.changes if plan is not None else ())
        ]

    def _content(self, zone: Any) -> Content:
        own = {key: self._rrset(record) for record in zone.records if (key := _key(record)) in self._own}
        return Content(own, {key: repr(record.data) for record in zone.records if (key := _key(record)) not in own})

    def _rrset(self, record: Any) -> RRset:
        name, kind = record.fqdn.lower(), str(record._type)
        if f"{name}/{kind}" not in self._own:
            return RRset(name, kind, int(record.ttl), frozenset())
        told = record.to_rrset().rdatas
        return RRset(name, kind, int(record.ttl), frozenset(normal_value(kind, value, self._name) for value in told))

    @contextmanager
    def _calling(self, what: str, state: str) -> Iterator[None]:
        """Turn whatever a provider raises into one error without a secret; what it logs is nobody's to read."""
        known = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        except PlanError:
            raise
        except Exception as error:
            # A provider raises what it likes.
            text = self._declared.without_secrets(f"{type(error).__name__}: {error}" if str(error) else repr(error))
            raise ProviderError(
                expected=f"{self._declared.path} {what}",
                found=text[:500],
                state=state,
                next_command="look at the provider and dns_switchover_provider, then run the same playbook again",
            ) from None
        finally:
            logging.disable(known)


def _key(record: Any) -> str:
    return f"{record.fqdn.lower()}/{record._type}"


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PlanError(
            expected=f"the class {path} on the controller",
            found=f"{error} (install its package beside Bascule)",
        ) from error


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif value is not None and str(value):
        yield str(value)
