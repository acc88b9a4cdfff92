"""A person at a balancer, in a real ansible-playbook: the role's own task, its action, and what the operator reads.

The module is played by a stub, which sees what it waits for after so many looks; a machine is this one.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from .test_play import ROOT, World, world

__all__ = ["world"]
STUB = """#!/usr/bin/python
import os
from pathlib import Path
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({
    **{name: {"type": "raw"} for name in ("component", "side", "state", "other_guard", "drain_timeout", "drain_cut")},
    "entrance": {"type": "dict"},
}, supports_check_mode=True)
looks = Path("HOSTS/looks")
count = len(looks.read_text().split()) if looks.exists() else 0
looks.write_text("look " * (count + 1))
asked = f"At the balancer of {module.params['side']}: show the maintenance page"
if module.check_mode:
    module.exit_json(changed=True, would_ask=[asked])
if count < int(module.params["entrance"]["backend"]):
    module.fail_json(msg=f"expected: {asked}", found="it serves users", by_hand=asked)
module.exit_json(changed=False, guard={"status": "open"}, mode="maintenance")
"""
ASKED = "At the balancer of a-mtp: show the maintenance page"
PLAY = """
- name: Freeze
  hosts: a-mtp
  gather_facts: false
  vars:
    bascule_from: a-mtp
    bascule_to: a-tls
    web_entrance_kind: manual
    web_entrance_addresses: {{a-mtp: 192.0.2.1, a-tls: 192.0.2.2}}
    web_entrance_name: courses.example.org
    web_entrance_backend: "{looks}"
    web_entrance_manual_wait: {wait}
    bascule_module_server: false
  tasks:
    - name: Show the maintenance page
      ansible.builtin.include_role: {{name: web_entrance, tasks_from: only}}
"""


@pytest.mark.parametrize(
    ("looks", "wait", "done", "said"),
    [
        (
            1,
            60,
            True,
            [f"a-mtp: {ASKED}", "a-mtp: Waiting since 0 of 60 s: it serves users", "a-mtp: This was seen."],
        ),
        (9, 0, False, ["a person was waited for 0 of 0 s; expected: At the balancer of a-mtp"]),
    ],
)
def test_the_operator_reads_what_a_person_has_to_do(
    world: World, looks: int, wait: int, done: bool, said: list[str]
) -> None:
    role = world.path / "roles/web_entrance"
    for name in ("defaults", "vars"):
        shutil.copytree(ROOT / "roles/web_entrance" / name, role / name)
    (role / "tasks").mkdir()
    freeze = (ROOT / "roles/web_entrance/tasks/freeze.yml").read_text()
    begin = freeze.index("- name: Show the maintenance page")
    task = freeze[begin : freeze.index("\n- name:", begin)].replace("  become: true\n", "")
    (role / "tasks/only.yml").write_text(f"---\n{task}\n")
    library = world.path / "library"
    library.mkdir()
    (library / "bascule_entrance_mode.py").write_text(STUB.replace("HOSTS", str(world.hosts)))
    arguments = ("-e", f"ansible_python_interpreter={sys.executable}")
    status, out = world.run(PLAY.format(looks=looks, wait=wait), arguments=arguments)
    assert (status == 0) is done, out
    for line in said:
        assert line in out, out
    counted = Path(world.hosts / "looks").read_text().split()
    assert len(counted) == (2 if looks == 1 else 1)
