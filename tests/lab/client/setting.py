"""Where the demo works: paths, the lab's addresses and the plan, read from the inventory the playbooks use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
LAB = ROOT / ".lab"


@dataclass(frozen=True)
class SiteAddresses:
    """Where the parts of a site answer, as the controller reaches them."""

    key: str
    name: str
    db: str
    files: str
    guest: str

    def probe_argument(self) -> str:
        return f"{self.key}:db={self.db},files={self.files},guest={self.guest}"


@dataclass(frozen=True)
class Setting:
    """The plan as far as the demo needs it."""

    plan: str
    source: SiteAddresses
    target: SiteAddresses
    limits: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)

    def site(self, key: str) -> SiteAddresses:
        return self.source if key == self.source.key else self.target


def read_setting(inventory: Path = ROOT / "inventories" / "lab") -> Setting:
    """Read the plan. Only plain values are used, nothing that needs Ansible's templates."""
    directory = inventory / "group_vars" / "all"
    plan = _yaml(directory / "plan.yml")
    machines = _yaml(directory / "machines.yml")["lab_sites"]

    def site(key: str) -> SiteAddresses:
        place = machines[key]
        return SiteAddresses(
            key=key,
            name=str(plan["plan_sites"][key]["name"]),
            db=str(place["db"]),
            files=f"{place['files']}:8080",
            guest=f"{place['courses']}:8000",
        )

    return Setting(
        plan=str(plan["plan_name"]),
        source=site(str(plan["plan_source_site"])),
        target=site(str(plan["plan_target_site"])),
        limits={str(name): float(value) for name, value in plan.get("plan_limits", {}).items()},
        expected={str(name): float(value) for name, value in plan.get("plan_expected_seconds", {}).items()},
    )


def podman_environment() -> dict[str, str]:
    """The environment for podman; the lab's settings file is used where the lab wrote one."""
    settings = LAB / "containers.conf"
    return {**os.environ, **({"CONTAINERS_CONF": str(settings)} if settings.exists() else {})}


def _yaml(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"expected a mapping in {path}")
    return content
