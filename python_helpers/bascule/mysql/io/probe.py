"""Try to write at the other side, as a client from outside does."""

from __future__ import annotations

import re
import socket

from ...system.io import process, storage
from ...system.io.process import Runner
from .client import Client

WRITTEN = "written"
READ_ONLY = "refused: read-only"
REFUSED = "refused: nobody listens"
_CODE = re.compile(r"ERROR (\d+) \([0-9A-Z]{5}\)")


def write(options: str, runner: Runner = process.run) -> str:
    """Return WRITTEN, READ_ONLY, REFUSED, or what else was answered, which proves nothing."""
    client = Client(socket="", options=options)
    done = runner(
        [*client.argv(), "--batch"], stdin="REPLACE INTO bascule.probe VALUES (2, NOW(6));\n", check=False, timeout=20
    )
    if done.rc == 0:
        return WRITTEN
    found = _CODE.search(done.stderr)
    code = found.group(1) if found else ""
    if code == "1290" and "read-only" in done.stderr:
        return READ_ONLY
    if code in ("2002", "2003") and _refused(options):
        return REFUSED
    return f"no proof: {done.stderr.strip()[:300]}"


def _refused(options: str) -> bool:
    """Tell whether the host's own kernel refuses: the client says the same of a refusal and of silence."""
    lines = (line.partition("=") for line in (storage.read_text(options) or "").splitlines())
    values = {name: value.strip('"') for name, _, value in lines}
    try:
        with socket.create_connection((values["host"], int(values["port"])), timeout=5):
            return False
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
