"""The project's own window in a real ansible-playbook: each at its own pace, and what failures and kills leave.

Two databases or trees and what depends on them: nothing but `depends_on` and the two lines that all cross together hold
one of them up.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.guard import state as rule
from bascule.guard.state import GuardState
from bascule.run import chain
from bascule.run.order import VERBS

from .test_play import ROOT, SIDES, STATE, World, world

__all__ = ["world"]
COMPONENTS = f"""
plugin: bascule_components
components:
  db: {{{SIDES}, depends_on: []}}
  files: {{{SIDES}, depends_on: []}}
  guest: {{{SIDES}, depends_on: [db]}}
  board: {{{SIDES}, depends_on: [files]}}
  door: {{{SIDES}, depends_on: [guest, board]}}
"""
NAMES = ("db", "files", "guest", "board", "door")
# A verb may do something in a shell, fail, be rescued by its role, fail in that rescue, or meet a silent machine.
VERB = """
- name: Do something
  ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.pipe', does[here]) }}"
  when: here in does | default({})
  vars: {here: "{{ inventory_hostname }}.{{ bascule_verb }}"}
- name: Reach a machine that is silent
  ansible.builtin.raw: "true"
  delegate_to: gone
  vars: {ansible_connection: ssh}
  when: silent_at | default('') == inventory_hostname ~ '.' ~ bascule_verb
- name: Try
  block:
    - name: Fail in a block
      ansible.builtin.fail: {msg: the test wants it}
      when: inventory_hostname ~ '.' ~ bascule_verb in [rescued_at | default(''), lost_at | default('')]
  rescue:
    - name: Put it right
      ansible.builtin.fail: {msg: it cannot be put right}
      when: lost_at | default('') == inventory_hostname ~ '.' ~ bascule_verb
- name: Fail where the test wants it
  ansible.builtin.fail: {msg: the test wants it}
  when: fail_at | default('') == inventory_hostname ~ '.' ~ bascule_verb
