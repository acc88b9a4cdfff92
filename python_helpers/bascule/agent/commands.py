"""The subcommands of the host agent: what units, timers and forced commands call, and the function that answers.

Their names and arguments are public: they stand in units and authorized keys of hosts that were prepared long ago.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import dataclass

FENCE = "fence_"


@dataclass(frozen=True)
class Command:
    """One subcommand.

    `function` is MODULE:FUNCTION of this package. `arguments` are words: NAME is a positional argument, `NAME*` takes
    all that is left, `--name` is required, `--name=default` is optional, `--name?` is a flag, and `--name=a|b` allows
    these values, the first by default. The function takes them in this order, flags as bool, all else as text; it
    returns an exit status, or a text to print, or None.
    """

    function: str
    arguments: str

    @property
    def file(self) -> str:
        """The file of the function, relative to this package's folder."""
        return self.function.partition(":")[0].replace(".", "/") + ".py"


COMMANDS = {
    "application": Command("application.io.agent:work", ""),
    "archive_follow": Command("guest.io.archive_digest:work", "COMPONENT"),
    "boot": Command("agent.boot:boot", "COMPONENT*"),
    "equality": Command("postgresql.io.rows.comparison:work", "--component --epoch"),
    "fence_entrance": Command("entrance.io.side:fence", "COMPONENT"),
    "fence_files": Command("filetree.io.fence.side:fence", "COMPONENT"),
    "fence_firewall": Command("firewall.io.table:fence", "COMPONENT"),
    "fence_mysql": Command("mysql.io.side:fence", "COMPONENT"),
    "fence_postgresql": Command("postgresql.io.cluster.cluster:fence", "COMPONENT"),
    "fence_sqlite": Command("sqlite.io.side:fence", "COMPONENT"),
    "fence_vpn": Command("vpn.io.side:fence", "COMPONENT"),
    "files_job": Command("filetree.io.transfer.job:work", "COMPONENT OPERATION"),
    "files_receive": Command("filetree.io.transfer.receive:serve", "COMPONENT"),
    "files_recorder": Command("filetree.io.recorder.service:run", "PATH --queue=unlimited|system --memory="),
    "firewall_confirm": Command("firewall.io.table:confirm", "COMPONENT TOKEN"),
    "firewall_undo": Command("firewall.io.table:undo", "COMPONENT TOKEN"),
    "follow": Command("postgresql.io.standby.follow:follow", "--component --epoch"),
    "guest_console": Command("guest.io.console:work", "COMPONENT VMID SECONDS"),
    "guest_digest": Command("guest.io.disk_digest:work", "COMPONENT"),
    "guest_files": Command("guest.io.volume_files:work", "WORD*"),
    "guest_pull": Command("guest.io.pull:work", "JOB"),
    "guest_serve": Command("guest.io.ssh_key:serve", "FOLDER* --component="),
    "manifest": Command("filetree.io.manifest.take:by_hand", "PATH TARGET --owners=numbers|names --all?"),
    "mysql_safety_dump": Command("mysql.io.safety_dump:work", "--component --epoch"),
    "pg_clone_end": Command("postgresql.io.clone.trial:clean_up", "--component"),
    "pg_clone_follow": Command(
        "postgresql.io.clone.trial:work_to_follow", "--component --port --mark --timeout --rate="
    ),
    "pg_clone_lead": Command("postgresql.io.clone.trial:work_to_lead", "--component --port --mark --timeout"),
    "pg_deadman": Command("postgresql.io.switchover.take_back:fire", "--component --epoch"),
    "pg_dump_bring": Command("postgresql.io.dump.restore:work", "--component --name --manifest --rate="),
    "pg_dump_take": Command("postgresql.io.dump.take:work", "--component --name --refused="),
    "pg_fence_probe": Command("postgresql.io.switchover.fence_probe:watch", "--component --epoch"),
    "pg_side": Command("postgresql.io.switchover.agent:converse", "--component --side --part"),
    "safety_dump": Command("postgresql.io.dump.safety_dump:work", "--component --epoch"),
    "sqlite_safety_dump": Command("sqlite.io.safety_dump:work", "--component --epoch"),
    "seed": Command("postgresql.io.standby.basebackup:seed", "--component --max-rate="),
    "snapshot": Command("postgresql.io.rows.snapshot:work", "--component --epoch --role --layout=physical|logical"),
}


def run(name: str, argv: list[str]) -> int:
    """Run a subcommand with its arguments; return the exit status.

    Raises:
        BasculeError: from the subcommand.
        SystemExit: the arguments do not fit.
    """
    command = COMMANDS[name]
    words = command.arguments.split()
    parser = argparse.ArgumentParser(prog=name)
    for word in words:
        _add(parser, word)
    given = vars(parser.parse_args(argv))
    values = [given[_key(word)] for word in words]
    module, _, function = command.function.partition(":")
    package = (__package__ or "bascule.agent").rpartition(".")[0]
    done = getattr(importlib.import_module(f"{package}.{module}"), function)(*values)
    if isinstance(done, str):
        sys.stdout.write(f"{done}\n" if done else "")
        return 0
    return int(done or 0)


def _key(word: str) -> str:
    return word.partition("=")[0].strip("-*?").replace("-", "_")


def _add(parser: argparse.ArgumentParser, word: str) -> None:
    name, equals, values = word.partition("=")
    choices = values.split("|")
    if name.endswith("*"):
        parser.add_argument(_key(word), nargs="*")
    elif name.endswith("?"):
        parser.add_argument(name[:-1], action="store_true")
    elif not name.startswith("--"):
        parser.add_argument(name)
    elif not equals:
        parser.add_argument(name, required=True)
    else:
        parser.add_argument(name, default=choices[0], choices=choices if len(choices) > 1 else None)
