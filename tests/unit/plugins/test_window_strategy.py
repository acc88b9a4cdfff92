"""The strategy of a window beside Ansible's own, in real playbooks: the same results, also of what goes wrong."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest

from bascule.plugin import window_strategy
from bascule.plugin.persistent_worker import TaskCodec

ROOT = Path(__file__).resolve().parents[3]
OURS, THEIRS = "bascule_window", "host_pinned"
HOSTS = ("a", "b", "c", "d")
INVENTORY = """
all:
  hosts: {a: {}, b: {}, c: {}, d: {}}
  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3, name_of: "{{ inventory_hostname }}"}
  children:
    others:
      hosts:
        gone: {ansible_connection: ssh, ansible_ssh_executable: "{{ inventory_dir }}/ssh"}
        side: {ansible_connection: local, colour: green}
"""
SAY = "- name: Say\n  ansible.builtin.debug: {{msg: '{{{{ [{}] }}}}'}}\n"
# Writes down all that a playbook tells its callbacks; the callback comes into being in the test only.
TOLD = '''
"""Writes down what a playbook tells."""
import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = "name: told\\ntype: notification\\nshort_description: tells\\ndescription: [tells]"


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "told"

    def _tell(self, what, result, **more):
        line = [what, result.host.get_name(), result.task.get_name(), result.task.action, result.result, more]
        with open(os.environ["TOLD"], "a") as file:
            file.write(json.dumps(line, default=str) + "\\n")

    def v2_runner_on_ok(self, result):
        self._tell("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._tell("failed", result, ignored=ignore_errors)

    def v2_runner_on_skipped(self, result):
        self._tell("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self._tell("unreachable", result)

    def v2_runner_retry(self, result):
        self._tell("retry", result)

    def v2_runner_item_on_ok(self, result):
        self._tell("item ok", result)

    def v2_runner_item_on_failed(self, result):
        self._tell("item failed", result)

    def v2_runner_item_on_skipped(self, result):
        self._tell("item skipped", result)

    def v2_on_file_diff(self, result):
        self._tell("diff", result)

    def v2_playbook_on_stats(self, stats):
        found = {name: stats.summarize(name) for name in sorted(stats.processed)}
        with open(os.environ["TOLD"], "a") as file:
            file.write(json.dumps(["stats", "", "", "", found, {}]) + "\\n")
'''
PLAY = """
- hosts: a:b:c:d
  gather_facts: false
  strategy: STRATEGY
  vars: {secret: do-not-show, deep: {of: ["{{ name_of }}", 2]}}
  handlers:
    - name: Handled
      ansible.builtin.debug: {msg: "handled at {{ name_of }}"}
  tasks:
