"""What a window is expected to cost: out of Ansible's variables and the run's journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants

from ..report import forecast
from ..report.forecast import Forecast, Known
from ..system.io import storage
from .action import Scope


def outlook(scope: Scope, loader: Any, entries: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Forecast:
    """Return the forecast of a window in which these components move.

    Args:
        loader: the action's, which reads the defaults of roles.
        entries: the journal of the run.
    """
    found, samples = forecast.last_found(entries), forecast.last_samples(entries)
    return forecast.forecast(
        {
            name: Known(
                str(scope.hostvars[name]["component_role"]),
                tuple(str(other) for other in scope.hostvars[name].get("depends_on") or []),
                found.get(name),
                samples.get(name, {}),
                _variables(scope.hostvars[name], loader),
            )
            for name in names
        }
    )


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
