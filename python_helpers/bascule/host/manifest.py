"""Take the manifest of a tree by hand: `manifest PATH TARGET [--all]` writes it and prints its digest."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..files.transfer import NAMES, NUMBERS
from ..io import tree


def main(argv: list[str]) -> int:
    """Take a manifest; `--all` reads every file again whatever an earlier manifest in TARGET says."""
    parser = argparse.ArgumentParser(prog="manifest")
    parser.add_argument("path")
    parser.add_argument("target", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--owners", choices=(NUMBERS, NAMES), default=NUMBERS)
    given = parser.parse_args(argv)
    digest, count = tree.take_manifest(given.path, given.target, owners=given.owners, cached=not given.all)
    sys.stdout.write(json.dumps({"manifest": digest, **count.to_dict()}) + "\n")
    return 0
