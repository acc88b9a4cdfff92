"""Have a provider carry out a change of a hosted zone, step by step, and touch nothing that is not ours.

A provider has no prerequisites and rarely does all of a change or nothing. So the state that says where the records are
going is written first and marked as pending, the records after it, and the state without the mark last: wherever that
ends, the next run reads out of the zone what was on its way. What counts is what the servers say, as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..errors import BasculeError
from . import state as zone_state
from .apply import Reader, await_change
from .planner import Change, DnsRefused, Survey, Zone
from .records import Record, RRset, normal_value, state_name

_AGAIN = "run the same playbook again: it reads the servers and the provider first"


class ProviderError(BasculeError):
    """A provider refused a call or gave no answer: whatever it was asked to change may be changed."""


@dataclass(frozen=True)
class Content:
    """What a provider holds of a zone: our record sets by their key, and all that octoDNS knows of the others."""

    own: Mapping[str, RRset]
    others: Mapping[str, str]


@dataclass(frozen=True)
class Planned:
    """One change of the provider's plan; `new` is what would be there, nothing where it would be deleted."""

    action: str
    key: str
    new: RRset | None


class Provider(Protocol):
    """A zone at a provider."""

    def read(self) -> Content:
        """Ask anew for all that it holds; raises ProviderError."""
        ...

    def put(self, wanted: Sequence[RRset], dry: bool = False) -> None:
        """Plan the zone with these record sets, refuse a plan of anything else, and carry it out unless dry."""
        ...


def state_rrset(zone: str, text: str, ttl: int) -> RRset:
    """Return the record set that holds the state."""
    return RRset(state_name(zone), "TXT", ttl, frozenset({normal_value("TXT", text, zone)}))


def objections(planned: Sequence[Planned], held: Mapping[str, RRset], wanted: Sequence[RRset]) -> list[str]:
    """Name what a plan would do beside what is wanted, and what of that it would not do."""
    sets = {rrset.key: rrset for rrset in wanted}
    found = []
    for one in planned:
        rrset = sets.get(one.key)
        if rrset is None:
            found.append(f"it would {one.action} {one.key}, which is not to change")
        elif one.new != rrset:
            told = one.new.shown() if one.new else "nothing"
            found.append(f"it would make {one.key} say {told}, not {rrset.shown()}")
    touched = {one.key for one in planned}
    return found + [
        f"it would leave {key} as it is, not {rrset.shown()}"
        for key, rrset in sets.items()
        if key not in touched and held.get(key) != rrset
    ]


def untakable(records: Sequence[Record]) -> list[str]:
    """Name the values that providers are known to change on their way: quotes and backslashes inside a text."""
    return [
        f"{record.key}: {value} for {side} has a quote or a backslash in it, which providers take differently"
        for record in records
        if record.type in ("TXT", "CAA")
        for side, values in sorted(record.values.items())
        for value in sorted(values)
        if "\\" in value
    ]


def probes(zone: Zone, ttl: int) -> list[list[RRset]]:
    """Return the record sets of a move, once for each side, that a provider is asked to plan by the audit."""
    text = zone_state.quoteless(zone_state.to_text(zone_state.adopt(zone.component, *zone.sides)))
    state = state_rrset(zone.name, text, ttl)
    return [
        [*(RRset(record.name, record.type, ttl, record.values[side]) for record in zone.records), state]
        for side in zone.sides
    ]


def refuse_unpublished(zone: Zone, found: Survey, provider: Provider) -> None:
    """Refuse while the provider holds a state that no server says.

    What was told last is still on its way then: a run that plans from the servers alone would find nothing to change,
    and the records would move after it.
    """
    held = provider.read()
    if any(_same_state(zone, held, view.state_text) for view in found.answering):
        return
    hosts = ", ".join(view.host for view in found.answering)
    raise _not_published(f"the TXT record {state_name(zone.name)} is another one at the provider than at {hosts}")


def rehearse(change: Change, zone: Zone, provider: Provider) -> None:
    """Have the provider plan a change without carrying it out; refuse what carrying it out would refuse."""
    held = provider.read()
    wanted = _wanted(change, zone, held)
    if _differing(held, wanted):
        _refuse_unlike(change, zone, held)
        provider.put(wanted, dry=True)


