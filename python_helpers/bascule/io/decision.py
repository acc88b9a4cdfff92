"""The identity of this ansible-playbook process, shared by all its workers.

The callback sets it in the main process before the first fork; the workers inherit it with the environment. It is
deliberately not a variable of Ansible: extra vars would win over it.
"""

from __future__ import annotations

import os
import secrets

from ..errors import BasculeError

DECISION = "BASCULE_DECISION"


def begin() -> str:
    """Choose this process's decision id; called once, by the callback."""
    decision = secrets.token_hex(8)
    os.environ[DECISION] = decision
    return decision


def current() -> str:
    """Return the decision id."""
    decision = os.environ.get(DECISION, "")
    if not decision:
        raise BasculeError(
            expected="a decision id, chosen when the playbook started",
            found="none: the callback bascule_journal is not enabled",
            state="nothing was changed",
            next_command="use the project's ansible.cfg (callbacks_enabled = bascule_journal)",
        )
    return decision
