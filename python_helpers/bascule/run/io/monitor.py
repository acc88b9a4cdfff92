"""Ask machines for their samples, side by side; keep the samples of each day, and read those of earlier days."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...system.io import remote, storage
from ...system.ssh import Target
from ..monitor import Sample

FOLDER = "monitor"
# Seconds for a machine to answer.
_PATIENCE = 120.0


@dataclass(frozen=True)
class Answer:
    """What a machine has said: values, or why there is none, by name; `why` where it has said nothing that can be read.

    at: when it answered, by its own clock. machine: which one it is.
    """

    why: str = ""
    at: float = 0.0
    machine: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


def ask(
    targets: Mapping[str, Target],
    units: Mapping[str, Mapping[str, Sequence[str]]],
    since: Mapping[str, Mapping[str, float]],
) -> dict[str, Answer]:
    """Ask every machine once; each gets an answer.

    Args:
        targets: the way to each machine, by its name.
        units: patterns of systemd units by component, by machine.
        since: from when on errors count, by each machine's own clock, by machine and component.
    """
    source = storage.read_text(Path(__file__).with_name("sampler.py"))
    asked = {name: f"{json.dumps(units.get(name) or {})}, {json.dumps(since.get(name) or {})}" for name in targets}
    given = {name: f"{source}\n\nmain({arguments})\n" for name, arguments in asked.items()}
    answers = remote.run_on(targets, dict.fromkeys(targets, "exec python3 -I -"), given, _PATIENCE)
    return {name: Answer(why=one.error) if one.error else parsed(one.output) for name, one in answers.items()}


def parsed(text: str) -> Answer:
    """Return what a machine has printed; an answer that says why where it is not what the sampler prints."""
    try:
        data = json.loads(text.strip().splitlines()[-1])
        return Answer("", float(data["at"]), str(data["machine"]), dict(data["values"]), dict(data["why"]))
    except (ValueError, LookupError, TypeError) as error:
        return Answer(why=f"the answer cannot be read ({type(error).__name__}): {text.strip()[-200:]!r}")


def keep(directory: Path, day: str, samples: Iterable[Sample]) -> Path:
    """Append samples to those of their day below a run's folder; return the file."""
    folder = directory / FOLDER
    storage.make_directory(folder, 0o700)
    path = folder / f"{day}.jsonl"
    lines = "".join(json.dumps(one.to_dict(), ensure_ascii=False) + "\n" for one in samples)
    # A controller may have died while it wrote.
    torn = storage.size(path) and not storage.ends_with_newline(path)
    storage.append_durably(path, ("\n" if torn else "") + lines)
    return path


def read(directory: Path, day: str) -> list[Sample]:
    """Return the samples of a day; lines that are none are left out."""
    found = []
    for line in (storage.read_text(directory / FOLDER / f"{day}.jsonl") or "").splitlines():
        try:
            found.append(Sample.from_dict(json.loads(line)))
        except (ValueError, TypeError, LookupError):
            continue
    return found
