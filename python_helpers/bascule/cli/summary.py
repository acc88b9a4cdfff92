"""Show the summary of a run again: `python -m bascule.cli.summary [RUN] [--lang fr] [--page]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from ..report.render import summary_panel
from ..report.text import report_markdown
from ..report.words import LANGUAGES
from ..system.io.storage import read_json


def main(argv: Sequence[str]) -> int:
    """Print the summary; the status is 0 only for a run whose result is ok."""
    parser = argparse.ArgumentParser(prog="python -m bascule.cli.summary", description="Show the summary of a run.")
    parser.add_argument("run", nargs="?", default="runs/latest", help="directory of the run (runs/latest)")
    parser.add_argument("--lang", choices=LANGUAGES, default="en")
    parser.add_argument("--page", action="store_true", help="as a page of Markdown")
    options = parser.parse_args(argv)
    summary = read_json(f"{options.run}/summary.json")
    console = Console(highlight=False, soft_wrap=options.page)
    if not isinstance(summary, dict):
        console.print(f"expected a summary in {options.run}/summary.json, found none: run 'make demo' first")
        return 2
    if options.page:
        console.print(report_markdown(summary, options.lang), markup=False)
    else:
        console.print(summary_panel(summary, options.lang))
    return 0 if summary.get("result") == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
