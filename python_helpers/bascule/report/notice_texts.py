"""The texts of the window's notices, in English and French, by templates of which a site may have its own. Pure.

The first line of a template is the title, the rest the text. A site's own that cannot be filled in is not used: a
notice in other words is worth more than none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from jinja2 import PackageLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from ..run.notices import LANGUAGES, SUFFIX, further_problems, strangers
from ..run.occasions import MOMENTS
from .french_lines import typography
from .words import word

# What every text can name; a test fills in each of the project's own with these.
SAMPLE: Mapping[str, Any] = {
    "plan": "sample",
    "run": "20261205T210000-sample",
    "phase": "cutover",
    "at": "22:00:00 CET",
    "by": "lea on controller",
    "from_site": "Montpellier",
    "to_site": "Toulouse",
    "components": ["accounts", "courses"],
    "waiting": ["accounts"],
    "people": {"lead": "Léa"},
    "forecast_seconds": 95.0,
    "limit_seconds": 7200,
    "seconds": 61.5,
    "component": "accounts",
    "verb": "switch",
    "reason": "exit status 1",
    "status": "bascule status",
    "rollback": "bascule rollback",
}


def render(
    moment: str, facts: Mapping[str, Any], languages: Iterable[str] = LANGUAGES, own: Mapping[str, str] | None = None
) -> tuple[str, str, list[str]]:
    """Return the title and the text of a notice, and what is wrong with the site's own templates.

    Args:
        moment: one of `occasions.MOMENTS`.
        facts: what the text can name, as in SAMPLE.
        languages: one after the other.
        own: the site's templates by file name, such as `begun.fr.j2`.
    """
    titles, bodies, wrong = [], [], []
    for lang in languages:
        name = f"{moment}.{lang}{SUFFIX}"
        text = ""
        if name in (own or {}):
            try:
                text = _environment(lang).from_string((own or {})[name]).render(facts)
                wrong += [] if text.strip() else [f"{name}: it says nothing"]
            # A template may raise whatever its expressions raise.
            except Exception as error:
                wrong.append(f"{name}: {_why(error)}")
        if not text.strip():
            text = _environment(lang).get_template(f"notices/{name}").render(facts)
            text = typography(text) if lang == "fr" else text
        title, _, body = text.strip().partition("\n")
        titles.append(title.strip())
        bodies.append(body.strip())
    return " / ".join(titles), "\n\n".join(bodies) + "\n", wrong


def problems(declared: Mapping[str, Any], own: Mapping[str, str]) -> list[tuple[str, str]]:
    """Name by variable what cannot be right in how the inventory wants its notices, its own texts included."""
    found = further_problems(declared)
    found += [("notice_templates", f"{name}: no text of a moment, such as begun.fr{SUFFIX}") for name in strangers(own)]
    for name in sorted(own):
        moment, lang = (*name.split("."), "")[:2]
        if moment in MOMENTS and lang in LANGUAGES:
            found += [("notice_templates", text) for text in render(moment, SAMPLE, [lang], own)[2]]
    return found


def _environment(lang: str) -> SandboxedEnvironment:
    """Return what fills in a text, of which nothing is escaped; `said` gives a phase or a verb in words."""
    environment = SandboxedEnvironment(
        loader=PackageLoader("bascule.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["said"] = partial(word, lang=lang)
    return environment


def _why(error: Exception) -> str:
    text = error.message if isinstance(error, TemplateError) and error.message else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())
