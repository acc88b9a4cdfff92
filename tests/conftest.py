"""What all tests share: `ansible.module_utils.bascule` and `bascule` are the same objects.

On a host Ansible ships the package under the first name; without the alias a module under test would raise one
GuardRefused and the test would wait for another.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

# What a step has found stands in the message of a test that fails: registered before anybody imports it.
pytest.register_assert_rewrite("tests.integration.steps")

# A law holds however busy the machine is that tries it.
settings.register_profile("bascule", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bascule")

# Some two hundred playbooks are started: without compiled files each of their processes would compile all it imports.
os.environ["PYTHONDONTWRITEBYTECODE"] = ""
sys.dont_write_bytecode = False

# Tests read Ansible's own output, whatever people see.
os.environ["ANSIBLE_STDOUT_CALLBACK"] = "default"

ROOT = Path(__file__).resolve().parent.parent
_ALIAS = "ansible.module_utils.bascule"


class _AliasLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.name.removeprefix("ansible.module_utils."))
        # The import system is about to write the alias's spec into the module; exec_module gives its own back.
        self._own = (module.__spec__, module.__loader__, module.__package__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__, module.__loader__, module.__package__ = self._own


class _AliasFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == _ALIAS or fullname.startswith(_ALIAS + "."):
            return importlib.machinery.ModuleSpec(fullname, _AliasLoader())
        return None


sys.meta_path.insert(0, _AliasFinder())
for _path in ("python_helpers", "plugins/modules"):
    if str(ROOT / _path) not in sys.path:
        sys.path.insert(0, str(ROOT / _path))
