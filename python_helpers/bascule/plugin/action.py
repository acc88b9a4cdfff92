"""What Bascule's action plugins share. It stays on the controller: it is the one place that knows Ansible's insides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from ..errors import BasculeError, PlanError
from ..run import context, verbs
from ..run.context import Announced
from ..run.io.journal import Journal
from ..system.ssh import Target
from . import way_in
from .values import plain

# The variables of all hosts, and the journals' hosts with what was typed for -K; and the ways that came of them.
_KEPT: list[Any] = []


class ControllerAction(ActionBase):
    """An action that runs on the controller only and connects to no host of the play."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    ARGUMENTS: ClassVar[dict[str, Any]] = {}

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Check the arguments, call `act`, turn Bascule's errors into Ansible's."""
        super().run(tmp, task_vars)
        _, args = self.validate_argument_spec(dict(self.ARGUMENTS))
        try:
            verbs.refuse_reserved(load_extra_vars(self._loader))
            return {"changed": False, **self.act(plain(args), Scope(task_vars, self._play_context.become_pass))}
        except BasculeError as error:
            raise AnsibleActionFail(
                error.message(), result={**error.fields(), "error": type(error).__name__}
            ) from error

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Do the work and return the result."""
        raise AnsibleActionFail(f"{type(self).__module__} has no act()")

    def typed(self, name: str) -> str:
        """Return what this command was given with -e, or an empty text: no inventory decides in a person's place."""
        value = plain(load_extra_vars(self._loader).get(name))
        return "" if value is None else str(value)

    @property
    def check_mode(self) -> bool:
        """Whether the playbook runs with --check."""
        return bool(self._task.check_mode)


class Scope:
    """The variables of the task's component and of all other hosts, templated; and what was typed for -K."""

    def __init__(self, task_vars: Mapping[str, Any], become_pass: str | None = None) -> None:
        self._become_pass = become_pass
        self.component = str(task_vars["inventory_hostname"])
        self.hostvars: Mapping[str, Any] = task_vars["hostvars"]
        self.variables: Mapping[str, Any] = self.hostvars[self.component]
        self._groups: Mapping[str, list[str]] = task_vars.get("groups", {})
        self._in_play = [str(name) for name in task_vars.get("ansible_play_hosts_all", [])]
        self._still_in_play = [str(name) for name in task_vars.get("ansible_play_hosts", self._in_play)]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a variable as plain types."""
        return plain(self.variables[name]) if name in self.variables else default

    @property
    def plan(self) -> str:
        """Return the plan's name."""
        return str(self.get("plan_name") or "run")

    def about_run(self, phase: str, check_mode: bool) -> dict[str, Any]:
        """Return what the start of a chain says about itself."""
        return {"plan": self.plan, "phase": phase, "check_mode": check_mode, "inventory": self.inventory}

    @property
    def inventory(self) -> str:
        """Return the directory of the inventory."""
        return str(self.get("inventory_dir") or "")

    @property
    def components(self) -> list[str]:
        """Return all components of the inventory in their order."""
        return [str(name) for name in self._groups.get("components", [])]

    @property
    def in_play(self) -> list[str]:
        """Return the components of the play, `--limit` applied, in their order."""
        there = set(self._in_play)
        return [name for name in self.components if name in there]

    @property
    def gone(self) -> list[str]:
        """Return the components that have failed, or could not be reached, and are out of the play."""
        still = set(self._still_in_play)
        return [name for name in self.in_play if name not in still]

    @property
    def announced(self) -> Announced:
        """Return the verb that bascule_begin announced."""
        return context.announced(self.component, {name: self.get(name) for name in context.FACTS})

    def direction(self, declared: str) -> str:
        """Return the direction of a verb: as declared, or away from the site that was given up."""
        if declared != verbs.AWAY:
            return declared
        given = self.get("bascule_given_up")
        if not given:
            raise PlanError(
                expected="a site that bascule_lost has given up",
                found="none",
                state="nothing was changed",
                next_command="ansible-playbook playbooks/site_lost.yml -e site=SITE -e by=NAME -e fenced='how'",
            )
        return str(given["direction"])

    def journal_targets(self) -> dict[str, Target]:
        """Return how to reach the journal host of each site; a process that stays for a play works it out once."""
        by = (self.get("plan_journal_hosts"), self._become_pass)
        if _KEPT and _KEPT[0] is self.hostvars and _KEPT[1] == by:
            return dict(_KEPT[2])
        found = context.journal_targets(by[0], self.hostvars, self.target)
        # What kept one from being entered, as a secret that could not be read, may be gone at the next verb.
        if not any(one.obstacle for where in found.values() for one in (where, *where.spares)):
            _KEPT[:] = [self.hostvars, by, found]
        return dict(found)

    def target(self, host: str) -> Target:
        """Return the way to root on a machine of the inventory; who goes it is told where there is none."""
        return way_in.declared_or_closed(host, self.hostvars[host], self._become_pass)

    def way_in(self, host: str, *, root: bool = True) -> Target:
        """Return the way to root on a machine of the inventory; without `root`, to whoever logs in there.

        Raises:
            WayInError: there is none.
        """
        return way_in.declared(host, self.hostvars[host], self._become_pass, root=root)

    def is_without_root(self, host: str) -> bool:
        """Return whether it is declared that nobody becomes root on a machine of the inventory."""
        return way_in.is_without_root(host, self.hostvars[host], self._become_pass)


def journal_entry(journal: Journal, kind: str, about: Announced, data: Mapping[str, Any]) -> None:
    """Write an entry about the announced verb."""
    journal.append(kind, phase=about.phase, verb=about.verb, component=about.component, data=data)
