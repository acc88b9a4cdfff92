"""What several files of tests do and look for: a phase run twice, refused, killed, and which site is active."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from bascule_lab import shell
from bascule_lab.topology import SERVICE_NAME, Site

from tests.integration import fingerprint
from tests.integration.playbooks import Controller

COMPONENTS = {"accounts_db", "course_files", "courses_guest", "login_guest", "board_guest", "entrance", "names"}
KILL_DEADLINE_SECONDS = 420
UPLOADS = "/srv/courses/uploads"


def succeed_twice(controller: Controller, phase: str, *arguments: str) -> None:
    """Run a phase, then again: the second run finds everything done."""
    controller.succeed(phase, *arguments)
    again = controller.succeed(phase, *arguments)
    assert again.changed_components == set(), f"second {phase} changed something: {again.changed_tasks()}"


def touches_nothing(controller: Controller, phase: str) -> None:
    """Run a phase with --check: the machines look afterwards as before."""
    before = fingerprint.lab()
    controller.succeed(phase, "--check", "--diff")
    assert fingerprint.differences(before, fingerprint.lab()) == []


def refused_untouched(controller: Controller, phase: str, reason: str) -> None:
    """See a phase refused for this reason, and every machine as it was."""
    before = fingerprint.lab()
    outcome = controller.run(phase)
    assert outcome.status != 0
    assert reason in outcome.output, outcome.output[-8000:]
    # Whom the open side lets in is noted each time it is looked at, as the fence's probe notes what it meets.
    changed = fingerprint.differences(before, fingerprint.lab())
    assert [line for line in changed if "/knocks.json " not in line] == []


def is_active_at(controller: Controller, site: str) -> None:
    """See that `status` finds every component active at the site."""
    output = controller.succeed("status").output
    found = {line.split()[0] for line in output.splitlines() if f"active at {site}" in line}
    assert found == COMPONENTS, output


def kill_when(controller: Controller, phase: str, seen: Callable[[dict[str, Any]], bool]) -> None:
    """Start a phase and kill its controller, all processes at once, as soon as an entry of its journal matches."""
    process = controller.start(phase)
    deadline = time.monotonic() + KILL_DEADLINE_SECONDS
    offset = controller.journal().stat().st_size if controller.journal().exists() else 0
    try:
        while time.monotonic() < deadline:
            if controller.journal().exists():
                new = controller.journal().read_bytes()[offset:]
                if any(seen(json.loads(line)) for line in new.splitlines() if line.endswith(b"}")):
                    return
            assert process.poll() is None, f"{phase} ended before it could be killed: {controller.said(phase)}"
            time.sleep(0.05)
        pytest.fail(f"{phase} did not reach the moment to be killed at")
    finally:
        shell.kill_tree(process)


def sync_of_the_database_begins(entry: dict[str, Any]) -> bool:
    """Say whether a cutover has frozen the database, and with it all that depends on it, and switched nothing yet."""
    wanted = ("begin", "cutover", "sync", "accounts_db")
    return (entry["kind"], entry["phase"], entry["verb"], entry["component"]) == wanted


def inside(host: str, *command: str) -> str:
    """Run a command on a host of the lab."""
    return shell.run(["podman", "exec", f"bascule-{host}", *command]).strip()


def query(site: Site, text: str) -> str:
    """Ask the database of a site."""
    return inside(f"db-{site.name}", "su", "postgres", "-c", f'psql -qAt -d courses -c "{text}"')


def next_of(output: str) -> str:
    """Return what `status` says is to be done next."""
    (line,) = [line for line in output.splitlines() if line.startswith("Next: ")]
    return line.removeprefix("Next: ")


def is_served_from(site: Site) -> None:
    """See that a user outside is led to a site, is answered there, and that what they write is kept."""
    # A resolver may have the old answer for a moment, and tries a name server that is dead before the other one.
    deadline = time.monotonic() + KILL_DEADLINE_SECONDS
    while (address := inside("user", "dig", "+short", SERVICE_NAME)) != site.entrance:
        assert time.monotonic() < deadline, f"users are led to {address or 'nobody'}"
        time.sleep(1)
    assert inside("user", "curl", "-sk", "--max-time", "20", f"https://{SERVICE_NAME}/healthz") == "ok"
    assert query(site, "select pg_is_in_recovery()") == "f"
    name = f"{UPLOADS}/written-at-{site.name}"
    inside(f"files-{site.name}", "sh", "-c", f"echo here > {name}; rm {name}")
