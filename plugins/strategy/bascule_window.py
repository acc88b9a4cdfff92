"""Executes tasks as host_pinned does, in processes that stay for the play."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_window
short_description: Executes tasks as host_pinned does, in processes that stay for the play
description:
  - Every host goes through the play at its own pace, as with C(ansible.builtin.host_pinned).
  - Ansible forks a process for each task of each host, which costs more than most tasks do. Here a process is forked
    for a first task and is given further ones. What a task sees, and what becomes of its result, is the same.
  - With a version of ansible-core whose insides are not known, or with a cache of facts that is not in memory, this
    is C(ansible.builtin.host_pinned).
author:
  - The Bascule authors
"""

from bascule.plugin.window_strategy import StrategyModule

__all__ = ["StrategyModule"]
