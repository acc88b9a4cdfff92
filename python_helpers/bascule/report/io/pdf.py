"""A page of HTML as PDF, by WeasyPrint where it is installed (`pip install bascule[pdf]`)."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path

from ...errors import BasculeError
from ...system.io import process, storage

# A letter of each language that is not written in Latin ones, as fontconfig asks for it.
_LETTERS = {"ar": "639"}


def can_be_made() -> bool:
    """Return whether WeasyPrint is installed."""
    return importlib.util.find_spec("weasyprint") is not None


@cache
def has_letters(lang: str) -> bool:
    """Return whether a font that is installed has the letters of a language; every one has Latin ones."""
    if (letter := _LETTERS.get(lang)) is None:
        return True
    try:
        return bool(process.run(["fc-list", f":charset={letter}", "file"]).stdout.strip())
    except BasculeError:
        return False


def write(path: Path, html: str) -> None:
    """Write the page as PDF; nothing is fetched for it.

    Raises:
        BasculeError: it asks for something from outside.
    """
    weasyprint, urls = importlib.import_module("weasyprint"), importlib.import_module("weasyprint.urls")
    nothing = urls.URLFetcher(allowed_protocols=(), fail_on_errors=True)
    try:
        made: bytes = weasyprint.HTML(string=html, url_fetcher=nothing).write_pdf()
    except urls.FatalURLFetchingError as error:
        raise BasculeError(
            expected="a page that needs nothing else", found=str(error), state="no PDF was made"
        ) from error
    storage.write_durably(path, made)
