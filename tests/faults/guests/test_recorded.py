"""Every failure recorded from Proxmox's API, through a verb of the role: its words are told, and nothing has changed.

One playbook goes through all of them on one pair of nodes; the tests look at what it has kept of each. The guest is a
running process with an empty disk: what fails here fails before anybody waits for a guest to boot.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from bascule_lab import credentials

from tests.faults.guests.nodes import NUMBERS, STANDIN, Nodes
from tests.faults.guests.recorded import FRESH, PREPARED, SOURCE, Failure
from tests.faults.pair import ROOT, SIDES

pytestmark = pytest.mark.long


SECONDS = 900
PRIVILEGES = "/etc/pve/priv/standin-privileges.json"
# Configurations, disks (the cloud-init drive is made at every start), running processes; then, after a mark, archives.
LOOK = (
    "cd /etc/pve/qemu-server && for c in *.conf; do [ -e $c ] && echo == $c && cat $c; done; "
    "ls -R /var/lib/vz/images | grep -v cloudinit; "
    "for p in /run/qemu-server/*.pid; do [ -e $p ] && pgrep -F $p > /dev/null && echo runs $p; done; "
    "echo ==== dump; ls /var/lib/vz/dump | grep -v '[.]log$'; echo ==== end"
)
MEND = (
    f"due=$({STANDIN}/order-fault.sh); {STANDIN}/order-fault.sh none > /dev/null; rm -f {PRIVILEGES}; "
    "for c in /etc/pve/qemu-server/*.conf; do grep -q '^lock: backup' $c 2> /dev/null && "
    'systemctl restart pve-standin && qm unlock $(basename $c .conf); done; echo "$due"; echo ==== mended'
)


class Met:
    """The pair, and what came of each failure."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.results = nodes.work / "recorded"
        self.results.mkdir()

    def run(self, failures: tuple[Failure, ...]) -> None:
        """Meet them, one after the other."""
        given = {
            "recorded_cases": [self._case(failure) for failure in failures],
            "recorded_results": str(self.results),
            "recorded_look": LOOK,
            "recorded_mend": MEND,
        }
        path = self.nodes.work / "recorded-cases.json"
        credentials.write_private(path, json.dumps(given).encode())
        argv = ["ansible-playbook", "-i", str(self.nodes.work / "inventory.yml"), "-e", f"@{path}"]
        with (self.nodes.work / "recorded.log").open("a") as log:
            subprocess.run(
                [*argv, "tests/faults/guests/recorded.yml"],
                cwd=ROOT,
                env=self.nodes._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                check=False,
            )

    def of(self, failure: Failure) -> dict[str, Any]:
        """What came of one; nothing was kept when the playbook broke before."""
        path = self.results / f"{failure.name.replace(' ', '_')}.json"
        assert path.exists(), (self.nodes.work / "recorded.log").read_text()[-4000:]
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def words(self, failure: Failure) -> str:
        """What it has to say."""
        return failure.said(NUMBERS[failure.side], self.nodes.host(failure.side))

    def _case(self, failure: Failure) -> dict[str, Any]:
        sides = self.nodes._component()["proxmox_guest_sides"]
        if failure.backup_storage:
            sides[self.nodes.host("source")]["backup_storage"] = failure.backup_storage
        variables = failure.variables or {}
        case: dict[str, Any] = {
            "name": failure.name,
            "verb": failure.verb,
            "host": self.nodes.host(failure.side),
            "arrange": " && ".join(self._arranged(failure)) or "true",
            "sides": sides,
            "token_id": variables.get("token_id", "bascule@pve!move"),
            "move": failure.move,
        }
        if "secret" in variables:
            case["secrets"] = {self.nodes.host(side): variables["secret"] for side in SIDES}
        return case

    def _arranged(self, failure: Failure) -> Iterator[str]:
        if failure.withdrawn:
            yield f"{self.nodes.without(failure.withdrawn)} > {PRIVILEGES}"
        for order in failure.orders:
            about = {"vmid": NUMBERS[failure.side]} if order["fault"] in ("lock_held", "task_fails") else {}
            text = json.dumps({**order, **about})
            text = text.replace("{vmid}", str(NUMBERS[failure.side])).replace("{node}", self.nodes.host(failure.side))
            yield f"{STANDIN}/order-fault.sh {shlex.quote(text)} > /dev/null"


@pytest.fixture(scope="module")
def met(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Met]:
    """Two nodes on which everything has gone wrong once."""
    nodes = Nodes(
        "pve",
        "recorded",
        tmp_path_factory.mktemp("recorded"),
        variables={"proxmox_guest_limits": {"task": 300, "shutdown": 1, "agent": 5, "health": 5, "lock": 2}},
        gates={"guest_boots": {"equals": True, "max_age": 600}, "guest_differences": {"max": 0}},
        boots=False,
    )
    try:
        nodes.start()
        nodes.write_inventory(recorded_secrets={nodes.host(side): nodes.token for side in SIDES})
        met = Met(nodes)
        met.run((*FRESH, *PREPARED))
        yield met
    finally:
        nodes.stop()


def parted(text: str) -> tuple[str, str]:
    """What a look has seen: the guests, without the mark that a proof boot has begun, and the archives."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#bascule-booted"))
    guests, _, rest = text.partition("==== dump")
    return guests.rpartition("==== mended")[2].strip(), rest.partition("==== end")[0].strip()


@pytest.mark.parametrize("failure", [one for one in (*FRESH, *PREPARED) if not one.avoided], ids=lambda one: one.name)
def test_it_says_what_proxmox_said_and_changes_nothing(met: Met, failure: Failure) -> None:
    found = met.of(failure)
    message = " ".join(str(found["failure"].get("msg", "")).split())
    assert message, "it did not fail"
    assert met.words(failure) in message
    if failure.status >= 400:
        assert str(failure.status) in message
    assert "next safe command:" in message or failure.status >= 400
    assert met.nodes.token not in json.dumps(found)
    before, after = ([parted(text) for text in found[when]] for when in ("before", "after"))
    compared = 1 if failure.breaks else 2
    assert [guests for guests, _ in after[:compared]] == [guests for guests, _ in before[:compared]]
    if not failure.archived:
        assert [archives for _, archives in after] == [archives for _, archives in before]
    serving = f"runs /run/qemu-server/{NUMBERS[SOURCE]}.pid"
    assert [serving in guests for guests, _ in after] == [True, False]
    assert "lock: " not in after[0][0] + after[1][0]


@pytest.mark.parametrize("failure", [one for one in (*FRESH, *PREPARED) if one.avoided], ids=lambda one: one.name)
def test_it_is_never_asked_for(met: Met, failure: Failure) -> None:
    found = met.of(failure)
    assert found["failure"] == {}
    assert met.words(failure) in found["after"][0], "still ordered: nobody has asked for it"
    guests = parted(found["after"][1])[0]
    assert f"vm-{NUMBERS['target']}-disk-0.raw" in guests
    assert "link_down=1" in guests


def test_prepare_goes_on_from_what_was_left(met: Met) -> None:
    """After all this the next prepare removes what is left, and makes the passive guest."""
    assert met.nodes.status("target") == ""
    done = met.nodes.must("prepare")
    assert "removing what a failed restore left behind" in done.stdout
    assert (met.nodes.status("source"), met.nodes.status("target")) == ("open", "closed")
    assert met.nodes.connected() == ["source"]
