"""The tasks that measure a link: by a free port, over SSH where a firewall closes it, or not at all before prepare."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TASKS = Path(__file__).parents[3] / "roles/rsync_delta_sync/tasks"
# Stands in for both modules: answers what the test has written down for the operation.
STUB = """#!/usr/bin/python
# WANT_JSON
import json, sys
given = json.load(open(sys.argv[1]))
answers = json.load(open(PLACE))
print(json.dumps({**answers.pop(given.get("state") or given["operation"]), "changed": False}))
"""
PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    bascule_from: localhost
    bascule_to: localhost
    rsync_delta_sync_rate_seconds: 1
    rsync_delta_sync_rate_enough: 150
    rsync_delta_sync_rate_attempts: 2
    rsync_delta_sync_port: {port}
    __rsync_delta_sync_address_of_to: 127.0.0.1
  tasks:
    - ansible.builtin.include_tasks: link.yml
      vars: {{__rsync_delta_sync_unprepared: {unprepared}}}
    - ansible.builtin.copy:
        dest: "{{{{ playbook_dir }}}}/rate.json"
        content: "{{{{ __rsync_delta_sync_rate | combine({{'over': __rsync_delta_sync_over}}) | to_json }}}}"
"""
HOSTS = f"all: {{hosts: {{localhost: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}}}}}\n"
LISTENS = {"port": 1, "token": "t"}
CLOSED = {"failed": True, "msg": "expected: a stream; found: timed out", "found": "timed out"}
OVER_SSH = {"running": False, "id": "", "result": {"rate": {"mbit": 90.0}, "clock_difference": 0.5, "sampled_at": 7.0}}
NOT_PREPARED = {"running": False, "id": "", "result": None}


def measure(path: Path, *, unprepared: bool, port: int = 22, **answers: Any) -> tuple[int, str, dict[str, Any]]:
    """Run the tasks; return exit status, output, and what they have come to."""
    (path / "answers.json").write_text(json.dumps({"listen": LISTENS, **answers}))
    (path / "library").mkdir()
    (path / "library/stub.py").write_text(STUB.replace("PLACE", repr(str(path / "answers.json"))))
    for name in ("link.yml", "link_rate.yml"):
        text = (
            (TASKS / name).read_text().replace("bascule_link_rate:", "stub:").replace("bascule_filetree_job:", "stub:")
        )
        (path / name).write_text(text.replace("become: true", "become: false").replace("timeout: 10", "timeout: 1"))
    (path / "play.yml").write_text(PLAY.format(port=port, unprepared=str(unprepared).lower()))
    (path / "hosts.yml").write_text(HOSTS)
    done = subprocess.run(
        ["ansible-playbook", "-i", "hosts.yml", "play.yml"],
        cwd=path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600,
    )  # fmt: skip
    found = path / "rate.json"
    return done.returncode, " ".join(done.stdout.split()), json.loads(found.read_text()) if found.is_file() else {}


def test_a_free_port_is_what_it_is_measured_by(tmp_path: Path) -> None:
    rc, output, found = measure(tmp_path, unprepared=True, send={"rate": {"mbit": 200.0}, "clock_difference": 0})
    assert rc == 0, output
    assert (found["over"], found["rate"]["mbit"]) == ("tcp", 200.0)


def test_a_closed_port_leads_over_ssh(tmp_path: Path) -> None:
    rc, output, found = measure(tmp_path, unprepared=False, send=CLOSED, rate=OVER_SSH)
    assert rc == 0, output
    assert (found["over"], found["rate"]["mbit"], found["clock_difference"]) == ("ssh", 90.0, 0.5)


def test_an_audit_before_prepare_goes_on_without_it_where_ssh_is_let_through(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        rc, output, found = measure(tmp_path, unprepared=True, port=port, send=CLOSED, rate=NOT_PREPARED)
    assert rc == 0, output
    assert (found["over"], found["rate"]) == ("nothing", {})


def test_an_audit_names_an_ssh_port_that_is_closed(tmp_path: Path, closed_port: int) -> None:
    rc, output, _ = measure(tmp_path, unprepared=True, port=closed_port, send=CLOSED, rate=NOT_PREPARED)
    assert rc == 2
    assert f"localhost to reach port {closed_port} of localhost at 127.0.0.1" in output


def test_a_gate_is_given_no_rate_that_nobody_has_measured(tmp_path: Path) -> None:
    rc, output, found = measure(tmp_path, unprepared=False, send=CLOSED, rate=NOT_PREPARED)
    assert (rc, found) == (2, {})
    assert "found: timed out; state now: the link was not measured" in output


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
