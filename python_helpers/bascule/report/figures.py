"""The figures of a run: from the accounts, the look-up and the verify facts to the names of summary.json.

Every figure that no sample stands behind is None, and the judge takes None for a failure.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .digests import row_digests
from .dumps import FIGURE as SAFETY_DUMPS
from .dumps import safety_dumps
from .intervals import longest_gap, unended
from .judge import BROKEN, MEASURED_OUTSIDE, NEVER_ENDED, NOT_ASKED
from .overrides import ALLOWED
from .overrides import FIGURE as OVERRIDES
from .proof import NOT_COMPARED, Doubt, doubts, left_out
from .records import ClientAccount, Leg, Lookup, ProbeAccount
from .writers import divergent_operations, divergent_probes, largest_probe_gap, two_writers_seconds

# Sums over the components' verify facts.
COMPARISONS = (
    "rows_compared",
    "rows_different",
    "rows_not_proved",
    "files_compared",
    "files_different",
    "files_not_proved",
    "disks_compared",
    "disks_different",
)
READ_FAILURES = ("refused", "error", "unknown")


@dataclass(frozen=True)
class LegInput:
    """Everything the figures of one leg are made from.

    `lookup` is the one that speaks for this leg's writes; `carried` names writes acknowledged before this leg that must
    still be found at its end. `data` is the account of the client of the database alone, `scans`
    are the transfers that looked at a whole tree, `window` says where the time between freeze and thaw went.
    `outside` says whether anybody outside kept an account. `asked` are the comparisons that the run's components have
    to state; None: all of them. `stale` are doubts about when something was verified, `passed` those that a person let
    pass, `overrides` all that a person let pass, `broken` the verbs that did not come through.
    """

    leg: Leg
    client: ClientAccount
    probes: ProbeAccount
    lookup: Lookup | None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    phases: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()
    data: ClientAccount = field(default_factory=ClientAccount)
    scans: Sequence[Mapping[str, str]] = ()
    window: Mapping[str, Any] = field(default_factory=dict)
    outside: bool = True
    asked: frozenset[str] | None = None
    stale: Sequence[Doubt] = ()
    passed: Sequence[str] = ()
    overrides: Sequence[str] = ()
    broken: Sequence[str] = ()


def leg_figures(given: LegInput) -> dict[str, Any]:
    """All figures of one leg."""
    figures = _outside(given)
    if not given.outside:
        # Nobody has counted: no figure is zero.
        figures = {
            **dict.fromkeys(figures),
            "unended_outages": [],
            NEVER_ENDED: [],
            "divergent_writes": _found_divergent(given.facts),
        }
    for name in COMPARISONS:
        figures[name] = fact_sum(given.facts.values(), name)
    spared = (
        set() if given.outside else {name for name, value in _outside(given).items() if not isinstance(value, list)}
    )
    spared |= set() if given.asked is None else {*COMPARISONS, "guests_moved"} - given.asked
    figures[MEASURED_OUTSIDE] = given.outside
    figures[NOT_ASKED] = sorted(spared)
    found = [*(doubt for name in sorted(given.facts) for doubt in doubts(name, given.facts[name])), *given.stale]
    proofs = [text for text in (doubt.text() for doubt in found) if not _is_passed(text, given.passed)]
    figures["not_proved"] = proofs if given.facts else None
    figures[NOT_COMPARED] = [line for name in sorted(given.facts) for line in left_out(name, given.facts[name])]
    figures[OVERRIDES] = list(given.overrides)
    figures[BROKEN] = list(given.broken)
    figures["guests_moved"] = guests_moved(given.facts.values())
    figures["row_digests"] = row_digests(given.facts)
    figures[SAFETY_DUMPS] = safety_dumps(given.facts)
    figures["full_scans"] = [dict(one) for one in given.scans]
    figures.update(given.window)
    figures["phases"] = {name: dict(times) for name, times in given.phases.items()}
    return figures


def _outside(given: LegInput) -> dict[str, Any]:
    """The figures that come from accounts of somebody outside."""
    start, end = given.client.window(given.leg)
    inside = [one for one in given.client.operations if start <= one.sent < end]
    writes = [one for one in inside if one.op == "write"]
    reads = [one for one in inside if one.op == "read"]
    outcomes = Counter(one.outcome for one in writes)
    probe_start, probe_end = given.probes.window(given.leg)
    probes = [one for one in given.probes.probes if probe_start <= one.start < probe_end]
    results = Counter(one.result for one in probes)
    data_start, data_end = data_window(given.data, given.leg)
    data = Counter(one.outcome for one in given.data.operations if data_start <= one.sent < data_end)
    outages = {
        "write_outage_seconds": (_answered(given.client), start, end),
        "data_layer_seconds": (_answered(given.data), data_start, data_end),
    }
    return {
        **{name: _rounded(longest_gap(*outage)) for name, outage in outages.items()},
        "unended_outages": [name for name, outage in outages.items() if unended(*outage)],
        NEVER_ENDED: [
            name
            for name, account in (("write_outage_seconds", given.client), ("data_layer_seconds", given.data))
            if _never_ended(account, given.leg)
        ],
        "data_layer_writes": data["ack"] if data else None,
        "data_layer_errors": sum(data.values()) - data["ack"] if data else None,
        "reads": len(reads),
        "read_errors": sum(one.outcome in READ_FAILURES for one in reads) if reads else None,
        "maintenance_pages": sum(one.outcome == "maintenance" for one in inside) if inside else None,
        "acknowledged_writes": outcomes["ack"] + data["ack"] if writes else None,
        "acknowledged_probe_writes": results["accept"] if probes else None,
        "unknown_writes": outcomes["unknown"] + data["unknown"] + results["unknown"] if writes else None,
        "refused_writes": outcomes["refused"] + outcomes["error"] if writes else None,
        "not_sent_writes": outcomes["not_sent"] if writes else None,
        "lost_writes": lost_writes(given),
        "divergent_writes": divergent_writes(given),
        "two_writers_seconds": _rounded(two_writers_seconds(given.probes.probes, probe_start, probe_end)),
        "probes": len(probes),
        "largest_probe_gap_seconds": _rounded(largest_probe_gap(given.probes.probes, probe_start, probe_end)),
    }


def _never_ended(account: ClientAccount, leg: Leg) -> bool:
    """Say whether the account leaves the leg in an outage; one attempt alone may have been cut off with its client."""
    start, end = account.window(leg)
    acked = max((one.sent for one in account.operations if _acked_write(one.op, one.outcome)), default=start)
    tried = (one for one in account.operations if one.op == "write" and one.outcome != "ack")
    return sum(max(acked, start) < one.sent < end for one in tried) > 1


def pauses(account: ClientAccount, leg: Leg, least: float = 0.5, most: int = 50) -> list[list[float]]:
    """The longest pauses between two acknowledged writes: seconds since the leg's start, and how long, in their order.

    Those below `least` seconds are none; of the others at most `most` are told.
    """
    start, end = account.window(leg)
    answered = [start, *(one for one in sorted(_answered(account)) if start <= one < end), end]
    found = [
        [before - start, after - before] for before, after in itertools.pairwise(answered) if after - before >= least
    ]
    return sorted([round(at, 3), round(long, 3)] for at, long in sorted(found, key=lambda one: -one[1])[:most])


def data_window(data: ClientAccount, leg: Leg) -> tuple[float, float]:
    """The leg on the account's clock, from its first acknowledged write on: `prepare` brings the pooler."""
    start, end = data.window(leg)
    first = min((one.sent for one in data.operations if one.outcome == "ack"), default=start)
    return max(start, first), end


