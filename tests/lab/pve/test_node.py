"""A whole node, for real: boot a guest, back it up while it runs, restore it, boot the copy, reboot the node.

Runs alone (`pytest tests/lab/pve/test_node.py`) as root where the lab's image has been built; takes a minute or two.
Its container and network carry names of their own and are removed whatever happens.
"""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bascule_lab import paths, shell
from proxmoxer import ProxmoxAPI, ResourceException

HERE = Path(__file__).resolve().parent
NAME = "pve-node-test"
IMAGE = "localhost/bascule-lab:latest"
ADDRESS, GUEST = "198.18.21.30", "198.18.21.100"
CARD = "virtio=BC:24:11:00:21:64,bridge=vmbr0"
CONFIG = f"""\
agent: 1
cores: 1
ipconfig0: ip={GUEST}/24,gw=198.18.21.1
memory: 384
name: courses
nameserver: 198.18.21.53
net0: {CARD}
onboot: 1
searchdomain: mtp.techcorp.test
"""
BOOT_SECONDS = 120
# Where Proxmox's own schema is at hand the node holds every request and answer of this test against it.
SCHEMA = Path(os.environ.get("BASCULE_PVE_SCHEMAS", HERE.parents[3] / "shared" / "pve")) / "api-8.4.json"


def podman(*command: str, data: bytes | None = None, timeout: float = 120) -> str:
    return shell.run(["podman", *command], data, timeout)


def until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"expected {what} within {seconds} s"
        time.sleep(0.2)


def answers() -> bool:
    """Whether the guest's application answers on the network."""
    try:
        with urllib.request.urlopen(f"http://{GUEST}:8000/healthz", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def certificates(directory: Path) -> None:
    """An authority and the node's certificate, for this test only."""

    def openssl(*command: str) -> None:
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True)

    for name in ("ca", "host"):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=test authority", "-days", "2", "-out", "ca.crt")
    openssl("req", "-new", "-key", "host.key", "-subj", f"/CN={NAME}", "-out", "host.csr")
    (directory / "names").write_text(f"subjectAltName=DNS:{NAME},IP:{ADDRESS}\n")
    openssl(
        "x509", "-req", "-in", "host.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", "names", "-out", "host.crt",
    )  # fmt: skip


def start_node(work: Path) -> ProxmoxAPI:
    token = str(uuid.uuid4())
    (work / "token").write_text(token)
    certificates(work)
    podman("network", "create", "--internal", "--subnet", "198.18.21.0/24", "--gateway", "198.18.21.254", NAME)
    podman(
        "run", "--detach", "--name", NAME, "--hostname", NAME, "--network", NAME, "--ip", ADDRESS, "--systemd=always",
        "--cap-add", "NET_ADMIN,SYS_ADMIN,DAC_READ_SEARCH", "--device", "/dev/net/tun", "--stop-timeout", "60",
        "--volume", f"{HERE}:/opt/bascule-lab/pve:ro", IMAGE,
    )  # fmt: skip
    until(systemd_is_up, 60, "systemd in the node")
    podman("exec", NAME, "install", "-d", "-m", "0755", "/etc/lab/tls")
    for name, place in (
        ("ca.crt", "/etc/lab/tls/ca.crt"), ("host.crt", "/etc/lab/tls/host.crt"),
        ("host.key", "/etc/lab/tls/host.key"), ("token", "/etc/lab/pve_token"),
    ):  # fmt: skip
        podman("cp", str(work / name), f"{NAME}:{place}")
    if SCHEMA.is_file():
        podman("exec", NAME, "mkdir", "/etc/lab/pve-schemas")
        podman("cp", str(SCHEMA), f"{NAME}:/etc/lab/pve-schemas/")
    podman("exec", NAME, "/opt/bascule-lab/pve/setup-node.sh")
    return ProxmoxAPI(
        ADDRESS, port=8006, user="bascule@pve", token_name="move", token_value=token, timeout=30,
        verify_ssl=str(work / "ca.crt"),
    )  # fmt: skip


def systemd_is_up() -> bool:
    result = shell.attempt(["podman", "exec", NAME, "systemctl", "is-system-running", "--wait"])
    return result.out.strip() in ("running", "degraded")


def api_answers() -> bool:
    return shell.attempt(["podman", "exec", NAME, "bash", "-c", ": < /dev/tcp/127.0.0.1/8006"]).code == 0


def seed(work: Path) -> None:
    (work / "app_password").write_text("not used here\n")
    secrets = [f"app_password={work}/app_password", f"ca.crt={work}/ca.crt"]
    shell.run(
        [
            "python3", str(HERE / "build_guest.py"), "--cache", str(paths.CACHE), "--output", str(work / "disk.raw"),
            *(word for secret in secrets for word in ("--secret", secret)),
        ],
        timeout=600,
    )  # fmt: skip
    pack = subprocess.Popen(["tar", "-C", str(work), "-S", "-cf", "-", "disk.raw"], stdout=subprocess.PIPE)
    subprocess.run(
        ["podman", "exec", "-i", NAME, "tar", "-C", "/var/lib/vz", "-S", "-xf", "-"],
        stdin=pack.stdout, env=shell.environment(), check=True, timeout=120,
    )  # fmt: skip
    assert pack.wait(timeout=30) == 0
    podman(
        "exec", "-i", NAME, "/opt/bascule-lab/pve/seed-guest.sh", "100", "/var/lib/vz/disk.raw", data=CONFIG.encode()
    )


