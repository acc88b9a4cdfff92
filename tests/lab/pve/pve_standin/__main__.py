"""The node's daemon and its two boot-time commands.

python3 -m pve_standin serve      the API on port 8006
python3 -m pve_standin start-all  start guests with onboot (once, when the node boots)
python3 -m pve_standin stop-all   shut all guests down (when the node goes down)
python3 -m pve_standin qm unlock VMID   what `qm unlock` does: no API call takes a lock away; `pct` likewise
python3 -m pve_standin pct exec VMID -- WORD…   run a command inside a container
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from . import vzdump_copy
from .errors import Failure
from .node import VERSIONS, Node
from .paths import Paths
from .server import make
from .tasks import Task, Worker

STOP_SECONDS = 30


def clean_up(node: Node) -> None:
    """What a backup that died with its daemon left behind. Its `lock: backup` stays, as with Proxmox."""
    for vmid in node.qemu.running():
        vzdump_copy.clean_up(node.qemu, vmid, node.store.load(vmid))
    for vmid in node.containers.running():
        node.containers.wake(vmid)
    for left in (*node.paths.scratch.glob("vzdumptmp-*"), *node.paths.dump.glob("*.dat")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


def tell_systemd(state: str) -> None:
    """The service manager's notification protocol; nothing where no manager asks for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            manager.send(state.encode())


def serve(node: Node, options: argparse.Namespace) -> int:
    clean_up(node)
    server = make(node, ("", options.port), options.certificate, options.key)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"pve-standin: node {node.name} answers on port {server.server_port}, guests running: {node.qemu.running()}")
    sys.stdout.flush()
    tell_systemd("READY=1")
    server.serve_forever(poll_interval=5)
    return 0


def start_all(node: Node) -> int:
    wanted, boxes = (
        [vmid for vmid in store.vmids() if store.load(vmid).get("onboot") == "1"]
        for store in (node.store, node.container_store)
    )

    def start(task: Task) -> None:
        for vmid in wanted:
            if node.qemu.pid(vmid) is None:
                task.log(f"Starting VM {vmid}")
                try:
                    node.start(task, vmid)
                except Failure as failure:
                    task.log(f"Starting VM {vmid} failed: {failure}")
        for vmid in boxes:
            if node.containers.pid(vmid) is None:
                task.log(f"Starting CT {vmid}")
                try:
                    node.start_container(task, vmid)
                except Failure as failure:
                    task.log(f"Starting CT {vmid} failed: {failure}")

    return _follow(node, "startall", start)


def stop_all(node: Node) -> int:
    def stop(task: Task) -> None:
        def one(vmid: int) -> None:
            task.log(f"Stopping VM {vmid}")
            try:
                node.shutdown(task, vmid, STOP_SECONDS, force=True, skiplock=True)
            except Failure as failure:
                task.log(f"Stopping VM {vmid} failed: {failure}")

        with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(one, node.qemu.running()))
        for vmid in node.containers.running():
            task.log(f"Stopping CT {vmid}")
            try:
                node.stop_container(task, vmid, STOP_SECONDS, force=True)
            except Failure as failure:
                task.log(f"Stopping CT {vmid} failed: {failure}")

    return _follow(node, "stopall", stop)


def unlock(node: Node, tool: str, words: list[str]) -> int:
    if len(words) != 2 or words[0] != "unlock" or not words[1].isdigit():
        print(f"400 not enough arguments: {tool} unlock <vmid>", file=sys.stderr)
        return 255
    store = node.container_store if tool == "pct" else node.store
    with store.locked(int(words[1])):
        store.change(int(words[1]), lock=None)
    return 0


def execute(node: Node, words: list[str]) -> int:
    """What `pct exec` does: run a command inside a running container."""
    pid = node.containers.pid(int(words[0]))
    if pid is None:
        print(f"container '{words[0]}' not running!", file=sys.stderr)
        return 255
    return subprocess.run(["nsenter", "--target", str(pid), "--all", "--", *words[1:]], check=False).returncode


def _follow(node: Node, kind: str, worker: Worker) -> int:
    """Run a task in this process and wait for it."""
    upid = node.tasks.start(kind, "", "root@pam", worker)
    ended = node.tasks.wait(upid)
    for line in node.tasks.log(upid, 0, 0)[0]:
        print(line["t"])
    return 0 if ended == "OK" else 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pve_standin", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("serve", "start-all", "stop-all", "qm", "pct"))
    parser.add_argument("words", nargs="*")
    parser.add_argument("--node", default=os.uname().nodename.partition(".")[0])
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--version", choices=VERSIONS, default="8.4", help="the version of Proxmox that is played")
    parser.add_argument("--schemas", type=Path, help="folder with Proxmox's own schemas, if it is at hand")
    parser.add_argument("--port", type=int, default=8006)
    parser.add_argument("--certificate", type=Path, default=Path("/etc/lab/tls/host.crt"))
    parser.add_argument("--key", type=Path, default=Path("/etc/lab/tls/host.key"))
    options = parser.parse_args(arguments)
    node = Node(options.node, Paths(options.root), options.version, options.schemas)
    if options.command == "pct" and options.words[:1] == ["exec"] and len(options.words) > 2:
        return execute(node, options.words[1:])
    if options.command in ("qm", "pct"):
        return unlock(node, options.command, options.words)
    if options.command == "serve":
        return serve(node, options)
    return start_all(node) if options.command == "start-all" else stop_all(node)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