TASKS
"""
# Failures that are ignored are among what has to be told in the same way.
EVERYTHING = """
    - name: Who executes
      ansible.builtin.set_fact: {at_first: "{{ lookup('pipe', 'echo $PPID') }}"}
    - name: Register
      ansible.builtin.command: echo {{ name_of }}
      register: said
      changed_when: said.stdout == 'a'
      check_mode: false
      notify: Handled
    - name: Set facts from what was registered
      ansible.builtin.set_fact: {kept: "{{ said.stdout ~ deep.of[0] }}", listed: [1, {two: "{{ said.rc }}"}]}
    - name: See all of it
      ansible.builtin.debug: {msg: "{{ [kept, listed, hostvars[inventory_hostname].kept, hostvars.side.colour] }}"}
    - name: Loop
      ansible.builtin.command: sh -c "echo {{ item.n }}; exit {{ item.rc }}"
      loop: [{n: 1, rc: 0}, {n: 2, rc: 1}, {n: 3, rc: 0}]
      loop_control: {label: "{{ item.n }}", index_var: at}
      register: looped
      failed_when: item.rc == 1 and name_of == 'b'
      ignore_errors: true
      when: item.n != 3
    - name: See the loop
      ansible.builtin.debug: {msg: "{{ looped.results | map(attribute='stdout', default='none') | list }}"}
    - name: Include tasks
      ansible.builtin.include_tasks: {file: "{{ 'other' if name_of == 'c' else 'more' }}.yml"}
      vars: {given: "{{ name_of }}!"}
    - name: Include a role
      ansible.builtin.include_role: {name: toy, tasks_from: "{{ 'verb' }}"}
      vars: {given_to_role: "{{ kept }}"}
    - name: Include it again, several times
      ansible.builtin.include_role: {name: toy, tasks_from: verb}
      vars: {given_to_role: "{{ name_of }} {{ item }}", of_role: "{{ omit if name_of == 'a' else 'given' }}"}
      loop: [1, 2]
    - name: Include a role that needs another one
      ansible.builtin.include_role: {name: upper, tasks_from: main}
    - name: Include a role for all that follows
      ansible.builtin.include_role: {name: public, tasks_from: main, public: true}
    - name: See what it has left
      ansible.builtin.debug: {msg: "{{ of_public }} {{ 'public' in ansible_play_role_names }}"}
    - name: Block
      when: name_of != 'd'
      become: false
      block:
        - name: Fail in a block
          ansible.builtin.command: "false"
          when: name_of in ['a', 'c']
        - name: Fail here too
          ansible.builtin.fail: {msg: "{{ undefined_here }}"}
          when: name_of == 'b'
        - name: Not reached but by none
          ansible.builtin.debug: {msg: unreached}
      rescue:
        - name: Rescue
          ansible.builtin.debug: {msg: "{{ ansible_failed_task.name }} {{ ansible_failed_result.msg is defined }}"}
      always:
        - name: Always
          ansible.builtin.set_fact: {always_was: "{{ name_of }}"}
    - name: Reach what is silent, which matters to nobody
      ansible.builtin.command: "true"
      delegate_to: gone
      ignore_unreachable: true
      register: silent
    - name: See that it was silent
      ansible.builtin.debug: {msg: "{{ silent.unreachable | default('no') }}"}
    - name: Delegate with facts
      ansible.builtin.set_fact: {fact_of_side: "from {{ name_of }}", colour_seen: "{{ colour | default('none') }}"}
      delegate_to: side
      delegate_facts: true
    - name: Delegate
      ansible.builtin.command: echo {{ hostvars.side.colour }}
      delegate_to: side
      check_mode: false
      changed_when: false
    - name: Hide
      ansible.builtin.command: echo {{ secret }}
      no_log: true
      register: hidden
      check_mode: false
      notify: Handled
    - name: Hide a failure in a loop
      ansible.builtin.command: sh -c "echo {{ secret }}{{ item }}; exit 1"
      loop: [1, 2]
      no_log: true
      ignore_errors: true
    - name: Try again
      ansible.builtin.shell: echo x >> {{ counts }}; wc -l < {{ counts }}
      vars: {counts: "{{ playbook_dir }}/tries.STRATEGY.{{ name_of }}"}
      register: tried
      until: tried.stdout | int >= 2
      retries: 3
      delay: 0
      check_mode: false
    - name: Take too long
      ansible.builtin.command: sleep 30
      timeout: 1
      ignore_errors: true
      check_mode: false
      when: name_of == 'a'
    - name: Background
      ansible.builtin.command: echo behind
      async: 20
      poll: 1
      check_mode: false
      when: name_of == 'a'
    - name: Copy
      ansible.builtin.copy: {content: "{{ name_of }}", dest: "{{ playbook_dir }}/copied.STRATEGY.{{ name_of }}"}
    - name: Read variables
      ansible.builtin.include_vars: {file: more_vars.yml}
    - name: Say what was read
      ansible.builtin.debug: {msg: "{{ read }} {{ omitted | default(omit) }}"}
    - name: Once
      ansible.builtin.debug: {msg: once}
      run_once: true
    - name: Handle now
      ansible.builtin.meta: flush_handlers
    - name: Make a group
      ansible.builtin.group_by: {key: "group_of_{{ name_of }}"}
    - name: See the group
      ansible.builtin.debug: {msg: "{{ group_names }} {{ groups['group_of_' ~ name_of] }}"}
    - name: Reach what is silent
      ansible.builtin.command: "true"
      delegate_to: gone
      when: name_of == 'd'
    - name: Fail for good
      ansible.builtin.fail: {msg: for good}
      when: name_of == 'b'
    - name: End one
      ansible.builtin.meta: end_host
      when: name_of == 'c'
    - name: Go on
      ansible.builtin.debug: {msg: "{{ kept }} {{ always_was }}"}
    - name: Who executes now
      ansible.builtin.set_fact: {at_last: "{{ lookup('pipe', 'echo $PPID') }}"}
