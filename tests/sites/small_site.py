"""Two small sites: a Proxmox stand-in with LVM-thin's stand-in, nginx and PowerDNS at each; and who moves them.

The inventory is the folder `small/inventory`, as a person would write it. What nobody writes by hand is put beside a
copy of it: an encrypted vault, keys of hosts, the authority's certificate.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
import secrets
import shutil
import socket
import ssl
import sys
import tempfile
import uuid
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
import yaml
from bascule_lab import bundle, credentials, podman, shell

from tests.integration.playbooks import ROOT, Controller

HERE = Path(__file__).resolve().parent / "small"
SERVICE = "www.small.example"
# As in the inventory. A container's address is the machine's own at its site.
MACHINES = {
    "pve-bdx": "198.18.40.10", "gw-bdx": "198.18.40.20", "ns-bdx": "198.18.40.53",
    "pve-pau": "198.18.41.10", "gw-pau": "198.18.41.20", "ns-pau": "198.18.41.53",
}  # fmt: skip
NETWORK, CONTROLLER = "198.18.40.0/23", "198.18.40.1"
GUESTS = {"wiki": 101, "shop": 102}
_THIN = "for device in /dev/pve/vm-*; do [ ! -b $device ] || losetup --detach $(readlink $device); done"
# What docs/first-migration.md gives the token, on both of a node's storages.
_RIGHTS = {
    "/vms": "VM.Audit VM.PowerMgmt VM.Backup VM.Allocate VM.Monitor VM.Config.Options VM.Config.Network "
    "VM.Config.Cloudinit VM.Config.Disk VM.Config.CDROM VM.Config.CPU VM.Config.Memory VM.Config.HWType",
    "/storage/local": "Datastore.AllocateSpace Datastore.Audit",
    "/storage/local-lvm": "Datastore.AllocateSpace Datastore.Audit",
    "/sdn/zones/localnetwork/vmbr0": "SDN.Use",
}


def image() -> str:
    """Return the tag of the machines' image; it is built when there is none of this recipe on this image of the lab."""
    recipe = (HERE / "Containerfile").read_bytes() + podman.image_id("localhost/bascule-lab:latest").encode()
    tag = f"localhost/bascule-small-site:{hashlib.sha256(recipe).hexdigest()[:16]}"
    if not podman.image_exists(tag):
        shell.run(["podman", "build", "--quiet", "--network=host", "--tag", tag, str(HERE)], timeout=900)
    return tag