def remove() -> None:
    for command in (["rm", "--force", "--time", "1", "--volumes", NAME], ["network", "rm", "--force", NAME]):
        shell.attempt(["podman", *command], timeout=120)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxmoxAPI]:
    if shell.attempt(["podman", "image", "exists", IMAGE]).code:
        pytest.skip(f"{IMAGE} has not been built: run `make lab-up` or `tests/lab/lab.py image` first")
    work = tmp_path_factory.mktemp("node")
    remove()
    try:
        client = start_node(work)
        seed(work)
        yield client
    finally:
        remove()


class Node:
    """The API of the node, with tasks waited for."""

    def __init__(self, api: ProxmoxAPI) -> None:
        self.at = api.nodes(NAME)

    def done(self, upid: str, seconds: float = 180) -> list[str]:
        """Wait for a task that must end well; returns its log."""
        until(lambda: self.at.tasks(upid).status.get()["status"] == "stopped", seconds, f"the end of {upid}")
        log = [line["t"] for line in self.at.tasks(upid).log.get(limit=0)]
        assert self.at.tasks(upid).status.get()["exitstatus"] == "OK", "\n".join(log)
        return log

    def agent_answers(self, vmid: int) -> bool:
        try:
            self.at.qemu(vmid).agent.ping.post()
        except ResourceException as error:
            if "QEMU guest agent is not running" not in str(error):
                raise
            return False
        return True

    def wait_for_agent(self, vmid: int) -> None:
        until(lambda: self.agent_answers(vmid), BOOT_SECONDS, f"the agent of guest {vmid}")

    def run_inside(self, vmid: int, *command: str) -> str:
        """Run a program in the guest by its agent; returns its output."""
        pid = self.at.qemu(vmid).agent("exec").post(command=list(command))["pid"]
        ask = self.at.qemu(vmid).agent("exec-status")
        ended = until(lambda: (status := ask.get(pid=pid))["exited"] and status, 30, f"the end of {command}")
        assert ended["exitcode"] == 0, ended
        return str(ended.get("out-data", ""))

    def status(self, vmid: int) -> str:
        return str(self.at.qemu(vmid).status.current.get()["status"])


def test_a_guest_moves_by_backup_and_restore(api: ProxmoxAPI) -> None:
    """One story: every step needs the one before it, and a boot without KVM is dear."""
    node = Node(api)
    until(answers, BOOT_SECONDS, "the application in the seeded guest")
    node.wait_for_agent(100)
    node.run_inside(100, "/bin/sh", "-c", "echo carried > /var/lib/courses/marker; sync")

    log = node.done(node.at.vzdump.post(vmid=100, mode="snapshot", storage="local", compress="zstd"))
    assert "INFO: issuing guest-agent 'fs-freeze' command" in log
    assert answers(), "the guest runs on during and after its backup"
    assert node.at.qemu(100).agent("fsfreeze-status").post()["result"] == "thawed"
    assert podman("exec", NAME, "sh", "-c", "ls /var/tmp | grep vzdumptmp || true").strip() == ""
    (archive,) = node.at.storage("local").content.get(content="backup")

    restore = {"vmid": 200, "archive": archive["volid"], "storage": "local", "net0": f"{CARD},link_down=1", "onboot": 0}
    node.done(node.at.qemu.post(**restore))
    node.done(node.at.qemu(200).status.start.post())
    node.wait_for_agent(200)
    assert node.run_inside(200, "/bin/cat", "/var/lib/courses/marker") == "carried\n"

    # Both have the same address, and only the connected one is heard.
    node.done(node.at.qemu(100).status.shutdown.post(timeout=60))
    assert node.status(100) == "stopped"
    assert not answers()
    digest = node.at.qemu(200).config.get()["digest"]
    node.at.qemu(200).config.put(net0=CARD, digest=digest)
    until(answers, 30, "the restored guest, once its link is up")

    podman("exec", NAME, "systemctl", "restart", "pve-standin")
    until(
        lambda: shell.attempt(["podman", "exec", NAME, "bash", "-c", ": < /dev/tcp/127.0.0.1/8006"]).code == 0,
        10,
        "API",
    )
    assert (node.status(100), node.status(200)) == ("stopped", "running")

    # The node goes down and comes back: what has onboot starts, the other stays down.
    podman("restart", "--time", "60", NAME, timeout=180)
    until(systemd_is_up, 60, "systemd in the node")
    until(lambda: node.status(100) == "running", 30, "the guest with onboot")
    assert node.status(200) == "stopped"
    until(answers, BOOT_SECONDS, "the application after the node's reboot")
    console = podman("exec", NAME, "tail", "-n", "40", "/var/log/pve-standin/200.console")
    assert "reboot: Power down" in console, "the node's shutdown ended its guests cleanly"

    node.done(node.at.qemu(100).status.stop.post())
    for vmid in (100, 200):
        node.done(node.at.qemu(vmid).delete(purge=1))
    assert node.at.qemu.get() == []
    assert podman("exec", NAME, "ls", "/var/lib/vz/images").strip() == ""
