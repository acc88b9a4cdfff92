"""Doubts about a proof as a reader would write them, above all a French one; what has no translation stays. Pure."""

from __future__ import annotations

import re

from .french_lines import error, moments
from .words import word

# What the judge of proofs says (`proof.Doubt`), in the order of its rules.
_WHY: tuple[tuple[str, str], ...] = (
    (r"nothing was verified", "aucune vérification n'a eu lieu"),
    (r"null: nobody has (?:counted|looked)", "personne n'a regardé"),
    (r"(.+): nobody has (?:counted|looked)", r"\1, ce qui n'est pas un compte"),
    (r"null: nothing was looked at", "rien n'a été regardé"),
    (r"(.+): nothing was looked at", r"\1, rien n'a été regardé"),
    (r"nothing is recorded", "rien n'a été consigné"),
    (r"which switch was verified is not known", "on ne sait pas quel basculement a été vérifié"),
    (r"null: nobody has said what was not compared", "personne n'a dit ce qui n'a pas été comparé"),
    (r"nobody has said why these were not compared: (.+)", r"personne n'a dit pourquoi ceci n'a pas été comparé : \1"),
    (r"it is older than the last switch, begun (.+)", r"elle précède le dernier basculement, commencé le \1"),
    (r"it is older than the last (take_over|reopen), begun (.+)", r"elle précède le dernier \1, commencé le \2"),
    (
        r"epoch (.+) was verified, the side was opened under (.+)",
        r"l'époque \1 a été vérifiée, le côté est ouvert sous \2",
    ),
    (r"the last one, begun (.+), has come to no end", r"la dernière, commencée le \1, n'est pas arrivée à son terme"),
    (r"the last one, begun (.+), has recorded nothing", r"la dernière, commencée le \1, n'a rien consigné"),
    (r"the last one, begun (.+), has failed: (.+)", r"la dernière, commencée le \1, a échoué : \2"),
)
_VALUES = {
    "null": "aucune valeur", "proved": "prouvée", "not_proved": "non prouvée", "off": "non prévue",
    "refused": "refusée", "maintenance": "maintenance", "forward": "renvoi", "true": "vrai", "True": "vrai",
    "False": "faux", "pending": "en cours", "unknown": "inconnu", "unproved": "non prouvé", "open": "ouvert",
    "closed": "fermé", "stopped": "arrêté",
}  # fmt: skip


def french(doubt: str) -> str:
    """Return a doubt (`COMPONENT.FIGURE: WHY`) in French."""
    found = re.fullmatch(r"(\w+)\.(\w+): (.+)", doubt, re.S)
    if not found:
        return doubt
    component, what, why = found.groups()
    label = word(what, "fr").replace("_", " ")
    return moments(f"{component}, {label[:1].lower()}{label[1:]} : {_why(why)}")


def labelled(doubt: str) -> str:
    """Return a doubt in English, with the label of its figure instead of its name."""
    found = re.fullmatch(r"(\w+)\.(\w+): (.+)", doubt, re.S)
    if not found:
        return doubt
    label = word(found[2], "en").replace("_", " ")
    return f"{found[1]}, {label[:1].lower()}{label[1:]}: {found[3]}"


def broken(text: str) -> str:
    """Return what the report says of a verb that did not come through (`legs`) in French."""
    found = re.fullmatch(r"(?:(\w+)/)?(\w+) of (\S+) (has not ended|did not come through: (.+))", text, re.S)
    if not found:
        return text
    phase, verb, component, _, why = found.groups()
    where = f" (phase « {word(phase, 'fr')} »)" if phase else ""
    how = f"n'a pas abouti : {error(why)}" if why else "n'est pas arrivé à son terme"
    return f"{word(verb, 'fr')} de {component}{where} : {how}"


def _why(text: str) -> str:
    for pattern, words in _WHY:
        if re.fullmatch(pattern, text, re.S):
            return re.sub(rf"(?s)\A{pattern}\Z", words, text)
    found = re.fullmatch(r"(\S+)(?: \((.+)\))?, must be (.+)", text, re.S)
    if not found:
        return text
    value, reason, wanted = found.groups()
    must = " ou ".join(_value(one) for one in wanted.split(" or "))
    return f"{_value(value)}{f' ({reason})' if reason else ''}, doit être {must}"


def _value(text: str) -> str:
    return _VALUES.get(text, text.replace(".", ",") if re.fullmatch(r"-?\d+\.\d+", text) else text)
