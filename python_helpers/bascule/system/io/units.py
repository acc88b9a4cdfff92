"""Long operations as transient systemd units: they outlive whoever started them, and a later run finds them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...errors import CommandFailed
from .. import polling
from .process import Runner, run

AGENT = ("/usr/bin/python3", "/usr/local/lib/bascule/bascule.pyz")


def is_running(unit: str, runner: Runner = run) -> bool:
    """Tell whether a unit is running or starting."""
    done = runner(["systemctl", "show", "--property=ActiveState", "--value", f"{unit}.service"], check=False)
    return done.stdout.strip() in ("active", "activating", "deactivating", "reloading")


def start(unit: str, argv: Sequence[str], runner: Runner = run, *, properties: Sequence[str] = ()) -> None:
    """Start a unit; its exit status and result are what it writes down itself. `properties` are more of systemd's."""
    given = [f"--property={one}" for one in ("KillMode=mixed", *properties)]
    runner(["systemd-run", "--quiet", "--collect", f"--unit={unit}", *given, "--", *argv])


def stop(unit: str, runner: Runner = run) -> bool:
    """Stop a unit; return whether it was running."""
    if not is_running(unit, runner):
        return False
    runner(["systemctl", "stop", f"{unit}.service"], timeout=120)
    return True


def wait(unit: str, seconds: float, runner: Runner = run) -> bool:
    """Wait until a unit has ended; False when it is still running after `seconds`."""
    began = time.monotonic()
    while is_running(unit, runner):
        waited = time.monotonic() - began
        if waited >= seconds:
            return False
        time.sleep(polling.pause(waited, 0.5))
    return True


def last_messages(unit: str, runner: Runner = run) -> str:
    """Return the end of what a unit logged, for an error message."""
    try:
        done = runner(["journalctl", "--no-pager", "--lines=8", "--output=cat", f"--unit={unit}.service"], check=False)
    except CommandFailed as error:
        return str(error)
    return done.stdout.strip()[-1500:]


def restart(unit: str, runner: Runner = run) -> None:
    """Restart a unit that is running."""
    runner(["systemctl", "try-restart", unit], timeout=120)


def is_enabled(unit: str, runner: Runner = run) -> bool:
    """Tell whether a unit starts at boot; `unit` is its whole name."""
    done = runner(["systemctl", "is-enabled", unit], timeout=20, check=False)
    return done.stdout.strip() in ("enabled", "enabled-runtime")


def set_enabled(unit: str, *, enabled: bool, runner: Runner = run) -> None:
    """Have a unit start at boot, or not."""
    runner(["systemctl", "enable" if enabled else "disable", unit], timeout=60)


def active(runner: Runner = run) -> list[str]:
    """Return the services that run or start, by their whole names."""
    argv = ["systemctl", "list-units", "--type=service", "--state=active,activating,reloading", "--plain"]
    done = runner([*argv, "--no-legend", "--no-pager"], timeout=20)
    return [line.split()[0] for line in done.stdout.splitlines() if line.strip()]


def shown(unit: str, *properties: str, runner: Runner = run) -> dict[str, str]:
    """Return what systemd shows of a unit, by property; `unit` is its whole name."""
    done = runner(["systemctl", "show", f"--property={','.join(properties)}", unit], timeout=20, check=False)
    return {name: value for name, found, value in (line.partition("=") for line in done.stdout.splitlines()) if found}
