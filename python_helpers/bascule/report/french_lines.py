"""Lines of a report that others have written in English, as a French reader would write them. Pure.

Names, commands and what a person has typed stay as they are; so does a line that nobody has translated.
"""

from __future__ import annotations

import re

from .words import word

_NBSP = "\N{NO-BREAK SPACE}"
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(Z| UTC|\+00:00)?")
# Each part of a line that is a whole text of its own is put into French by itself: `{}` stands for its name.
_LINES: tuple[tuple[str, str], ...] = (
    # What the report has not read of the journal, and what is wrong with it.
    (r"journal: the chain is broken: (?P<line>.+)", "journal : la chaîne est rompue : {line}"),
    (r"(?P<place>\w[^:]*): (?P<line>chain of .+)", "{place} : {line}"),
    (
        r"journal: chain (\S+) was seen up to (\w+), and was not read",
        r"journal : la chaîne \1 a été vue jusqu'à \2, et n'a pas été lue",
    ),
    (r"journal: the copy at (\S+) was not read: (.+)", r"journal : la copie de \1 n'a pas été lue : \2"),
    (r"journal: 1 line of the copy (.+) is no entry", r"journal : 1 ligne de la copie \1 n'est pas une entrée"),
    (
        r"journal: (\d+) lines of the copy (.+) are no entry",
        r"journal : \1 lignes de la copie \2 ne sont pas des entrées",
    ),
    (
        r"chain of (\S+), decision (\S+): its time (\S+) is before that of the entry before it",
        r"chaîne de \1, décision \2 : son heure, le \3, précède celle de l'entrée d'avant",
    ),
    (
        r"chain of (\S+), decision (\S+): its time (\S+) is before that of what (\S+), decision (\S+) had written "
        r"before",
        r"chaîne de \1, décision \2 : son heure, le \3, précède celle de ce que \4 avait écrit avant (décision \5)",
    ),
    (
        r"chain of (\S+), decision (\S+): entry (\d+) was changed after it was written",
        r"chaîne de \1, décision \2 : l'entrée \3 a été modifiée après son écriture",
    ),
    (
        r"chain of (\S+), decision (\S+): entry (\d+) follows (\d+): entries are missing",
        r"chaîne de \1, décision \2 : l'entrée \3 suit la \4, il en manque",
    ),
    (
        r"chain of (\S+), decision (\S+): entry (\d+) is there twice, with different content",
        r"chaîne de \1, décision \2 : l'entrée \3 existe deux fois, avec deux contenus",
    ),
    (
        r"chain of (\S+), decision (\S+): entry (\d+) does not follow the entry before it",
        r"chaîne de \1, décision \2 : l'entrée \3 ne suit pas celle d'avant",
    ),
    (r"(\w+) ended with status (\d+)", r"\1 : terminé avec le statut \2"),
    # Notices that did not go out.
    (r"nobody was told: (.+)", r"personne n'a été prévenu : \1"),
    (r"(\w+) (\w+): not told: a service has refused it", r"\2, moment « \1 » : un service l'a refusé"),
    (r"(\w+) (\w+): not told: no address", r"\2, moment « \1 » : aucune adresse"),
    (
        r"(\w+) (\w+): not told for certain: no answer within (\S+) s",
        r"\2, moment « \1 » : pas de réponse en \3 s",
    ),
    # What a person let pass.
    (r"gate (?P<gate>\S+) of (\S+): (.+) \((?P<line>.+)\)", r"seuil « {gate} » de \2 : \3 ({line})"),
    (r"(?P<verb>\S+): the word of (.+) about (\S+): (.+)", r"{verb} : parole de \2 au sujet de \3 : \4"),
    (r"the plan declares no limit for (?P<gate>\S+)", "le plan ne fixe aucune limite pour « {gate} »"),
    (
        r"the plan's limit has keys that mean nothing: (.+)",
        r"la limite du plan contient des mots qui n'ont pas de sens : \1",
    ),
    (r"there is no sample", "aucune mesure"),
    (r"the sample is in no unit, the limit in (.+)", r"la mesure n'a pas d'unité, la limite est en \1"),
    (r"the sample is in (.+), the limit in no unit", r"la mesure est en \1, la limite n'a pas d'unité"),
    (r"the sample is in (.+), the limit in (.+)", r"la mesure est en \1, la limite en \2"),
    (
        r"(\S+) (\S+) is below zero, which nothing can be: it was measured wrong",
        rf"\1{_NBSP}\2 est inférieur à zéro, ce qui est impossible : la mesure est fausse",
    ),
    (r"when the sample was taken is not known: (.+)", r"l'heure de la mesure n'est pas connue : \1"),
    (
        r"the sample is from (\d+) s in the future: a clock is wrong",
        rf"la mesure est datée de \1{_NBSP}s dans le futur : une horloge est fausse",
    ),
    (r"the plan's (\w+) is no (time|number): (.+)", r"la valeur « \1 » du plan n'est pas valable : \3"),
    (r"(\S+) is no number", r"\1 n'est pas un nombre"),
    (r"the sample is (\d+) s old, (\d+) s are allowed", rf"la mesure a \1{_NBSP}s, \2{_NBSP}s sont admises"),
    (r"(\S+) is below (\S+)", r"\1 est inférieur à \2"),
    (r"(\S+) is above (\S+)", r"\1 est supérieur à \2"),
    (r"(\S+) is not (\S+)", r"\1 n'est pas \2"),
    # Why a whole tree was looked at.
    (r"no earlier state is known that both sides shared", "aucun état antérieur commun aux deux côtés n'est connu"),
    (
        r"the recorder has been restarted since both sides were the same",
        "l'enregistreur a redémarré depuis que les deux côtés étaient égaux",
    ),
    (r"the recorder has been restarted", "l'enregistreur a redémarré"),
    (r"the recorder does not answer", "l'enregistreur ne répond pas"),
    (r"the recorder's journal could not be read", "le journal de l'enregistreur n'a pas pu être lu"),
    (
        r"the recorder was told to forget what came before (\d+), (\d+) among it",
        r"l'enregistreur a dû oublier ce qui précède \1, dont \2",
    ),
    (
        r"the recorder stands at (\d+), before the (\d+) that was seen earlier",
        r"l'enregistreur en est à \1, avant \2 qui avait été vu",
    ),
    # What no comparison looked at.
    (
        r"its rows lie at another server: compared by its definition",
        "ses lignes sont sur un autre serveur : seule sa définition est comparée",
    ),
    (r"stale at one side: compared by its definition", "pas à jour d'un côté : seule sa définition est comparée"),
    (
        r"declared stateless: what was written there was dropped",
        "déclaré sans état : ce qui y a été écrit a été abandonné",
    ),
    (
        r"nothing was moved: this side was not opened since the other one closed",
        "rien n'a été déplacé : ce côté n'a pas été ouvert depuis la fermeture de l'autre",
    ),
    (r"it was used since: by a proof boot or a delta", "il a servi depuis, à un démarrage d'essai ou à un delta"),
    (r"nobody tells them", "personne ne les relève"),
    (r"(\d+) entries have it", r"\1 entrées en ont un"),
    (r"1 entry has it", "1 entrée en a un"),
    (
        r"this role takes none at the switch: until the decommission the closed old side is the only copy of what it "
        r"had then",
        "ce rôle n'en fait pas au basculement : jusqu'au retrait, l'ancien côté fermé est la seule copie de ce qu'il "
        "avait alors",
    ),
)
_FIELDS = (
    ("expected: ", "attendu : "),
    ("; found: ", " ; constaté : "),
    ("; state now: ", " ; état actuel : "),
    ("; next safe command: ", " ; commande sûre suivante : "),
)


