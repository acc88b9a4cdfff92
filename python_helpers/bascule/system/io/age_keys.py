"""The host's own age key, and for whom dumps of a component are encrypted. Private keys never leave their host."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import BasculeError
from . import storage
from .process import run

KEY = Path("/var/lib/bascule/age/key.txt")
HOME = Path("/var/lib/bascule")
RECIPIENTS_FILE = "recipients.json"


def own_recipient() -> str:
    """Return this host's recipient, or an empty text when it has no key yet."""
    if not KEY.exists():
        return ""
    return run(["age-keygen", "-y", str(KEY)], timeout=20).stdout.strip()


def _make() -> None:
    """Make the key; it is of all databases of this host, which are prepared side by side."""
    storage.make_directory(KEY.parent, 0o700)
    with storage.locked(KEY.with_suffix(".lock")):
        if not KEY.exists():
            # age-keygen makes its file readable by its owner only, and refuses to write over one.
            run(["age-keygen", "-o", str(KEY)], timeout=20)
            storage.sync_directory(KEY.parent)


def ensure(component: str, others: Iterable[str], *, check: bool = False) -> dict[str, Any]:
    """Make this host's key once, and keep for whom dumps are encrypted: itself, and the others."""
    changes = []
    if not KEY.exists():
        changes.append(str(KEY))
        if not check:
            _make()
    own = own_recipient()
    wanted = sorted({recipient for recipient in (own, *others) if recipient})
    odd = [recipient for recipient in wanted if not recipient.startswith("age1")]
    if odd:
        raise BasculeError(
            expected="age recipients (age1…)",
            found=", ".join(odd),
            state="nothing was dumped",
            next_command="mend the list of recipients of dumps (…_dump_recipients) in the inventory",
        )
    path = HOME / component / RECIPIENTS_FILE
    if storage.read_json(path) != wanted:
        changes.append(str(path))
        if not check:
            storage.make_directory(path.parent, 0o755)
            storage.write_json(path, wanted)
    return {"changed": bool(changes), "changes": changes, "recipient": own}


def recipients(component: str) -> list[str]:
    """Return for whom dumps of a component are encrypted."""
    found: list[str] = storage.read_json(HOME / component / RECIPIENTS_FILE) or []
    if not found:
        raise BasculeError(
            expected="recipients for encrypted dumps on this host",
            found=f"no {HOME / component / RECIPIENTS_FILE}",
            state="nothing was dumped",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}",
        )
    return found
