"""The eleven fields of a migration's record in the languages of its readers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .others import doubt
from .record import FIELDS
from .words import counted, one_line, said, word


@dataclass(frozen=True)
class Said:
    """A line of a field as it is read, and the lines of the journal that it rests on."""

    text: str
    journal: tuple[str, ...]


def fields(summary: Mapping[str, Any], lang: str, reasons: Sequence[str]) -> list[tuple[str, list[Said]]]:
    """Return the fields of a summary that has them, each by its label.

    Args:
        summary: the summary of the run.
        lang: the language.
        reasons: the summary's reasons in that language, in their order.
    """
    found = summary.get("record") or {}
    told = dict(zip(map(str, summary.get("reasons", [])), reasons))
    return [(label(field, lang), [_said(line, lang, told) for line in found[field]]) for field in FIELDS if found]


def label(name: str, lang: str) -> str:
    """Return the label of a field, or the title of all."""
    return word(name, lang, "label")


def _said(line: Mapping[str, Any], lang: str, reasons: Mapping[str, str]) -> Said:
    name, values = str(line["say"]), {key: str(value) for key, value in line["with"].items()}
    if doubts := line["with"].get("doubts"):
        values["doubts"] = "; ".join(doubt(one, lang) for one in doubts)
    for key in ("phase", "verb"):
        # In English and French verbs have stood as the run names them.
        if key in values and (key == "phase" or lang not in ("en", "fr")):
            values[key] = word(values[key], lang)
    if "reason" in values:
        values["reason"] = reasons.get(values["reason"], values["reason"])
    if name == "move":
        text = counted(name, lang, int(values.pop("count")), "record", **values)
    else:
        if name == "journal":
            values["entries"] = counted("entries", lang, int(values["count"]), "record")
            values["sealed"] = counted("seals", lang, int(values["seals"]), "record")
        text = said(name, lang, "record", **values)
    return Said(one_line(text), tuple(line["journal"]))
