"""At which moments of a playbook people are told, by what has happened in it so far. Pure.

Everything is said once: a window has dozens of verbs, and whoever gets a message for each reads none.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from .order import FREEZE, SWITCH, THAW
from .people import ROLES

# A plan was written; the answer to the question; users wait; what follows is undone by a rollback only; all are in
# again; something has failed; users have waited longer than the plan allows; the playbook has ended without all of it.
ANNOUNCED, GO, BEGUN, SWITCHING, DONE = "announced", "go", "begun", "switching", "done"
FAILED, OVERRUN, STOPPED, ROLLBACK, RETURNED = "failed", "overrun", "stopped", "rollback", "returned"
_TECHNICAL = ("lead", "system", "dba", "network")
# Who is told of what, where the inventory does not say otherwise (`notice_roles`).
TOLD: dict[str, tuple[str, ...]] = {
    ANNOUNCED: ROLES,
    GO: ROLES,
    BEGUN: ROLES,
    SWITCHING: _TECHNICAL,
    DONE: ROLES,
    FAILED: _TECHNICAL,
    OVERRUN: _TECHNICAL,
    STOPPED: ROLES,
    ROLLBACK: ROLES,
    RETURNED: ROLES,
}
MOMENTS = tuple(TOLD)
_CUTOVER, _BACK, _VERIFY = "cutover", "rollback", "verify"


@dataclass
class Occasions:
    """What has happened in a playbook; each method returns the moments at which people have to be told now."""

    # The phase of the last GO, until everybody is in again.
    phase: str = ""
    # Who takes part, of those whose users wait, and who was let in again.
    taking_part: frozenset[str] = frozenset()
    let_in: set[str] = field(default_factory=set)
    _said: set[str] = field(default_factory=set)

    def planned(self) -> list[str]:
        """A plan was written."""
        return self._once(ANNOUNCED)

    def decided(self, phase: str, taking_part: Collection[str]) -> list[str]:
        """Somebody has given the GO of a phase; of those with a window people are told."""
        if phase not in (_CUTOVER, _BACK):
            return []
        self.phase, self.taking_part, self.let_in = phase, frozenset(taking_part), set()
        self._said = set()
        return self._once(GO if phase == _CUTOVER else ROLLBACK)

    def began(self, component: str, verb: str) -> list[str]:
        """A verb of a component has begun."""
        if component not in self.taking_part or not self.phase:
            return []
        if verb == FREEZE:
            return self._once(BEGUN)
        # On the way back nothing ends with the first switch: the way there is open again.
        return self._once(SWITCHING) if verb == SWITCH and self.phase == _CUTOVER else []

    def came_through(self, component: str, verb: str) -> list[str]:
        """A verb of a component has come to a good end."""
        if verb != THAW or not self.phase or component not in self.taking_part:
            return []
        self.let_in.add(component)
        if self.let_in < self.taking_part:
            return []
        over, self.phase = self.phase, ""
        return self._once(DONE if over == _CUTOVER else RETURNED)

    def failed(self, phase: str) -> list[str]:
        """Something has failed, and nothing of its own has caught it."""
        return self._once(FAILED) if self.phase or phase == _VERIFY else []

    def over(self) -> list[str]:
        """The playbook has ended."""
        stops, self.phase = bool(self.phase), ""
        return self._once(STOPPED) if stops else []

    @property
    def waits(self) -> bool:
        """Whether users wait, or may."""
        return bool(self.phase) and BEGUN in self._said

    def _once(self, moment: str) -> list[str]:
        if moment in self._said:
            return []
        self._said.add(moment)
        return [moment]
