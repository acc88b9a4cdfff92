"""Build the host agent here, install it there when it is not the same."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_host_agent
short_description: Install the host agent
description:
  - Builds the agent from the sources of this project, always the same bytes from the same sources, and has
    M(bascule_host_install) put it in place. An agent that is the same is not sent.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Install the host agent
  bascule_host_agent:
  delegate_to: "{{ bascule_to }}"
  become: true
"""

RETURN = r"""
digest:
  description: SHA-256 of the agent.
  returned: always
  type: str
"""

import base64
import hashlib
from typing import Any

from bascule.agent.io import build
from bascule.plugin.served import ModuleAction
from bascule.system.io import storage

_UNIT = "bascule-boot.service"


class ActionModule(ModuleAction):
    """See DOCUMENTATION."""

    _supports_check_mode = True

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Compare, then install what differs."""
        super().run(tmp, task_vars)
        self.validate_argument_spec({})
        content = build.build()
        digest = hashlib.sha256(content).hexdigest()
        unit = storage.read_text(self._find_needle("files", _UNIT))
        arguments = {"digest": digest, "unit": unit}
        result = self._module(arguments, task_vars)
        if result.get("needed") and not self._task.check_mode and not result.get("failed"):
            result = self._module({**arguments, "content": base64.b64encode(content).decode()}, task_vars)
        result["digest"] = digest
        return result

    def _module(self, arguments: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        return self._execute_module("bascule_host_install", arguments, task_vars=task_vars)
