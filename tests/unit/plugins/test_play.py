"""The plugins in a real ansible-playbook: layers, sides, journal at both sites, gates, and what a failure stops.

The machines of the tiny inventory are reached by an `ssh` of the test's own, which runs the script on this machine
below a directory per host; a host that is down answers as ssh does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import warm

from bascule.guard import state as rule
from bascule.guard.state import GuardState
from bascule.run import chain

ROOT = Path(__file__).resolve().parents[3]
# A playbook takes seconds; on a busy machine it has taken more than three minutes.
PATIENCE_SECONDS = 900
SSH = """#!/bin/sh
for word; do host=$script; script=$word; done
if [ -e "$BASCULE_TEST_HOSTS/$host.down" ]; then
  echo asked >> "$BASCULE_TEST_HOSTS/$host.down"; echo "no route to $host" >&2; exit 255
fi
mkdir -p "$BASCULE_TEST_HOSTS/$host"
exec sh -c "$(printf %s "$script" | sed "s|/var/lib/bascule|$BASCULE_TEST_HOSTS/$host|g")"
"""
INVENTORY = """
machines:
  vars: {ansible_connection: ssh}
  children:
    site_mtp: {vars: {site: mtp}, hosts: {a-mtp: {}, j-mtp: {}}}
    site_tls: {vars: {site: tls}, hosts: {a-tls: {}, j-tls: {}}}
"""
SIDES = "component_role: toy, source_host: a-mtp, target_host: a-tls"
COMPONENTS = f"""
plugin: bascule_components
components:
  top: {{{SIDES}, depends_on: [low]}}
  low: {{{SIDES}, depends_on: []}}
"""
NAMES = "  names: {component_role: dns_switchover, source_host: a-mtp, target_host: a-tls, depends_on: [top]}\n"
PLAN = """
plan_name: toy
plan_source_site: mtp
plan_target_site: tls
plan_sites: {mtp: {name: montpellier, title: Montpellier}, tls: {name: toulouse, title: Toulouse}}
plan_journal_hosts: {mtp: j-mtp, tls: j-tls}
plan_gates: {speed: {min: 5, unit: x}}
"""
VERB = """
- name: Say the sides
  ansible.builtin.debug:
    msg: "{{ inventory_hostname }} {{ bascule_verb }} {{ bascule_from }} {{ bascule_to }} {{ bascule_decision }}"
- name: Fail where the test wants it
  ansible.builtin.fail:
    msg: the test wants it
  when: fail_at | default('') == inventory_hostname ~ '.' ~ bascule_verb
- name: Put a sample to a gate
  bascule_gate:
    name: speed
    value: "{{ speed | default('7') }}"
    unit: x
    sampled_at: "{{ now().timestamp() }}"
- name: Record
  bascule_record:
    kind: verify
    data: {rows_compared: 3, not_compared: {flags: nobody tells them}, "odd name": ["\\u00e9", 1.5, true, null]}
"""
STATE = """
- name: Read the side we come from
  ansible.builtin.raw: cat /var/lib/bascule/guard/{{ inventory_hostname }}.json
  delegate_to: "{{ bascule_from }}"
  register: __toy_read_from
- name: Read the side we move to
  ansible.builtin.raw: cat /var/lib/bascule/guard/{{ inventory_hostname }}.json
  delegate_to: "{{ bascule_to }}"
  register: __toy_read_to
- name: Keep what has answered
  ansible.builtin.set_fact:
    __toy_guards: >-
      {{ [__toy_read_from, __toy_read_to] | selectattr('stdout', 'defined') | map(attribute='stdout')
         | map('from_json') }}
"""
ELSEWHERE = """
- name: Read both sides where neither machine is needed
  ansible.builtin.set_fact:
    __toy_guards:
      - "{{ lookup('file', below ~ '/a-mtp/guard/' ~ inventory_hostname ~ '.json') | from_json }}"
      - "{{ lookup('file', below ~ '/a-tls/guard/' ~ inventory_hostname ~ '.json') | from_json }}"
  vars: {below: "{{ lookup('env', 'BASCULE_TEST_HOSTS') }}"}
