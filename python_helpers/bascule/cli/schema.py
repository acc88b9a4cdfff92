"""Move the schemas of services by their numbered SQL files: `bascule schema SERVICE|all up|down|to N|status|check`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import BasculeError
from ..run.outcome import Status
from ..schema import services, sql
from ..schema.io import squawk
from ..schema.io.runner import NeedsWord, Order, Runner
from ..schema.planner import RUNNING
from . import declared

DESCRIPTION = """\
Move the schema of a service, or of all in the order of their dependencies, by its files NNN_name.up.sql and
NNN_name.down.sql. In production a backup is taken, restored and compared first, and the plan is tried on the
restored copy: there, back, and there again."""
EPILOG = """\
exit status: 0 done, or nothing was to be done; 2 refused: no file ran; 6 needs a person: a confirmation, a plan
that stopped between two files, or (check) files that are not applied yet"""


def main(argv: Sequence[str]) -> int:
    """Do what is asked, say what was found, return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bascule schema", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("service", metavar="SERVICE", help="a service, or all")
    parser.add_argument("what", choices=("up", "down", "to", "status", "check"), help="down takes back the last file")
    parser.add_argument(
        "number", nargs="?", type=int, metavar="N", help="for `to`: the last file that is to be applied"
    )
    parser.add_argument(
        "-i", "--inventory", default=os.environ.get("ANSIBLE_INVENTORY", ""), help="folder of the inventory"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would run; the databases keep it from writing")
    parser.add_argument(
        "--confirm", default="", metavar="WORD", help="the word that a plan which destroys data asks for"
    )
    options = parser.parse_args(argv)
    if (options.what == "to") != (options.number is not None) or (options.what == "to" and options.service == "all"):
        parser.error("'to' needs one service and a number, and nothing else has one")
    try:
        runner = Runner(
            options.service,
            services.read(*declared.of_all(options.inventory, services.VARIABLE)),
            lambda line: print(line, flush=True),
        )
        order = Order(options.what, options.number or 0, options.confirm)
        if options.what in ("status", "check"):
            return _told(runner, check=options.what == "check")
        if options.dry_run:
            planned = runner.look(order).steps
            print("\n".join(f"would run {step}" for step, _ in planned) or "nothing to be done")
            return int(Status.DONE)
        print("nothing to be done" if not runner.run(order) else "done")
        return int(Status.DONE)
    except BasculeError as error:
        print(f"bascule schema: {error.message()}", file=sys.stderr)
        changed = bool(error.state) and not error.state.startswith("nothing was changed")
        return int(Status.PERSON if changed or isinstance(error, NeedsWord) else Status.REFUSED)


def _told(runner: Runner, *, check: bool) -> int:
    """Print where each service stands; `check` adds what is advised on the files that are not applied."""
    look, pending = runner.look(), 0
    for name, one in look.histories.items():
        print(f"{name}: {one.applied} of {len(one.migrations)} applied")
        for migration in one.pending:
            print(f"  not applied  {migration.up.name}")
        if one.unsettled:
            print(f"  {one.unsettled.state}: {one.unsettled.number:03d}_{one.unsettled.name}, since {one.unsettled.at}")
        for note in one.notes:
            print(f"  note  {note}")
        if check and runner.services[name].engine == sql.POSTGRESQL:
            for line in squawk.advice(one.pending):
                print(f"  advice  {line}")
        pending += len(one.pending) + (one.unsettled is not None and one.unsettled.state == RUNNING["down"])
    for label, books in look.books.items():
        if books.holder:
            print(f"{label}: locked by {books.holder}")
    return int(Status.PERSON if check and pending else Status.DONE)