class SmallSite:
    """The six machines."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.inventory = work / "inventory"
        self.network = f"bascule-small-{os.environ.get('BASCULE_TEST_MARK', '')}"
        self._tokens = dict.fromkeys(("bdx", "pau"), "")

    def container(self, name: str) -> str:
        """Return the container of a machine."""
        return f"{self.network}-{name}"

    # Life

    def start(self) -> SmallSite:
        """Bring all machines up; what an interrupted run left behind under the same names goes first."""
        self.stop()
        tag = image()
        disk = self.work / "small.raw"
        shell.run(
            [sys.executable, str(ROOT / "tests/lab/pve/build_small_guest.py"), "--output", str(disk)], timeout=600
        )
        self._make_secrets()
        shell.run(
            ["podman", "network", "create", "--disable-dns", "--subnet", NETWORK, "--gateway", CONTROLLER, self.network]
        )
        for name in MACHINES:
            shell.run(self._run_command(name, tag))
        with concurrent.futures.ThreadPoolExecutor(len(MACHINES)) as pool:
            list(pool.map(lambda name: self._set_up(name, disk), MACHINES))
        self._write_inventory()
        return self

    def stop(self) -> None:
        """Remove everything."""
        for name in MACHINES:
            # The machine's kernel keeps a loop device beyond its container. No guest may hold it.
            if name.startswith("pve"):
                script = f"pkill -9 qemu-system || true; sleep 1; {_THIN}"
                shell.attempt(["podman", "exec", self.container(name), "sh", "-c", script])
        names = [self.container(name) for name in MACHINES]
        shell.attempt(["podman", "rm", "--force", "--ignore", "--time", "0", *names], timeout=120)
        if shell.attempt(["podman", "network", "exists", self.network]).code == 0:
            shell.run(["podman", "network", "rm", "--force", self.network])

    # What is in the machines

    def run(self, name: str, *command: str, data: str | None = None, timeout: float = 120) -> str:
        """Run a command as root in a machine; it has to succeed. Returns its output."""
        return podman.execute(self.container(name), command, None if data is None else data.encode(), timeout)

    def config(self, site: str, guest: str) -> str:
        """Return a guest's configuration at a site; empty when it has none there."""
        path = f"/etc/pve/qemu-server/{GUESTS[guest]}.conf"
        return self.run(f"pve-{site}", "sh", "-c", f"cat {path} 2>/dev/null || true")

    def running(self, site: str) -> set[str]:
        """Return the guests whose processes run at a site."""
        found = self.run(f"pve-{site}", "sh", "-c", "pgrep --full --list-full qemu-system || true")
        return {name for name, number in GUESTS.items() if f"/{number}.pid" in found}

    def served_by_thin(self, site: str, guest: str) -> bool:
        """Whether all drives of a guest at a site are block devices of its thin storage."""
        lines = [line for line in self.config(site, guest).splitlines() if line.startswith(("scsi0:", "ide2:"))]
        names = [line.split("local-lvm:")[1].split(",")[0] for line in lines if "local-lvm:" in line]
        for name in names:
            self.run(f"pve-{site}", "test", "-b", f"/dev/pve/{name}")
        return len(lines) == len(names) == 2

    # What users see

    def address(self, site: str) -> list[str]:
        """Return what a site's name server answers for the service's name."""
        query = dns.message.make_query(SERVICE, dns.rdatatype.A)
        answer = dns.query.udp(query, MACHINES[f"ns-{site}"], timeout=20)
        return sorted(str(record) for found in answer.answer for record in found)

    def get(self, site: str, path: str) -> tuple[int, str]:
        """Ask a site's entrance as a user does who trusts the authority; return status and body."""
        context = ssl.create_default_context(cafile=str(self.work / "ca/ca.crt"))
        with (
            socket.create_connection((MACHINES[f"gw-{site}"], 443), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=SERVICE) as secured,
        ):
            secured.sendall(f"GET {path} HTTP/1.0\r\nHost: {SERVICE}\r\n\r\n".encode())
            answer = b""
            while part := secured.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    # How it is made

    def _make_secrets(self) -> None:
        credentials.make_secrets(self.work / "secrets")
        credentials.make_authority(self.work / "ca")
        credentials.make_ssh(self.work / "ssh", list(MACHINES.items()))
        for name, address in MACHINES.items():
            names = (SERVICE,) if name.startswith("gw") else (name,)
            credentials.make_certificate(self.work / "ca", name, (*names, address))
        # As a real token, it is another one at each site.
        self._tokens = {"bdx": (self.work / "secrets/pve_token").read_text(), "pau": str(uuid.uuid4())}

    def _run_command(self, name: str, tag: str) -> list[str]:
        command = ["podman", "run", "--detach", "--name", self.container(name), "--hostname", name]
        command += ["--systemd=always", "--cap-add", podman.CAPABILITIES, "--no-hosts"]
        command += ["--network", f"{self.network}:ip={MACHINES[name]}"]
        if podman.apparmor_enabled():
            command += ["--security-opt", "apparmor=unconfined"]
        if name.startswith("pve"):
            command += ["--device", "/dev/net/tun", "--device", "/dev/loop-control"]
            command += ["--device-cgroup-rule", "b 7:* rmw"]
        return [*command, tag]

    def _set_up(self, name: str, disk: Path) -> None:
        podman.wait_for_systemd(self.container(name))
        kind, _, site = name.partition("-")
        entries = bundle.identity(name, self.work / "ssh", self.work / "ca")
        for relative in ("hosts/common.sh", "hosts/base", "pve"):
            entries.update(bundle.source_files(relative))
        for secret in ("smoke_token", "tsig.secret"):
            entries[f"etc/lab/secrets/{secret}"] = bundle.Entry((self.work / "secrets" / secret).read_bytes(), 0o600)
        entries["etc/lab/secrets/pve_token"] = bundle.Entry(self._tokens[site].encode(), 0o600)
        host = {
            "LAB_HOST": name,
            "LAB_SITE": site,
            "LAB_ADDRESS": MACHINES[name],
            "LAB_DOMAIN": f"{site}.small.example",
        }
        entries["etc/lab/host.env"] = _text("".join(f"{key}='{value}'\n" for key, value in host.items()))
        entries["opt/lab/web_entrance.md"] = _text((ROOT / "roles/web_entrance/README.md").read_text())
        rights = {path: privileges.split() for path, privileges in {**_RIGHTS, f"/nodes/{name}": "Sys.Audit"}.items()}
        entries["opt/lab/privileges.json"] = _text(json.dumps({"bascule@pve!move": rights}))
        podman.execute(self.container(name), ["tar", "-C", "/", "--no-overwrite-dir", "-xf", "-"], bundle.pack(entries))
        self.run(name, "/opt/lab/hosts/base/setup.sh")
        if kind == "pve":
            shell.run(["podman", "cp", str(disk), f"{self.container(name)}:/opt/lab/small.raw"])
        first = site == "bdx"
        values = {
            "gw": {
                "GUESTS": MACHINES[name].rpartition(".")[0],
                "OTHER": MACHINES["gw-pau" if first else "gw-bdx"],
                "MODE": "open" if first else "",
            },
            "pve": {
                "GUESTS": " ".join(f"{guest}={number}" for guest, number in GUESTS.items()) if first else "",
                "HEAD": MACHINES[name].rpartition(".")[0],
            },
        }.get(kind, {})
        given = "".join(f"{key}='{value}'\n" for key, value in values.items())
        script = "set -euo pipefail\n" + given + (HERE / "hosts/base.sh").read_text()
        self.run(name, "bash", data=script + (HERE / f"hosts/{kind}.sh").read_text(), timeout=300)

    def _write_inventory(self) -> None:
        shutil.copytree(HERE / "inventory", self.inventory)
        values = {
            **{f"vault_pve_token_{site}": token for site, token in self._tokens.items()},
            "vault_tsig_secret": (self.work / "secrets/tsig.secret").read_text(),
            "vault_smoke_token": (self.work / "secrets/smoke_token").read_text(),
        }
        vault = self.inventory / "group_vars/all/vault.yml"
        credentials.write_private(self.work / "vault_password", secrets.token_urlsafe(24).encode())
        credentials.write_private(vault, yaml.safe_dump(values).encode())
        shell.run(["ansible-vault", "encrypt", "--vault-password-file", str(self.work / "vault_password"), str(vault)])
        keys = [
            (name, address, (self.work / f"ssh/hosts/{name}.pub").read_text()) for name, address in MACHINES.items()
        ]
        (self.inventory / "known_hosts").write_text(credentials.known_hosts_text(keys))


def _text(text: str) -> bundle.Entry:
    return bundle.Entry(text.encode(), 0o600)


class SmallOperator(Controller):
    """Who types the phases: with the inventory of the small sites, and the word that opens its vault."""

    def __init__(self, site: SmallSite) -> None:
        super().__init__(site.work / "runs", "small")
        self.site = site
        # A socket's path has to be short, and nobody else's connections are taken over.
        self._sockets = Path(tempfile.mkdtemp(prefix=".bm-"))

    def environment(self) -> dict[str, str]:
        """Return the environment of a playbook."""
        return {
            **super().environment(),
            "ANSIBLE_INVENTORY": str(self.site.inventory),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.site.work / "vault_password"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._sockets),
        }

    def close(self) -> None:
        """Hang up."""
        for connection in self._sockets.glob("*"):
            shell.attempt(["ssh", "-O", "exit", "-o", f"ControlPath={connection}", "any"], timeout=10)
        shutil.rmtree(self._sockets, ignore_errors=True)
