"""Two nodes with the stand-in of Proxmox's API and a small guest between them: a pair of another kind."""

from __future__ import annotations

import http.server
import json
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bascule_lab import shell

from tests.faults.pair import ROOT, SIDES, Pair

NUMBERS = {"source": 160, "target": 161}
STANDIN = "/opt/lab/pve"
EMPTY_GUEST = "memory: 32\nname: empty\nnet0: virtio=BC:24:11:0A:00:A0,bridge=vmbr0\nonboot: 1\nostype: l26\n"

# The token goes by standard input, never as an argument; so does what is to be run.
INSIDE = """
set -euo pipefail
ask() {
    read -r user secret < /etc/pve/priv/token.cfg
    { printf 'header = "Authorization: PVEAPIToken=%s=%s"\n' "$user" "$secret"; } |
        curl -sS --fail-with-body --cacert /etc/lab/tls/ca.crt --resolve "$(hostname -s):8006:127.0.0.1" -K - \
            "${@:2}" "https://$(hostname -s):8006/api2/json/nodes/$(hostname -s)/qemu/$1"
}
field() { python3 -c "import json, sys; print(json.load(sys.stdin)['data'].get('$1', ''))"; }
body=$(cat)
# An agent answers only when its guest has come up.
for _ in $(seq 200); do
    pid=$(ask "$1/agent/exec" -H 'Content-Type: application/json' --data "$body" | field pid) && break
    sleep 1
done
until ended=$(ask "$1/agent/exec-status?pid=$pid"); [ "$(field exited <<< "$ended")" = 1 ]; do sleep 0.3; done
field out-data <<< "$ended"
exit "$(field exitcode <<< "$ended")"
"""


