"""Whether the copies of a run's journal agree: each chain holds, and each site has all that any copy has. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import chain

HERE = "here"
# Of what is wrong with chains, so many lines are said.
_SAID = 20


@dataclass(frozen=True)
class Agreement:
    """What was found, as lines, and whether all agrees."""

    lines: Sequence[str]
    agrees: bool


def compare(
    run: str, here: chain.Reading, copies: Mapping[str, Mapping[str, chain.Reading]], unread: Mapping[str, str]
) -> Agreement:
    """Compare all copies.

    Args:
        run: the run id.
        here: what this controller holds; it need not hold what others have written.
        copies: by site and machine, what was read. A chain lies on one machine of a site, so they count together.
        unread: by machine, why it was not read: a copy that nobody has read agrees with nothing.
    """
    read = {f"{site} ({host})": one for site, hosts in copies.items() for host, one in hosts.items()}
    everything = {HERE: here, **read}
    known = chain.merge(*(one.entries for one in everything.values()))
    wrong = [f"NOT READ: {host}: {why}" for host, why in unread.items()]
    found = chain.problems(everything)
    wrong += [f"CHANGED: {what}" for what in found[:_SAID]]
    wrong += [f"CHANGED: {len(found) - _SAID} more of these"] if len(found) > _SAID else []
    wrong += [
        f"NO ENTRY: {place} has {len(one.broken)} lines that are none"
        for place, one in everything.items()
        if one.broken
    ]
    kept = chain.kept_here(here.entries, chain.merge(*(one.entries for one in read.values())))
    for site, hosts in copies.items():
        lost = chain.lacking(known, [*chain.merge(*(one.entries for one in hosts.values())), *kept])
        if lost and hosts:
            first = lost[0]
            wrong.append(
                f"MISSING: {site} lacks {len(lost)} entries that others hold, the first of them entry {first['n']} of "
                f"{first['controller']}, decision {first['epoch']}"
            )
    if not any(one.entries for one in read.values()) and not (kept and len(kept) == len(known)):
        wrong.append("NOTHING: no site that was read holds an entry of it")
    lines = [f"Run {run}", *(f"  {place}: {chain.describe(one)}" for place, one in everything.items())]
    lines += [f"  {key}: ends with {head[:16]}" for key, head in sorted(chain.heads(known).items())]
    if kept:
        lines.append(f"  {len(kept)} entries of audits are kept here alone, and come to the sites with the next phase")
    if wrong:
        return Agreement([*lines, *wrong], False)
    return Agreement([*lines, f"all copies agree: {len(copies)} sites, {len(read)} machines, all chains hold"], True)
