"""How many tasks lie between freeze and thaw, and how many of them start something on a machine: it can only fall.

Each execution on a machine sends a module and starts an interpreter there while users wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bascule.run import order

from .test_roles import ON_CONTROLLER
from .tree import ROLES, action_of, controller_actions, load, tasks_of

# By what a file's name is chosen, where the role chooses it in the window.
CHOSEN = {
    "postgresql_replication": {"postgresql_replication_method": "streaming"},
    "proxmox_guest warm": {"__proxmox_guest_sync.action": "boot"},
    "proxmox_guest delta": {"__proxmox_guest_sync.action": "delta"},
    "proxmox_guest blocks": {"__proxmox_guest_sync.action": "blocks"},
    "proxmox_guest archive": {"__proxmox_guest_sync.action": "archive"},
}
# kind → verb → (tasks, executions on machines); every condition taken as true, a loop as one. Who brings a figure down
# lowers it here.
# fmt: off
MOST: dict[str, dict[str, tuple[int, int]]] = {
    "postgresql_replication": {"freeze": (6, 4), "sync": (5, 3), "switch": (7, 2), "thaw": (1, 1)},
    "rsync_delta_sync": {"freeze": (1, 1), "sync": (14, 6), "switch": (16, 6), "thaw": (1, 1)},
    "proxmox_guest warm": {"freeze": (2, 0), "sync": (14, 5), "switch": (7, 3), "thaw": (3, 0)},
    "proxmox_guest delta": {"freeze": (2, 0), "sync": (17, 7), "switch": (13, 5), "thaw": (3, 0)},
    "proxmox_guest blocks": {"freeze": (2, 0), "sync": (19, 8), "switch": (13, 5), "thaw": (3, 0)},
    "proxmox_guest archive": {"freeze": (2, 0), "sync": (32, 17), "switch": (13, 5), "thaw": (3, 0)},
    # One of the freeze and one of the thaw are for the virtual address of a pair alone: skipped where there is none.
    "web_entrance": {"freeze": (7, 5), "sync": (1, 0), "switch": (4, 2), "thaw": (3, 3)},
    "mysql_replication": {"freeze": (6, 5), "sync": (4, 4), "switch": (6, 5), "thaw": (1, 1)},
    "sqlite_store": {"freeze": (2, 1), "sync": (5, 4), "switch": (5, 4), "thaw": (1, 1)},
    "vpn_switchover": {"freeze": (7, 6), "sync": (1, 0), "switch": (5, 4), "thaw": (1, 1)},
    "firewall": {"freeze": (2, 2), "sync": (1, 0), "switch": (5, 4), "thaw": (3, 3)},
    "dns_switchover": {"freeze": (1, 0), "sync": (1, 0), "switch": (1, 0), "thaw": (3, 0)},
}
# fmt: on
# What an ordinary window skips: what it has just read, what somebody has left behind, scheduled backups, a pair's
# addresses. The include is counted, what it would do is not.
SKIPPED = (
    "_just_read",
    "_just_captured",
    "__proxmox_guest_frozen.before | length > 0",
    "__proxmox_guest_thawed.scheduled != []",
    "__web_entrance_also_from | length > 0",
)
CLOSED_AT_ONCE = "__proxmox_guest_switch.receipt is undefined"
by_kind = pytest.mark.parametrize("kind", MOST)


def walked(role: str, entry: str, chosen: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the tasks of an entry with those of the files that it includes."""
    for task, _ in tasks_of(load(ROLES / role / "tasks" / f"{entry}.yml")):
        action = action_of(task)
        condition = str(task.get("when", ""))
        at_once = CLOSED_AT_ONCE in condition and "boot" in chosen.values()
        if at_once or any(words in condition for words in SKIPPED):
            yield task
            continue
        if action != "ansible.builtin.import_tasks":
            yield task
        if action in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks"):
            name = str(task[action]).removesuffix(".yml")
            for variable, value in chosen.items():
                name = name.replace(f"{{{{ {variable} }}}}", value)
            if "{" not in name:
                yield from walked(role, name, chosen)


def counted(kind: str, verb: str) -> tuple[int, int]:
    """Return how many tasks a verb has, and how many executions on machines."""
    role = kind.split()[0]
    tasks = list(walked(role, verb, CHOSEN.get(kind, {})))
    elsewhere = [task for task in tasks if action_of(task) not in ON_CONTROLLER | controller_actions()]
    return len(tasks), len(elsewhere)


@by_kind
def test_between_freeze_and_thaw_there_is_no_more_than_before(kind: str) -> None:
    assert {verb: counted(kind, verb) for verb in order.VERBS} == MOST[kind]


@by_kind
def test_nothing_sleeps_between_freeze_and_thaw(kind: str) -> None:
    role = kind.split()[0]
    for verb in order.VERBS:
        for task in walked(role, verb, CHOSEN.get(kind, {})):
            assert action_of(task) not in ("ansible.builtin.pause", "ansible.builtin.wait_for"), task["name"]


@by_kind
def test_nothing_goes_past_the_module_server_between_freeze_and_thaw(kind: str) -> None:
    """A background task of Ansible is packed, sent and started anew; what takes long is a unit on its machine."""
    role = kind.split()[0]
    for verb in order.VERBS:
        for task in walked(role, verb, CHOSEN.get(kind, {})):
            assert "async" not in task, task["name"]


@by_kind
def test_what_is_always_included_between_freeze_and_thaw_is_imported(kind: str) -> None:
    """An include is a task of its own, and the controller reads its file while users wait."""
    role = kind.split()[0]
    for verb in order.VERBS:
        for task in walked(role, verb, CHOSEN.get(kind, {})):
            # One without a file's plain name is chosen at run time.
            name = str(task.get("ansible.builtin.include_tasks", "{"))
            assert "{" in name or {"when", "loop"} & set(task), f"{task['name']}: {name} is always included"