def stands_in(serves: Callable[[str], bool]) -> str:
    """Return an address that answers, below a side's name, for a guest that has nothing on its disk while it runs."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if serves(self.path.strip("/")) else 503)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    answers = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{answers.server_port}"


@dataclass
class Nodes(Pair):
    """A pair of nodes; the guest has number 160 at the source and 161 at the target.

    One that does not boot has an empty disk, and no agent: its process runs, and that is all. Another answers for it.
    """

    boots: bool = True
    numbers: Mapping[str, int] = field(default_factory=lambda: NUMBERS)
    stand_in: str = ""

    @property
    def token(self) -> str:
        """The secret of the API token that both nodes know."""
        return (self.work / "secrets/pve_token").read_text().strip()

    def _component(self) -> dict[str, Any]:
        head = self.subnet.rpartition(".")[0]
        if not (self.boots or self.stand_in):
            self.stand_in = stands_in(self.running)
        return {
            "proxmox_guest_ca_file": str(self.work / "ca/ca.crt"),
            "proxmox_guest_token_secrets": {self.host(side): self.token for side in SIDES},
            # The emulated guest is slow when the machine is busy; the lock is one that a test waits for to run out.
            "proxmox_guest_limits": {"task": 900, "shutdown": 180, "agent": 300, "health": 300, "lock": 4},
            "proxmox_guest_sides": {
                self.host(side): {
                    "api_host": self.addresses[side],
                    "node": self.host(side),
                    "vmid": self.numbers[side],
                    "storage": "local",
                    "bridge": "vmbr0",
                    "ipconfig0": f"ip={head}.{self.numbers[side]}/24",
                    "nameserver": "192.0.2.53",
                    "searchdomain": "fault.test",
                    "health_url": f"http://{head}.{self.numbers[side]}:8000/cgi-bin/healthz"
                    if self.boots
                    else f"{self.stand_in}/{side}",
                }
                for side in SIDES
            },
        }

    def _set_up(self, side: str) -> None:
        self.setup = {
            "LAB_PVE_GUESTS": f"small={self.numbers['source']}" if side == "source" and self.boots else "",
            "LAB_GUEST_PREFIX": self.subnet.rpartition(".")[0],
            "LAB_GUEST_GATEWAY": self.addresses["source"],
            "LAB_GUEST_NAME_SERVER": "192.0.2.53",
            "LAB_GUEST_DISKS": "/var/lib/lab/guest",
        }
        disk = self.work / "small.raw"
        if self.boots and not disk.exists():
            shell.run(
                [sys.executable, str(ROOT / "tests/lab/pve/build_small_guest.py"), "--output", str(disk)], timeout=300
            )
        host = self.host(side)
        self.must_run(side, ["mkdir", "-p", "/opt/lab", "/etc/lab/secrets", "/var/lib/lab/guest"])
        shell.run(["podman", "cp", str(ROOT / "tests/lab/pve"), f"{host}:/opt/lab/"])
        if side == "source" and self.boots:
            shell.run(["podman", "cp", str(disk), f"{host}:/var/lib/lab/guest/small.raw"])
        super()._set_up(side)
        if side == "source" and not self.boots:
            self._seed(side)

    def _seed(self, side: str) -> None:
        """Put a guest with an empty disk there."""
        self.must_run(side, ["truncate", "-s", "1M", "/var/lib/vz/empty.raw"])
        number = str(self.numbers[side])
        self.must_run(side, [f"{STANDIN}/seed-guest.sh", number, "/var/lib/vz/empty.raw"], EMPTY_GUEST)

    # What tests order and look at

    def order(self, side: str, fault: str, **options: Any) -> None:
        """Let the stand-in of a side go wrong."""
        self.must_run(side, [f"{STANDIN}/order-fault.sh", json.dumps({"fault": fault, **options})])

    def mend(self) -> None:
        """Let everything go right again."""
        for side in SIDES:
            self.must_run(side, [f"{STANDIN}/order-fault.sh", "none"])
            self.must_run(side, ["rm", "-f", "/etc/pve/priv/standin-privileges.json"])

    def withdraw(self, side: str, *privileges: str) -> None:
        """Take privileges from the token of a side."""
        text = self.must_run(side, ["bash", "-c", self.without(*privileges)])
        self.must_run(side, ["tee", "/etc/pve/priv/standin-privileges.json"], text)

    @staticmethod
    def without(*privileges: str) -> str:
        """The command that says what a token has when it lacks these."""
        script = (
            "import json, sys; sys.path.insert(0, sys.argv[1]); from pve_standin.access import defaults; "
            "names = sorted(set(defaults('8.4')) - set(sys.argv[2:])); "
            "print(json.dumps({'bascule@pve!move': {'/': names}}))"
        )
        return shlex.join(["python3", "-c", script, STANDIN, *privileges])

    def schedule(self, **jobs: bool) -> None:
        """Let backups run by a schedule at both sides; the value says whether a job is enabled."""
        text = json.dumps({name: {"id": name, "schedule": "02:00", "enabled": int(on)} for name, on in jobs.items()})
        for side in SIDES:
            self.must_run(side, ["tee", "/etc/pve/jobs.json"], text)

    def scheduled(self, side: str) -> dict[str, bool]:
        """The scheduled backups of a side, and whether each is enabled."""
        jobs = json.loads(self.must_run(side, ["cat", "/etc/pve/jobs.json"]))
        return {name: str(job["enabled"]) == "1" for name, job in jobs.items()}

    def config(self, side: str) -> str:
        """The guest's configuration file; empty when there is none."""
        done = self.run(side, ["cat", f"/etc/pve/qemu-server/{self.numbers[side]}.conf"])
        return done.out if done.rc == 0 else ""

    def running(self, side: str) -> bool:
        """Whether a process of the guest runs."""
        pattern = f"pidfile /run/qemu-server/{self.numbers[side]}.pid"
        return self.run(side, ["pgrep", "--full", pattern]).rc == 0

    def connected(self) -> list[str]:
        """The sides whose guest runs with its link up."""
        return [side for side in SIDES if self.running(side) and "link_down=1" not in self.config(side)]

    def inside(self, side: str, script: str) -> str:
        """Run a shell script in the guest, by its agent; return what it prints."""
        body = json.dumps({"command": ["sh", "-c", script]})
        return self.must_run(side, ["bash", "-c", INSIDE, "inside", str(self.numbers[side])], body, timeout=300).strip()

    def volumes(self, side: str) -> list[str]:
        """Disks and archives of the guest at a side."""
        number = self.numbers[side]
        script = f"ls /var/lib/vz/images/{number} /var/lib/vz/dump 2>/dev/null | grep -E 'vm-{number}-disk|vma' || true"
        return sorted(self.must_run(side, ["bash", "-c", script]).split())

    def status(self, side: str) -> str:
        """What the guard in the guest's description says."""
        script = shlex.join(
            [
                "import re, sys, urllib.parse; text = urllib.parse.unquote(sys.stdin.read()); "
                "found = re.search(r'^#bascule: .*\"status\":\"(\\w+)\"', text, re.M); print(found[1] if found else '')"
            ]
        )
        return self.must_run(side, ["bash", "-c", f"python3 -c {script}"], self.config(side)).strip()