def line(text: str) -> str:
    """Return a line in French; its moments as well where it has no translation."""
    for pattern, french in _LINES:
        if found := re.fullmatch(pattern, text, re.S):
            parts = {name: _part(name, value) for name, value in found.groupdict().items()}
            said = french
            for number, value in enumerate(found.groups(), 1):
                said = said.replace(f"\\{number}", _comma(value))
            for name, value in parts.items():
                said = said.replace(f"{{{name}}}", value)
            return moments(said)
    return moments(text)


def _comma(text: str) -> str:
    return text.replace(".", ",") if re.fullmatch(r"-?\d+\.\d+", text) else text


def moments(text: str) -> str:
    """Write every date and time of a text as one writes them in French."""
    return _MOMENT.sub(
        lambda one: (
            f"{one[3]}/{one[2]}/{one[1]} à {one[4]}{_NBSP}h{_NBSP}{one[5]}{_NBSP}min{_NBSP}{one[6]}{_NBSP}s"
            + (" (UTC)" if one[7] else "")
        ),
        text,
    )


def error(text: str) -> str:
    """Return the message of an error with the names of its fields in French: what they say stays as it is."""
    for english, french in _FIELDS:
        text = text.replace(english, french, 1)
    return moments(text)


def typography(page: str) -> str:
    """Put the blanks that no line may break at before the signs that stand apart in French."""
    page = re.sub(r" (?=[:;!?»](?:\s|\*|\)|$))", _NBSP, page)
    return re.sub(r"(?<=«) ", _NBSP, page)


def _part(name: str, value: str) -> str:
    if name == "line":
        return line(value)
    found = word(f"gate {value}" if name == "gate" else value, "fr")
    return value if found == f"gate {value}" else found