"""
UNLIKE = frozenset(
    (
        *("start", "end", "delta", "exception", "ansible_job_id", "results_file", "finished"),
        *("at_first", "at_last", "src", "_original_basename", "before_header", "after_header"),
    )
)
Event = tuple[str, str, str, str, Any, Any]


class Books:
    """A directory with playbooks, and what the last one has told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in {
            "inventory.yml": INVENTORY,
            "callback/told.py": TOLD,
            "more.yml": '- name: More\n  ansible.builtin.debug: {msg: "more {{ given }}"}\n',
            "other.yml": '- name: Other\n  ansible.builtin.set_fact: {kept: "other {{ given }}"}\n',
            "more_vars.yml": 'read: "read by {{ name_of }}"\n',
            "roles/toy/defaults/main.yml": "of_role: default\n",
            "roles/toy/tasks/verb.yml": "- name: Role\n  ansible.builtin.debug: "
            '{msg: "{{ role_name }} {{ of_role }} {{ given_to_role }}"}\n'
            "- ansible.builtin.import_tasks: deeper.yml\n",
            "roles/toy/tasks/deeper.yml": "- name: Deeper\n  ansible.builtin.command: echo {{ of_role }}\n"
            "  changed_when: true\n",
            "roles/upper/meta/main.yml": "dependencies: [{role: lower, of_lower: from above}]\n",
            "roles/upper/defaults/main.yml": "of_upper: default\n",
            "roles/upper/tasks/main.yml": SAY.format("of_upper, of_lower")
            + "- ansible.builtin.include_tasks: rest.yml\n",
            "roles/upper/tasks/rest.yml": SAY.format("of_upper, role_name"),
            "roles/lower/defaults/main.yml": "of_lower: default\n",
            "roles/lower/tasks/main.yml": SAY.format("of_lower, role_name"),
            "roles/public/defaults/main.yml": "of_public: left by {{ name_of }}\n",
            "roles/public/tasks/main.yml": "- name: Public\n  ansible.builtin.debug: {msg: public}\n",
            "ssh": "#!/bin/sh\ntimeout 5 cat > /dev/null\necho no route >&2\nexit 255\n",
        }.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        (path / "ssh").chmod(0o755)
        self.told = path / "told"

    def start(self, strategy: str, tasks: str, *arguments: str, files: int = 1024) -> subprocess.Popen[str]:
        """Start a playbook; `files`: how many its processes may have open each."""
        book = self.path / f"{strategy}.yml"
        book.write_text(PLAY.replace("TASKS", tasks).replace("STRATEGY", strategy))
        self.told.unlink(missing_ok=True)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return subprocess.Popen(
            ["prlimit", f"--nofile={files}", "ansible-playbook", "-i", "inventory.yml", str(book), *arguments],
            cwd=self.path,
            env=kept
            | {
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
                "ANSIBLE_ROLES_PATH": str(self.path / "roles"),
                "ANSIBLE_CALLBACK_PLUGINS": str(self.path / "callback"),
                "ANSIBLE_CALLBACKS_ENABLED": "told",
                "ANSIBLE_STDOUT_CALLBACK": "default",
                "TOLD": str(self.told),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, strategy: str, tasks: str, *arguments: str, files: int = 1024) -> tuple[int, str]:
        """Run a playbook; return its exit status and its output."""
        with self.start(strategy, tasks, *arguments, files=files) as process:
            output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def events(self, host: Optional[str] = None) -> list[Event]:
        """Return what was told, of one host or of all."""
        lines = [json.loads(line) for line in self.told.read_text().splitlines()] if self.told.exists() else []
        return [(*line,) for line in lines if host in (None, line[1])]

    def said(self, task: str) -> dict[str, Any]:
        """Return the results of a task by host."""
        return {host: result for _, host, name, _, result, _ in self.events() if name == task}


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Make a directory with playbooks."""
    return Books(tmp_path)


def comparable(value: Any, strategy: str) -> Any:
    """Leave out what differs from run to run: times, processes, traces, and the name of the strategy."""
    if isinstance(value, dict):
        return {key: comparable(item, strategy) for key, item in value.items() if key not in UNLIKE}
    if isinstance(value, (list, tuple)):
        return [comparable(item, strategy) for item in value]
    return value.replace(strategy, "STRATEGY") if isinstance(value, str) else value


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="in earnest"),
        pytest.param(("--check", "--diff"), id="check and diff", marks=pytest.mark.long),
    ],
)
def test_all_that_a_play_can_do_has_the_same_results(books: Books, arguments: tuple[str, ...]) -> None:
    found = {}
    for strategy in (THEIRS, OURS):
        rc, output = books.run(strategy, EVERYTHING, *arguments)
        told = books.told.read_text()
        assert "do-not-show" not in output + told
        events = {host: comparable(books.events(host), strategy) for host in (*HOSTS, "")}
        found[strategy] = (rc, events)
        assert {len(events[host]) > 30 for host in HOSTS} == {True}, output
    for host, expected in found[THEIRS][1].items():
        # One after the other, so that a difference is said and not the whole play.
        for at, event in enumerate(expected):
            assert found[OURS][1][host][at : at + 1] == [event]
    assert found[OURS] == found[THEIRS]
    # The last run was ours: few processes executed all of it.
    first, last = books.said("Who executes"), books.said("Who executes now")
    assert {host: said["ansible_facts"]["at_first"] for host, said in first.items()}.keys() == set(HOSTS)
    assert set(last) == {"a"}


def test_a_process_stays_for_the_tasks_of_its_play_and_ends_with_it(books: Books) -> None:
    here = "{{ lookup('pipe', 'echo $PPID') }}"
    tasks = "".join(f'    - ansible.builtin.set_fact: {{at_{number}: "{here}"}}\n' for number in range(5))
    counts = {}
    for strategy in (THEIRS, OURS):
        rc, output = books.run(strategy, tasks)
        assert rc == 0, output
        seen = {
            value
            for _, _, _, _, result, _ in books.events()
            for key, value in result.get("ansible_facts", {}).items()
            if key.startswith("at_")
        }
        counts[strategy] = len(seen)
    assert counts == {THEIRS: 20, OURS: counts[OURS]}
    assert counts[OURS] <= len(HOSTS)
    assert not any(Path(f"/proc/{process}").exists() for process in seen)


def ansible(module: str) -> Any:
    """Return a module of Ansible, which has no types."""
    return importlib.import_module(f"ansible.{module}")


def test_what_stands_above_a_task_is_carried_once(books: Books) -> None:
    """A task of a window comes with itself alone, however much stands beside and above it."""
    (books.path / "roles/toy/defaults/main.yml").write_text("".join(f"value_{n}: {n}\n" for n in range(500)))
    (books.path / "roles/toy/tasks/main.yml").write_text("- debug: {msg: x}\n" * 300)
    loader: Any = ansible("parsing.dataloader").DataLoader()
    loader.set_basedir(str(books.path))
    inventory: Any = ansible("inventory.manager").InventoryManager(loader, parse=False)
    inventory._inventory.add_host("a")
    manager: Any = ansible("vars.manager").VariableManager(loader, inventory)
    source = {"hosts": "all", "gather_facts": "no", "roles": [{"role": "toy"}]}
    play: Any = ansible("playbook.play").Play.load(source, manager, loader)
    (role,) = play.roles
    tasks = [task for block in role.compile(play) for task in block.block if task._role]
    shared = [loader, inventory, play, manager]
    giver, taker = (TaskCodec(shared, inventory.get_host) for _ in range(2))
    first = giver.introduce(tasks[0])
    assert sum(map(len, first)) > 20_000
    taker.meet(first)
    assert giver.introduce(tasks[1]) == []
    content = giver.dump(tasks[1])
    assert len(content) < 3_000
    got = taker.load(content)
    assert (got._uuid, got._role._default_vars["value_7"], got._parent._play is play) == (tasks[1]._uuid, 7, True)
    # Another worker has met nothing yet.
    assert len(giver.fresh().introduce(tasks[1])) == len(first)


def test_more_hosts_than_processes_come_through(books: Books) -> None:
    tasks = "    - ansible.builtin.debug: {msg: x}\n    - name: Last\n      ansible.builtin.command: sleep 0.2\n"
    rc, output = books.run(OURS, tasks, "--forks", "2")
    assert rc == 0, output
    assert set(books.said("Last")) == set(HOSTS)


def test_a_process_that_is_killed_is_a_failure_and_others_go_on(books: Books) -> None:
    tasks = """
    - ansible.builtin.set_fact: {x: 1}
    - name: End the process
      ansible.builtin.debug: {msg: "{{ lookup('pipe', 'kill -9 $PPID; sleep 1') if dies else 'lives' }}"}
      vars: {dies: "{{ name_of in ['a', 'b'] }}"}
      ignore_errors: true
    - name: Last
      ansible.builtin.debug: {msg: "{{ x }}"}
"""
    rc, output = books.run(OURS, tasks)
    assert rc == 2
    killed = [event for event in books.events("a") if event[0] == "failed"]
    assert "has ended without a result (status -9)" in killed[0][4]["msg"], output
    assert [event[2] for event in books.events("a")][-1] == "End the process"
    assert set(books.said("Last")) == {"c", "d"}, "what nobody knows the end of is not ignored"


def until(seen: Callable[[], bool], why: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 120
    while not seen():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def alive(process: str) -> bool:
    """Say whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_playbook_that_is_stopped_leaves_no_process_and_no_further_task(books: Books, by: signal.Signals) -> None:
    # One is in the middle of a task, the others wait for nothing.
    tasks = f"""
    - name: Process
      ansible.builtin.set_fact: {{at: "{{{{ lookup('pipe', 'echo $PPID') }}}}"}}
    - name: Hold
      ansible.builtin.debug:
        msg: "{{{{ lookup('pipe', 'touch {books.path}/held; sleep 4; touch {books.path}/went-on') }}}}"
      when: name_of == 'a'
    - name: Nobody comes here before
      ansible.builtin.command: touch {books.path}/further
      when: name_of == 'a'
"""
    process = books.start(OURS, tasks)
    until((books.path / "held").exists, "it did not come to the moment")
    until(lambda: len(books.said("Process")) == len(HOSTS), "the others did not begin")
    workers = {said["ansible_facts"]["at"] for said in books.said("Process").values()}
    process.send_signal(by)
    process.communicate(timeout=60)
    assert process.returncode != 0
    until(lambda: not any(map(alive, workers)), "a process stays")
    # What a killed controller has begun goes on, as ever; what was stopped with it does not.
    if by == signal.SIGKILL:
        until((books.path / "went-on").exists, "what had begun was cut off")
    time.sleep(5)
    assert (books.path / "went-on").exists() == (by == signal.SIGKILL)
    assert not (books.path / "further").exists()


@pytest.mark.parametrize(
    ("name", "value", "why"), [("__version__", "2.21.0", "2.21.0"), ("constants.CACHE_PLUGIN", "jsonfile", "jsonfile")]
)
def test_what_is_not_known_leaves_it_to_ansible(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert window_strategy.stays_not() == ""
    monkeypatch.setattr(f"{window_strategy.__name__}.{name}", value)
    assert why in window_strategy.stays_not()


def test_however_much_fails_no_descriptors_are_kept(books: Books) -> None:
    """Whose task has failed is given no further one; what the controller held of it is given back."""
    failing = "".join(
        f"    - name: Fail {number}\n      ansible.builtin.fail: {{msg: wrong}}\n      ignore_errors: true\n"
        for number in range(30)
    )
    rc, output = books.run(OURS, failing, files=120)
    assert rc == 0, output[-4000:]
    assert len(books.events("d")) == 30
