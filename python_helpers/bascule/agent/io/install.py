"""Put the host agent and its boot unit in place, on the host itself."""

from __future__ import annotations

import ast
import base64
import binascii
import contextlib
import hashlib
import io
import zipfile
from pathlib import Path

from ...errors import StoreError
from ...guard.io import fence_settings
from ...system.io import process, storage

AGENT = Path("/usr/local/lib/bascule/bascule.pyz")
UNIT = Path("/etc/systemd/system/bascule-boot.service")
STATE = Path("/var/lib/bascule")
# Where the table of the subcommands lies in an agent.
COMMANDS = "bascule/agent/commands.py"


def missing(digest: str, unit: str) -> list[str]:
    """Return what is not as it should be, in words."""
    found = []
    if not storage.is_file(AGENT) or storage.sha256(AGENT) != digest:
        found.append(f"agent {AGENT}")
    if storage.read_text(UNIT) != unit:
        found.append(f"unit {UNIT}")
    if process.run(["systemctl", "is-enabled", UNIT.name], check=False).stdout.strip() != "enabled":
        found.append(f"{UNIT.name} enabled")
    if not storage.is_directory(STATE):
        found.append(f"directory {STATE}")
    return found


def install(content: str, digest: str, unit: str) -> None:
    """Install the agent, check what was written, enable the unit for the next boot."""
    try:
        agent = base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise StoreError(expected="the host agent in base64", found=str(error), state="nothing was changed") from error
    if hashlib.sha256(agent).hexdigest() != digest:
        raise StoreError(
            expected=f"a host agent with SHA-256 {digest}",
            found=hashlib.sha256(agent).hexdigest(),
            state="nothing was changed",
        )
    if strangers := fenced_by_others(agent):
        raise StoreError(
            expected="a host agent that can fence every component of this host after a boot",
            found=f"one that knows nothing of {', '.join(strangers)}: these sources are older than its prepare",
            state="nothing was changed: the agent that is here stays",
            next_command="run prepare from the sources that prepared it, or from newer ones",
        )
    # Services run as other users look below; what must stay closed has its own mode.
    storage.make_directory(STATE, 0o755)
    storage.make_directory(AGENT.parent, 0o755)
    storage.write_durably(AGENT, agent, 0o755)
    storage.write_durably(UNIT, unit, 0o644)
    process.run(["systemctl", "daemon-reload"])
    process.run(["systemctl", "enable", UNIT.name])


def subcommands(source: str) -> set[str]:
    """Return the names of an agent's subcommands, read from its table."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    return set()


def fenced_by_others(agent: bytes) -> list[str]:
    """Return the components with a guard here, and their kind, that this agent could not fence at boot."""
    try:
        with zipfile.ZipFile(io.BytesIO(agent)) as archive:
            known = subcommands(archive.read(COMMANDS).decode())
    except (zipfile.BadZipFile, KeyError) as error:
        raise StoreError(expected="the host agent", found=str(error), state="nothing was changed") from error
    found = []
    for path in storage.children(STATE / "guard"):
        settings = None
        # One that cannot be read names no kind; the boot fence says so, whichever agent is here.
        with contextlib.suppress(StoreError):
            settings = fence_settings.read(path.stem, STATE) if path.suffix == ".json" else None
        kind = settings.get("kind") if settings is not None else None
        if isinstance(kind, str) and f"fence_{kind}" not in known:
            found.append(f"{path.stem} ({kind})")
    return found
