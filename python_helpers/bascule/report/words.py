"""The words of a summary in the languages its readers speak. Figures keep their names; only labels are translated."""

from __future__ import annotations

import re

LANGUAGES = ("en", "fr")

_WORDS: dict[str, dict[str, str]] = {
    "title": {"en": "Run {run}", "fr": "Exécution {run}"},
    "ok": {"en": "OK", "fr": "OK"},
    "failed": {"en": "FAILED", "fr": "ÉCHEC"},
    "inside": {
        "en": "PROVED, nobody outside measured",
        "fr": "PROUVÉ, personne n'a mesuré de l'extérieur",
    },
    "invalid": {"en": "INVALID: it proves too little", "fr": "NON VALABLE, l'exécution prouve trop peu"},
    "active_site": {"en": "Active site", "fr": "Site actif"},
    "unknown_site": {"en": "not known", "fr": "inconnu"},
    "report": {"en": "Report", "fr": "Rapport"},
    "left_where_it_was": {"en": "not moved:", "fr": "n'a pas été déplacé :"},
    "not_moved": {"en": "What has not been moved", "fr": "Ce qui n'a pas été déplacé"},
    "result": {"en": "Result", "fr": "Résultat"},
    "figure": {"en": "Figure", "fr": "Mesure"},
    "forward": {"en": "Forward", "fr": "Aller"},
    "back": {"en": "Back", "fr": "Retour"},
    "limit": {"en": "Limit", "fr": "Limite"},
    "none": {"en": "no sample", "fr": "aucune mesure"},
    "reasons": {"en": "Why not", "fr": "Pourquoi ce résultat"},
    "phases": {"en": "Phases", "fr": "Phases"},
    "phase": {"en": "Phase", "fr": "Phase"},
    "expected": {"en": "Expected", "fr": "Prévu"},
    "measured": {"en": "Measured", "fr": "Mesuré"},
    "started": {"en": "Started", "fr": "Début"},
    "ended": {"en": "Ended", "fr": "Fin"},
    "write_outage_seconds": {
        "en": "Longest pause between two writes, as a user sees it",
        "fr": "Plus longue coupure des écritures, vue d'un usager",
    },
    "data_layer_seconds": {"en": "The same, for the database alone", "fr": "La même, pour la base de données seule"},
    "window": {
        "en": "From freeze to thaw / of that orchestration",
        "fr": "Du gel à la réouverture / dont orchestration",
    },
    "overrides": {
        "en": "What a person let pass, and why",
        "fr": "Ce qu'une personne a laissé passer, et pourquoi",
    },
    "windows": {
        "en": "Where the time between freeze and thaw went",
        "fr": "Emploi du temps entre le gel et la réouverture",
    },
    "slow": {
        "en": "Slower than planned, which is no failure by itself",
        "fr": "Plus lent que prévu, ce qui n'est pas un échec en soi",
    },
    "data_layer": {
        "en": "Writes of the database's own client / its errors",
        "fr": "Écritures du client de la base seule / ses erreurs",
    },
    "read_errors": {"en": "Reads that failed", "fr": "Lectures en erreur"},
    "maintenance_pages": {"en": "Maintenance pages shown", "fr": "Pages de maintenance affichées"},
    "reads": {"en": "Reads tried", "fr": "Lectures tentées"},
    "acknowledged_writes": {"en": "Writes acknowledged", "fr": "Écritures confirmées"},
    "acknowledged_probe_writes": {"en": "Writes of the prober acknowledged", "fr": "Écritures de la sonde confirmées"},
    "lost_writes": {"en": "Acknowledged writes lost", "fr": "Écritures confirmées perdues"},
    "unknown_writes": {"en": "Writes without an answer", "fr": "Écritures sans réponse"},
    "divergent_writes": {"en": "Writes on an abandoned history", "fr": "Écritures sur un historique abandonné"},
    "two_writers_seconds": {"en": "Time with two writing sites", "fr": "Durée avec deux sites en écriture"},
    "probes": {"en": "Attempts to write at both sites", "fr": "Tentatives d'écriture sur les deux sites"},
    "largest_probe_gap_seconds": {"en": "Longest time without an attempt", "fr": "Plus longue durée sans tentative"},
    "rows": {"en": "Rows compared / different / not proved", "fr": "Lignes comparées / différentes / non prouvées"},
    "files": {"en": "Files compared / different / not proved", "fr": "Fichiers comparés / différents / non prouvés"},
    "disks": {"en": "Disks compared / different", "fr": "Disques comparés / différents"},
    "row_digests": {
        "en": "How rows were compared, and of how many tables what was digested",
        "fr": "Comment les lignes ont été comparées, et combien de tables par quelle empreinte",
    },
    "full_scans": {
        "en": "Trees looked at whole, instead of the names that had changed",
        "fr": "Arborescences lues en entier, au lieu des seuls noms modifiés",
    },
    "not_compared": {
        "en": "What no comparison looked at, which is therefore not called equal",
        "fr": "Ce qu'aucune comparaison n'a regardé, et qui n'est donc pas dit égal",
    },
    "rows_compared": {"en": "Rows compared", "fr": "Lignes comparées"},
    "rows_different": {"en": "Rows different", "fr": "Lignes différentes"},
    "rows_not_proved": {"en": "Rows not proved", "fr": "Lignes non prouvées"},
    "files_compared": {"en": "Files compared", "fr": "Fichiers comparés"},
    "files_different": {"en": "Files different", "fr": "Fichiers différents"},
    "files_not_proved": {"en": "Files not proved", "fr": "Fichiers non prouvés"},
    "disks_compared": {"en": "Disks compared", "fr": "Disques comparés"},
    "disks_different": {"en": "Disks different", "fr": "Disques différents"},
    "not_proved": {"en": "What is not proved", "fr": "Éléments non prouvés"},
    "verify": {"en": "verify", "fr": "vérification"},
    "fence_admitted": {"en": "attempts admitted", "fr": "tentatives admises du côté fermé"},
    "fence_refused": {"en": "attempts refused", "fr": "tentatives refusées du côté fermé"},
    "fence_from_outside": {"en": "write from outside", "fr": "écriture depuis l'extérieur"},
    "details": {"en": "differences", "fr": "différences"},
    "digested": {"en": "digests", "fr": "empreintes"},
    "service": {"en": "service", "fr": "service"},
    "opened": {"en": "switch", "fr": "basculement vérifié"},
    "requests_passed": {"en": "requests that passed", "fr": "requêtes réussies"},
    "peers_compared": {"en": "peers compared", "fr": "pairs VPN comparés"},
    "peers_different": {"en": "peers that differ", "fr": "pairs VPN différents"},
    "ports_checked": {"en": "ports that came out as declared", "fr": "ports conformes aux règles"},
    "ports_wrong": {"en": "ports that did not", "fr": "ports non conformes aux règles"},
    "reach": {"en": "reach of a trainer", "fr": "accès d'un formateur"},
    "answers_checked": {"en": "answers checked", "fr": "réponses vérifiées"},
    "active_side": {"en": "active side", "fr": "côté actif"},
    "passive_mode": {"en": "mode of the passive side", "fr": "mode du côté passif"},
    "safety_dump": {"en": "Safety dump", "fr": "Sauvegarde de sécurité"},
    "safety_dumps": {
        "en": "Safety dumps: the old side's state, restored and compared",
        "fr": "Sauvegardes de sécurité : l'état de l'ancien côté, restauré et comparé",
    },
    "proved": {"en": "proved", "fr": "prouvée"},
    "off": {"en": "none is declared", "fr": "non prévue par le plan"},
    "unproved": {"en": "NOT PROVED", "fr": "NON PROUVÉE"},
    "audit": {"en": "audit", "fr": "audit"},
    "prepare": {"en": "prepare", "fr": "préparation"},
    "sync": {"en": "sync", "fr": "synchronisation"},
    "pretest": {"en": "pretest", "fr": "essai préalable"},
    "cutover": {"en": "cutover", "fr": "bascule"},
    "rollback": {"en": "rollback", "fr": "retour"},
    "decommission": {"en": "decommission", "fr": "retrait de l'ancien site"},
    "freeze": {"en": "freeze", "fr": "gel"},
    "switch": {"en": "switch", "fr": "basculement"},
    "thaw": {"en": "thaw", "fr": "réouverture"},
    "capture": {"en": "capture", "fr": "relevé"},
    "check": {"en": "check", "fr": "contrôle"},
    "monitor": {"en": "monitor", "fr": "surveillance"},
    "watch": {"en": "watch", "fr": "relevé de surveillance"},
    "stand_by": {"en": "stand_by", "fr": "mise en attente"},
    "take_over": {"en": "take_over", "fr": "reprise sur parole"},
    "reopen": {"en": "reopen", "fr": "réouverture sur parole"},
    "give_way": {"en": "give_way", "fr": "effacement"},
    "retire": {"en": "retire", "fr": "retrait"},
    "site_lost": {"en": "site_lost", "fr": "site perdu"},
    "guard_lost": {"en": "guard_lost", "fr": "garde perdue"},
    "site_back": {"en": "site_back", "fr": "site revenu"},
    "by archive": {"en": "by archive", "fr": "par archive"},
    "by delta": {"en": "by delta", "fr": "par blocs modifiés"},
    "by warm": {"en": "by warm", "fr": "par copie tenue à jour"},
    "by remote_migrate": {"en": "by Proxmox's own migration", "fr": "par la migration de Proxmox"},
    "fast": {"en": "fast", "fr": "rapide"},
    "strict": {"en": "strict", "fr": "strict"},
    "binary": {"en": "binary", "fr": "en binaire"},
    "text": {"en": "text", "fr": "en texte"},
    "sha256": {"en": "sha256", "fr": "par SHA-256 de chaque ligne"},
    "binary stream": {"en": "binary stream", "fr": "en flux binaire"},
    "text stream": {"en": "text stream", "fr": "en flux de texte"},
    "gate file_delta": {"en": "file_delta", "fr": "volume de fichiers modifiés"},
    "gate link_rate": {"en": "link_rate", "fr": "débit du lien"},
    "gate replication_lag": {"en": "replication_lag", "fr": "retard de réplication"},
    "gate mysql_lag": {"en": "mysql_lag", "fr": "retard de MariaDB"},
    "gate target_entrance": {"en": "target_entrance", "fr": "entrée du site d'arrivée"},
    "gate target_vpn": {"en": "target_vpn", "fr": "VPN du site d'arrivée"},
    "gate target_mysql": {"en": "target_mysql", "fr": "MariaDB du site d'arrivée"},
    "gate target_firewall": {"en": "target_firewall", "fr": "pare-feu du site d'arrivée"},
    "gate guest_boots": {"en": "guest_boots", "fr": "démarrage d'essai"},
    "gate guest_copy_age": {"en": "guest_copy_age", "fr": "âge de la copie"},
    "gate dump_window": {"en": "dump_window", "fr": "durée répétée de l'export"},
    "gate dns_ttl": {"en": "dns_ttl", "fr": "durée de vie des noms"},
    "guests_moved": {"en": "Guests moved", "fr": "Machines virtuelles déplacées"},
}


