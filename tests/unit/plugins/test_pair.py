"""The freeze of a pair in a real ansible-playbook: every address is seen open before anything closes, and closed after.

The role's own tasks ask real servers of plain HTTP. What drives the balancer is played by a stub, which closes them.
"""

from __future__ import annotations

import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .test_play import ROOT, World, world

__all__ = ["world"]
STUB = """#!/usr/bin/python
from pathlib import Path
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({
    **{name: {"type": "raw"} for name in ("component", "side", "state", "drain_timeout", "drain_cut")},
    "entrance": {"type": "dict"},
}, supports_check_mode=True)
for address in "CLOSES".split():
    (Path("HOSTS") / f"closed-{address}").touch()
with open("HOSTS/asked", "a") as log:
    log.write("closing\\n")
module.exit_json(changed=True, drained={"requests": 0, "seconds": 0}, mode="maintenance")
"""
PLAY = """
- name: Freeze
  hosts: a-mtp
  gather_facts: false
  vars:
    ansible_connection: local
    bascule_from: a-mtp
    bascule_to: a-tls
    web_entrance_scheme: http
    web_entrance_port: {port}
    web_entrance_addresses: {{a-mtp: 127.0.0.21, a-tls: 192.0.2.2}}
    web_entrance_further_addresses: {{a-mtp: {further}}}
    web_entrance_name: courses.example.org
    web_entrance_drain_timeout: -30
    bascule_module_server: false
    __web_entrance_from: {{guard: {{status: open, frozen: false}}}}
  tasks:
    - name: Show the maintenance page
      ansible.builtin.include_role: {{name: web_entrance, tasks_from: only}}
"""
OWN, VIRTUAL = "127.0.0.21", "127.0.0.22"


@pytest.fixture
def port(world: World) -> Iterator[int]:
    """Serve both addresses; each shows its page from when a file says so, and each question is written down."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = str(self.connection.getsockname()[0])
            closed = (world.hosts / f"closed-{address}").exists()
            with (world.hosts / "asked").open("a") as log:
                log.write(f"{address}\n")
            self.send_response(503 if closed else 200)
            self.send_header("Retry-After", "5")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    servers: list[http.server.ThreadingHTTPServer] = []
    for address in (OWN, VIRTUAL):
        place = (address, servers[0].server_address[1] if servers else 0)
        servers.append(http.server.ThreadingHTTPServer(place, Handler))
    threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in servers]
    for thread in threads:
        thread.start()
    try:
        yield int(servers[0].server_address[1])
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize(
    ("further", "closed", "closes", "said"),
    [
        (f"[{VIRTUAL}]", "", f"{OWN} {VIRTUAL}", ""),
        (f"[{VIRTUAL}]", VIRTUAL, f"{OWN} {VIRTUAL}", f"otherwise at {VIRTUAL}"),
        (f"[{VIRTUAL}]", "", OWN, f"maintenance at {VIRTUAL}"),
        pytest.param("['']", "", OWN, "nobody would be asked by it", marks=pytest.mark.long),  # test_plain
        pytest.param("[]", "", OWN, "", marks=pytest.mark.long),  # the molecule scenario
    ],
)
def test_a_freeze_asks_every_address_first(
    world: World, port: int, further: str, closed: str, closes: str, said: str
) -> None:
    role = world.path / "roles/web_entrance"
    for name in ("defaults", "vars"):
        shutil.copytree(ROOT / "roles/web_entrance" / name, role / name)
    (role / "tasks").mkdir()
    freeze = (ROOT / "roles/web_entrance/tasks/freeze.yml").read_text()
    # Without the guards, which the play's variables are in the place of, and the journal; nothing is waited for here.
    tasks = freeze[freeze.index("- name: Look where the further") : freeze.index("- name: Record")]
    pair = (ROOT / "roles/web_entrance/tasks/freeze_pair.yml").read_text()
    for name, text in (("only", f"---\n{tasks}\n"), ("freeze_pair", pair)):
        text = text.replace("  become: true\n", "").replace("patience: 60", "patience: 0")
        (role / f"tasks/{name}.yml").write_text(text)
    library = world.path / "library"
    library.mkdir()
    stub = STUB.replace("HOSTS", str(world.hosts)).replace("CLOSES", closes)
    (library / "bascule_entrance_mode.py").write_text(stub)
    if closed:
        (world.hosts / f"closed-{closed}").touch()
    arguments = ("-e", f"ansible_python_interpreter={sys.executable}")
    status, out = world.run(PLAY.format(port=port, further=further), arguments=arguments)
    log = world.hosts / "asked"
    asked = Path(log).read_text().split() if log.exists() else []
    assert (status == 0) is not bool(said), out
    assert said in out, out
    if closed or further == "['']":
        assert "closing" not in asked, "it closed what it had not seen open"
        return
    addresses = [OWN, VIRTUAL] if VIRTUAL in further else [OWN]
    assert asked == [*addresses, "closing", *addresses]
