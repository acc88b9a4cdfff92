"""Components as inventory hosts: an entry in a YAML file, checked as a whole, ordered by what it depends on."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_components
short_description: Components as inventory hosts
description:
  - Reads a YAML file that says C(plugin=bascule_components) and declares components.
  - Checks the whole declaration and names every problem at once.
  - Every component becomes a host of the groups C(components), C(role_ROLE) and C(component_layer_N), in the order of
    the layers, with C(component_layer) set. No machine stands behind it, so its address never resolves.
  - What only points to a site is in the group C(pointing) as well.
options:
  plugin:
    description: Always C(bascule_components).
    type: str
    required: true
    choices: [bascule_components]
  components:
    description:
      - The components by name. Each has C(component_role), C(source_host), C(target_host) and C(depends_on) (a list of
        other components); everything else is a variable of its role.
    type: dict
    required: true
author:
  - The Bascule authors
"""

EXAMPLES = r"""
plugin: bascule_components
components:
  accounts_db:
    component_role: postgresql_replication
    source_host: db-mtp
    target_host: db-tls
    depends_on: []
"""

import os
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.manager import IGNORED, InventoryManager
from ansible.plugins.inventory import BaseInventoryPlugin

from bascule.errors import BasculeError
from bascule.plugin.control_sockets import control_directory
from bascule.run.components import layer_group, resolve
from bascule.run.verbs import POINTING, POINTING_GROUP, STANDING_BY, STANDING_BY_GROUP, WATCHED, WATCHED_GROUP
from bascule.system.io import storage

_SUFFIXES = (".yml", ".yaml")


class InventoryModule(BaseInventoryPlugin):
    """See DOCUMENTATION."""

    NAME = "bascule_components"

    def verify_file(self, path: str) -> bool:
        """Return whether the file says that it is ours."""
        return super().verify_file(path) and path.endswith(_SUFFIXES) and _declares_components(Path(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the components to the inventory."""
        super().parse(inventory, loader, path, cache)
        try:
            # Here, as every playbook reads its inventory before it connects to anything.
            control_directory()
        except BasculeError as error:
            raise AnsibleParserError(error.message()) from error
        config = self._read_config_data(path)
        machines = set(inventory.hosts) | self._machines_beside(Path(path))
        try:
            components = resolve(config.get("components"), machines, _role_exists, Path(path).name)
        except BasculeError as error:
            raise AnsibleParserError(error.message()) from error
        # They are there even when they are empty: plays name them.
        special = {POINTING_GROUP: POINTING, STANDING_BY_GROUP: STANDING_BY, WATCHED_GROUP: WATCHED}
        for group in special:
            inventory.add_group(group)
        for component in components:
            for group in [group for group, roles in special.items() if component.role in roles]:
                inventory.add_host(component.name, group=group)
            for group in ("components", f"role_{component.role}", layer_group(component.layer)):
                inventory.add_host(component.name, group=inventory.add_group(group))
            for key, value in component.host_vars().items():
                inventory.set_variable(component.name, key, value)

    def _machines_beside(self, path: Path) -> set[str]:
        """Return the hosts of the other files of the inventory directory, which Ansible may read after this one."""
        others = [
            str(other)
            for other in storage.children(path.parent)
            if other.suffix in (*_SUFFIXES, ".ini", ".json", "")
            # As Ansible leaves it out: known_hosts, say.
            and not IGNORED.search(os.fsencode(other.name))
            and storage.is_file(other)
            and other != path
            and not (other.suffix in _SUFFIXES and _declares_components(other))
        ]
        return set(InventoryManager(loader=self.loader, sources=others).hosts) if others else set()


def _declares_components(path: Path) -> bool:
    text = storage.read_text(path) or ""
    return any(
        line.partition("#")[0].replace('"', "").replace("'", "").split() == ["plugin:", InventoryModule.NAME]
        for line in text.splitlines()
    )


def _role_exists(name: str) -> bool:
    return any(storage.is_directory(Path(root) / name) for root in constants.DEFAULT_ROLES_PATH)