def word(name: str, lang: str) -> str:
    """The word in the language; a name without a translation stands for itself."""
    return _WORDS.get(name, {}).get(lang, name)


def leg_head(leg: str, lang: str) -> str:
    """What stands before a line about one leg."""
    return f"{word(leg, lang)}\N{NO-BREAK SPACE}: " if lang == "fr" else f"{leg}: "


def number(value: object, lang: str, unit: str = "") -> str:
    """A figure as it is written in the language, thousands set apart."""
    if value is None:
        return word("none", lang)
    if unit == "s" and isinstance(value, float):
        # A tenth is enough to read, but a little is not nothing.
        text = f"{value:,.3f}" if 0 < value < 0.1 else f"{value:,.1f}"
    elif isinstance(value, float) and not value.is_integer():
        text = f"{value:,.2f}"
    elif isinstance(value, (int, float)):
        text = f"{int(value):,}"
    else:
        return str(value)
    if lang == "fr":
        text = text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace(".", ",")
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def one_line(text: str) -> str:
    """Return a text of somebody else as one line, without what moves a terminal's cursor."""
    return re.sub(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+", " ", text).strip()


def markdown(text: object) -> str:
    """Return a text as one line of a page, in which nothing of it is markup."""
    line = re.sub(r"[\\`*\[\]<>|]|(?<!\w)_|_(?!\w)|^[#+\-]", r"\\\g<0>", one_line(str(text)))
    return re.sub(r"^(\d+)([.)])", r"\1\\\2", line)
