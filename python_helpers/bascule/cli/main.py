"""The command `bascule`: what operators run beside the playbooks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

from . import summary, verify_archive

COMMANDS: Mapping[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "summary": ("show the summary of a run again", summary.main),
    "verify-archive": ("verify an archive of a guest", verify_archive.main),
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command that is named; without one, list them."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in COMMANDS:
        return COMMANDS[given[0]][1](given[1:])
    asked = given[:1] in (["-h"], ["--help"])
    out = sys.stdout if asked else sys.stderr
    print("usage: bascule COMMAND …   (bascule COMMAND --help says more)\n", file=out)
    for name, (what, _) in COMMANDS.items():
        print(f"  {name:16} {what}", file=out)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
