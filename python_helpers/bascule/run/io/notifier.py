"""Send notices by apprise, in a process of its own that is given up after a time.

Addresses come to it by standard input and leave it for nowhere but their services: what they say of an error may quote
an address, so it is thrown away, and who was not told is known by the role alone.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CommandFailed
from ...system.io.process import run

# Seconds for all of them.
PATIENCE = 30.0


def send(given: Sequence[Mapping[str, Any]], patience: float = PATIENCE) -> list[str]:
    """Send what `notices.addressed` has returned; return, role by role, what was not sent, and never raise.

    Args:
        given: role, urls, title and body of each.
        patience: seconds after which the process is killed.
    """
    if not given:
        return []
    roles = [str(one["role"]) for one in given]
    try:
        done = run([sys.executable, "-m", __name__], stdin=json.dumps(list(given)), timeout=patience)
        told = json.loads(done.stdout)
        return [f"{role}: not told: {told.get(role) or 'unknown'}" for role in roles if told.get(role) != "sent"]
    except (CommandFailed, ValueError, AttributeError) as error:
        late = isinstance(error, CommandFailed) and "within" in error.expected
        why = f"no answer within {patience:g} s" if late else "the notifier has failed"
        return [f"{role}: not told for certain: {why}" for role in roles]


def main() -> int:
    """Send what standard input has; print by role whether it was sent."""
    given = json.load(sys.stdin)
    told: dict[str, str] = {}
    sys.stdout.flush()
    answer = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # Libraries below may print or log an address.
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        logging.disable(logging.CRITICAL)
        for one in given:
            told[str(one["role"])] = _sent(one)
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        json.dump(told, out)
    return 0


def _sent(one: Mapping[str, Any]) -> str:
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        return "apprise is not installed at the controller: pip install '.[notices]'"
    try:
        service = apprise.Apprise()
        # Each has to be known: one that is dropped silently would look like one that was told.
        if not all(service.add(url) for url in one["urls"]):
            return "an address that apprise does not know"
        return "sent" if service.notify(title=one["title"], body=one["body"]) else "a service has refused it"
    except Exception as error:
        return f"an error, {type(error).__name__}"


if __name__ == "__main__":
    sys.exit(main())
