"""What the next command needs, as it was typed for this one."""

from __future__ import annotations

import os
import shlex

from ansible import constants, context


def inventories() -> str:
    """Return how the inventories of this command are given to the next one; nothing for those of the configuration."""
    given = [str(path) for path in context.CLIARGS.get("inventory") or []]
    if given == [str(path) for path in constants.DEFAULT_HOST_LIST]:
        return ""
    short = [min(path, os.path.relpath(path), key=len) if os.path.isabs(path) else path for path in given]
    return " ".join(f"-i {shlex.quote(path)}" for path in short)
