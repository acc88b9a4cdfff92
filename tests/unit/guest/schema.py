"""Check requests against Proxmox's official schema, where it is at hand; it is not part of this project."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("BASCULE_PVE_SCHEMAS", ROOT.parent / "shared" / "pve"))
MISSING = f"Proxmox's schemas are not at hand ({FOLDER}): set BASCULE_PVE_SCHEMAS to check requests against them"


def available(version: str) -> bool:
    """Say whether the schema of this version is there."""
    return (FOLDER / f"api-{version}.json").is_file()


@cache
def _load(version: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"api-{version}.json").read_text())
    return loaded


@cache
def _validator(version: str, key: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_json_schema(_load(version)[key]["parameters"]))


@cache
def _endpoints(version: str) -> list[tuple[str, re.Pattern[str], str]]:
    found = []
    for key in _load(version):
        method, path = key.split(" ", 1)
        parts = [
            "(?P<{}>{})".format(part[1:-1].replace("-", "_"), ".+" if part == "{volume}" else "[^/]+")
            if part.startswith("{")
            else re.escape(part)
            for part in path.strip("/").split("/")
        ]
        found.append((method, re.compile("/".join(parts) + "$"), key))
    # Fixed words win over placeholders, as in Proxmox's own router.
    return sorted(found, key=lambda row: row[1].pattern.count("(?P<"))


def check(version: str, method: str, path: str, values: Mapping[str, Any]) -> None:
    """Raise when the official schema would refuse the request."""
    for wanted, pattern, key in _endpoints(version):
        found = pattern.match(path) if wanted == method else None
        if found:
            given = {**{k.replace("_", "-") if "_" in k else k: v for k, v in found.groupdict().items()}, **values}
            _validator(version, key).validate({k: _wire(v) for k, v in given.items()})
            return
    raise AssertionError(f"there is no endpoint {method} /{path} in {version}")


def parameters(version: str, key: str) -> set[str]:
    """Return what an endpoint takes."""
    return set(_load(version)[key]["parameters"].get("properties", {}))


def returned(version: str, key: str) -> set[str]:
    """Return what an endpoint answers with, as far as its schema tells."""
    return set(_load(version)[key]["returns"].get("properties", {}))


def _wire(value: Any) -> Any:
    assert not isinstance(value, bool), "a boolean goes over the wire as 0 or 1"
    return str(value)


def _json_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    exact, patterns, required = {}, {}, []
    for name, rule in parameters.get("properties", {}).items():
        schema = _rule(rule)
        if name.endswith("[n]"):
            patterns[f"^{re.escape(name[:-3])}[0-9]+$"] = schema
        else:
            exact[name] = schema
            if not rule.get("optional"):
                required.append(name)
    return {
        "type": "object",
        "properties": exact,
        "patternProperties": patterns,
        "required": required,
        "additionalProperties": bool(parameters.get("additionalProperties", 1)),
    }


def _rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Everything arrives as text in a form: what a type means is a pattern on that text."""
    schema: dict[str, Any] = {"type": "string"}
    if rule.get("type") == "boolean":
        schema["enum"] = ["0", "1"]
    elif rule.get("type") == "integer":
        schema["pattern"] = "^-?[0-9]+$"
    if "enum" in rule:
        schema["enum"] = [str(value) for value in rule["enum"]]
    if "maxLength" in rule:
        schema["maxLength"] = rule["maxLength"]
    return schema
