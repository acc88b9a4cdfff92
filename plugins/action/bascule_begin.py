"""Announce a verb: decide the sides, stop what must not start, journal the intent before anything changes."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_begin
short_description: Announce a verb
description:
  - Stands before the role in every play of a phase. Runs on the controller.
  - Refuses extra variables that would change the plan or the direction of the run.
  - Where a phase begins with it, refuses a declaration that cannot be right, with every finding in one message; a phase
    that begins with GO does the same in M(bascule_go).
  - Stops when something the component depends on has failed in this playbook; before freeze, switch and retire, when
    any component has.
  - With O(waits) first waits until all that the verb rests on has come through, and stops as soon as that cannot come
    any more.
  - Writes the intent to the local journal and, for verbs that change something, durably to the journal host of both
    sites. Verbs that open need both copies; the others, and a component that M(bascule_alone) has found alone, go
    on with one and say so.
  - In check mode the intent is journalled on the controller only.
options:
  phase:
    description: Name of the phase.
    type: str
    required: true
  verb:
    description: The verb that follows.
    type: str
    required: true
    choices:
      [state, audit, prepare, sync, check, capture, stand_by, freeze, switch, thaw, verify, watch, take_over, give_way,
      reopen, retire]
  direction:
    description:
      - V(forward) from the source to the target, V(back) the other way round.
      - V(away) from the site that M(bascule_lost) has given up.
    type: str
    required: true
    choices: [forward, back, away]
  waits:
    description:
      - The play does all verbs of the window, each component at its own pace. What waits for what stands in the design
        (Who waits for whom).
    type: bool
    default: false
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Announce the verb
  bascule_begin:
    phase: cutover
    verb: freeze
    direction: forward
"""

RETURN = r"""
ansible_facts:
  description:
    - C(bascule_from) and C(bascule_to) are the inventory names of the two sides; roles know nothing else about them.
    - C(bascule_looks) says in an audit whether the role can look, which needs root on both machines.
    - C(bascule_direction), C(bascule_phase), C(bascule_verb), C(bascule_run) and C(bascule_decision) say what runs.
    - With O(waits), C(bascule_before) is the verb of this window that has come through for the component a moment ago,
      in this very playbook; empty where there is none.
  returned: always
  type: dict
"""

from typing import Any, ClassVar

from bascule.plugin import waiting, without_root
from bascule.plugin.action import ControllerAction, Scope, journal_entry
from bascule.plugin.preflight import must_be_right
from bascule.run import chain, context, order, preflight
from bascule.run.io import identity
from bascule.run.io.journal import Journal, require_copies
from bascule.run.progress import refuse_after_failure
from bascule.run.verbs import AWAY, DIRECTIONS, VERBS, verb
from bascule.system import moments

# Seconds for which what a verb of the window has read is not read again by the next one.
_FRESH_SECONDS = 60


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "phase": {"type": "str", "required": True},
        "verb": {"type": "str", "required": True, "choices": list(VERBS)},
        "direction": {"type": "str", "required": True, "choices": [*DIRECTIONS, AWAY]},
        "waits": {"type": "bool", "default": False},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Announce the verb."""
        direction = scope.direction(args["direction"])
        about = context.announce(scope.component, scope.variables, args["phase"], args["verb"], direction)
        facts: dict[str, Any] = {
            "bascule_from": about.from_host,
            "bascule_to": about.to_host,
            "bascule_direction": about.direction,
            "bascule_phase": about.phase,
            "bascule_verb": about.verb,
            "bascule_run": identity.current_run(),
            "bascule_decision": identity.current(),
            "bascule_before": "",
        }
        what = verb(about.verb)
        if what.name == "state":
            # Asking where the run stands must leave no trace, and must work when nothing else does.
            return {"ansible_facts": facts}
        if preflight.FIRST.get(about.phase) == about.verb:
            must_be_right(scope, self._templar, self._loader, about.phase)
        journal = Journal.current()
        targets = {} if self.check_mode else scope.journal_targets()
        warnings = journal.start(targets, scope.about_run(about.phase, self.check_mode))
        if args["waits"]:
            # Stops as well when what it waits for has failed in this playbook.
            known = waiting.wait(journal, about, scope, lambda: targets and journal.copy_to(targets, insist=False))
            since = moments.ago(_FRESH_SECONDS)
            facts["bascule_before"] = order.just_through(about.component, known, about.phase, since)
        else:
            depends_on = context.dependencies(scope.components, scope.hostvars)
            refuse_after_failure(about.component, what, journal.own(), depends_on)
        journal_entry(
            journal,
            "begin",
            about,
            {
                "direction": about.direction,
                "from": about.from_host,
                "to": about.to_host,
                "check_mode": self.check_mode,
                # From these the journal alone tells where a window went.
                "role": scope.get("component_role"),
                "depends_on": scope.get("depends_on") or [],
            },
        )
        if about.phase in chain.READING:
            hidden = without_root.unseen(scope)
            facts[without_root.FACT] = not hidden
            if hidden:
                journal_entry(journal, "state", about, {"event": without_root.EVENT, "machines": hidden})
        if self.check_mode or not what.mutates:
            return {"ansible_facts": facts, **({"warnings": warnings} if warnings else {})}
        subject = f"{about.verb} of {about.component}"
        # A side that never gave up its permit is let in again, which opens nothing.
        both = what.both_copies and scope.component not in (scope.get("bascule_alone") or [])
        warnings += require_copies(journal.copy_to(targets, insist=both), targets, both, subject)
        return {"ansible_facts": facts, **({"warnings": warnings} if warnings else {})}
