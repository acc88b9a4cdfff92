"""The inventory as a playbook sees it, read where no playbook runs: with the options that `ansible-playbook` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from ansible.cli.playbook import PlaybookCLI
from ansible.errors import AnsibleError
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.vars import load_extra_vars
from ansible.vars.hostvars import HostVars

from ..errors import PlanError
from ..run.verbs import refuse_reserved
from .action import Scope
from .values import plain


def read(arguments: Sequence[str], become_pass: Optional[str]) -> tuple[Scope, str]:
    """Return the variables as the first component sees them, and the run that was named with -e run=, if any.

    Args:
        arguments: options of `ansible-playbook`, such as -i; of others than these the parser says so and ends.
        become_pass: what was typed for -K.

    Raises:
        PlanError: the inventory cannot be read, or has no component.
    """
    try:
        cli = PlaybookCLI(["ansible-playbook", *arguments, "none.yml"])
        cli.parse()
        init_plugin_loader()
        loader, inventory, manager = cli._play_prereqs()
        refuse_reserved(extra := load_extra_vars(loader))
        HostVars(inventory, manager, loader)
        hosts = inventory.get_hosts("components")
        if not hosts:
            raise PlanError(expected="an inventory with components", found="none", state="nothing was read")
        return Scope(manager.get_vars(host=hosts[0]), become_pass), str(plain(extra.get("run")) or "")
    except AnsibleError as error:
        raise PlanError(expected="an inventory that can be read", found=str(error), state="nothing was read") from error
