"""Is the run good? Reasons why not, each naming its figure. A figure without a sample is a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .others import broken, labelled
from .words import number, said, word

LEAST_WRITES = 500

# What no plan may allow.
ZERO = (
    "read_errors",
    "lost_writes",
    "divergent_writes",
    "two_writers_seconds",
    "rows_different",
    "rows_not_proved",
    "files_different",
    "disks_different",
)
# A comparison of nothing proves nothing.
MORE_THAN_ZERO = ("probes", "rows_compared", "files_compared", "disks_compared")
# What a busy machine makes worse: the plan's limits on these are reported, and condemn no run. An outage that never
# ended is no matter of speed.
SPEED = ("write_outage_seconds", "data_layer_seconds")
# Whether somebody outside has measured, which figures nobody of this run could state, and what did not come through.
MEASURED_OUTSIDE, NOT_ASKED, BROKEN = "measured_outside", "not_asked", "broken"
# Those outages in which an account leaves the leg: no speed, and no limit of a plan makes one good.
NEVER_ENDED = "never_ended"
STATED = (
    "write_outage_seconds",
    "data_layer_seconds",
    "maintenance_pages",
    "unknown_writes",
    "largest_probe_gap_seconds",
)


@dataclass(frozen=True)
class Reason:
    """Why a run is not good. `rule` is one of the words in `text`."""

    leg: str
    figure: str
    rule: str
    found: Any
    limit: float | int | None = None

    def text(self, lang: str = "en") -> str:
        """One line as it stands in summary.json, with the names of figures; in another language that of `said`."""
        if lang != "en":
            return self.said(lang)
        where = f"{self.leg}.{self.figure}"
        if self.rule == "unreached":
            return f"{self.leg}: this leg was not reached"
        if self.rule == "unmeasured":
            return f"{self.leg}: nobody outside measured"
        if self.rule == "broken":
            return f"{self.leg}: {self.found}"
        if self.rule == "missing":
            return f"{where}: no sample stands behind it"
        if self.rule == "proof":
            return f"{self.leg}: not proved: {self.found}"
        if self.rule == "unended":
            return f"{where}: {self.found}, and the account ends in it"
        if self.rule == "zero":
            return f"{where}: {self.found}, must be 0"
        if self.rule == "some":
            return f"{where}: {self.found}, nothing was compared"
        if self.rule == "few":
            return f"{where}: {self.found}, at least {self.limit} make a run valid"
        return f"{where}: {self.found}, the plan's limit is {self.limit}"

    def said(self, lang: str) -> str:
        """One line for people, in their language: labels instead of names, figures with their unit."""
        leg = word(self.leg, lang, "leg")
        if self.rule in ("unreached", "unmeasured"):
            return said(self.rule, lang, "reason", leg=leg)
        if self.rule == "broken":
            return said(self.rule, lang, "reason", leg=leg, what=broken(str(self.found), lang))
        if self.rule == "proof":
            return said(self.rule, lang, "reason", leg=leg, doubt=labelled(str(self.found), lang))
        unit = "s" if self.figure.endswith("_seconds") else ""
        values = {"found": number(self.found, lang, unit), "limit": number(self.limit, lang, unit)}
        label = word(self.figure, lang)
        # What is no other rule is a limit of the plan.
        rule = self.rule if self.rule in ("missing", "unended", "zero", "some", "few") else "limit"
        how = said(rule, lang, "reason", **values)
        return said("line", lang, "reason", leg=leg, figure=label[:1].lower() + label[1:], how=how)


def leg_reasons(leg: str, figures: Mapping[str, Any], limits: Mapping[str, float]) -> list[Reason]:
    """Everything that is wrong with one leg.

    A figure that nobody of this run could state (`not_asked`) need not be there; where it is, it is judged.
    """
    reasons = [Reason(leg, "not_ended", "broken", text) for text in figures.get(BROKEN) or ()]
    if figures.get(MEASURED_OUTSIDE) is False:
        reasons.append(Reason(leg, MEASURED_OUTSIDE, "unmeasured", None))
    spared = figures.get(NOT_ASKED) or ()
    named = [*ZERO, *MORE_THAN_ZERO, *STATED, "acknowledged_writes", *limits]
    for name in dict.fromkeys(named):
        value = figures.get(name)
        if value is None and name in spared:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
            reasons.append(Reason(leg, name, "missing", value))
        elif name in (figures.get(NEVER_ENDED) or ()):
            reasons.append(Reason(leg, name, "unended", value))
        elif name in ZERO and value != 0:
            reasons.append(Reason(leg, name, "zero", value))
        elif name in MORE_THAN_ZERO and value <= 0:
            reasons.append(Reason(leg, name, "some", value))
        elif name == "acknowledged_writes" and value < LEAST_WRITES:
            reasons.append(Reason(leg, name, "few", value, LEAST_WRITES))
        elif name in limits and not value <= limits[name] and judged(name, figures):
            reasons.append(Reason(leg, name, "limit", value, limits[name]))
    proofs = figures.get("not_proved")
    if not isinstance(proofs, list):
        reasons.append(Reason(leg, "not_proved", "missing", proofs))
    else:
        reasons += [Reason(leg, "not_proved", "proof", doubt) for doubt in proofs]
    return reasons


def unreached(leg: str) -> Reason:
    """The reason that a leg which the run should have was not reached."""
    return Reason(leg, "probes", "unreached", None)


def judged(name: str, figures: Mapping[str, Any]) -> bool:
    """Whether the plan's limit on a figure may condemn the run; on a speed it is only reported."""
    return name not in SPEED or name in (figures.get("unended_outages") or ())


def verdict(reasons: list[Reason]) -> str:
    """`ok`; `inside` when all is proved but nobody outside measured; `invalid` when too little is; else `failed`."""
    if not reasons:
        return "ok"
    if all(reason.rule == "unmeasured" for reason in reasons):
        return "inside"
    if all(reason.rule in ("unreached", "unmeasured", "few", "missing", "some") for reason in reasons):
        return "invalid"
    return "failed"
