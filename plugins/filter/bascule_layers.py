"""Sizes of the serial batches that run components layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from bascule.errors import BasculeError
from bascule.run.components import batches, layers_in


def bascule_layers(hosts: Iterable[str], groups: Mapping[str, Any], reverse: bool = False) -> list[int]:
    """Return one number per layer of these components, for a play's serial.

    Batches are taken in inventory order, which is the order of the layers; with `order: reverse_inventory` give
    `reverse=true`.
    """
    try:
        return batches(hosts, layers_in(groups), reverse)
    except BasculeError as error:
        raise AnsibleFilterError(error.message()) from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"bascule_layers": bascule_layers}
