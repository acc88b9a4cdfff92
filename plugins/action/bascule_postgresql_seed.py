"""Follow a base backup until it ends, and show how far it is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_postgresql_seed
short_description: Follow a base backup until it ends
description:
  - Calls the module M(bascule_postgresql_seed) again and again and shows bytes, rate and remaining time. A lost
    connection loses nothing, as the base backup is a unit of its own.
options:
  spec:
    description: The side, as the role describes it.
    type: dict
    required: true
  wait:
    description: Seconds until it must have ended.
    type: float
    default: 86400
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Wait for the base backup
  bascule_postgresql_seed:
    spec: "{{ __postgresql_replication_specs['db-tls'] }}"
    wait: 3600
  delegate_to: db-tls
  become: true
"""

RETURN = r"""
seed:
  description: Its state, the bytes it has, the compression that was used, and where what lay there before lies now.
  returned: always
  type: dict
"""

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

_PAUSE = 1.0


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Look again until it has ended."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        deadline = time.monotonic() + float(arguments.pop("wait", 86400))
        component = str(dict(arguments.get("spec") or {}).get("component", ""))
        shown = time.monotonic()
        while True:
            result = dict(self._execute_module("bascule_postgresql_seed", arguments, task_vars=task_vars))
            seed = result.get("seed") or {}
            if result.get("failed") or seed.get("state") == "done":
                if seed.get("aside"):
                    Display().display(f"{component}: what lay there before was put aside, to {seed['aside']}")
                return result
            if time.monotonic() > deadline:
                return {**result, "failed": True, "msg": f"the base backup has not ended in time; it goes on: {seed}"}
            if time.monotonic() - shown > 5:
                Display().display(f"{component}: {describe(seed)}")
                shown = time.monotonic()
            time.sleep(_PAUSE)


def describe(seed: dict[str, Any]) -> str:
    """Return how far a base backup is, for people."""
    done, total, rate = (int(seed.get(name) or 0) / 1e6 for name in ("bytes", "total", "bytes_per_second"))
    left = seed.get("remaining_seconds")
    share = f" of about {total:.0f} MB" if total else ""
    remaining = f", about {left} s left" if left is not None else ""
    return f"{seed.get('step')}: {done:.0f} MB{share}, {rate:.1f} MB/s{remaining}"
