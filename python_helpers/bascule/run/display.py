"""What to print while a phase runs: one line per verb and component, failures in full. Pure: lines of (tone, text)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import failures

Line = tuple[str, str]

# The fields of an error, in the order a reader needs them.
FIELDS = (("expected", "expected"), ("found", "found"), ("state", "state now"), ("next_command", "next safe command"))


@dataclass
class _Doing:
    verb: str
    since: float
    changed: bool = False


class Progress:
    """Follows a playbook and gives the lines to print."""

    def __init__(self, clock: Callable[[], float], check_mode: Callable[[], bool] = lambda: False) -> None:
        self._clock = clock
        self._check_mode = check_mode
        self._doing: dict[str, _Doing] = {}
        self._play = ""
        self._anybody = False
        self._started = clock()

    def play(self, name: str) -> list[Line]:
        """A play begins. A play that runs in batches is announced once."""
        if name == self._play:
            return []
        self._play = name
        return [("head", name)]

    def begin(self, component: str, verb: str) -> None:
        """A component begins a verb."""
        self._anybody = True
        self._doing[component] = _Doing(verb, self._clock())

    def nobody(self) -> list[Line]:
        """A play has no component. That is an error where none has had any; others are for some kinds only."""
        return [] if self._anybody else [("bad", "no component matched: look at --limit")]

    def step(self, component: str, changed: bool) -> None:
        """A task of the component ended well."""
        doing = self._doing.get(component)
        if doing is not None and changed:
            doing.changed = True

    def end(self, component: str) -> list[Line]:
        """The component has done the verb."""
        doing = self._doing.pop(component, None)
        if doing is None:
            return []
        tone, word = ("changed", "changed") if doing.changed else ("good", "unchanged")
        if self._check_mode():
            word = "would change" if doing.changed else "would change nothing"
        return [(tone, f"  {component:<16}{doing.verb:<9}{self._clock() - doing.since:7.1f} s  {word}")]

    def waiting(self, component: str, said: Any) -> list[Line]:
        """A task waits for something long, and says how far that has come."""
        return [("plain", f"  {component:<16}{said}")] if isinstance(said, str) and said else []

    def message(self, component: str, said: Any) -> list[Line]:
        """A task speaks to the reader."""
        if isinstance(said, str):
            lines = said.splitlines()
        elif isinstance(said, (list, tuple)):
            lines = [str(one) for one in said]
        else:
            return []
        return [("plain", f"  {line}") for line in lines]

    def gate(self, component: str, verdict: Any) -> list[Line]:
        """A gate let the component pass."""
        if not isinstance(verdict, Mapping):
            return []
        override = verdict.get("override")
        tone, word = ("bad", f"OVERRIDDEN ({override})") if override else ("good", "GO")
        return [(tone, f"  {component:<16}gate {verdict.get('name')}: {word}, {verdict.get('reason')}")]

    def failed(self, component: str, task: str, result: Mapping[str, Any], *, reached: bool = True) -> list[Line]:
        """A task of the component failed, or its machine did not answer."""
        doing = self._doing.pop(component, None)
        doing_what = f" in {doing.verb} after {self._clock() - doing.since:.1f} s" if doing is not None else ""
        word = "FAILED" if reached else "NO ANSWER"
        lines: list[Line] = [("bad", f"  {component:<16}{word}{doing_what}: {task}")]
        told = failures.items(result)
        for item, one in told:
            lines += [("bad", f"    item {item}"), *_why(one)]
        return lines if told else [*lines, *_why(result)]

    def finished(self, components: int, bad: list[str]) -> list[Line]:
        """The playbook is over."""
        took = f"{self._clock() - self._started:.1f} s"
        if bad:
            return [("bad", f"stopped after {took}: {', '.join(bad)}")]
        return [("good", f"done: {components} component{'s' if components != 1 else ''}, {took}")]


def _why(result: Mapping[str, Any]) -> list[Line]:
    """Return why a task failed, or an item of its loop."""
    fields = [(label, str(result[name]).strip()) for name, label in FIELDS if result.get(name)]
    if not fields:
        fields = [("found", failures.message(result) or "no message")]
    for name in ("stderr", "module_stderr"):
        if result.get(name) and not result.get("expected"):
            fields.append((name.replace("_", " "), str(result[name]).strip()))
    lines: list[Line] = []
    for label, text in fields:
        first, *rest = text.splitlines() or [""]
        lines.append(("bad", f"      {label + ':':<19}{first}"))
        lines += [("bad", " " * 25 + line) for line in rest]
    return lines
