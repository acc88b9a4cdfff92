"""What a window is expected to cost: out of Ansible's variables and the run's journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError

from ..errors import BasculeError
from ..report import expectation, forecast
from ..report.forecast import Forecast, Known, Part
from ..run import budget
from ..run.gates import number_of
from ..run.io.journal import Journal
from ..run.order import CUTOVER
from ..system.io import storage
from .action import Scope


def lines(scope: Scope, loader: Any, journal: Journal, phase: str, names: Iterable[str]) -> list[str]:
    """Return what is said of a window before it begins; why, where that is not known.

    It decides nothing, so nothing that is wrong with it keeps a phase from going on.
    """
    try:
        entries = journal.read().entries
        components = known(scope, loader, entries, names)
        said = forecast.lines(forecast.forecast(components), limit(scope), forecast.last_window(entries))
        # Of a window back nobody returns.
        allowed = limit(scope) if phase == CUTOVER else None
        return [*said, f"  {expectation.at_worst(expectation.outlook(components, entries), allowed)}"]
    except Exception as error:
        return [f"forecast of the outage: not known: {why(error)}"]


def kept(scope: Scope, loader: Any, journal: Journal, names: Iterable[str]) -> dict[str, Any]:
    """Return the same as the journal keeps it: seconds, in all and of each component; nothing where it is not known.

    With it goes what `budget.read` corrects it by: the worst, who waits for whom, the shares of the verbs, what the
    plan allows, and how many seconds after the freeze a return has to begin to keep to that.
    """
    try:
        entries = journal.read().entries
        components = known(scope, loader, entries, names)
        found, both = forecast.forecast(components), expectation.outlook(components, entries)
        allowed = number_of(limit(scope))
        shares = budget.shares(entries)
    except Exception:
        # `lines` says why.
        return {}
    window = {} if allowed is None else {"limit": allowed, "latest_return": allowed - both.back_pessimistic}
    return {
        "seconds": found.seconds,
        "parts": {name: part.seconds for name, part in found.parts.items()},
        "pessimistic": both.pessimistic.seconds,
        "worst": {name: part.seconds for name, part in both.pessimistic.parts.items()},
        "depends_on": {name: list(one.depends_on) for name, one in components.items() if one.depends_on},
        "shares": {name: shares[name] for name in components if name in shares},
        **window,
    }


def unknown(error: Exception, names: Iterable[str]) -> Forecast:
    """Return the forecast where it could not be made."""
    return Forecast(0.0, {name: Part(None, why(error)) for name in names}, ())


def why(error: Exception) -> str:
    """Return what kept a forecast from being made, as one line."""
    name = "" if isinstance(error, (AnsibleError, BasculeError)) else f"{type(error).__name__}: "
    text = error.message if isinstance(error, AnsibleError) else error
    return " ".join(f"{name}{text}".split())


def outlook(scope: Scope, loader: Any, entries: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Forecast:
    """Return the forecast of a window in which these components move.

    Args:
        loader: the action's, which reads the defaults of roles.
        entries: the journal of the run.
    """
    return forecast.forecast(known(scope, loader, entries, names))


def known(scope: Scope, loader: Any, entries: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, Known]:
    """Return what is known of these components; the arguments are those of `outlook`."""
    found, samples = forecast.last_found(entries), forecast.last_samples(entries)
    return {
        name: Known(
            str(scope.hostvars[name]["component_role"]),
            tuple(str(other) for other in scope.hostvars[name].get("depends_on") or []),
            found.get(name),
            samples.get(name, {}),
            _variables(scope.hostvars[name], loader),
        )
        for name in names
    }


def limit(scope: Scope) -> Any:
    """Return the seconds that the plan allows a window; nothing when it does not say."""
    limits = scope.get("plan_limits")
    return limits.get(forecast.LIMIT) if isinstance(limits, Mapping) else None


def _variables(variables: Mapping[str, Any], loader: Any) -> dict[str, Any]:
    """Return the variables that a forecast rests on, as declared or by the role's default."""
    role = str(variables["component_role"])
    paths = [Path(root) / role / "defaults" / "main.yml" for root in constants.DEFAULT_ROLES_PATH]
    path = next((one for one in paths if storage.is_file(one)), None)
    defaults = dict(loader.load_from_file(str(path)) or {}) if path else {}
    return {
        name: variables[name] if name in variables else defaults[name]
        for name in forecast.VARIABLES
        if name in variables or name in defaults
    }
