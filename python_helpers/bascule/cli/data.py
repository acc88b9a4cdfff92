"""Move the data of large tables: `bascule data NAME run|status|pause|resume|pace|undo|validate|rows aside`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..data import declared as declarations
from ..data import keys, masking
from ..data.books import PAUSE, PAUSED, RUNNING, UNDONE
from ..data.contract import NOTHING, Again, DataError, NeedsWord, RowRefused
from ..data.io import load
from ..data.io.engine import Engine, progress
from ..data.io.undo import Undo
from ..errors import BasculeError
from ..run.outcome import Status
from . import declared

DESCRIPTION = """\
Move the data of a large table batch by batch, by a Python module with select, transform, write, validate and undo.
Rows and the cursor are one transaction of the database that changes: after a kill, `run` goes on with the next row."""
EPILOG = """\
run        begin, or go on; a finished one takes the rows that came in since
status     where it is, who is at work, what is left; changes nothing
pause      let a run wait after its batch; resume lets it go on (both from another terminal)
pace N     rows of a batch from now on; 0: by the time that batches take
undo       take back, keeping what was written since; asks for a word
validate   what the module's validate finds, in a transaction that cannot write
rows aside the rows that were refused, with their reasons; values are masked

exit status: 0 done, or nothing was to be done; 2 refused: no row was changed; 6 needs a person: a confirmation, rows
aside, a validation that finds something, or a run that stopped between two batches"""
WORDS = ("run", "status", "pause", "resume", "pace", "undo", "validate", "rows")


def main(argv: Sequence[str]) -> int:
    """Do what is asked, say what was found, return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bascule data", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="a migration of data_migrations")
    parser.add_argument("what", choices=WORDS)
    parser.add_argument("value", nargs="?", default="", metavar="N|aside", help="for `pace` and `rows`")
    parser.add_argument(
        "-i", "--inventory", default=os.environ.get("ANSIBLE_INVENTORY", ""), help="folder of the inventory"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="for `run`: transform and count; the database keeps it from writing"
    )
    parser.add_argument("--aside", action="store_true", help="for `run`: only the rows that are aside, one by one")
    parser.add_argument(
        "--again", action="store_true", help="for `run`: all rows once more, where they are changed in place"
    )
    parser.add_argument("--confirm", default="", metavar="WORD", help="for `undo`: the word that it asks for")
    options = parser.parse_args(argv)
    rows = options.what == "pace" and options.value.isdecimal()
    if not (rows or (options.what == "rows" and options.value == "aside")) and (
        options.value or options.what in ("pace", "rows")
    ):
        parser.error("'pace' needs a number of rows, 'rows' the word aside, and nothing else has one")
    if options.what != "run" and (options.dry_run or options.aside or options.again):
        parser.error("--dry-run, --aside and --again are for 'run'")
    try:
        return _asked(options)
    except (Again, RowRefused) as error:
        print(f"bascule data: {masking.reason(error)}; state now: {NOTHING}", file=sys.stderr)
        return int(Status.REFUSED)
    except BasculeError as error:
        print(f"bascule data: {error.message()}", file=sys.stderr)
        changed = bool(error.state) and not error.state.startswith(NOTHING)
        return int(Status.PERSON if changed or isinstance(error, NeedsWord) else Status.REFUSED)


def _asked(options: argparse.Namespace) -> int:
    known = declarations.read(*declared.of_all(options.inventory, declarations.VARIABLE))
    if options.name not in known:
        raise DataError(f"a data migration: {', '.join(known)}", options.name, NOTHING)
    one = known[options.name]
    store = load.store(one, load.migration(one))
    engine = Engine(store, lambda line: print(line, flush=True))
    if options.what == "run":
        return _run(engine, options)
    if options.what == "undo":
        return _undone(engine, options.confirm)
    if options.what in ("pause", "resume", "pace"):
        return _ordered(engine, options.what, options.value)
    if options.what == "validate":
        wrong = engine.validate()
        print("\n".join(f"wrong: {line}" for line in wrong) or "nothing is wrong")
        return int(Status.PERSON if wrong else Status.DONE)
    book, holder, aside = engine.look()
    if options.what == "rows":
        for _, key, why in aside:
            print(f"{masking.key(keys.decode(key))}: {why}")
        print(f"{len(aside)} rows are aside")
        return int(Status.PERSON if aside else Status.DONE)
    if book is None:
        print(f"{options.name}: not begun")
        return int(Status.DONE)
    gone = " (its process is gone, or silent)" if holder and engine.gone(holder) else ""
    at_work = f"at work: {holder}{gone}" if holder else "nobody is at work"
    print(f"{options.name}: {book.state}; {at_work}")
    print(f"  {progress(book)}" if book.state in (RUNNING, PAUSED) else f"  {book.rows} rows done, {book.aside} aside")
    if book.said:
        print(f"  {book.said}")
    if book.wanted == PAUSE:
        print(f"  a person has paused it; bascule data {options.name} resume")
    return int(Status.DONE)


def _run(engine: Engine, options: argparse.Namespace) -> int:
    if options.dry_run:
        found = engine.dry()
        failed = sum(found.aside.values())
        rate = f"{found.rows / found.seconds:.0f} rows/s read and transformed" if found.seconds else ""
        print(f"would do {found.rows} rows: {found.made} become something, {failed} would be aside; {rate}")
        for why, number in sorted(found.aside.items(), key=lambda item: -item[1]):
            print(f"  {number} rows: {why}")
        return int(Status.PERSON if failed else Status.DONE)
    if options.aside:
        done, stay = engine.retry()
        print(f"{done} rows done, {stay} stay aside")
        return int(Status.PERSON if stay else Status.DONE)
    book = engine.run(again=options.again)
    print(f"{book.state}: {book.rows} rows done, {book.written} rows written, {book.aside} aside")
    return int(Status.PERSON if book.aside else Status.DONE)


def _undone(engine: Engine, confirm: str) -> int:
    done = Undo(engine).run(confirm)
    print(f"{UNDONE}: {done.removed} rows taken away, {done.restored} given back, {done.carried} carried back")
    for table, key, why in done.kept:
        print(f"  kept {table} {key}: {why}")
    return int(Status.PERSON if done.kept else Status.DONE)


def _ordered(engine: Engine, what: str, value: str) -> int:
    """Write an order into the book, where a run reads it before its next batch."""
    wanted = {"asked": int(value)} if what == "pace" else {"wanted": PAUSE if what == "pause" else ""}
    most = engine.declared.rows[1]
    if what == "pace" and int(value) > most:
        raise DataError(f"at most {most} rows, as the inventory says", value, NOTHING)
    book, _, _ = engine.look()
    if book is None or book.state not in (RUNNING, PAUSED):
        raise DataError("a run that is not at its end", book.state if book else "none", NOTHING)
    engine.order(**wanted)
    print(f"{what}: noted; a run that is at work reads it before its next batch")
    return int(Status.DONE)
