"""The progress output, under the real ansible-playbook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOK = """
- name: "(1/2) CUTOVER: freeze writes"
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Announce the verb
      bascule_begin: {phase: cutover, verb: freeze, direction: forward}
    - name: Close the entrance
      speak: {changed: true, warning: the copy is late}
    - name: Put the sample to the gate
      bascule_gate: {}
    - name: Wait for something long
      speak: {progress: "40.0 %"}
      register: long
      until: long.ended
      retries: 3
      delay: 0
    - name: Say something
      ansible.builtin.debug: {msg: hello there}
    - name: Record the outcome
      bascule_end:

- name: "(2/2) CUTOVER: switch"
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Announce the verb
      bascule_begin: {phase: cutover, verb: switch, direction: forward}
    - name: Close the old side
      speak: {fail: true}
"""
ACTION = """
from ansible.plugins.action import ActionBase

WAITED = []

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        args = self._task.args
        if args.get("fail"):
            return {"failed": True, "msg": "all in one", "expected": "no session", "found": "2 sessions",
                    "state": "closing", "next_command": "run it again"}
        if self._task.action == "bascule_gate":
            return {"gate": {"name": "link_rate", "reason": "196 Mbit/s", "override": ""}}
        found = {"changed": bool(args.get("changed"))}
        if args.get("progress"):
            WAITED.append(self)
            found.update(progress=args["progress"], ended=len(WAITED) > 1)
        if args.get("warning"):
            found["warnings"] = [args["warning"]]
        return found
"""


def play(tmp_path: Path, playbook: str = PLAYBOOK, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "playbook.yml").write_text(playbook)
    (tmp_path / "ansible.cfg").write_text("[defaults]\n")
    (tmp_path / "action").mkdir(exist_ok=True)
    for name in ("bascule_begin", "bascule_end", "bascule_gate", "speak"):
        (tmp_path / "action" / f"{name}.py").write_text(ACTION)
    program = Path(sys.executable).parent / "ansible-playbook"
    return subprocess.run(
        [str(program), "-i", "localhost,", "-c", "local", str(tmp_path / "playbook.yml")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_ACTION_PLUGINS": str(tmp_path / "action"),
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins" / "callback"),
            "ANSIBLE_STDOUT_CALLBACK": "bascule_progress",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_HOME": str(tmp_path / "home"),
            **environment,
        },
    )


def test_the_terminal_is_quiet_and_the_log_is_complete(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = play(tmp_path, BASCULE_PROGRESS_LOG=str(log))
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0] == "(1/2) CUTOVER: freeze writes"
    assert lines[1] == "  localhost       gate link_rate: GO, 196 Mbit/s"
    assert lines[2] == "  localhost       40.0 %"
    assert lines[3] == "  hello there"
    assert lines[4].startswith("  localhost       freeze")
    assert lines[4].endswith("s  changed")
    assert lines[5] == "(2/2) CUTOVER: switch"
    assert lines[6].startswith("  localhost       FAILED in switch after")
    assert lines[6].endswith(": Close the old side")
    assert [line.split(":")[0].strip() for line in lines[7:11]] == [
        "expected",
        "found",
        "state now",
        "next safe command",
    ]
    assert lines[11].startswith("stopped after")
    assert "the copy is late" in done.stderr
    complete = log.read_text()
    for part in (
        "TASK [Close the entrance]",
        "changed: [localhost]",
        "fatal: [localhost]: FAILED!",
        "the copy is late",
    ):
        assert part in complete, part
    assert complete.count("failed=1") == 1
    assert log.stat().st_mode & 0o077 == 0


def test_it_works_without_a_log(tmp_path: Path) -> None:
    done = play(tmp_path)
    assert done.returncode == 2
    assert "TASK [" not in done.stdout + done.stderr


LOOPS = """
- name: Loops
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Say something of each
      ansible.builtin.debug: {msg: "hello {{ item }}"}
      loop: [one, two]
    # An ignored failure is what is shown here.
    - name: Fail where it does not matter
      ansible.builtin.fail: {msg: "not {{ item }}"}
      loop: [quiet]
      ignore_errors: true
    - name: Fail and be rescued
      block:
        - name: Ask of each
          ansible.builtin.fail: {msg: "no {{ item }}"}
          loop: [wine, bread]
      rescue:
        - name: Say why
          ansible.builtin.debug: {msg: "rescued of {{ ansible_failed_result.results | length }}"}
    - name: Wait for each
      ansible.builtin.fail: {msg: "no {{ item }}"}
      loop: [moon]
      register: asked
      until: false
      retries: 1
      delay: 0
"""


def test_a_loop_hides_nothing(tmp_path: Path) -> None:
    done = play(tmp_path, playbook=LOOPS)
    assert done.returncode == 2
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert [line for line in lines if line.startswith(("hello", "rescued", "item", "found:"))] == [
        "hello one",
        "hello two",
        "item wine",
        "found:             no wine",
        "item bread",
        "found:             no bread",
        "rescued of 2",
        "item moon",
        "found:             no moon, after 1 attempt",
    ]
    for hidden in ("All items completed", "One or more items failed", "not quiet"):
        assert hidden not in done.stdout
