"""Two sites of one Debian 13 server each, a bastion before them and a client beside them; and the operator's files.

The inventory is the folder beside this file, as it is. What a site has of its own is put beside it: addresses, an
encrypted vault, keys of hosts, and the `ssh_config` that leads through the bastion.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml
from bascule_lab import bundle, credentials, image, podman, shell

from tests.integration.playbooks import ROOT, Controller, Outcome

HERE = Path(__file__).resolve().parent
USER = "marie"
# By the inventory names of the machines: the key of their site in the plan.
SITES = {"srv-nantes": "nte", "srv-rennes": "rns"}
SERVERS = tuple(SITES)
MACHINES = (*SERVERS, "bastion", "client")
TREE_BYTES = 256 << 20
MAJOR = "17"
_ACCOUNT = "/var/lib/writer"


class Site:
    """The four machines."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.inventory = work / "inventory"
        self.network = f"bascule-site-{os.environ.get('BASCULE_TEST_MARK', '')}"
        self.addresses: dict[str, str] = {}
        self._sudo = {site: secrets.token_urlsafe(16) for site in SITES.values()}
        self._writer: subprocess.Popen[bytes] | None = None

    def container(self, name: str) -> str:
        """Return the container of a machine."""
        return f"{self.network}-{name}"

    # Life

    def start(self) -> Site:
        """Bring all machines up; what an interrupted run left behind under the same names goes first."""
        self.stop()
        tag = image.build(image.DEBIAN_13)
        shell.run(["podman", "network", "create", "--disable-dns", self.network])
        subnet = json.loads(shell.run(["podman", "network", "inspect", self.network]))[0]["subnets"][0]["subnet"]
        head = subnet.split("/")[0].rsplit(".", 1)[0]
        self.addresses = {name: f"{head}.{10 + number}" for number, name in enumerate(MACHINES)}
        bundle.scenario(self.work, self.addresses)
        for name in MACHINES:
            shell.run(self._run_command(name, tag))
        for name in MACHINES:
            podman.wait_for_systemd(self.container(name))
            self._set_up(name)
        self._write_inventory()
        return self

    def stop(self) -> None:
        """Remove everything."""
        if self._writer is not None:
            self._writer.kill()
            self._writer.wait()
            self._writer = None
        names = [self.container(name) for name in MACHINES]
        shell.attempt(["podman", "rm", "--force", "--ignore", "--time", "0", *names], timeout=120)
        if shell.attempt(["podman", "network", "exists", self.network]).code == 0:
            shell.run(["podman", "network", "rm", "--force", self.network])
        for name in SERVERS:
            disk = self._tree_disk(name)
            if disk.exists():
                for device in shell.run(["losetup", "-j", str(disk), "-n", "-O", "NAME"]).split():
                    shell.run(["losetup", "--detach", device])
                disk.unlink()

    # What runs in the machines

    def run(self, name: str, *command: str, data: str | None = None, timeout: float = 120) -> str:
        """Run a command as root in a machine; it has to succeed. Returns its output."""
        return podman.execute(self.container(name), command, None if data is None else data.encode(), timeout)

    def ssh(self, *arguments: str) -> shell.Result:
        """Run the operator's `ssh`, with the operator's files."""
        return shell.attempt(["ssh", "-F", str(self.inventory / "ssh_config"), "-oBatchMode=yes", *arguments])

    def sql(self, name: str, text: str) -> str:
        """Run SQL as the cluster's owner; return what psql prints, unaligned."""
        psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "courses"]
        return self.run(name, *psql, data=text).strip()

    # The client outside

    def start_writing(self) -> None:
        """Begin to write rows and files from the client's machine."""
        self.run("client", "mkdir", "-p", _ACCOUNT)
        self.run("client", "tee", "/root/writer.py", data=(HERE / "writer.py").read_text())
        command = ["podman", "exec", self.container("client"), "python3", "/root/writer.py", "--account", _ACCOUNT]
        self._writer = subprocess.Popen(command, env=shell.environment(), stdin=subprocess.DEVNULL)

    def stop_writing(self) -> None:
        """End the client, which finishes what it is writing."""
        assert self._writer is not None
        assert self._writer.poll() is None, "the client has ended by itself"
        self.run("client", "pkill", "-TERM", "-f", "/root/writer.py")
        assert self._writer.wait(60) == 0
        self._writer = None

    def acknowledged(self, kind: str) -> list[str]:
        """Return the names of what the client was promised: of "rows" or "files"."""
        lines = self.run("client", "cat", f"{_ACCOUNT}/{kind}.jsonl").splitlines()
        return [one["name"] for one in map(json.loads, lines) if one["acknowledged"]]

    # How it is made

    def _run_command(self, name: str, tag: str) -> list[str]:
        command = ["podman", "run", "--detach", "--name", self.container(name), "--hostname", name]
        command += ["--systemd=always", "--cap-add", podman.CAPABILITIES, "--no-hosts"]
        command += ["--network", f"{self.network}:ip={self.addresses[name]}"]
        if podman.apparmor_enabled():
            command += ["--security-opt", "apparmor=unconfined"]
        if name in SERVERS:
            disk = self._tree_disk(name)
            with disk.open("wb") as handle:
                handle.truncate(TREE_BYTES)
            shell.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", str(disk)])
            command += ["--device", f"{shell.run(['losetup', '--find', '--show', str(disk)]).strip()}:/dev/courses"]
        return [*command, tag]

    def _set_up(self, name: str) -> None:
        data = (self.work / f"{name}.tar").read_bytes()
        podman.execute(self.container(name), ["tar", "-C", "/", "--no-overwrite-dir", "-xf", "-"], data)
        peer = "bastion"
        if name in SERVERS:
            serves = name == SERVERS[0]
            peer = next(one for one in SERVERS if one != name)
            values = {
                "LAB_HOST": name,
                "LAB_SITE": SITES[name],
                "LAB_SCALE": "1",
                "LAB_SEED": "1",
                "LAB_DB_MAJOR": MAJOR,
                "LAB_DB_STATE": "primary" if serves else "empty",
                "LAB_DB_CLIENTS": f"{self.addresses['client']}/32",
                "LAB_FILES_STATE": "seeded" if serves else "empty",
                "LAB_FILES_DEVICE": "/dev/courses",
            }
            text = "".join(f"{key}='{value}'\n" for key, value in values.items())
            self.run(name, "tee", "/etc/lab/host.env", data=text)
            for kind in ("db", "files"):
                self.run(name, f"/opt/lab/hosts/{kind}/setup.sh", timeout=300)
        self.run(name, "tee", "/root/server.sh", data=(HERE / "server.sh").read_text())
        what = "server" if name in SERVERS else "bastion"
        addresses = [self.addresses[one] for one in ("bastion", peer, *SERVERS)]
        password = f"{USER}:{self._sudo[SITES[name]]}\n" if name in SERVERS else ""
        self.run(name, "bash", "/root/server.sh", what, *addresses, data=password)

    def _write_inventory(self) -> None:
        shutil.copytree(HERE / "inventory", self.inventory)
        secret = {name: (self.work / "secrets" / name).read_text() for name in ("replication_password",)}
        facts = {
            "site_addresses": {name: self.addresses[name] for name in SERVERS},
            "site_client": f"{self.addresses['client']}/32",
        }
        (self.inventory / "group_vars/all/addresses.yml").write_text(yaml.safe_dump(facts))
        vault = self.inventory / "group_vars/all/vault.yml"
        values = {"vault_sudo_passwords": self._sudo, "vault_replication_password": secret["replication_password"]}
        credentials.write_private(self.work / "vault_password", secrets.token_urlsafe(24).encode())
        credentials.write_private(vault, yaml.safe_dump(values).encode())
        encrypt = ["ansible-vault", "encrypt", "--vault-password-file", str(self.work / "vault_password"), str(vault)]
        shell.run(encrypt)
        keys = [
            (name, address, (self.work / f"ssh/hosts/{name}.pub").read_text())
            for name, address in self.addresses.items()
        ]
        (self.inventory / "known_hosts").write_text(credentials.known_hosts_text(keys))
        hosts = "".join(
            f"Host {name}\n    HostName {address}\n" + ("    ProxyJump bastion\n" if name in SERVERS else "")
            for name, address in self.addresses.items()
        )
        (self.inventory / "ssh_config").write_text(
            f"{hosts}Host *\n    User {USER}\n    IdentityFile {self.work}/ssh/controller\n    IdentitiesOnly yes\n"
            f"    UserKnownHostsFile {self.inventory}/known_hosts\n    GlobalKnownHostsFile /dev/null\n"
        )

    def _tree_disk(self, name: str) -> Path:
        return self.work / f"{name}.ext4"


class Operator(Controller):
    """Who types the phases: with the inventory of this site, and the word that opens its vault."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.work / "runs", "site")
        self.site = site
        # A socket's path has to be short, and nobody else's connections are taken over.
        self._sockets = Path(tempfile.mkdtemp(prefix=".bs-"))

    def environment(self) -> dict[str, str]:
        """Return the environment of a playbook."""
        return {
            **super().environment(),
            "ANSIBLE_INVENTORY": str(self.site.inventory),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.site.work / "vault_password"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._sockets),
        }

    def bascule(self, *arguments: str) -> Outcome:
        """Run the command `bascule`."""
        done = subprocess.run(
            ["bascule", *arguments], cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, {})

    def close(self) -> None:
        """Hang up."""
        for socket in self._sockets.glob("*"):
            shell.attempt(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "any"], timeout=10)
        shutil.rmtree(self._sockets, ignore_errors=True)
