"""Is the run good? Reasons why not, each naming its figure. A figure without a sample is a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .french import broken, french, labelled
from .words import number, word

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
        """One line as it stands in summary.json, with the names of figures; the French one is that of `said`."""
        if lang == "fr":
            return self._french()
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
        if lang == "fr":
            return self._french()
        if self.rule == "proof":
            return f"{self.leg}: not proved: {labelled(str(self.found))}"
        if self.rule in ("unreached", "unmeasured", "broken"):
            return self.text()
        unit = "s" if self.figure.endswith("_seconds") else ""
        found, limit = number(self.found, "en", unit), number(self.limit, "en", unit)
        label = word(self.figure, "en")
        why = {
            "missing": "no sample stands behind it",
            "unended": f"{found}, and the account ends in it",
            "zero": f"{found}, must be 0",
            "some": f"{found}, nothing was compared",
            "few": f"{found}, at least {limit} make a run valid",
        }
        how = why.get(self.rule, f"{found}, the plan's limit is {limit}")
        return f"{self.leg}, {label[:1].lower()}{label[1:]}: {how}"

    def _french(self) -> str:
        leg, label = word(self.leg, "fr"), word(self.figure, "fr")
        if self.rule == "unreached":
            return f"{leg} : cette étape n'a pas été atteinte"
        if self.rule == "unmeasured":
            return f"{leg} : personne n'a mesuré de l'extérieur"
        if self.rule == "broken":
            return f"{leg}, {broken(str(self.found))}"
        if self.rule == "proof":
            return f"{leg}, non prouvé : {french(str(self.found))}"
        return f"{leg}, {label[:1].lower()}{label[1:]} : {self._french_rule()}"

    def _french_rule(self) -> str:
        unit = "s" if self.figure.endswith("_seconds") else ""
        found, limit = number(self.found, "fr", unit), number(self.limit, "fr", unit)
        if self.rule == "missing":
            return "aucune mesure"
        if self.rule == "unended":
            return f"{found}, et le relevé s'arrête dedans"
        if self.rule == "zero":
            return f"{found}, doit être 0"
        if self.rule == "some":
            return f"{found}, rien n'a été comparé"
        if self.rule == "few":
            return f"{found}, il en faut au moins {limit} pour que l'exécution soit valable"
        return f"{found}, la limite du plan est {limit}"


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
