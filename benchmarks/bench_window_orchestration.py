"""What a task of a window costs beside its work: the window's strategy against the one of Ansible that it stands for,
and what a component costs where there are fifty of them against where there are ten.

Components go through the same task files at their own pace, as in a window: facts, files that are included, actions
on the controller, tasks that are skipped. None of them does any work, so all that is measured is orchestration. It is
measured in seconds of the processor, which a busy machine changes little; the clock's stand beside it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

from benchmarks.harness import LOWER, Benchmark, Measurement, Settings, alternate

ROOT = Path(__file__).resolve().parents[1]
FEW, MANY, VERBS = 10, 50, ("freeze", "sync", "switch", "thaw")
# What a verb runs for each component, with the two that include.
TASKS = 6
FILES = {
    **{
        f"inventory{count}.yml": f"""
components:
  hosts: {{{", ".join(f"c{number}: {{}}" for number in range(count))}}}
  vars: {{ansible_host: component-has-no-machine.invalid, component_role: toy}}
"""
        for count in (FEW, MANY)
    },
    "action/toy.py": """
from bascule.plugin.action import ControllerAction


class ActionModule(ControllerAction):
    ARGUMENTS = {"number": {"type": "int"}}

    def act(self, args, scope):
        return {"role": scope.get("component_role"), "number": args["number"]}
""",
    "roles/toy/tasks/main.yml": """
- name: Keep
  ansible.builtin.set_fact: {kept: "{{ inventory_hostname }}"}
- name: Choose
  ansible.builtin.include_tasks: "{{ component_role }}.yml"
""",
    "roles/toy/tasks/toy.yml": """
- name: Act
  toy: {number: 3}
  register: acted
- name: Skip
  toy: {number: 4}
  when: acted.number == 4
- name: Act with what was found
  toy: {number: "{{ acted.role | length }}"}
  delegate_to: localhost
""",
    "play.yml": "- hosts: components\n  gather_facts: false\n  strategy: '{{ with }}'\n  tasks:\n"
    + "".join(
        f"    - name: {verb}\n      ansible.builtin.include_role: {{name: '{{{{ component_role }}}}'}}\n"
        for verb in VERBS
    ),
    "nothing.yml": "- hosts: components\n  gather_facts: false\n  tasks: []\n",
}


def run(place: Path, book: str, strategy: str, components: int = FEW) -> tuple[float, float, str]:
    """Run a playbook; return the processor's and the clock's seconds, and what it said at its end of each component."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "BASCULE_"))}
    environment |= {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        # What it says at its end is compared.
        "ANSIBLE_STDOUT_CALLBACK": "default",
        "ANSIBLE_ROLES_PATH": str(place / "roles"),
        "ANSIBLE_ACTION_PLUGINS": f"{ROOT / 'plugins/action'}:{place / 'action'}",
    }
    command = ["ansible-playbook", "-i", f"inventory{components}.yml", book, "-e", f"with={strategy}"]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return worked, time.monotonic() - began, done.stdout.partition("PLAY RECAP")[2]


def laid_out(place: Path) -> Path:
    """Write the files of the play."""
    for name, text in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


def measure(settings: Settings) -> Measurement:
    """Run the same play with both."""
    place = laid_out(settings.scratch)
    said: dict[str, str] = {}
    clock: dict[str, list[float]] = {}

    def seconds(strategy: str) -> float:
        idle, start, _ = run(place, "nothing.yml", strategy)
        worked, whole, said[strategy] = run(place, "play.yml", strategy)
        clock.setdefault(strategy, []).append(round(whole - start, 3))
        return worked - idle

    found = alternate(lambda: seconds("bascule_window"), lambda: seconds("host_pinned"), settings.rounds)
    tasks = FEW * len(VERBS) * TASKS
    figures = {
        **found.figures("bascule_window", "host_pinned"),
        "by_the_clock": clock,
        "tasks": tasks,
        "bascule_window_ms_per_task": round(1000 * found.our_median / tasks, 2),
        "host_pinned_ms_per_task": round(1000 * found.their_median / tasks, 2),
    }
    return Measurement(found.ratio, figures, {"same_outcome": said["bascule_window"] == said["host_pinned"] != ""})


def measure_many(settings: Settings) -> Measurement:
    """Run the same play of few components and of many."""
    place = laid_out(settings.scratch)
    ended: dict[int, list[str]] = {}

    def each(components: int) -> float:
        idle, _, _ = run(place, "nothing.yml", "bascule_window", components)
        worked, _, said = run(place, "play.yml", "bascule_window", components)
        ended[components] = [line for line in said.splitlines() if "failed=0" in line and "unreachable=0" in line]
        return (worked - idle) / components

    found = alternate(lambda: each(MANY), lambda: each(FEW), settings.rounds)
    figures = found.figures(f"each_of_{MANY}", f"each_of_{FEW}")
    return Measurement(found.ratio, figures, {"all_ended": all(len(lines) == n for n, lines in ended.items())})


BENCHMARKS = [
    Benchmark(
        "window_orchestration",
        "processor time of a play of ten components whose tasks do nothing, by the window's strategy",
        "the same by host_pinned",
        0.5,
        LOWER,
        measure,
    ),
    Benchmark(
        "window_many",
        f"processor time of each of {MANY} components in such a play",
        f"that of each of {FEW}",
        0.9,
        LOWER,
        measure_many,
    ),
]