"""
Event = tuple[str, str, str]


@pytest.fixture(autouse=True)
def five(world: World) -> None:
    """Let five components stand as before a cutover."""
    (world.path / "inventory/components.yml").write_text(COMPONENTS)
    plan = world.path / "inventory/group_vars/all/plan.yml"
    plan.write_text(plan.read_text().partition("plan_gates")[0])
    world.verb = VERB
    world.are_down("gone")
    for name in NAMES:
        world.stands("a-mtp", name, rule.adopt_open(GuardState(name, "a-mtp")))
        world.stands("a-tls", name, rule.adopt_closed(GuardState(name, "a-tls")))


def extra(**variables: Any) -> tuple[str, str]:
    """Return variables as an argument."""
    return "-e", json.dumps(variables)


def until_there_is(mark: Path) -> str:
    """Return a command that waits for a file, as long as a busy machine may take."""
    return f"for i in $(seq 600); do [ -e {mark} ] && break; sleep 0.1; done"


def events(world: World) -> list[Event]:
    """Return what the journal tells of the window, in order: begin, ok or failed; verb; component."""
    return [
        ("begin" if e["kind"] == "begin" else str(e["data"]["result"]), e["verb"], e["component"])
        for e in world.entries
        if e["kind"] in ("begin", "end") and e["verb"] in VERBS
    ]


def precedes(found: list[Event], first: Event, then: Event) -> bool:
    """Say whether one event is told before another; both are there."""
    return found.index(first) < found.index(then)


def keeps_the_rules(found: list[Event]) -> None:
    """See that all that was begun had its reason to begin: a rule that does not come from the code that decides."""
    needs = {"db": [], "files": [], "guest": ["db"], "board": ["files"], "door": ["db", "files", "guest", "board"]}
    for at, (what, verb, name) in enumerate(found):
        if what != "begin":
            continue
        before = set(found[:at])
        if verb == "freeze":
            wanted = [("ok", "freeze", other) for other in NAMES if name in needs[other]]
        elif verb == "sync":
            wanted = [("ok", "freeze", name)]
        else:
            line = "sync" if verb == "switch" else "switch"
            # One that has failed is waited for by no thaw, unless it is needed.
            out = {other for what, _, other in before if what == "failed" and verb == "thaw"} - {name, *needs[name]}
            wanted = [("ok", line, other) for other in NAMES if other not in out]
            wanted += [("ok", verb, other) for other in needs[name]]
        assert set(wanted) <= before, f"{verb} of {name} was begun before {sorted(set(wanted) - before)}"


def test_each_component_goes_on_as_soon_as_what_it_waits_for_is_done(world: World) -> None:
    # Each of them ends only when another one is under way, that the border of a play would hold up.
    does: dict[str, str] = {}
    for holds, another in (("db.freeze", "guest.sync"), ("db.switch", "board.switch"), ("board.thaw", "guest.thaw")):
        does |= {holds: until_there_is(world.path / another), another: f"touch {world.path / another}"}
    rc, output = world.move("60_cutover.yml", *extra(does=does, rescued_at="files.sync"))
    assert rc == 0, output
    found = events(world)
    keeps_the_rules(found)
    assert {event for event in found if event[0] == "ok"} == {("ok", verb, name) for verb in VERBS for name in NAMES}
    assert precedes(found, ("begin", "sync", "guest"), ("ok", "freeze", "db"))
    assert precedes(found, ("begin", "switch", "board"), ("ok", "switch", "db"))
    assert precedes(found, ("begin", "thaw", "guest"), ("ok", "thaw", "board"))
    assert [
        entry for entry in world.entries if entry["data"].get("result") == "failed" and entry["kind"] == "end"
    ] == []
    assert chain.verify(world.entries) == []
    # The last entry says where the window went, and was written for the sites too.
    assert world.copy("j-mtp") == world.copy("j-tls") == world.entries
    (window,) = [e["data"] for e in world.entries if e["data"].get("event") == "window"]
    assert set(window["components"]) == set(NAMES)


@pytest.mark.parametrize(
    ("how", "where", "let_in"),
    [
        # Which verb has failed makes no difference: tests/unit/run/test_order.py.
        pytest.param("fail_at", "guest.freeze", set(), marks=pytest.mark.long),
        ("silent_at", "board.sync", set()),
        ("lost_at", "db.sync", set()),
        # These need nothing of it; whether they had switched by then is a matter of moments.
        ("fail_at", "db.switch", {"files", "board"}),
        ("fail_at", "db.thaw", {"files", "board"}),
    ],
)
def test_a_failure_stops_what_has_not_begun_and_nobody_waits_for_ever(
    world: World, how: str, where: str, let_in: set[str]
) -> None:
    rc, output = world.move("rollback.yml", *extra(**{how: where}))
    assert rc != 0, output
    found = events(world)
    keeps_the_rules(found)
    name, verb = where.split(".")
    assert ("failed", verb, name) in found
    assert {who for what, done, who in found if (what, done) == ("ok", "thaw")} <= let_in
    later = [event for event in found[found.index(("failed", verb, name)) :] if event[0] == "begin"]
    # Whoever waits for nothing of it may have been about to begin just then; the next line is crossed by nobody.
    beyond = {"freeze": ("switch", "thaw"), "sync": ("switch", "thaw"), "switch": VERBS[:2], "thaw": VERBS[:3]}
    assert [event for event in later if event[1] in beyond[verb]] == []
    assert not {who for _, done, who in later if done == "thaw"} & {"guest", "door"}
    begun, ended = ({event[1:] for event in found if (event[0] == "begin") is whether} for whether in (True, False))
    assert begun <= ended, "all that was begun has an end in the journal"
    assert world.copy("j-tls") == world.entries


def test_what_is_chosen_by_limit_waits_for_nothing_else(world: World) -> None:
    rc, output = world.move("rollback.yml", "--limit", "guest,files")
    assert rc == 0, output
    assert {event for event in events(world) if event[0] == "ok"} == {
        ("ok", verb, name) for verb in VERBS for name in ("guest", "files")
    }


def test_fewer_forks_than_components_are_refused_while_users_are_served(world: World) -> None:
    rc, output = world.move("rollback.yml", "--forks", "4")
    assert rc != 0
    assert "at least 5 forks, one for each component that moves; found: 4" in output
    assert events(world) == []


def test_check_mode_goes_the_whole_way(world: World) -> None:
    world.state = STATE.replace("  delegate_to:", "  check_mode: false\n  delegate_to:")
    rc, output = world.move("rollback.yml", "--check")
    assert rc == 0, output
    (tried,) = (world.path / "runs").iterdir()
    entries = chain.parse((tried / "journal.jsonl").read_text()).entries
    assert [e["component"] for e in entries if (e["kind"], e["verb"]) == ("end", "thaw")][-1] == "door"


def waiting(world: World) -> list[int]:
    """Return the processes of this world's playbooks."""
    mark = f"BASCULE_TEST_HOSTS={world.hosts}\0".encode()
    found = []
    for process in Path("/proc").iterdir():
        try:
            ours = process.name.isdigit() and mark in (process / "environ").read_bytes()
            if ours and b"ansible-playbook" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def until(seen: Callable[[], bool], why: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def ends_at(world: World, host: str) -> bool:
    """Say whether a site knows that a component which waits has come through its verb."""
    return ("end", "sync", "board") in {(e["kind"], e["verb"], e["component"]) for e in world.copy(host)}


def test_a_controller_that_is_killed_leaves_nobody_waiting_and_the_next_one_goes_on(world: World) -> None:
    world.answer_verbs()
    # Only its main process is killed: what it has begun goes on by itself, what waits for others must not.
    process = subprocess.Popen(
        ["ansible-playbook", "-i", "inventory", str(ROOT / "playbooks/rollback.yml"), "-e", "confirm=montpellier",
         *extra(does={"guest.freeze": until_there_is(world.path / "killed")})],
        cwd=world.path, env=world.surroundings(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    journal = world.path / "runs/latest/journal.jsonl"
    until(lambda: journal.exists() and ("ok", "sync", "board") in events(world), "it did not come to the moment")
    until(lambda: all(ends_at(world, host) for host in ("j-mtp", "j-tls")), "a site is not told while board waits")
    process.send_signal(signal.SIGKILL)
    process.wait()
    (world.path / "killed").touch()
    until(lambda: not waiting(world), "somebody waits for a playbook that is dead")
    left = events(world)
    assert not {event for event in left if event[1] in ("switch", "thaw")}
    assert ("begin", "freeze", "db") not in left
    rc, output = world.move("rollback.yml")
    assert rc == 0, output
    again = events(world)[len(left) :]
    keeps_the_rules(again)
    assert ("ok", "thaw", "door") in again
