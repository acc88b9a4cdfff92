"""What a verb has to do, as task files read it."""

from __future__ import annotations

from bascule.filetree.decisions import TreeTodo
from bascule.guard.todo import NOTHING, Todo
from bascule.guest.decisions import GuestTodo


def test_task_files_read_an_action_its_reason_and_what_a_kind_adds() -> None:
    assert Todo("nothing", "it is done").to_dict() == {"action": NOTHING, "reason": "it is done"}
    tree = TreeTodo("carry", "mtp leads", "mtp", True)
    assert tree.to_dict() == {"action": "carry", "reason": "mtp leads", "leader": "mtp", "standing": True}
    guest = GuestTodo("delta", "mtp is stopped", pairs=(("/dev/a", "/dev/b"),)).to_dict()
    assert guest["pairs"] == [{"source": "/dev/a", "target": "/dev/b"}]
    assert (guest["digests"], guest["stateless"]) == (False, False)
