"""The switch, as eight clients behind a pooler see it: Bascule's own against the same steps by a plain script.

Two hosts of the lab's kind, a link shaped as the lab's, two clusters on each with the same rows: one is moved by the
role's real verbs, the other by `switch_by_hand.sh`. They take turns, there and back. A switch is as long as the longest
gap between two acknowledged writes of any of its clients.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.harness import LOWER, Benchmark, Measurement, Settings, alternate

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "lab"))

from bascule_lab.topology import LINK_RATE
from tests.faults.pair import SIDES, Pair

CLIENTS = 8
EVERY = 0.02
GAP_LIMIT = 1.0
HAND, HAND_PORT, HAND_POOLER = "hand", 5433, 6433
INSERT = "insert into lab.data_layer values (%s, clock_timestamp())"


class Hosts(Pair):
    """The two hosts of the benchmark."""

    @property
    def network(self) -> str:
        return f"bench-{self.name}"

    def _environment(self) -> dict[str, str]:
        # What the switch returns says where the time went.
        return {**super()._environment(), "ANSIBLE_VERBOSITY": "1"}


@dataclass
class Load:
    """Clients that write, each over a session of its own, and note every acknowledgement and every error."""

    where: dict[str, Any]
    acked: list[list[tuple[float, str]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        for _ in range(CLIENTS):
            mine: list[tuple[float, str]] = []
            self.acked.append(mine)
            self._threads.append(threading.Thread(target=self._write, args=(mine,), daemon=True))
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + 30
        while not all(len(mine) > 20 for mine in self.acked):
            if self.errors or time.monotonic() > deadline:
                raise RuntimeError(f"the clients do not write: {self.errors[:1]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _write(self, mine: list[tuple[float, str]]) -> None:
        session: psycopg.Connection[Any] | None = None
        while not self._stop.wait(EVERY):
            ident = str(uuid.uuid4())
            try:
                session = session or psycopg.connect(**self.where, autocommit=True, prepare_threshold=None)
                session.execute(INSERT, (ident,))
                mine.append((time.monotonic(), ident))
            except psycopg.Error as bad:
                self.errors.append(" ".join(str(bad).split())[:300])
                if session is not None and (session.broken or session.closed):
                    session = None
        if session is not None:
            session.close()

    def longest_gap(self) -> float:
        """The longest time that any client waited from one acknowledgement to the next."""
        return max(later[0] - earlier[0] for mine in self.acked for earlier, later in zip(mine, mine[1:], strict=False))


@dataclass
class Switches:
    """Both clusters, where each of them is active, and what their clients met."""

    hosts: Hosts
    sockets: str
    at: dict[str, str] = field(default_factory=lambda: {"ours": "source", HAND: "source"})
    errors: dict[str, int] = field(default_factory=lambda: {"ours": 0, HAND: 0})
    idents: dict[str, list[str]] = field(default_factory=lambda: {"ours": [], HAND: []})
    marks: list[dict[str, Any]] = field(default_factory=list)

    def ours(self) -> float:
        """Move Bascule's cluster to its other side by the role's verbs, under load."""
        direction = "forward" if self.at["ours"] == "source" else "back"
        self.hosts.must("sync", direction=direction)
        with Load(self._where(6432)) as load:
            said = self.hosts.must("freeze", "switch", "thaw", direction=direction).stdout
            time.sleep(1)
        self.marks.append(marks_in(said))
        return self._account("ours", load)

    def by_hand(self) -> float:
        """Move the other cluster by the script, under the same load."""
        origin, to = self.at[HAND], "target" if self.at[HAND] == "source" else "source"
        self.hosts.until(origin, f"test $({_psql('select count(*) from pg_stat_replication')}) = 1")
        addresses = [self.hosts.addresses[side] for side in ("source", origin, to)]
        work = self.hosts.work
        ssh = f"ssh -i {work}/ssh/controller -o UserKnownHostsFile={work}/known_hosts -o IdentitiesOnly=yes"
        ssh += " -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o BatchMode=yes"
        # The script is not made to pay for logins: as Ansible's, its connections stay open.
        ssh += f" -o ControlMaster=auto -o ControlPersist=60 -o ControlPath={self.sockets}/%C"
        script = [str(Path(__file__).with_name("switch_by_hand.sh")), *addresses]
        environment = {**os.environ, "SSH": ssh, "CLUSTER": HAND, "PORT": str(HAND_PORT)}
        for address in addresses[1:]:
            subprocess.run([*ssh.split(), f"root@{address}", "true"], check=True, timeout=30)
        with Load(self._where(HAND_POOLER)) as load:
            time.sleep(1)
            subprocess.run(script, env=environment, check=True, timeout=120)
            time.sleep(1)
        return self._account(HAND, load)

    def kept(self, which: str) -> bool:
        """Whether every acknowledged row is at the active side of a cluster."""
        port = 5432 if which == "ours" else HAND_PORT
        found = self.hosts.must_run(
            self.at[which], ["bash", "-c", _psql("select id from lab.data_layer", port, "courses")]
        )
        return set(self.idents[which]) <= set(found.split())

    def _account(self, which: str, load: Load) -> float:
        self.at[which] = "target" if self.at[which] == "source" else "source"
        self.errors[which] += len(load.errors)
        self.idents[which] += [ident for mine in load.acked for _, ident in mine]
        for problem in load.errors[:3]:
            print(f"{which}: {problem}", file=sys.stderr)
        gap = load.longest_gap()
        print(f"{which} to {self.at[which]}: {gap:.3f} s", file=sys.stderr)
        return gap

    def _where(self, port: int) -> dict[str, Any]:
        """Everybody comes by the pooler at the source, wherever the database is."""
        return {
            "host": self.hosts.addresses["source"],
            "port": port,
            "dbname": "courses",
            "user": "lab_data",
            "password": (self.hosts.work / "secrets/data_password").read_text().strip(),
            "sslmode": "verify-full",
            "sslrootcert": str(self.hosts.work / "ca/ca.crt"),
            "connect_timeout": 10,
        }


def start(hosts: Hosts) -> None:
    """Bring both hosts up, with both clusters replicating."""
    hosts.start()
    for side in SIDES:
        shape = ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", LINK_RATE, "burst", "256kb"]
        hosts.must_run(side, [*shape, "latency", "50ms"])
    hosts.must("prepare")
    steps = Path(__file__).with_name("switch_by_hand_setup.sh").read_text()
    values = ["env", f"SUBNET={hosts.subnet}", f"SOURCE={hosts.addresses['source']}", "bash", "-s"]
    for side, step in (("source", "cluster"), ("target", "cluster"), ("source", "primary"), ("target", "standby")):
        hosts.must_run(side, [*values, step], steps)


def measure(settings: Settings) -> Measurement:
    """Let both take turns."""
    clients = [{"database": "courses", "user": "lab_data", "address": "all", "until": "switch"}]
    variables = {"postgresql_replication_pooler_clients": clients}
    hosts = Hosts("db", "switch", settings.scratch / "switch", pooler="install", variables=variables)
    # A socket's path has to be short.
    sockets = tempfile.mkdtemp(prefix=".bs-")
    try:
        start(hosts)
        switches = Switches(hosts, sockets)
        found = alternate(switches.ours, switches.by_hand, settings.rounds)
        return Measurement(
            ratio=found.ratio,
            figures={
                **found.figures("bascule", "script"),
                "clients": CLIENTS,
                "link": LINK_RATE,
                "acknowledged": len(switches.idents["ours"]),
                "client_errors": switches.errors["ours"],
                "script_client_errors": switches.errors[HAND],
                "marks_milliseconds": switches.marks,
            },
            checks={
                f"the gap is at most {GAP_LIMIT:g} s": found.our_median <= GAP_LIMIT,
                "no client error": switches.errors["ours"] == 0,
                "every acknowledged row is at the active side": switches.kept("ours"),
            },
        )
    finally:
        hosts.stop()
        shutil.rmtree(sockets, ignore_errors=True)


def marks_in(said: str) -> dict[str, Any]:
    """Milliseconds to each step, as the switch has returned them."""
    for line in said.splitlines():
        if '"marks"' in line and " => {" in line:
            found = json.loads(line.split(" => ", 1)[1])
            return {"live": found.get("live"), **found["marks"]}
    return {}


def _psql(sql: str, port: int = HAND_PORT, database: str = "postgres") -> str:
    return f'cd /; runuser -u postgres -- psql -XAtq -p {port} -d {database} -c "{sql}"'


BENCHMARK = Benchmark(
    name="switch",
    what=f"write gap of a switch between two hosts, {CLIENTS} clients through PgBouncer",
    against="a plain script of the same steps over ssh, without fence and proof",
    limit=1.0,
    better=LOWER,
    measure=measure,
)
