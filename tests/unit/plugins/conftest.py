"""A machine with the real sshd, a bastion, and the real sudo with a password.

Everything lies in a mount namespace of its own, with accounts, sudo's rules, /run and /var/lib of its own: this machine
sees none of it. Root's rights, sshd and sudo are needed; without them the tests are skipped by name.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible import context as command_line
from ansible.utils.context_objects import CLIArgs

from bascule.plugin import way_in
from bascule.system.io import remote
from bascule.system.ssh import Target

NEEDED = ("sshd", "sudo", "ssh-keygen", "unshare", "openssl")
ABSENT = [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
PRIVATE = ["unshare", "--mount", "--propagation", "private"]
PASSWORD = "pä'\"$x\\ %"
# asked: by its password. free: never. barred: only at a terminal. jump: the bastion's, whom sudo does not know.
USERS = ("asked", "free", "barred", "jump")
RULES = """
Defaults env_reset
Defaults secure_path="/usr/sbin:/usr/bin:/sbin:/bin"
Defaults lecture=always
Defaults:barred requiretty
asked ALL=(ALL:ALL) ALL
barred ALL=(ALL:ALL) ALL
free ALL=(ALL:ALL) NOPASSWD: ALL
"""
SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host
AuthorizedKeysFile {place}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitUserEnvironment no
MaxStartups 50
LogLevel VERBOSE
"""
CLIENT = """
Host bastion
  HostName 127.0.0.1
  Port {port}
  User jump
  IdentityFile {place}/key
  UserKnownHostsFile {place}/known_hosts
"""
# What the namespace has of its own. Nothing is logged at this machine, and no terminal's lists are written.
START = """
set -e
for name in passwd shadow group sudoers; do mount --bind {place}/$name /etc/$name; done
for name in /run /var/log /var/lib /etc/sudoers.d; do [ ! -d $name ] || mount -t tmpfs none $name; done
mkdir -m 0711 /var/lib/sudo
[ ! -e /dev/log ] || mount --bind /dev/null /dev/log
mkdir -m 0755 /run/sshd
exec {sshd} -D -f {place}/sshd_config -E {place}/sshd.log
"""


def _may_unshare() -> bool:
    return not ABSENT and os.geteuid() == 0 and subprocess.run([*PRIVATE, "true"], check=False).returncode == 0


@dataclass
class Machine:
    """A machine with sshd and sudo."""

    place: Path
    port: int

    def way(self, user: str, password: str = PASSWORD) -> Target:
        """The way in through the bastion, with what an inventory says."""
        hosts = f"-o UserKnownHostsFile={self.place}/known_hosts -o StrictHostKeyChecking=yes"
        variables: dict[str, Any] = {
            "inventory_hostname": "db",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": f"{self.place}/key",
            "ansible_ssh_common_args": f"-F {self.place}/ssh_config -o ProxyJump=bastion {hosts}",
            "ansible_become_password": password,
        }
        return way_in.declared("db", variables, None)

    def run(self, where: Target, script: str, given: str = "") -> remote.Answer:
        """Run a script as root there."""
        return remote.run_on({"x": where}, {"x": script}, {"x": given}, 60)["x"]

    @property
    def log(self) -> str:
        """What sshd has said."""
        return (self.place / "sshd.log").read_text()


def _accounts(place: Path) -> None:
    """Write the machine's accounts and rules: this machine's, and those of the test."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
    )
    for name in ("passwd", "shadow", "group"):
        shutil.copy2(f"/etc/{name}", place / name)
    for number, user in enumerate(USERS, 64_100):
        for name, line in {
            "passwd": f"{user}:x:{number}:{number}::{place}:/bin/sh",
            "shadow": f"{user}:{done.stdout.strip()}:20000:0:99999:7:::",
            "group": f"{user}:x:{number}:",
        }.items():
            with (place / name).open("a") as file:
                file.write(f"{line}\n")
    (place / "sudoers").write_text(RULES)
    (place / "sudoers").chmod(0o440)


@pytest.fixture(scope="module")
def whole_machine() -> Iterator[Machine]:
    """A machine, while the tests of this file run."""
    # `make install` brings the programs. What may be missing is the right to a mount namespace, without which the users
    # that are made here would be the machine's own.
    if not _may_unshare():
        pytest.skip(f"needs root, a mount namespace and {', '.join(ABSENT or NEEDED)}")
    # Its users read in it, and pytest's own directories are root's alone.
    place = Path(tempfile.mkdtemp(prefix="bascule-machine-"))
    place.chmod(0o711)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _accounts(place)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
    public = (place / "host.pub").read_text()
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}bastion {public}")
    (place / "sshd_config").write_text(SERVER.format(port=port, place=place))
    (place / "ssh_config").write_text(CLIENT.format(port=port, place=place))
    for name in ("passwd", "group", "key.pub", "known_hosts", "sshd_config", "ssh_config"):
        # Its users read them, whatever the umask of who tests.
        (place / name).chmod(0o644)
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    running = subprocess.Popen([*PRIVATE, "sh", "-c", START.format(place=place, sshd=sshd)])
    try:
        deadline = time.monotonic() + 60
        while True:
            assert running.poll() is None, "sshd has ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.05)
        yield Machine(place, port)
    finally:
        running.terminate()
        running.wait(timeout=60)
        shutil.rmtree(place)


@pytest.fixture
def machine(whole_machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """The machine, for a playbook that has connected to nothing yet."""
    sockets = whole_machine.place / "cp"
    sockets.mkdir(mode=0o700, exist_ok=True)
    monkeypatch.setattr(command_line, "CLIARGS", CLIArgs({"timeout": 30, "verbosity": 0}))
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    # A connection that stays would outlive the machine.
    monkeypatch.setattr(way_in, "control_directory", lambda: str(sockets))
    monkeypatch.setenv("ANSIBLE_SSH_ARGS", "-o ControlMaster=no")
    # Slow machines: a login through a bastion is two.
    monkeypatch.setattr(way_in, "OWN", ("-o", "BatchMode=yes", "-o", "ConnectTimeout=60"))
    way_in._task_keys.cache_clear()
    yield whole_machine
    way_in._task_keys.cache_clear()
