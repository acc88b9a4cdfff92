"""Two hosts of the lab's kind with one component between them, and real verbs that move it; each test breaks something.

`start` makes a network and two containers, sets them up by the lab's own scripts, and writes an inventory. Sides are
"source" and "target", whichever of them is active.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from bascule_lab import bundle, credentials, podman, shell

from tests import warm
from tests.output import failures

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/bascule-lab:latest"
SIDES = ("source", "target")
COMPONENTS = {"db": "accounts_db", "files": "course_files", "pve": "small_guest"}
ROLES = {"db": "postgresql_replication", "files": "rsync_delta_sync", "pve": "proxmox_guest"}
# A gate that no role of the plan samples would be an error of the plan.
GATES: dict[str, dict[str, dict[str, Any]]] = {
    "db": {"replication_lag": {"max": 60, "unit": "s", "max_age": 60}},
    "files": {
        "link_rate": {"min": 1, "unit": "Mbit/s", "max_age": 300},
        "file_delta": {"max": 10**9, "unit": "B", "max_age": 300},
    },
    "pve": {},
}
SITES = {"source": "mtp", "target": "tls"}
TREE_BYTES = 256 << 20
VERB_SECONDS = 600
_CUT = "bascule_fault_cut"


@dataclass(frozen=True)
class Layout:
    """A file system, and how the host mounts it: the tree at /srv/courses is all of it, a subvolume, or a directory."""

    kind: str
    mounted: str = "/srv/courses"
    options: str = "defaults"
    subvolumes: tuple[str, ...] = ()


LAYOUTS = {
    "own": Layout("ext4"),
    "part": Layout("ext4", "/srv"),
    "xfs": Layout("xfs"),
    "xfs part": Layout("xfs", "/srv"),
    "subvolume": Layout("btrfs", options="subvol=/courses", subvolumes=("courses",)),
    "shared subvolume": Layout("btrfs", options="subvol=/courses", subvolumes=("courses", "other")),
}
# The least that mkfs.xfs takes is 300 MB; hardly any of it is written.
_LARGER_BYTES = 320 << 20


@dataclass(frozen=True)
class VerbResult:
    """How a verb ended, and all that was printed."""

    rc: int
    stdout: str

    @property
    def ok(self) -> bool:
        return self.rc == 0


@dataclass(frozen=True)
class Ran:
    """How a command in a host ended."""

    rc: int
    out: str
    err: str


class Started:
    """Verbs that were started; what they print is kept in a file."""

    def __init__(
        self, server: warm.Server, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self._log = log
        with log.open("w") as out:
            self._playbook = server.start(arguments, ROOT, environment, out.fileno(), out.fileno())
        self.pid = self._playbook.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while they run."""
        return self._playbook.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for their end; return the exit status. Raises subprocess.TimeoutExpired."""
        return self._playbook.wait(timeout)

    def said(self) -> str:
        """Return what they have printed so far."""
        return self._log.read_text(errors="replace")


@dataclass
class Pair:
    """Two hosts of one kind ("db" or "files") and the component between them."""

    kind: str
    name: str
    work: Path
    pooler: str = "none"
    variables: Mapping[str, Any] = field(default_factory=dict)
    gates: Mapping[str, Any] = field(default_factory=dict)
    setup: Mapping[str, str] = field(default_factory=dict)
    # How mkfs makes the file system of a side's tree, beside what it always gets.
    tree_options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # What a side's tree lies on, out of LAYOUTS; an ext4 of its own where nothing is said.
    layouts: Mapping[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    subnet: str = ""
    _started: list[Started] = field(default_factory=list, repr=False)
    # One process for all playbooks of this pair has Ansible imported, and forks for each.
    _server: warm.Server | None = field(default=None, repr=False)

    @property
    def component(self) -> str:
        return COMPONENTS[self.kind]

    @property
    def network(self) -> str:
        # Two checkouts on one machine may test at the same time when each has a mark of its own.
        return f"bascule-fault-{os.environ.get('BASCULE_TEST_MARK', '')}{self.name}"

    def host(self, side: str) -> str:
        """The container of a side, which is the machine's name in the inventory too."""
        return f"{self.network}-{side}"

    # Life

    def start(self) -> Pair:
        """Bring both hosts up; what an interrupted run left behind under the same names goes first."""
        self.stop()
        self.work.mkdir(parents=True, exist_ok=True)
        self._control.mkdir(mode=0o700, exist_ok=True)
        shell.run(["podman", "network", "create", "--disable-dns", self.network])
        network = json.loads(shell.run(["podman", "network", "inspect", self.network]))[0]
        self.subnet = network["subnets"][0]["subnet"]
        head = self.subnet.split("/")[0].rsplit(".", 1)[0]
        self.addresses = {side: f"{head}.{10 + number}" for number, side in enumerate(SIDES)}
        bundle.scenario(self.work, {self.host(side): self.addresses[side] for side in SIDES})
        credentials.write_private(self.work / "password", (self.work / "secrets/replication_password").read_bytes())
        known = [
            (self.host(side), self.addresses[side], (self.work / f"ssh/hosts/{self.host(side)}.pub").read_text())
            for side in SIDES
        ]
        (self.work / "known_hosts").write_text(credentials.known_hosts_text(known))
        for side in SIDES:
            shell.run(self._run_command(side))
        for side in SIDES:
            podman.wait_for_systemd(self.host(side))
            self._set_up(side)
        self.write_inventory()
        return self

    def stop(self) -> None:
        """Remove everything of this pair."""
        for verbs in self._started:
            # A test that failed in the middle has not waited for what it started.
            if verbs.poll() is None:
                shell.kill_tree(verbs)
        if self._server is not None:
            self._server.close()
            self._server = None
        for side in SIDES:
            if side in self.addresses:
                self._hang_up(side)
        names = [self.host(side) for side in SIDES]
        shell.attempt(["podman", "rm", "--force", "--ignore", "--time", "0", *names], timeout=120)
        if shell.attempt(["podman", "network", "exists", self.network]).code == 0:
            shell.run(["podman", "network", "rm", "--force", self.network])
        for side in SIDES:
            image = self._tree_image(side)
            if image.exists():
                for device in shell.run(["losetup", "-j", str(image), "-n", "-O", "NAME"]).split():
                    shell.run(["losetup", "--detach", device])
                image.unlink()
        shutil.rmtree(self._control, ignore_errors=True)

    def kill(self, side: str) -> None:
        """Take a host's power away."""
        shell.run(["podman", "kill", "--signal", "KILL", self.host(side)])
        shell.run(["podman", "wait", self.host(side)])

    def boot(self, side: str) -> None:
        """Start a host again."""
        self._hang_up(side)
        shell.run(["podman", "start", self.host(side)])
        podman.wait_for_systemd(self.host(side))

    # The link

    def cut(self) -> None:
        """Cut the link: packets between the two vanish, as they do in a real network. The controller reaches both."""
        for side, peer in (SIDES, SIDES[::-1]):
            rules = "".join(
                f"chain {chain} {{ type filter hook {chain} priority -300; ip {end} {self.addresses[peer]} drop; }}\n"
                for chain, end in (("input", "saddr"), ("output", "daddr"))
            )
            self.must_run(side, ["nft", "-f", "-"], f"table inet {_CUT} {{\n{rules}}}\n")

    def restore(self) -> None:
        """Mend the link; also one that was never cut."""
        for side in SIDES:
            self.must_run(side, ["nft", "-f", "-"], f"table inet {_CUT}\ndelete table inet {_CUT}\n")

    # What runs in the hosts

    def run(self, side: str, argv: Sequence[str], stdin: str | None = None, timeout: float = 120) -> Ran:
        """Run a command in a host, whatever comes of it."""
        command = ["podman", "exec", *(["-i"] if stdin is not None else []), self.host(side), *argv]
        done = shell.attempt(command, None if stdin is None else stdin.encode(), timeout)
        return Ran(done.code, done.out, done.err)

    def must_run(self, side: str, argv: Sequence[str], stdin: str | None = None, timeout: float = 120) -> str:
        """Run a command that has to succeed."""
        done = self.run(side, argv, stdin, timeout)
        assert done.rc == 0, f"{' '.join(argv)} at {side}: {done.rc}\n{done.out[-2000:]}\n{done.err[-2000:]}"
        return done.out

    def sql(self, side: str, text: str, database: str = "courses") -> str:
        """Run SQL as the cluster's owner; return what psql prints, unaligned."""
        psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database]
        return self.must_run(side, psql, text).strip()

    def guard(self, side: str) -> dict[str, Any]:
        """The guard's own file on a host."""
        text = self.must_run(side, ["cat", f"/var/lib/bascule/guard/{self.component}.json"])
        found: dict[str, Any] = json.loads(text)
        return found

    def until(self, side: str, command: str, seconds: float = 240, running: Started | None = None) -> str:
        """Run a shell command in a host until it succeeds; verbs that were started must not end before."""
        deadline = time.monotonic() + seconds
        # To enter a host costs more than most commands: it is tried for a while in there.
        script = (
            f"until out=$({command}\n); do "
            "(( SECONDS < 3 )) || { printf '%s\\n' \"$out\"; exit 1; }; sleep 0.1; done; printf '%s\\n' \"$out\""
        )
        while (done := self.run(side, ["bash", "-c", script])).rc:
            if running is not None and running.poll() is not None:
                raise AssertionError(f"they ended before {command} at {side}:\n{self.finish(running).stdout[-6000:]}")
            assert time.monotonic() < deadline, f"{command} at {side}: {done.out[-1000:]} {done.err[-1000:]}"
        return done.out

    # Verbs

    def verb(
        self, *verbs: str, direction: str = "forward", check: bool = False, extra: Mapping[str, Any] | None = None
    ) -> VerbResult:
        """Run verbs one after the other, as a playbook calls them; the first that fails ends it."""
        done = self.start_verb(*verbs, direction=direction, check=check, extra=extra)
        return self.finish(done)

    def start_verb(
        self, *verbs: str, direction: str = "forward", check: bool = False, extra: Mapping[str, Any] | None = None
    ) -> Started:
        """Start verbs and do not wait, to break something meanwhile, or to kill the controller."""
        values = {"scenario_verbs": list(verbs), "scenario_direction": direction, **(extra or {})}
        return self._start("tests/faults/verb.yml", values, check)

    def playbook(self, name: str, **values: Any) -> VerbResult:
        """Run one of the project's own playbooks with these extra variables."""
        return self.finish(self._start(f"playbooks/{name}", values, check=False))

    def _start(self, playbook: str, values: Mapping[str, Any], check: bool) -> Started:
        argv = ["-i", str(self.work / "inventory.yml"), playbook]
        argv += ["-e", json.dumps(values), *(["--check"] if check else [])]
        environment = self._environment()
        self._server = self._server or warm.Server(environment)
        assert self._server.can(environment), "what Ansible reads while it is imported has changed meanwhile"
        log = self.work / f"verbs-{len(self._started)}.log"
        self._started.append(Started(self._server, argv, environment, log))
        return self._started[-1]

    def finish(self, started: Started, timeout: float = VERB_SECONDS) -> VerbResult:
        """Wait for verbs that were started."""
        try:
            status = started.wait(timeout)
        except subprocess.TimeoutExpired:
            shell.kill_tree(started)
            raise AssertionError(f"no end after {timeout:.0f} s:\n{started.said()[-6000:]}") from None
        out = started.said()
        with (self.work / "verbs.log").open("a") as log:
            log.write(out)
        return VerbResult(status, out)

    def must(self, *verbs: str, direction: str = "forward", extra: Mapping[str, Any] | None = None) -> VerbResult:
        """Run verbs that have to succeed."""
        done = self.verb(*verbs, direction=direction, extra=extra)
        assert done.ok, f"{done.stdout[-8000:]}\n{failures(done.stdout)}"
        return done

    def fact(self, kind: str) -> dict[str, Any]:
        """What a verb recorded: audit, check, verify."""
        found: dict[str, Any] = json.loads((self.work / f"runs/fault/facts/{self.component}.{kind}.json").read_text())
        return found

    def write_inventory(self, **variables: Any) -> None:
        """Write the inventory; `variables` are added to the component's own until the next time."""
        ssh = (
            f"-o UserKnownHostsFile={self.work}/known_hosts -o GlobalKnownHostsFile=/dev/null "
            "-o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -o PasswordAuthentication=no -o ConnectTimeout=5 "
            "-o ServerAliveInterval=5 -o ServerAliveCountMax=3"
        )
        machines: dict[str, Any] = {
            self.host(side): {"ansible_host": self.addresses[side], "site": SITES[side]} for side in SIDES
        }
        component = {
            "component_role": ROLES[self.kind],
            "source_host": self.host("source"),
            "target_host": self.host("target"),
            "depends_on": [],
            "component_layer": 0,
            "ansible_host": "component-has-no-machine.invalid",
            **self._component(),
            **self.variables,
            **variables,
        }
        inventory = {
            "all": {
                "vars": {
                    "plan_name": "fault",
                    "plan_source_site": "mtp",
                    "plan_target_site": "tls",
                    "plan_sites": {
                        "mtp": {"name": "montpellier", "title": "Montpellier"},
                        "tls": {"name": "toulouse", "title": "Toulouse"},
                    },
                    "plan_journal_hosts": {SITES[side]: self.host(side) for side in SIDES},
                    "plan_gates": {**GATES[self.kind], **self.gates},
                },
                "children": {
                    "machines": {
                        "hosts": machines,
                        "vars": {
                            "ansible_user": "root",
                            "ansible_ssh_private_key_file": str(self.work / "ssh/controller"),
                            "ansible_ssh_common_args": ssh,
                            "ansible_python_interpreter": "/usr/bin/python3",
                        },
                    },
                    "components": {"hosts": {self.component: component}},
                    "component_layer_0": {"hosts": {self.component: {}}},
                },
            }
        }
        credentials.write_private(self.work / "inventory.yml", yaml.safe_dump(inventory).encode())

    # How it is made

    def _component(self) -> dict[str, Any]:
        hosts = {side: self.host(side) for side in SIDES}
        if self.kind == "files":
            return {
                "rsync_delta_sync_path": "/srv/courses",
                "rsync_delta_sync_services": ["coursefiles"],
                "rsync_delta_sync_rate_seconds": 1,
                "rsync_delta_sync_addresses": {hosts[side]: self.addresses[side] for side in SIDES},
            }
        # As at a real site, the declared clients' range (here: where the tests run) holds neither of the two hosts.
        outside = self.subnet.split("/")[0].rsplit(".", 1)[0] + ".1"
        clients = [{"database": "courses", "user": name, "address": outside} for name in ("courses", "lab_probe")]
        tls = "/etc/postgresql/tls"
        return {
            "postgresql_replication_password": (self.work / "password").read_text(),
            "postgresql_replication_addresses": {hosts[side]: self.addresses[side] for side in SIDES},
            "postgresql_replication_names": {hosts[side]: hosts[side] for side in SIDES},
            "postgresql_replication_clients": {hosts[side]: clients for side in SIDES},
            "postgresql_replication_ca_file": f"{tls}/ca.crt",
            "postgresql_replication_certificate_file": f"{tls}/server.crt",
            "postgresql_replication_key_file": f"{tls}/server.key",
            "postgresql_replication_audit_seconds": 0.5,
            "postgresql_replication_sync_timeout": 60,
            **({} if self.pooler == "none" else {"postgresql_replication_pooler": self.pooler}),
        }

    def _run_command(self, side: str) -> list[str]:
        command = ["podman", "run", "--detach", "--name", self.host(side), "--hostname", self.host(side)]
        command += ["--systemd=always", "--cap-add", podman.CAPABILITIES, "--device", "/dev/net/tun", "--no-hosts"]
        # A host that comes back after a power cut has the same card: nobody has to forget the one before.
        mac = ":".join(["02", "bf", *(f"{int(part):02x}" for part in self.addresses[side].split("."))])
        command += ["--network", f"{self.network}:ip={self.addresses[side]},mac={mac}"]
        if podman.apparmor_enabled():
            command += ["--security-opt", "apparmor=unconfined"]
        if self.kind == "files":
            device = shell.run(["losetup", "--find", "--show", str(self._make_tree(side))]).strip()
            command += ["--device", f"{device}:/dev/courses"]
        return [*command, IMAGE]

    def _make_tree(self, side: str) -> Path:
        """Make the file system that holds a side's tree, in a file; return that."""
        image, layout = self._tree_image(side), self._layout(side)
        with image.open("wb") as handle:
            handle.truncate(TREE_BYTES if layout.kind == "ext4" else _LARGER_BYTES)
        force = ["-F", "-b", "4096", "-m", "0"] if layout.kind == "ext4" else ["-f"]
        shell.run([f"mkfs.{layout.kind}", "-q", *force, *self.tree_options.get(side, ()), str(image)])
        if layout.subvolumes:
            with tempfile.TemporaryDirectory() as place:
                shell.run(["mount", "-o", "loop", str(image), place])
                try:
                    for name in layout.subvolumes:
                        shell.run(["btrfs", "subvolume", "create", f"{place}/{name}"])
                finally:
                    shell.run(["umount", place])
        return image

    def _layout(self, side: str) -> Layout:
        return LAYOUTS[self.layouts.get(side, "own")]

    def _set_up(self, side: str) -> None:
        state = side == "source"
        layout = self._layout(side)
        values = {
            "LAB_HOST": self.host(side),
            "LAB_KIND": self.kind,
            "LAB_SITE": SITES[side],
            "LAB_ADDRESS": self.addresses[side],
            "LAB_DOMAIN": "fault.test",
            "LAB_SCALE": "1",
            "LAB_SEED": "1",
            "LAB_DB_STATE": "primary" if state else "empty",
            "LAB_DB_CLIENTS": self.subnet,
            "LAB_FILES_STATE": "seeded" if state else "empty",
            "LAB_FILES_DEVICE": "/dev/courses",
            "LAB_FILES_MOUNT": layout.mounted,
            "LAB_FILES_TYPE": layout.kind,
            "LAB_FILES_OPTIONS": layout.options,
            **self.setup,
        }
        data = (self.work / f"{self.host(side)}.tar").read_bytes()
        podman.execute(self.host(side), ["tar", "-C", "/", "--no-overwrite-dir", "-xf", "-"], data)
        self.must_run(
            side, ["tee", "/etc/lab/host.env"], "".join(f"{key}='{value}'\n" for key, value in values.items())
        )
        for kind in ("base", self.kind):
            self.must_run(side, [f"/opt/lab/hosts/{kind}/setup.sh"], timeout=300)

    def _tree_image(self, side: str) -> Path:
        return self.work / f"tree-{side}.img"

    @property
    def _control(self) -> Path:
        # A socket's path has to be short; each pair has its own, as addresses come again.
        return Path(tempfile.gettempdir()) / f".bf-{os.getpid()}-{self.name[:24]}"

    def _hang_up(self, side: str) -> None:
        for socket in self._control.glob("*"):
            shell.attempt(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", self.addresses[side]], timeout=10)

    def _environment(self) -> dict[str, str]:
        return {
            **shell.environment(),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._control),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "BASCULE_RUNS": str(self.work / "runs"),
            "BASCULE_RUN": "fault",
        }
