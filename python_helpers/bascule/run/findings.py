"""What a preflight looks at, and what it names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that is not right: whose it is, the variable, what was expected and found, and the file's line."""

    subject: str
    key: str
    expected: str
    found: str
    place: str = ""

    def text(self) -> str:
        """Return the finding as one line."""
        where = f" ({self.place})" if self.place else ""
        return f"{self.subject}: {self.key}{where}: expected {self.expected}; found {self.found}"


@dataclass(frozen=True)
class Declared:
    """One component as it is declared.

    values: the variables of its role, templated, role defaults included.
    options: the role's argument specs by variable.
    faults: why a variable has no value that could be used, by variable.
    lacking: the verbs for which the role has no file.
    beside: of what only points, the components of the plan that are no names, where it depends on none of them.
    """

    name: str
    role: str
    sides: tuple[str, str]
    values: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    lacking: Collection[str] = ()
    beside: Collection[str] = ()


def shown(value: Any) -> str:
    """Return a value as a finding shows it."""
    return "nothing" if value is None or value == "" else repr(value)