def carry_out(
    change: Change,
    zone: Zone,
    verb: str,
    provider: Provider,
    read: Reader,
    say: Callable[[str], None],
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Bring one change into a hosted zone, and wait until the server says it.

    verb: what the state says is pending meanwhile. seconds: how long the server may take to publish it.

    Raises:
        DnsRefused: the provider holds other records than the server says, or its plan touches others; nothing changed.
        ProviderError: it refused, or its answer was lost and it does not hold what it was told.
    """
    held = provider.read()
    wanted = _wanted(change, zone, held)
    if _differing(held, wanted):
        _refuse_unlike(change, zone, held)
        # Whether it would do the whole is asked before any of it is done.
        provider.put(wanted, dry=True)
        for step in _steps(change, zone, verb, wanted):
            _put(step, provider)
        after = provider.read()
        _refuse_others(held, after)
        left = _differing(after, wanted)
        if left:
            raise ProviderError(
                expected="the provider to hold what it was told",
                found="; ".join(f"{rrset.key} is not {rrset.shown()}" for rrset in left),
                state="the provider took the change and says otherwise",
                next_command=_AGAIN,
            )

    def not_published(wrong: Sequence[str]) -> ProviderError:
        return ProviderError(
            expected=f"{change.host} to publish within {seconds:g} s what the provider holds",
            found="; ".join(wrong),
            state="the provider holds the new records; the records only point",
            next_command=_AGAIN,
        )

    try:
        await_change(change, read, say, seconds, not_published, sleep, clock)
    except ProviderError:
        if verb == "prepare" and change.before != change.after:
            # From when on caches are counted is not known any more: the next prepare sees that, and counts anew.
            _put([_pending(change, zone, verb, wanted[-1].ttl)], provider)
        raise


def _wanted(change: Change, zone: Zone, held: Content) -> list[RRset]:
    """Return the record sets that the provider has to hold afterwards, the state last.

    The state's time to live decides nothing, as only the zone's own servers are asked: it stays as it is there.
    """
    there = held.own.get(f"{state_name(zone.name)}/TXT")
    ttl = there.ttl if there else min(rrset.ttl for rrset in change.after)
    return [*change.after, state_rrset(zone.name, change.state_after, ttl)]


def _steps(change: Change, zone: Zone, verb: str, wanted: Sequence[RRset]) -> list[list[RRset]]:
    *records, state = wanted
    if change.before == change.after:
        return [[state]]
    if change.state_before == change.state_after:
        return [records]
    return [[_pending(change, zone, verb, state.ttl)], records, [state]]


def _pending(change: Change, zone: Zone, verb: str, ttl: int) -> RRset:
    goal = zone_state.from_text(change.state_after, zone.component, zone.sides)
    return state_rrset(zone.name, zone_state.quoteless(zone_state.to_text(replace(goal, pending=verb))), ttl)


def _put(step: Sequence[RRset], provider: Provider) -> None:
    """Carry out one step; where its answer is lost, the provider is asked what is so."""
    try:
        provider.put(step)
    except ProviderError as error:
        try:
            left = _differing(provider.read(), step)
        except ProviderError:
            raise ProviderError(
                expected=error.expected,
                found=error.found,
                state="unknown what of it the provider carried out: it does not answer any more",
                next_command=_AGAIN,
            ) from error
        if left:
            raise ProviderError(
                expected=error.expected,
                found=error.found,
                state=f"asked again, the provider does not hold {', '.join(rrset.key for rrset in left)} as told",
                next_command=_AGAIN,
            ) from error


def _differing(held: Content, wanted: Sequence[RRset]) -> list[RRset]:
    return [rrset for rrset in wanted if held.own.get(rrset.key) != rrset]


def _refuse_unlike(change: Change, zone: Zone, held: Content) -> None:
    """Refuse when the provider holds anything else than the server has just said: it would be overwritten."""
    found = [
        f"{rrset.key} is {one.shown() if one else 'nothing'} at the provider, and {change.host} says {rrset.shown()}"
        for rrset in change.before
        if (one := held.own.get(rrset.key)) != rrset
    ]
    if not _same_state(zone, held, change.state_before):
        found.append(f"the TXT record {state_name(zone.name)} is another one at the provider than at {change.host}")
    if found:
        raise _not_published("; ".join(found))


def _same_state(zone: Zone, held: Content, text: str | None) -> bool:
    there = held.own.get(f"{state_name(zone.name)}/TXT")
    said = zone_state.quoteless(zone_state.quoted(text or ""))
    return _bare(next(iter(there.values)) if there else "") == _bare(said)


def _not_published(found: str) -> DnsRefused:
    return DnsRefused(
        expected="the provider to hold what the server says",
        found=found,
        state="no record was changed now",
        next_command="wait until the server has published the zone, then run the same playbook again",
    )


def _refuse_others(before: Content, after: Content) -> None:
    keys = sorted({*before.others, *after.others})
    changed = [key for key in keys if before.others.get(key) != after.others.get(key)]
    if changed:
        raise DnsRefused(
            expected="all other record sets of the zone as they were",
            found=f"changed in between: {', '.join(changed)}",
            state="our record sets are as they have to be; the plan did not contain the others",
            next_command="ask whoever else works in this zone; look at these records",
        )


def _bare(text: str) -> str:
    """Return the state without all in which its spellings differ, also those of providers."""
    return text.translate({ord(character): None for character in "\"'\\ "})
