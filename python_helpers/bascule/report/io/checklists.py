"""Reads the checklist of a run: which one, and what persons have said, from `checklist.yml` in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import yaml

from ...errors import PlanError
from ...system.io import storage

FILE = "checklist.yml"
_OWN = Path(__file__).parents[1] / "checklists"


def read(run: Path) -> Optional[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the checklist (`title`, `items`) and the answers by item; nothing where the run has none.

    Raises:
        PlanError: a file is no such thing.
    """
    if (text := storage.read_text(run / FILE)) is None:
        return None
    asked = _table(text, run / FILE)
    named = str(asked.get("checklist"))
    # One that the project has, or a file.
    own = _OWN / f"{named}.yml"
    path = own if storage.is_file(own) else run / named
    found = _table(storage.read_text(path) or "", path)
    if not isinstance(found.get("items"), list) or not isinstance(asked.get("answers") or {}, dict):
        raise _refused(path, "a table with items, and answers by item")
    return found, dict(asked.get("answers") or {})


def _table(text: str, path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _refused(path, "YAML") from error
    if not isinstance(found, dict):
        raise _refused(path, "a table")
    return found


def _refused(path: Path, expected: str) -> PlanError:
    return PlanError(expected=f"{expected} in {path}", found="something else", state="no checklist was made")
