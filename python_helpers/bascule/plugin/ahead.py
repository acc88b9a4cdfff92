"""Build what verbs will send to machines before anybody waits for it.

Ansible packs a module with everything it imports when it is first used, which takes up to a second of the controller's
processor, and keeps it for the rest of the playbook. Packed before the freeze, it costs nothing in the window.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import module_loader
from ansible.template import Templar

_INCLUDES = ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks")
_OURS = "bascule_"


def modules_of(tasks: Path, verbs: Iterable[str]) -> list[str]:
    """Return the modules that the verbs of a role may send, whatever they decide; `tasks` is its folder of task files.

    Where the name of an included file is chosen at run time, each that it can be counts.
    """
    seen: set[Path] = set()
    waiting = [tasks / f"{verb}.yml" for verb in verbs]
    found: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for task in _flat(yaml.safe_load(path.read_text(encoding="utf-8"))):
            found |= {key for key in task if key.startswith(_OURS) and module_loader.find_plugin(key, ".py")}
            for included in (str(task[key]) for key in _INCLUDES if key in task):
                waiting += tasks.glob(re.sub(r"\{\{.*?\}\}", "*", included))
    return sorted(found)


def build(modules: Iterable[str]) -> None:
    """Pack the modules; one that is packed already is left alone."""
    templar = Templar(DataLoader())
    for name in modules:
        modify_module(
            module_name=name,
            module_path=module_loader.find_plugin(name, ".py"),
            module_args={},
            templar=templar,
            # What is sent does not depend on it: it stands in the first line of what starts the module.
            task_vars={"ansible_python_interpreter": "/usr/bin/python3"},
            module_compression=constants.config.get_config_value("DEFAULT_MODULE_COMPRESSION"),
        )


def _flat(tasks: Any) -> Iterator[dict[str, Any]]:
    for task in tasks or []:
        yield task
        for key in ("block", "rescue", "always"):
            yield from _flat(task.get(key))