"""
TAKE_OVER = """
- name: Make the word
  bascule_word:
    guard: "{{ __toy_guards | selectattr('side', 'equalto', bascule_to) | first }}"
    about: "{{ bascule_from }}"
  register: __toy_word
- name: Say it
  ansible.builtin.debug:
    msg: "word {{ inventory_hostname }} {{ __toy_word.word | to_json }}"
"""
PLAY = """
- name: {verb}
  hosts: components
  gather_facts: false
  strategy: host_pinned
  order: {order}
  serial: "{{{{ ansible_play_hosts_all | bascule_layers(groups, reverse={reverse}) }}}}"
  tasks:
    - name: Announce the verb
      bascule_begin: {{phase: cutover, verb: {verb}, direction: {direction}}}
    - name: Do it
      ansible.builtin.include_role: {{name: "{{{{ component_role }}}}", tasks_from: verb}}
    - name: Record the outcome
      bascule_end:
"""


def play(verb: str, direction: str = "forward") -> str:
    """Return a play of the usual shape: closing runs in reverse, checking side by side."""
    closing = verb == "freeze"
    order = "reverse_inventory" if closing else "inventory"
    text = PLAY.format(verb=verb, direction=direction, order=order, reverse=str(closing).lower())
    return text if verb != "check" else "".join(line for line in text.splitlines(True) if "serial:" not in line)


class World:
    """A directory with an inventory, a role, and two journal hosts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hosts = path / "hosts"
        for name, text in {
            "inventory/hosts.yml": INVENTORY,
            "inventory/components.yml": COMPONENTS,
            "inventory/group_vars/all/plan.yml": PLAN,
            "roles/toy/tasks/verb.yml": VERB,
            "roles/toy/tasks/state.yml": "[]\n",
            "bin/ssh": SSH,
        }.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        (path / "bin/ssh").chmod(0o755)
        self.hosts.mkdir()
        self.environment: dict[str, str] = {}
        self.state = STATE
        self.verb = VERB

    def run(self, *plays: str, arguments: tuple[str, ...] = (), playbook: Path | None = None) -> tuple[int, str]:
        """Run a playbook of these plays; return its exit status and its output."""
        book = playbook or self.path / "play.yml"
        if playbook is None:
            book.write_text("".join(plays))
        line, environment = ["-i", "inventory", str(book), *arguments], self.surroundings()
        if warm.server().can(environment):
            return warm.server().run(line, self.path, environment, PATIENCE_SECONDS)
        done = subprocess.run(
            ["ansible-playbook", *line],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout + done.stderr

    def surroundings(self) -> dict[str, str]:
        """Return the environment of a playbook."""
        return {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "BASCULE_"))} | {
            "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_ROLES_PATH": str(self.path / "roles"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "BASCULE_TEST_HOSTS": str(self.hosts),
            **self.environment,
        }

    @property
    def entries(self) -> list[chain.Entry]:
        """Return the local journal's entries."""
        return chain.parse((self.path / "runs/latest/journal.jsonl").read_text()).entries

    def stands(self, host: str, component: str, guard: GuardState) -> None:
        """Put a guard on a host."""
        place = self.hosts / host / "guard"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{component}.json").write_text(json.dumps(guard.to_dict()))

    def answer_verbs(self) -> None:
        """Have the toy role answer the verbs of the project's own playbooks, and say where it stands."""
        tasks = self.path / "roles/toy/tasks"
        (tasks / "state.yml").write_text(self.state)
        (tasks / "verify.yml").write_text(
            self.state + self.verb.replace("rows_compared: 3", "rows_compared: '{{ seen | default(3) }}'")
        )
        for verb in ("capture", "freeze", "sync", "switch", "thaw", "retire", "give_way"):
            (tasks / f"{verb}.yml").write_text(self.verb)
        (tasks / "check.yml").write_text(self.state + self.verb)
        (tasks / "take_over.yml").write_text(TAKE_OVER + self.verb)

    def move(self, playbook: str, *arguments: str) -> tuple[int, str]:
        """Run one of the project's own playbooks."""
        self.answer_verbs()
        answer = "confirm=montpellier" if playbook == "rollback.yml" else "confirm=toulouse"
        return self.run(playbook=ROOT / "playbooks" / playbook, arguments=("-e", answer, *arguments))

    def roll_back(self, *arguments: str) -> tuple[int, str]:
        """Run the project's own rollback."""
        return self.move("rollback.yml", *arguments)

    def are_down(self, *hosts: str) -> None:
        """Let hosts answer nobody."""
        for host in hosts:
            (self.hosts / f"{host}.down").touch()

    def copy(self, host: str) -> list[chain.Entry]:
        """Return what a journal host holds."""
        return [
            entry
            for path in sorted((self.hosts / host).glob("journal/*/*.jsonl"))
            for entry in chain.parse(path.read_text()).entries
        ]

    def outcomes(self) -> list[tuple[str, str, str]]:
        """Return the ends in the local journal."""
        return [(e["verb"], e["component"], e["data"]["result"]) for e in self.entries if e["kind"] == "end"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def said(output: str) -> list[str]:
    """Return what the toy role said, in order."""
    return re.findall(r'"msg": "((?:top|low) \w+ [\w-]+ [\w-]+ \w+)"', output)


def test_a_directory_for_control_sockets_that_others_can_write_to_is_refused_before_anything_connects(
    world: World,
) -> None:
    sockets = world.path / "s"
    sockets.mkdir()
    sockets.chmod(0o777)
    world.environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] = str(sockets)
    rc, out = world.run(play("check"))
    assert rc != 0
    assert f"{sockets} is writable for others (mode 0777)" in out.replace("\n", " ")
    assert list(world.hosts.iterdir()) == []


def test_a_phase_runs_layer_by_layer_and_is_journalled_at_both_sites(world: World) -> None:
    rc, output = world.run(play("freeze"), play("switch", "back"))
    assert rc == 0, output
    words = [line.split() for line in said(output)]
    assert [w[:4] for w in words] == [
        ["top", "freeze", "a-mtp", "a-tls"],
        ["low", "freeze", "a-mtp", "a-tls"],
        ["low", "switch", "a-tls", "a-mtp"],
        ["top", "switch", "a-tls", "a-mtp"],
    ]
    entries = world.entries
    assert {e["epoch"] for e in entries} == {w[4] for w in words}, "one decision for all workers"
    assert chain.verify(entries) == []
    assert world.copy("j-mtp") == entries
    assert world.copy("j-tls") == entries
    assert (world.path / "runs/latest").resolve().name.endswith("-toy")
    facts = json.loads((world.path / "runs/latest/facts/low.verify.json").read_text())
    left_out = {"not_compared": {"flags": "nobody tells them"}}
    assert facts == {"rows_compared": 3, **left_out, "odd name": ["é", 1.5, True, None], "role": "toy", "opened": ""}
    steps = [e["data"] for e in entries if e["kind"] == "step"]
    assert {s["task"] for s in steps} >= {"toy : Say the sides", "toy : Record"}
    assert "odd name" not in json.dumps(steps), "the output of tasks is not journalled"


def test_a_failure_stops_the_rest_and_stands_in_the_journal(world: World) -> None:
    rc, output = world.run(play("check"), play("freeze"), arguments=("-e", "fail_at=low.check"))
    assert rc == 2
    assert "every component to have come through before freeze; found: low failed in check" in output
    assert not [line for line in said(output) if " freeze " in line]
    assert ("check", "low", "failed") in world.outcomes()
    assert ("freeze", "top", "failed") in world.outcomes()
    assert world.copy("j-tls") == world.entries, "the failed ends are copied at the end of the playbook"


def test_a_failed_dependency_stops_what_depends_on_it(world: World) -> None:
    rc, output = world.run(play("thaw"), arguments=("-e", "fail_at=low.thaw"))
    assert rc == 2
    assert world.outcomes() == [("thaw", "low", "failed")], "a wholly failed layer ends the playbook"
    assert "top thaw" not in output


def test_check_mode_leaves_nothing_at_the_sites(world: World) -> None:
    rc, output = world.run(play("freeze"), play("switch"), arguments=("--check",))
    assert rc == 0, output
    assert not any(path.is_file() for path in world.hosts.rglob("*"))
    assert not (world.path / "runs/latest").exists(), "what was only tried is not the run that goes on"
    (tried,) = (world.path / "runs").iterdir()
    begins = [e for e in chain.parse((tried / "journal.jsonl").read_text()).entries if e["kind"] == "begin"]
    assert len(begins) == 4
    assert all(e["data"]["check_mode"] for e in begins)


LOOSER = '{"speed": 1, "plan_gates": {"speed": {"min": 0, "unit": "x"}}}'


# Every name is refused in tests/unit/run/test_verbs.py.
@pytest.mark.parametrize(
    "extra",
    [
        "bascule_from=x",
        LOOSER,
        pytest.param("source_host=x", marks=pytest.mark.long),
        pytest.param('{"component_role": "other"}', marks=pytest.mark.long),
    ],
)
def test_extra_variables_cannot_turn_the_run_round(world: World, extra: str) -> None:
    rc, output = world.run(play("freeze"), arguments=("-e", extra))
    assert rc == 2
    assert "extra variables that leave the plan and the direction of the run alone" in output
    assert said(output) == []
    assert not any(path.is_file() for path in world.hosts.rglob("*"))


def test_a_gate_stops_the_run_and_an_override_has_its_reason_in_the_journal(world: World) -> None:
    rc, output = world.run(play("check"), arguments=("-e", "speed=4", "--limit", "low"))
    assert rc == 2
    assert "NO-GO: 4 is below 5" in output
    override = json.dumps({"speed": "4", "gate_overrides": {"speed": "measured by hand"}})
    rc, output = world.run(play("check"), arguments=("-e", override, "--limit", "low"))
    assert rc == 0, output
    assert "Gate speed was overridden: measured by hand (4 is below 5)" in output
    samples = [e["data"] for e in world.entries if e["kind"] == "sample"]
    assert [(s["go"], s["override"]) for s in samples] == [(False, ""), (False, "measured by hand")]


def test_closing_goes_on_with_one_copy_and_opening_does_not(world: World) -> None:
    (world.hosts / "j-tls.down").touch()
    rc, output = world.run(play("freeze"), play("switch"), arguments=("--limit", "low"))
    assert rc == 2
    assert "NO COPY at tls (j-tls): exit status 255: no route to j-tls" in output
    assert "both sites to hold the journal" in output
    assert "switch of low was not started" in output
    assert [line.split()[:2] for line in said(output)] == [["low", "freeze"]]
    assert world.copy("j-mtp") == world.entries
    assert world.copy("j-tls") == []


def test_status_tells_where_the_run_stands_from_a_site_that_answers(world: World) -> None:
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    shutil.rmtree(world.path / "runs")
    world.stands("a-mtp", "low", rule.adopt_open(GuardState("low", "a-mtp")))
    world.stands("a-tls", "low", rule.adopt_closed(GuardState("low", "a-tls")))
    (world.hosts / "j-tls.down").touch()
    rc, output = world.run(playbook=ROOT / "playbooks/status.yml")
    assert rc == 0, output
    assert "Last verb: cutover/freeze of" in output
    assert "came through" in output
    assert re.search(r"Journal: here 0 entries, mtp \d+ entries, tls NOT READ \(exit status 255", output)
    asked = (world.hosts / "j-tls.down").read_text().count("asked")
    assert asked == 3, "for its runs, twice, and for its copy; a site that is silent then is not asked for notes"
    assert re.search(r"low +active at Montpellier \(a-mtp open 0, a-tls closed\)", output)
    assert re.search(r"top +not taken over by prepare", output)
    assert "Next: ansible-playbook playbooks/10_audit.yml" in output
    assert not (world.path / "runs").exists(), "asking leaves no trace"


def test_a_bad_declaration_ends_every_command(world: World) -> None:
    (world.path / "inventory/components.yml").write_text(COMPONENTS.replace("role: toy", "role: unheard"))
    rc, output = world.run(play("freeze"))
    assert rc != 0
    for name in ("top", "low"):
        assert f"{name}: there is no role 'unheard'" in output
    assert said(output) == []


def never_left(world: World, *, frozen: bool = True) -> None:
    """Let both components stand as before a switch."""
    for name in ("low", "top"):
        there = rule.adopt_open(GuardState(name, "a-mtp"))
        world.stands("a-mtp", name, rule.freeze(there) if frozen else there)
        world.stands("a-tls", name, rule.adopt_closed(GuardState(name, "a-tls")))


def verbs_said(output: str) -> list[tuple[str, ...]]:
    """Return component and verb of what the toy role said."""
    return [tuple(line.split()[:2]) for line in said(output)]


def have_moved(
    world: World, *, frozen: bool = False, names: tuple[str, ...] = ("low", "top"), decision: str = "d"
) -> None:
    """Let components stand as after a switch."""
    never_left(world)
    epoch = rule.Epoch(1, decision)
    for name in names:
        shut, receipt = rule.closed(rule.promise(rule.adopt_open(GuardState(name, "a-mtp")), epoch), epoch, {}, "now")
        there = rule.opened(rule.may_open(rule.adopt_closed(GuardState(name, "a-tls")), epoch, receipt, True), epoch)
        world.stands("a-mtp", name, shut)
        world.stands("a-tls", name, rule.freeze(there) if frozen else there)


def test_what_never_left_is_let_in_again_without_the_site_that_is_silent(world: World) -> None:
    never_left(world)
    world.are_down("a-tls", "j-tls")
    rc, output = world.roll_back()
    assert rc == 0, output
    assert verbs_said(output) == [("low", "thaw"), ("top", "thaw")]
    assert "low is open at a-mtp, and a-tls or a site's journal does not answer" in output
    assert "The journal has NO COPY at tls (j-tls): exit status 255: no route to j-tls" in output
    alone = [e["data"]["components"] for e in world.entries if e["data"].get("decision") == "alone"]
    assert [sorted(names) for names in alone] == [["low", "top"]]
    assert world.copy("j-mtp") == world.entries
    asked = (world.hosts / "j-tls.down").read_text().count("asked")
    assert asked <= 5, "one that is silent is not waited for by every verb of every component"


@pytest.mark.parametrize("silent", ["a-tls", "j-tls", "j-mtp"])
def test_a_part_of_a_silent_site_is_enough_to_stay(world: World, silent: str) -> None:
    never_left(world)
    world.are_down(silent)
    rc, output = world.roll_back()
    assert rc == 0, output
    assert verbs_said(output) == [("low", "thaw"), ("top", "thaw")]


def test_what_a_refused_way_back_has_frozen_is_let_in_again_where_it_is(world: World) -> None:
    """The same forward: the target serves, and is shut, while the source does not answer."""
    have_moved(world, frozen=True)
    world.are_down("a-mtp", "j-mtp")
    rc, output = world.move("60_cutover.yml")
    assert rc == 0, output
    assert verbs_said(output) == [("low", "thaw"), ("top", "thaw")]


def test_names_follow_what_is_let_in_without_the_site_that_is_silent(world: World) -> None:
    """The source dies after the switch and before the thaw: its name server must not keep the target's users out."""
    have_moved(world, frozen=True)
    world.are_down("a-mtp", "j-mtp")
    tasks = world.path / "roles/dns_switchover/tasks"
    tasks.mkdir(parents=True)
    (tasks / "state.yml").write_text("[]\n")
    (tasks / "thaw.yml").write_text(VERB)
    for verb in ("check", "capture", "freeze", "sync", "switch"):
        (tasks / f"{verb}.yml").write_text("- ansible.builtin.fail: {msg: a name server of the silent site}\n")
    (world.path / "inventory/components.yml").write_text(COMPONENTS + NAMES)
    rc, output = world.move("60_cutover.yml")
    assert rc == 0, output
    assert re.findall(r'"msg": "(\w+ \w+) a-mtp a-tls', output) == ["low thaw", "top thaw", "names thaw"]
