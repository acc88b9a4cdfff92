"""Drive one switch between two hosts of a pair, as the action does, without Ansible around it: `driver.py JSON`.

A process of its own, so that it can be killed; prints what came of it as JSON.
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
import time
from typing import Any

from bascule.errors import BasculeError
from bascule.guard.state import GuardState, next_epoch
from bascule.postgresql.io.switchover import connections
from bascule.postgresql.switchover import LOOK_SECONDS, Drive
from bascule.system.io import process
from bascule.system.io.units import AGENT
from bascule.system.ssh import Target


def main(settings: dict[str, Any]) -> int:
    """Do it; return an exit status."""
    hosts, component = (settings["old"], settings["new"]), settings["component"]
    shells = [("podman", "exec", "-i", host, "sh", "-c") for host in hosts]
    guards = [
        GuardState.from_dict(
            json.loads(process.run([*shell, f"cat /var/lib/bascule/guard/{component}.json"]).stdout),
        )
        for shell in shells
    ]
    epoch = str(next_epoch(guards[0], guards[1], secrets.token_hex(8)))
    hold = connections.Hold()

    def agent(number: int, part: str, label: str) -> connections.Agent:
        words = [*AGENT, "pg_side", "--component", component, "--side", hosts[number], "--part", part]
        return connections.Agent(Target(hosts[number], shells[number]), f"exec {shlex.join(words)}", label, hold)

    try:
        with agent(0, "leave", "old") as old, agent(1, "enter", "new") as new:
            for one in (old, new):
                one.answer(LOOK_SECONDS)
            drive = Drive(
                old,
                new,
                budget=settings["budget"],
                patience=settings["patience"],
                clock=time.monotonic,
                reach=lambda name: hold.wait(f"driver.{name}"),
            )
            sys.stdout.write(json.dumps(drive.switch(epoch)) + "\n")
    except BasculeError as error:
        sys.stdout.write(json.dumps({"error": error.message()}) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
