"""The eleven fields of a migration's record in the languages of its readers. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .french import french
from .record import FIELDS
from .words import one_line, word

_LABELS = {
    "title": {"en": "Record of the migration", "fr": "Fiche de migration"},
    "date": {"en": "Date and time", "fr": "Date et heure"},
    "stack": {"en": "Stack concerned", "fr": "Stack concernée"},
    "description": {"en": "Description", "fr": "Description"},
    "steps": {"en": "Steps", "fr": "Étapes réalisées"},
    "tests": {"en": "Tests", "fr": "Tests passés"},
    "problems": {"en": "Problems met", "fr": "Problèmes rencontrés"},
    "rollback": {"en": "Rolled back", "fr": "Rollback effectué"},
    "status": {"en": "Final status", "fr": "Statut final"},
    "responsible": {"en": "Responsible", "fr": "Responsable"},
    "evidence": {"en": "Evidence", "fr": "Preuves"},
    "comment": {"en": "Comment", "fr": "Commentaire"},
}
_SAYS = {
    "none": {"en": "none", "fr": "aucun"},
    "times": {"en": "{begin} to {end} UTC", "fr": "du {begin} au {end} UTC"},
    "move": {
        "en": "plan {plan}: move of {count} components; active site now: {site}",
        "fr": "plan {plan} : déplacement de {count} composants ; site actif à présent : {site}",
    },
    "stack_DB": {"en": "Database: {names}", "fr": "Base de données : {names}"},
    "stack_files": {"en": "Files: {names}", "fr": "Fichiers : {names}"},
    "stack_guests": {"en": "Infrastructure, guests: {names}", "fr": "Infrastructure, machines virtuelles : {names}"},
    "stack_entrance": {"en": "Web entrance: {names}", "fr": "Entrée web : {names}"},
    "stack_network": {"en": "Infrastructure, network: {names}", "fr": "Infrastructure, réseau : {names}"},
    "stack_other": {"en": "Other: {names}", "fr": "Autre : {names}"},
    "done": {"en": "{phase}, {verb}: {names}", "fr": "{phase}, {verb} : {names}"},
    "not_done": {"en": "NOT EXECUTED: {phase}, {verb}: {names}", "fr": "NON EXÉCUTÉ : {phase}, {verb} : {names}"},
    "not_run": {"en": "NOT EXECUTED: phase {phase}", "fr": "NON EXÉCUTÉ : phase {phase}"},
    "not_moved": {"en": "NOT MOVED: {names}", "fr": "NON DÉPLACÉ : {names}"},
    "go": {"en": "GO: {gate} of {component}: {reason}", "fr": "GO : {gate} de {component} : {reason}"},
    "no_go": {"en": "NO-GO: {gate} of {component}: {reason}", "fr": "NO-GO : {gate} de {component} : {reason}"},
    "passed": {
        "en": "NO-GO, let pass: {gate} of {component}: {reason} ({why})",
        "fr": "NO-GO, laissé passer : {gate} de {component} : {reason} ({why})",
    },
    "proved": {"en": "PROVED: {component}", "fr": "PROUVÉ : {component}"},
    "unproved": {"en": "NOT PROVED: {doubts}", "fr": "NON PROUVÉ : {doubts}"},
    "unseen": {
        "en": "NOT PROVED: {component}: not verified since it was opened last",
        "fr": "NON PROUVÉ : {component} : non vérifié depuis sa dernière ouverture",
    },
    "failed": {
        "en": "{phase}, {verb} of {component} failed: {why}",
        "fr": "{phase}, {verb} de {component} a échoué : {why}",
    },
    "reason": {"en": "{reason}", "fr": "{reason}"},
    "back": {"en": "Yes", "fr": "Oui"},
    "begun_back": {"en": "Begun, and nothing was moved back", "fr": "Commencé, sans rien ramener"},
    "no_back": {"en": "No", "fr": "Non"},
    "status_OK": {"en": "OK", "fr": "OK"},
    "status_KO": {"en": "KO", "fr": "KO"},
    "status_NOT_PROVED": {"en": "NOT PROVED", "fr": "NON PROUVÉ"},
    "by": {"en": "{decision} ({phase}): {who}, {at} UTC", "fr": "{decision} ({phase}) : {who}, {at} UTC"},
    "journal": {
        "en": "runs/{run}/journal.jsonl: {count} entries, {seals} seals, key {keys}",
        "fr": "runs/{run}/journal.jsonl : {count} entrées, {seals} sceaux, clé {keys}",
    },
    "archive": {
        "en": "signed archive that anybody verifies: bascule evidence {run}",
        "fr": "archive signée que chacun peut vérifier : bascule evidence {run}",
    },
    "said": {"en": "{what}: {why}", "fr": "{what} : {why}"},
}


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
    return [(_LABELS[field][lang], [_said(line, lang, told) for line in found[field]]) for field in FIELDS if found]


def label(name: str, lang: str) -> str:
    """Return the label of a field, or the title of all."""
    return _LABELS[name][lang]


def _said(line: Mapping[str, Any], lang: str, reasons: Mapping[str, str]) -> Said:
    values = {key: str(value) for key, value in line["with"].items()}
    if doubts := line["with"].get("doubts"):
        values["doubts"] = "; ".join(french(one) if lang == "fr" else one for one in doubts)
    if "phase" in values:
        values["phase"] = word(values["phase"], lang)
    if "reason" in values:
        values["reason"] = reasons.get(values["reason"], values["reason"])
    return Said(one_line(_SAYS[line["say"]][lang].format(**values)), tuple(line["journal"]))
