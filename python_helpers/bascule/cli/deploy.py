"""Deploy a version of an application: `bascule deploy SERVICE|all VERSION`, or bring it back: `--back`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence

from ..errors import BasculeError
from ..run.outcome import Status
from ..system.io import storage
from . import start

PLAYBOOK = "playbooks/deploy.yml"
DESCRIPTION = """\
Bring a version of an application, or of all in the order of their dependencies, to all its hosts at one side: taken out
of HAProxy batch by batch, updated, proved, and put back. The first host that fails ends it, and all are brought back.
A command that was broken off is run again as it was. Further options are those of ansible-playbook."""
EPILOG = """\
exit status: 0 done, or nothing was to be done; 2 refused input: nothing was begun; 6 needs a person: what was found,
what state the hosts are in and what to do next is said above"""


def main(argv: Sequence[str]) -> int:
    """Run the playbook here, in the foreground; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bascule deploy", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("service", metavar="SERVICE", help="an application of app_service_services, or all")
    parser.add_argument("version", nargs="?", default="", metavar="VERSION", help="what is to be deployed")
    parser.add_argument("--back", action="store_true", help="to the release that was known good before; no VERSION")
    parser.add_argument("--strategy", choices=("rolling",), default="rolling")
    parser.add_argument("-i", "--inventory", default="", help="folder of the inventory")
    options, further = parser.parse_known_args(list(argv))
    if bool(options.version) == options.back:
        parser.error("either a VERSION or --back")
    if further and not further[0].startswith("-"):
        parser.error(f"one VERSION, and no {further[0]}")
    given = {
        "app_service_name": options.service,
        "app_service_version": options.version,
        "app_service_strategy": options.strategy,
        "app_service_way": "back" if options.back else "deploy",
    }
    try:
        line = [start.program(), str(start.file(PLAYBOOK)), "-e", json.dumps(given)]
    except BasculeError as error:
        print(f"bascule deploy: {error.message()}", file=sys.stderr)
        return int(Status.REFUSED)
    inventory = ["-i", str(storage.expand_user(options.inventory))] if options.inventory else []
    # The lines of the deployment itself, and what --diff shows; the display of the phases has its own for verbs.
    environment = {"ANSIBLE_STDOUT_CALLBACK": "default", **os.environ, **start.configured()}
    try:
        done = subprocess.run([*line, *inventory, *further], env=environment, check=False)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again, or with --back", file=sys.stderr)
        return int(Status.PERSON)
    return int(Status.DONE if done.returncode == 0 else Status.PERSON)
