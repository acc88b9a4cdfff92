"""Brings the catalogues of words in line with the English one, and compiles them: `make words`.

The English catalogue is the list of all words: a new one is added there, and this adds it to every other language,
without a text, marked `unreviewed`. Take that mark away when a speaker of the language has read the text. What stands
beside a text as `English:` is what it was written for: where the English has changed since, the text is marked again.

Babel reads, writes and compiles; gettext of the standard library reads what is compiled.
"""

from __future__ import annotations

import datetime
import io
import sys
from pathlib import Path

from babel.messages import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parents[1]
LOCALE = ROOT / "python_helpers" / "bascule" / "report" / "locale"
SOURCE = "en"
# No mark that takes a text away at run time, as `fuzzy` does: a text that nobody has reviewed is better than English.
UNREVIEWED = "unreviewed"
BEFORE = "English: "
# Under these the compiled catalogue says how many of its phrases nobody has reviewed, and how many there are.
COUNTS = "catalogue"
# One line for each text: what has changed is seen by its line.
_WIDTH = 100_000
_MADE = datetime.datetime(2026, 12, 3, tzinfo=datetime.timezone.utc)


def path_of(lang: str) -> Path:
    """Return where the catalogue of a language lies."""
    return LOCALE / lang / "LC_MESSAGES" / "bascule.po"


def languages() -> list[str]:
    """Return the languages that have a catalogue, English first."""
    found = sorted(path.parents[1].name for path in LOCALE.glob("*/LC_MESSAGES/bascule.po"))
    return sorted(found, key=lambda lang: lang != SOURCE)


def read(lang: str) -> Catalog:
    """Return the catalogue of a language as its file has it."""
    with path_of(lang).open("rb") as file:
        return read_po(file, locale=lang, charset="utf-8", abort_invalid=True)


def messages(catalogue: Catalog) -> list[Message]:
    """Return the phrases of a catalogue, without its head."""
    return [one for one in catalogue if one.id]


def texts(message: Message) -> list[str]:
    """Return the text of a phrase, or of each of its plural forms."""
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def brought_in_line(catalogue: Catalog, source: Catalog, lang: str) -> Catalog:
    """Return a catalogue with the phrases of the English one in their order, and the marks that they need."""
    made = _empty(lang)
    for one in messages(source):
        english = [f"{BEFORE}{' | '.join(texts(one))}"]
        old = catalogue.get(_name(one), one.context)
        if lang == SOURCE or old is None or not any(texts(old)):
            empty = ("",) * made.num_plurals if one.pluralizable else ""
            string = one.string if lang == SOURCE else empty
            comments = [] if lang == SOURCE else [UNREVIEWED, *english]
        else:
            string = old.string
            was = [line for line in old.auto_comments if line.startswith(BEFORE)]
            marked = UNREVIEWED in old.auto_comments or was != english
            comments = [*([UNREVIEWED] if marked else []), *english]
        made.add(one.id, string, auto_comments=comments, context=one.context)
    return made


def text_of(catalogue: Catalog) -> bytes:
    """Return a catalogue as its file has it."""
    file = io.BytesIO()
    write_po(file, catalogue, width=_WIDTH)
    return file.getvalue()


def compiled(catalogue: Catalog, lang: str) -> bytes:
    """Return a catalogue as gettext reads it, with the counts of its phrases."""
    file, made = io.BytesIO(), _empty(lang)
    known = messages(catalogue)
    for one in known:
        if any(texts(one)):
            made.add(one.id, one.string, context=one.context)
    if lang != SOURCE:
        unreviewed = sum(UNREVIEWED in one.auto_comments for one in known)
        made.add("unreviewed", str(unreviewed), context=COUNTS)
        made.add("phrases", str(len(known)), context=COUNTS)
    write_mo(file, made)
    return file.getvalue()


def main() -> int:
    """Bring all catalogues in line and compile them; say what is without a text."""
    source = read(SOURCE)
    for lang in languages():
        made = brought_in_line(read(lang), source, lang)
        path_of(lang).write_bytes(text_of(made))
        path_of(lang).with_suffix(".mo").write_bytes(compiled(made, lang))
        known = messages(made)
        lacking = sum(not all(texts(one)) for one in known)
        marked = sum(UNREVIEWED in one.auto_comments for one in known)
        print(f"{lang}: {len(known)} phrases, {lacking} without a text, {marked} that nobody has reviewed")
    return 0


def _name(message: Message) -> str:
    return str(message.id[0] if isinstance(message.id, tuple) else message.id)


def _empty(lang: str) -> Catalog:
    head = f"# {lang}: the words of reports. `make words` writes this file anew; texts and marks are kept."
    # No moment of today: the same texts make the same file.
    return Catalog(
        locale=lang,
        domain="bascule",
        header_comment=head,
        project="bascule",
        version="1",
        creation_date=_MADE,
        revision_date=_MADE,
        last_translator="nobody",
        language_team=lang,
        fuzzy=False,
    )


if __name__ == "__main__":
    sys.exit(main())
