"""What a stack needs to be deployed, as data: `roles/app_service/vars/stacks/NAME.yml`. Pure.

Words of commands may name settings in braces, such as `{port}`; what no setting gives is refused when the recipe is
read.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError

Commands = tuple[tuple[str, ...], ...]
# What each deployment gives by itself.
GIVEN = frozenset({"current", "release", "shared", "version", "port", "account", "service"})
_COMMANDS = ("build", "test")
_TEXTS = ("stack", "tested", "logs")
_KEYS = frozenset(
    {*_COMMANDS, *_TEXTS, "prerequisites", "start", "environment", "health", "version", "assets", "settings"}
)


@dataclass(frozen=True)
class Prerequisite:
    """What a host must have: a command whose output ends in a version, the least that will do, and the package."""

    name: str
    command: tuple[str, ...]
    at_least: str
    package: str


@dataclass(frozen=True)
class Recipe:
    """One stack.

    tested: what of it was really run. commands: `build` and `test`, in the release's folder, as the account. start: the
    command of the unit. health: `path`, `status` and `seconds` until it must answer so. version: `path` and what the
    answer `contains`. assets: folders to which the files of the release before are added, as open pages still ask for
    them. logs: the command that shows them. settings: what a service may say otherwise.
    """

    stack: str
    tested: str
    prerequisites: tuple[Prerequisite, ...]
    commands: Mapping[str, Commands]
    start: tuple[str, ...]
    environment: Mapping[str, str]
    health: Mapping[str, Any]
    version: Mapping[str, str]
    assets: tuple[str, ...]
    logs: str
    settings: Mapping[str, str]


def read(given: Any, where: str) -> Recipe:
    """Return a recipe; raise PlanError with all that is wrong in it.

    Args:
        given: the content of the file. where: its name.
    """
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    wrong = [f"{key} is nothing that a recipe has" for key in sorted(map(str, said)) if key not in _KEYS]
    wrong += [f"{key} is missing" for key in sorted(_KEYS) if key not in said]
    if wrong:
        raise _refused(where, wrong)
    settings = _texts("settings", said["settings"], wrong)
    environment = _texts("environment", said["environment"], wrong)
    commands = {key: _commands(key, said[key], wrong) for key in _COMMANDS}
    (start,) = _commands("start", [said["start"]], wrong) or ((),)
    for key in _TEXTS:
        if not isinstance(said[key], str) or not said[key]:
            wrong.append(f"{key} is a text")
    version = _texts("version", said["version"], wrong)
    if set(version) != {"path", "contains"}:
        wrong.append("version has path and contains")
    words = [word for key in commands.values() for one in key for word in one]
    for word in [*words, *start, *environment.values(), *version.values()]:
        wrong += [f"{word!r} names {{{name}}}, which no setting gives" for name in _unknown(word, settings)]
    assets = said["assets"]
    if not isinstance(assets, list) or not all(isinstance(one, str) and one for one in assets):
        wrong.append("assets is a list of folders")
        assets = []
    recipe = Recipe(
        stack=str(said["stack"]),
        tested=str(said["tested"]),
        prerequisites=_prerequisites(said["prerequisites"], wrong),
        commands=commands,
        start=start,
        environment=environment,
        health=_health(said["health"], wrong),
        version=version,
        assets=tuple(assets),
        logs=str(said["logs"]),
        settings=settings,
    )
    if wrong:
        raise _refused(where, wrong)
    return recipe


def filled(words: Any, values: Mapping[str, str]) -> Any:
    """Return a text, or texts in tuples and mappings, with each name in braces replaced by its value."""
    if isinstance(words, str):
        return words.format_map(values)
    if isinstance(words, Mapping):
        return {key: filled(value, values) for key, value in words.items()}
    return [filled(one, values) for one in words] if isinstance(words, (list, tuple)) else words


def is_enough(found: str, at_least: str) -> bool:
    """Return whether the last word of a program's answer is a version that will do."""
    words = found.split()
    return bool(words) and _numbers(words[-1]) >= _numbers(at_least)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.lstrip("v").replace("-", ".").replace("+", ".").split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def _prerequisites(given: Any, wrong: list[str]) -> tuple[Prerequisite, ...]:
    found = []
    for said in given if isinstance(given, list) else [None]:
        one: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        if set(one) != {"name", "command", "at_least", "package"}:
            wrong.append("each of prerequisites has name, command, at_least and package")
            continue
        if not _numbers(str(one["at_least"])):
            wrong.append(f"prerequisite {one['name']}: at_least is a version, in quotes")
        for command in _commands("prerequisites", [one["command"]], wrong):
            found.append(Prerequisite(str(one["name"]), command, str(one["at_least"]), str(one["package"])))
    return tuple(found)


def _health(given: Any, wrong: list[str]) -> Mapping[str, Any]:
    kinds = {"path": str, "status": int, "seconds": int}
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if set(said) != set(kinds) or not all(type(said[key]) is kind for key, kind in kinds.items()):
        wrong.append("health has path (a text), status and seconds (whole numbers)")
    return dict(said)


def _texts(key: str, given: Any, wrong: list[str]) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        wrong.append(f"{key} is texts by name (numbers in quotes)")
        return {}
    return {str(name): value for name, value in given.items()}


def _commands(key: str, given: Any, wrong: list[str]) -> Commands:
    is_so = isinstance(given, list) and all(
        isinstance(one, list) and one and all(isinstance(word, str) for word in one) for one in given
    )
    if not is_so:
        wrong.append(f"{key} is made of commands, each a list of words")
        return ()
    return tuple(tuple(one) for one in given)


def _unknown(word: str, settings: Mapping[str, str]) -> list[str]:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(word) if name is not None]
    except ValueError:
        return ["a brace without its other half"]
    return [name for name in names if name not in GIVEN and name not in settings]


def _refused(where: str, wrong: list[str]) -> PlanError:
    return PlanError(expected=f"a recipe in {where}", found="; ".join(wrong), state="nothing was changed")
