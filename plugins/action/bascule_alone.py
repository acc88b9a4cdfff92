"""Before anything is frozen: find out what can only be let in again where it is; refuse what cannot come through."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_alone
short_description: Find out what can only be let in again where it is, and refuse what cannot come through
description:
  - Stands after the roles' verb C(state) in a cutover and a rollback, before anything is frozen. Takes the guards that
    were registered, reads the journal at both sites, and runs on the controller.
  - A component is alone when the side that is entered holds its permit, and the other side, or the journal of a site,
    does not answer. By the opening rule the other side has not opened since, so nothing was written there. Such a
    component is neither frozen, carried nor switched; it is let in again, with the one copy of the journal that can
    be had.
  - A side that was given up as lost is let in by nothing, until it has been closed by C(site_back).
  - Any other component needs both sides and both copies, and a way into both machines. Where one is silent, or a
    decommission has begun to remove the way, all of it is refused while users are still served, and who would have been
    cut off is named.
  - What a role's C(state) has named as C(left_behind), which a return would lose, is said and journalled; the judge
    names it after the return. A return is a way out of an emergency, so it is not refused.
  - With C(-e only_before_switch=yes), as C(bascule abort) gives it, a rollback is refused unless every side that it
    leads to still holds its permit, so that nothing but the freeze is undone.
  - With C(-e only_after_overrun=yes), as C(bascule overrun) gives it, a rollback is refused unless the time to commit
    is over, a check has failed, and the plan has the return made then.
  - What only points to a site holds up nobody. Where anything is alone it follows in the same way, without the servers
    that are silent.
options: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: See what is alone, and refuse what cannot come through
  bascule_alone:
  run_once: true
"""

RETURN = r"""
ansible_facts:
  description:
    - C(bascule_alone), the names of the components that are alone.
    - C(bascule_serves), whether all that moves is open to its users at the side that is left, so that nobody waits yet.
  returned: always
  type: dict
"""

from typing import Any

from ansible.utils.display import Display

from bascule.errors import BasculeError, NoGo
from bascule.guard import state as guard
from bascule.plugin import commit_timer, standing
from bascule.plugin.action import ControllerAction, Scope
from bascule.plugin.standing import Component
from bascule.report import proof
from bascule.run import position
from bascule.run.io import heartbeat, presence
from bascule.run.io.journal import Journal
from bascule.system.io import remote

# Seconds for a machine to answer.
_PATIENCE = 20
# The variable, given with -e, that makes a rollback an undo of the freeze alone.
ONLY_BEFORE_SWITCH = "only_before_switch"


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Judge and say so."""
        phase = scope.announced.phase
        components, silent = standing.read(scope)
        if self.typed(ONLY_BEFORE_SWITCH):
            _refuse_switched(components)
        if self.typed(commit_timer.ONLY_AFTER_OVERRUN):
            journal, targets = Journal.current(), scope.journal_targets()
            answering = {site: where for site, where in targets.items() if site not in silent}
            noted = heartbeat.read(journal.run, answering, presence.read(journal.directory))
            commit_timer.must_be_over(commit_timer.stands(scope, standing.entries(scope), silent, noted))
        alone = [c.name for c in components if standing.is_alone(c, bool(silent))]
        moving = [c for c in components if c.name not in alone]
        refused = [why for c in moving if (why := standing.obstacle(c, bool(silent)))]
        closed = _no_way_in([c for c in moving if not (c.retired or c.points_only or c.unread)], scope)
        if refused or closed:
            lost = [f"the journal at {site}: {reason}" for site, reason in sorted(silent.items())]
            raise BasculeError(
                expected="both sides of every component that moves, and the journal of both sites, to answer",
                found="; ".join(refused + closed + lost),
                state=f"the {phase} has changed nothing{_spared(moving)}",
                next_command="ansible-playbook playbooks/status.yml",
            )
        if alone:
            alone += [c.name for c in moving if c.points_only]
        follows, only = ("would follow", "would only be") if self.check_mode else ("follows", "is only")
        for component in components:
            if component.name in alone and component.points_only:
                Display().display(f"  {component.name} only points: it {follows}, without servers that are silent")
            elif component.name in alone:
                Display().display(
                    f"  {component.name} is open at {component.entered.host}, and {component.left.host} or a site's"
                    f" journal does not answer: it {only} let in again"
                )
        if alone:
            Journal.current().append("decision", phase=phase, data={"decision": "alone", "components": alone})
        behind = {name: lines for name, lines in standing.left_behind(scope).items() if name not in alone}
        for name, lines in behind.items():
            data = {"event": proof.LEFT_BEHIND, "found": {proof.LEFT_BEHIND: lines}}
            if not self.check_mode:
                Journal.current().append("state", phase=phase, verb="state", component=name, data=data)
            for line in lines:
                Display().display(f"  {name}: this return leaves behind {line}", color="yellow")
        return {"ansible_facts": {"bascule_alone": alone, "bascule_serves": all(map(_serves, moving))}}


def _serves(component: Component) -> bool:
    now = component.left.guard
    return component.points_only or (now is not None and now.status == guard.OPEN and not now.frozen)


def _refuse_switched(components: list[Component]) -> None:
    """Refuse where more than a freeze would have to be undone, or where nobody knows."""
    found = [why for c in components if not c.points_only and (why := position.switched(c.entered, c.left))]
    if found:
        raise NoGo(
            expected="every component before its switch: its permit still at the side that served before",
            found="; ".join(found),
            state="nothing was changed; to undo the freeze alone is too late",
            next_command="bascule rollback, which loses nothing either",
        )


def _no_way_in(moving: list[Component], scope: Scope) -> list[str]:
    """Try to get into the machines of what moves: a guard may have been read elsewhere, through an API."""
    needed = [(c.name, host) for c in moving for host in _machines(c) if host in scope.hostvars]
    hosts = sorted({host for _, host in needed})
    answers = remote.run_on({host: scope.target(host) for host in hosts}, dict.fromkeys(hosts, "true"), {}, _PATIENCE)
    return [f"{name}: no way into {host} ({answers[host].error})" for name, host in needed if answers[host].error]


def _machines(component: Component) -> list[str]:
    """Return the machines the component needs: what stands where it goes to needs that one alone."""
    left, entered = component.left.guard, component.entered.guard
    arrived = entered is not None and entered.status == guard.OPEN and left is not None and left.status == guard.CLOSED
    return [component.entered.host] if arrived else [component.left.host, component.entered.host]


def _spared(moving: list[Component]) -> str:
    """Say who is served now, and would have been cut off by a move that cannot come through."""
    served: dict[str, list[str]] = {}
    for component in moving:
        if _serves(component) and not component.points_only:
            served.setdefault(component.left.host, []).append(component.name)
    users = " and ".join(f"{', '.join(names)} at {host}" for host, names in served.items())
    return f"; it would have cut off the users of {users}" if users else ""
