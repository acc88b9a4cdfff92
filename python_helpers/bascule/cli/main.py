"""The command `bascule`: what operators run beside the playbooks."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Optional

# Imported when it is asked for: a command waits for its own libraries only.
COMMANDS: Mapping[str, str] = {
    "plan": "measure, forecast, show what a cutover would do, and write its plan",
    "run": "run a phase, detached, and follow it",
    "watch": "follow again what runs, or see what has ended",
    "status": "say where the run stands, read from the machines",
    "resume": "do what is next, as status says it, once it is confirmed",
    "commit": "decide that the move stays",
    "abort": "undo the freeze of a cutover that has not switched",
    "overrun": "return where the plan says so: the time to commit is over and a check has failed",
    "rollback": "bring everything back to the source site",
    "site-lost": "open the side that is left, by a person's word",
    "report": "make the report of the run again",
    "evidence": "pack what proves a run, signed, so that anybody can verify it",
    "phases": "list the phases",
    "timer": "begin sync or monitor again and again, by a timer of systemd",
    "summary": "show the summary of a run again",
    "verify-archive": "verify an archive of a guest",
    "schema": "move the schemas of services by numbered SQL files",
    "data": "move the data of large tables batch by batch",
    "lab": "bring up, show or remove two sites on this machine",
    "deploy": "bring a version of an application to its hosts at one side, or bring it back",
}
# These run a playbook, or follow one.
PHASES = frozenset(COMMANDS) - {"evidence", "timer", "summary", "verify-archive", "schema", "data", "lab", "deploy"}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command that is named; without one, list them."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given and given[0] in PHASES:
        module = importlib.import_module(".phases", __package__)
        return int(module.main(given[0], given[1:]))
    if given and given[0] in COMMANDS:
        module = importlib.import_module(f".{given[0].replace('-', '_')}", __package__)
        return int(module.main(given[1:]))
    asked = given[:1] in (["-h"], ["--help"])
    out = sys.stdout if asked else sys.stderr
    print("usage: bascule COMMAND …   (bascule COMMAND --help says more)\n", file=out)
    for name, what in COMMANDS.items():
        print(f"  {name:16} {what}", file=out)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(main())