def acknowledged_idents(
    client: ClientAccount, probes: ProbeAccount, leg: Leg, data: ClientAccount | None = None
) -> frozenset[str]:
    """Every write of the leg that somebody was told is written."""
    found = set()
    for account in (client, data or ClientAccount()):
        start, end = account.window(leg)
        acked = (one for one in account.operations if _acked_write(one.op, one.outcome))
        found |= {one.ident for one in acked if start <= one.sent < end}
    probe_start, probe_end = probes.window(leg)
    found |= {one.ident for one in probes.probes if one.result == "accept" and probe_start <= one.start < probe_end}
    return frozenset(found)


def lost_writes(given: LegInput) -> int | None:
    """Acknowledged writes with a part missing; None when one of them was not looked up, or there are none."""
    wanted = acknowledged_idents(given.client, given.probes, given.leg, given.data) | given.carried
    if given.lookup is None or not wanted or wanted - given.lookup.looked_up:
        return None
    return sum(1 for ident in wanted if given.lookup.missing.get(ident))


def divergent_writes(given: LegInput) -> int | None:
    """Acknowledged writes on a history the site had left, and what the components found on the closed side.

    A component reports its own finding as `divergent_writes`, or says that there is something: WAL past the fork
    (`divergent_bytes`), a closed side that is no longer as its receipt says (`kept_side_as_at_its_receipt`).
    """
    start, end = given.client.window(given.leg)
    probe_start, probe_end = given.probes.window(given.leg)
    said = any(
        one.committed is not None and start <= one.sent < end for one in given.client.operations if one.outcome == "ack"
    )
    if not said:
        return None
    found = len(divergent_operations(given.client.operations, start, end))
    found += len(divergent_operations(given.data.operations, *given.data.window(given.leg)))
    found += len(divergent_probes(given.probes.probes, probe_start, probe_end))
    return found + (_found_divergent(given.facts) or 0)


def _found_divergent(facts: Mapping[str, Mapping[str, Any]]) -> int | None:
    """What the components found on the closed side; None when they found nothing, as that is not all there may be."""
    found = sum(bool(fact.get("divergent_bytes")) for fact in facts.values())
    found += sum(fact.get("kept_side_as_at_its_receipt") is False for fact in facts.values())
    return found + (fact_sum(facts.values(), "divergent_writes") or 0) or None


def _is_passed(doubt: str, passed: Sequence[str]) -> bool:
    return any(line.startswith(f"{doubt}{ALLOWED}") for line in passed)


def fact_sum(facts: Iterable[Mapping[str, Any]], name: str) -> int | None:
    """The sum of a figure over the components that state it; None when none does or one states what is no number."""
    values = [fact[name] for fact in facts if name in fact]
    if not values:
        return None
    total = 0
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        total += value
    return total


def guests_moved(facts: Iterable[Mapping[str, Any]]) -> dict[str, int] | None:
    """How many guests moved, by way."""
    moved: Counter[str] = Counter()
    for fact in facts:
        stated = fact.get("guests_moved")
        if isinstance(stated, Mapping):
            moved.update({str(way): int(count) for way, count in stated.items()})
        elif isinstance(fact.get("way"), str):
            moved[str(fact["way"])] += 1
    return dict(moved) if moved else None


def _answered(account: ClientAccount) -> list[float]:
    """When each write was acknowledged."""
    return [one.answered for one in account.operations if _acked_write(one.op, one.outcome)]


def _acked_write(op: str, outcome: str) -> bool:
    return op == "write" and outcome == "ack"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
