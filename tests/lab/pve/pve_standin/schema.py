"""Proxmox's official schema, where it is at hand: nothing is taken and nothing said that it does not allow.

The schema is no part of this project; a folder that has `api-8.4.json` or `api-9.1.json` is named to the node. Texts
are those of Proxmox's own parameter verification. Without a folder the node's own tables (`params`) are all there is.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import ApiError, bad_parameters
from .guest_config import parse_options

Rule = Mapping[str, Any]

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"
# Formats that stand in the schema by name only, as far as requests of this project meet them.
FORMATS: dict[str, tuple[str, str]] = {
    "pve-vmid": (r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "pve-node": (r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?", "value does not look like a valid node name"),
    "pve-storage-id": (r"[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]", "storage ID '{}' contains illegal characters"),
    "pve-configid": (r"[a-zA-Z][a-zA-Z0-9_-]+", "invalid configuration ID '{}'"),
    "pve-bridge-id": (r"[-_.\w]+", "invalid bridge ID '{}'"),
    "mac-addr": (r"(?i:[a-f0-9][02468ace](:[a-f0-9]{2}){5})", "value does not look like a valid unicast MAC address"),
    "dns-name": (
        r"([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?",
        "value does not look like a valid DNS name",
    ),
}


class Schema:
    def __init__(self, endpoints: Mapping[str, Any], version: str) -> None:
        self.endpoints = endpoints
        # The published schema of 9 comes from the viewer of the documentation: good for requests only.
        self.answers = version.startswith("8")

    @classmethod
    def load(cls, folder: Path | None, version: str) -> Schema | None:
        """The schema of a version, if the folder has it."""
        path = folder / f"api-{version}.json" if folder else None
        return cls(json.loads(path.read_text()), version) if path and path.is_file() else None

    def request(self, endpoint: str, given: Mapping[str, Any]) -> None:
        """Refuse what Proxmox refuses; `given` has the parts of the path too."""
        parameters = self.endpoints[endpoint]["parameters"]
        rules: Mapping[str, Rule] = parameters.get("properties", {})
        errors: dict[str, str] = {}
        for name, value in given.items():
            if value is None:
                raise ApiError(500, f"unable to parse value of '{name}' - got undefined value")
            rule = _named(rules, name)
            if rule is None:
                errors[name] = UNKNOWN
                continue
            problem = wrong(rule, value, name)
            if problem:
                errors[name] = problem
            elif rule.get("requires") and rule["requires"] not in given:
                errors[rule["requires"]] = f"missing property - '{name}' requires this property"
        for name, rule in rules.items():
            if not int(rule.get("optional", 0)) and name not in given and not name.endswith("[n]"):
                errors[name] = MISSING
        if errors:
            raise bad_parameters(errors)

    def answer(self, endpoint: str, data: Any) -> list[str]:
        """What is wrong with an answer."""
        return shape_problems(data, self.endpoints[endpoint]["returns"], "data") if self.answers else []


def _named(rules: Mapping[str, Rule], name: str) -> Rule | None:
    if name in rules:
        return rules[name]
    match = re.fullmatch(r"([a-z]+)(0|[1-9]\d{0,2})", name)
    return rules.get(f"{match[1]}[n]") if match else None


def wrong(rule: Rule, value: Any, name: str) -> str:
    """What is wrong with a value, in Proxmox's words; empty when nothing is."""
    kind = rule.get("type", "string")
    if kind == "array":
        values = value if isinstance(value, list) else [value]
        return next(filter(None, (wrong(rule.get("items", {}), one, name) for one in values)), "")
    # A boolean of a JSON body is one; the same word in a form is not.
    text = str(int(value)) if isinstance(value, bool) else str(value)
    kinds = {"boolean": r"[01]", "integer": r"[+-]?\d+", "number": r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?"}
    if kind in kinds and not re.fullmatch(kinds[kind], text):
        return f"type check ('{kind}') failed - got '{text}'"
    form = rule.get("format")
    problem = format_problem(form, text, name) if form else ""
    if problem:
        return f"invalid format - {problem}\n"
    return _limits(rule, text, kind)


def _limits(rule: Rule, text: str, kind: str) -> str:
    pattern = rule.get("pattern")
    if pattern:
        with contextlib.suppress(re.error):
            if not re.fullmatch(pattern, text):
                return "value does not match the regex pattern"
    if len(text) > int(rule.get("maxLength", len(text))):
        return f"value may only be {rule['maxLength']} characters long"
    if len(text) < int(rule.get("minLength", 0)):
        return f"value must be at least {rule['minLength']} characters long"
    if kind in ("integer", "number"):
        for limit, word in (("minimum", "minimum"), ("maximum", "maximum")):
            bound = rule.get(limit)
            if bound is not None and (float(text) < float(bound) if limit == "minimum" else float(text) > float(bound)):
                return f"value must have a {word} value of {bound}"
    if rule.get("enum") and text not in map(str, rule["enum"]):
        return f"value '{text}' does not have a value in the enumeration '{', '.join(map(str, rule['enum']))}'"
    return ""


def format_problem(form: str | Rule, text: str, name: str) -> str:
    if not isinstance(form, str):
        return _property_string(form, text, name)
    single = form.removesuffix("-list")
    if single not in FORMATS:
        return ""
    pattern, words = FORMATS[single]
    for one in re.split(r"[,;\s\0]+", text) if single != form else [text]:
        if not re.fullmatch(pattern, one):
            return words.format(one)
    return ""


def _property_string(form: Rule, text: str, name: str) -> str:
    """`key=value,…`, where one key may be left out and some keys stand for another."""
    first = next((key for key, rule in form.items() if isinstance(rule, Mapping) and rule.get("default_key")), "")
    errors = []
    seen: set[str] = set()
    for key, value in parse_options(text, first).items():
        rule = form.get(key)
        if not isinstance(rule, Mapping):
            errors.append(f"{name}.{key}: {UNKNOWN}")
            continue
        if "keyAlias" in rule:
            seen.add(str(rule["keyAlias"]))
        target = str(rule.get("alias", key))
        seen.add(target)
        # `virtio` alone is a model without an address.
        problem = wrong(form[target], value, target) if value or target == key else ""
        if problem:
            errors.append(f"{name}.{key}: {problem.strip()}")
    for key, rule in form.items():
        if isinstance(rule, Mapping) and "alias" not in rule and not int(rule.get("optional", 0)) and key not in seen:
            errors.append(f"{name}.{key}: {MISSING}")
    return "\n".join(["format error", *errors]) if errors else ""


KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    # To Perl a text of digits is a number: `nextid` answers one.
    "integer": lambda value: isinstance(value, int) or (isinstance(value, str) and value.isdigit()),
    "number": lambda value: isinstance(value, (int, float)),
    "boolean": lambda value: value in (0, 1),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}


def shape_problems(value: Any, rule: Rule, where: str) -> list[str]:
    """Types, enumerations and required properties; Proxmox's own answers often carry more than their schema names."""
    kind = rule.get("type")
    if kind and not KINDS[kind](value):
        return [f"{where}: {value!r} is no {kind}"]
    found = []
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{where}: {value!r} is none of {rule['enum']}")
    if kind == "array":
        for index, item in enumerate(value):
            found += shape_problems(item, rule.get("items", {}), f"{where}[{index}]")
    if kind == "object":
        for name, inner in rule.get("properties", {}).items():
            if name in value:
                found += shape_problems(value[name], inner, f"{where}.{name}")
            elif not inner.get("optional") and not name.endswith("[n]"):
                found.append(f"{where}.{name} is missing")
    return found
