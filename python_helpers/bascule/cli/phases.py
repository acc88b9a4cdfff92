"""The commands that run a phase, or show one again."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence

from ..errors import BasculeError, PlanError
from ..run import outcome
from ..run.io import command as commands
from ..run.io import plan_files
from ..run.outcome import Status
from ..run.phases import PHASES, phase
from .follow import Follower
from .run import started, taken, unkept

_HELP = ("-h", "--help")
_USAGE = {
    "plan": "bascule plan [options of ansible-playbook]",
    "run": "bascule run PHASE [options of ansible-playbook], bascule run cutover --plan FILE […]",
    "status": "bascule status [options of ansible-playbook]",
    "resume": "bascule resume [--yes PHASE] [options of ansible-playbook, such as -e confirm=SITE]",
    "report": "bascule report [--verify] [options of ansible-playbook, such as -e run=RUN]",
    "commit": "bascule commit [options of ansible-playbook]",
    "abort": "bascule abort [options of ansible-playbook]",
    "rollback": "bascule rollback [options of ansible-playbook]",
    "overrun": "bascule overrun [options of ansible-playbook]",
    "site-lost": "bascule site-lost SITE --by NAME --fenced HOW [options of ansible-playbook]",
    "watch": "bascule watch [COMMAND]",
    "phases": "bascule phases",
}


def main(name: str, argv: Sequence[str]) -> int:
    """Run one of the commands; return its exit status."""
    if any(word in _HELP for word in argv):
        print(f"usage: {_USAGE[name]}\n\nexit status:")
        print("\n".join(f"  {int(status)}  {words}" for status, words in outcome.WORDS.items()))
        return 0
    try:
        return int(_COMMANDS[name](argv))
    except BasculeError as error:
        print(f"bascule {name}: {error.message()}", file=sys.stderr)
        return int(Status.REFUSED)
    except KeyboardInterrupt:
        # What runs is left by its follower: this was before, or in the moment of its start.
        print("\ninterrupted; bascule watch shows whether anything was begun", file=sys.stderr)
        return int(Status.PERSON)


def _run(argv: Sequence[str]) -> Status:
    if not argv:
        raise PlanError(
            expected=_USAGE["run"], found="no phase", state="nothing was begun", next_command="bascule phases"
        )
    words = list(argv[1:])
    asked = any(word == "--plan" or word.startswith("--plan=") for word in words)
    file = taken(words, "--plan")
    if not asked:
        return started(argv[0], words)
    if phase(argv[0]).name != "cutover" or not file:
        raise PlanError(
            expected="bascule run cutover --plan FILE, with the file that bascule plan has written",
            # What else was given may be a secret.
            found=f"bascule run {argv[0]} --plan{' FILE' if file else ', and no file'}",
            state="nothing was begun",
            next_command="bascule plan writes one",
        )
    # It is read here only to refuse early; the playbook compares it with what is now.
    plan_files.read(os.path.abspath(file))
    return started(argv[0], ["-e", json.dumps({"with_plan": os.path.abspath(file)}), *words])


def _resume(argv: Sequence[str]) -> Status:
    return Status(importlib.import_module(".resume", __package__).main(argv))


def _report(argv: Sequence[str]) -> Status:
    if "--verify" not in argv:
        return started("report", argv)
    evidence = importlib.import_module(".evidence", __package__)
    return Status(evidence.verify([word for word in argv if word != "--verify"]))


def _site_lost(argv: Sequence[str]) -> Status:
    words = list(argv)
    values = {name: taken(words, option) for name, option in {"by": "--by", "fenced": "--fenced"}.items()}
    site = words.pop(0) if words and not words[0].startswith("-") else ""
    # What is not said is refused by the playbook itself, with what it has to be.
    extra = {name: value for name, value in {"site": site, **values}.items() if value}
    return started("site_lost", ["-e", json.dumps(extra), *words] if extra else words)


def _watch(argv: Sequence[str]) -> Status:
    try:
        command = commands.find(*argv[:1])
    except OSError as error:
        raise unkept(error, "bascule status") from error
    print(f"command {command.name}")
    return Follower(command).follow()


def _phases(argv: Sequence[str]) -> Status:
    for one in PHASES.values():
        print(f"  {one.name:14} {one.playbook:32} {one.what}")
    return Status.DONE


_COMMANDS = {
    "plan": lambda argv: started("plan", argv),
    "run": _run,
    "status": lambda argv: started("status", argv),
    "resume": _resume,
    "report": _report,
    "commit": lambda argv: started("commit", argv),
    "abort": lambda argv: started("rollback", [*argv, "-e", "only_before_switch=yes"]),
    "rollback": lambda argv: started("rollback", argv),
    "overrun": lambda argv: started("rollback", [*argv, "-e", "only_after_overrun=yes"]),
    "site-lost": _site_lost,
    "watch": _watch,
    "phases": _phases,
}
