"""Guards in a directory of the test, and two network namespaces joined by a cable, with the kernel's real nftables."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bascule.firewall.io.side import Side
from bascule.firewall.io.table import Table
from bascule.guard.io import store
from bascule.system.io import process
from bascule.system.io.process import Result

ADDRESS, ASKING = "10.99.1.1", "10.99.1.2"
ROOT = Path(__file__).resolve().parents[3]
_PROBE = """
import json, sys
from bascule.firewall.io import probe
given = json.load(sys.stdin)
judged = probe.look(given["rules"], "fw-a", given["role"], given["address"], "fw-b", must=given["must"])
print(json.dumps([judged.checked, judged.wrong, judged.not_proved]))
"""


def entering(namespaces: int, network: int) -> list[str]:
    """Return what starts a command in the network of a process."""
    return ["nsenter", "--preserve-credentials", f"--user=/proc/{namespaces}/ns/user", f"--net=/proc/{network}/ns/net"]


@dataclass
class Net:
    """Two machines that see each other: `owner` is the process whose namespaces are the firewall's, `other` asks."""

    owner: int
    other: int
    services: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str], given: str | None = None, *, other: bool = False) -> Result:
        """Run a command at the firewall, or at the one who asks."""
        return process.run([*entering(self.owner, self.other if other else self.owner), *argv], stdin=given)

    def listen(self, port: int) -> None:
        """Have the firewall's machine answer at a TCP port."""
        server = f"import socket; s = socket.create_server(('', {port})); print('up', flush=True)"
        code = f"{server}; [s.accept() for _ in range(99)]"
        made = subprocess.Popen(
            [*entering(self.owner, self.owner), sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        self.services.append(made)
        assert made.stdout is not None
        assert made.stdout.readline() == "up\n"

    def look(
        self, rules: list[dict[str, Any]], role: str = "passive", must: bool = True
    ) -> tuple[int, list[str], list[str]]:
        """Ask from the other machine."""
        given = json.dumps({"rules": rules, "role": role, "address": ADDRESS, "must": must})
        found = self.run([sys.executable, "-c", _PROBE], given, other=True).stdout
        checked, wrong, not_proved = json.loads(found)
        return checked, wrong, not_proved


@pytest.fixture
def net() -> Iterator[Net]:
    """Private networks; nothing of this machine's own is touched."""
    held = [subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "3600"])]
    try:
        wait_for(held[0].pid)
        held.append(subprocess.Popen([*entering(held[0].pid, held[0].pid), "unshare", "--net", "sleep", "3600"]))
        wait_for(held[1].pid, than=held[0].pid)
        made = Net(held[0].pid, held[1].pid)
        for line in (
            f"ip link add fw type veth peer name asks netns {made.other}",
            f"ip address add {ADDRESS}/24 dev fw",
            "ip link set fw up",
            "ip link set lo up",
        ):
            made.run(line.split())
        for line in (f"ip address add {ASKING}/24 dev asks", "ip link set asks up"):
            made.run(line.split(), other=True)
        yield made
        for service in made.services:
            service.kill()
            service.wait()
    finally:
        for one in held:
            one.kill()
            one.wait()


def wait_for(pid: int, than: int | None = None) -> None:
    """Wait until a process has a network of its own, and its user namespace is written."""
    for _ in range(3000):
        mine = os.readlink(f"/proc/{than or os.getpid()}/ns/net")
        mapped = Path(f"/proc/{pid}/uid_map").read_text().split()
        command = Path(f"/proc/{pid}/cmdline").read_text().startswith("sleep")
        if command and mapped and os.readlink(f"/proc/{pid}/ns/net") != mine:
            return
        subprocess.run(["sleep", "0.01"], check=True)
    raise AssertionError("no namespace was made")


class Host:
    """A firewall's host: nft is the real one in its network, systemd is a stand-in that keeps the calls."""

    def __init__(self, net: Net, root: Path) -> None:
        self.net, self.root = net, root
        self.systemd: list[list[str]] = []
        self.fails = ""

    def runner(self, argv: Sequence[str], *, stdin: str | None = None, check: bool = True, **_: Any) -> Result:
        """Run nft, or note what systemd would have done."""
        if self.fails and self.fails in " ".join(argv):
            return process.run(["false"])
        if argv[0].endswith("nft"):
            return process.run([*entering(self.net.owner, self.net.owner), *argv], stdin=stdin, check=check)
        self.systemd.append(list(argv))
        return Result(tuple(argv), 0, "", "")

    def armed(self) -> tuple[str, str]:
        """Return component and token of the timer that was set last."""
        line = [call for call in self.systemd if call[0] == "systemd-run"][-1]
        assert line[line.index("--") + 3] == "firewall_undo"
        return line[-2], line[-1]

    def table(self) -> Table:
        """Return the table of the component `edge`."""
        return Table("edge", self.runner, self.root)

    def side(self, rules: list[dict[str, Any]], *, check: bool = False) -> Side:
        """Return the side fw-a of the component `edge`."""
        made = Side("edge", "fw-a", rules, check, self.runner)
        made.table = self.table()
        return made

    def ruleset(self) -> str:
        """Return all rules as nft shows them."""
        return self.net.run(["nft", "list", "ruleset"]).stdout


@pytest.fixture
def host(net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose guards lie in the test's directory."""
    root = tmp_path / "lib" / "guard"
    monkeypatch.setattr(store, "GUARD_DIRECTORY", root)
    for name in ("closing", "opening", "opening_by_word", "read", "adopt", "frozen", "giving_way"):
        monkeypatch.setitem(inspect.unwrap(getattr(store, name)).__kwdefaults__, "root", root)
    return Host(net, tmp_path / "host")
