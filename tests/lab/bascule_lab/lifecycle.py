"""Bring the lab up and take it down. Both look at what is there and do only what is missing."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bascule_lab import credentials, faults, guest, image, kernel, paths, podman, provision, runtime, shell, storage
from bascule_lab.errors import LabError
from bascule_lab.topology import HOSTS, NETWORKS, Host, select
from bascule_lab.ui import Screen

TOOLS = ("podman", "mmdebstrap", "mkfs.ext4", "losetup", "ip", "ss")
DEVICES = {"tun": "/dev/net/tun", "loop": "/dev/loop-control"}
PARALLEL = 6
TUNNEL_SECONDS = 20
GONE_SECONDS = 15


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """One `up` or `down` at a time; the lock is the project's directory itself, so that nothing is left of it."""
    handle = os.open(paths.PROJECT, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError("another lab command is at work here", "wait for it, then try again") from error
        yield
    finally:
        os.close(handle)


def check_machine() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes networks, mounts and kernel settings", "run it as root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise LabError(f"not installed: {', '.join(missing)}", "tests/lab/install-packages.sh")
    for module, device in DEVICES.items():
        if not Path(device).exists():
            shell.attempt(["modprobe", module])
        if not Path(device).exists():
            raise LabError(f"there is no {device} on this machine, and loading the module {module} did not help")


def settings(scale: int | None, seed: str | None) -> tuple[int, str]:
    """Scale and seed are the lab's for its life: given once, remembered, and not to be changed in between."""
    known = json.loads(paths.SETTINGS.read_text()) if paths.SETTINGS.exists() else {}
    result = (scale or int(known.get("scale", 1)), seed or str(known.get("seed", "1")))
    if known and result != (known["scale"], known["seed"]):
        raise LabError(
            f"this lab was made with scale {known['scale']} and seed {known['seed']}, "
            f"asked for {result[0]} and {result[1]}",
            "make lab-down first",
        )
    paths.SETTINGS.write_text(json.dumps({"scale": result[0], "seed": result[1]}) + "\n")
    return result


def in_parallel(hosts: Sequence[Host], work: Callable[[Host], None]) -> None:
    """Run for every host; every failure is told, not only the first."""
    failures = []
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        futures = {host.name: pool.submit(work, host) for host in hosts}
        for future in futures.values():
            try:
                future.result()
            except LabError as error:
                failures.append(error)
    if failures:
        raise LabError("\n".join(str(error) for error in failures), failures[0].hint)


def build_images(screen: Screen) -> str:
    """The hosts' image and the guest's disk, both cached."""
    runtime.write_settings()
    tag = image.wanted_tag()
    if podman.image_exists(tag):
        image.build()
        screen.same(f"image {tag} is there")
    else:
        screen.line("building the image of the hosts (about a minute, once)")
        with screen.waiting("mmdebstrap"):
            image.build()
        screen.changed(f"built image {tag}")
    return tag


def build_guest(screen: Screen, personalised: bool) -> None:
    with screen.waiting("guest disk"):
        made = guest.build(personalised)
    if made:
        screen.changed("built the guest's disk")
    else:
        screen.same("the guest's disk is there")


def up(screen: Screen, scale: int | None = None, seed: str | None = None, only: list[str] | None = None) -> None:
    """Bring up the hosts asked for (all of them without `only`); a second time changes nothing."""
    check_machine()
    hosts = select(only)
    paths.private_directory(paths.STATE)
    with only_one():
        if runtime.write_settings():
            screen.changed(f"wrote podman's settings for this machine to {paths.CONTAINERS_CONF}")
        the_scale, the_seed = settings(scale, seed)
        raise_settings(screen)
        tag = build_images(screen)
        credentials.make_all(HOSTS)
        if any(host.kind == "pve" for host in hosts):
            build_guest(screen, personalised=True)
        make_networks(screen)
        existing = podman.containers()
        older = [host.name for host in hosts if is_older(existing.get(host.container), podman.image_id(tag))]
        if older:
            screen.line(f"made from an older image: {', '.join(older)}; to renew: make lab-down && make lab-up")
        # One after the other: two that look for a free loop device at once find the same.
        loops = {host.name: storage.ensure(host.name, the_scale) for host in hosts if host.kind == "files"}

        def bring_up(host: Host) -> None:
            container = existing.get(host.container)
            if container is None:
                podman.start(host, tag, devices_of(host, loops), volumes_of(host))
                container = podman.containers()[host.container]
                screen.changed(f"started {host.name} ({host.address})")
            elif container.state != "running":
                shell.run(["podman", "start", host.container])
                screen.changed(f"started {host.name} again, it was {container.state}")
            if provision.apply(host, container.id, the_scale, the_seed):
                screen.changed(f"set up {host.name}")

        with screen.waiting("hosts"):
            in_parallel(hosts, bring_up)
            if {"gw-mtp", "gw-tls"} <= {host.name for host in hosts}:
                wait_for_tunnel()
        # What the first container of a machine has made is there only now.
        raise_settings(screen)
    if screen.changes:
        screen.line(f"[bold green]the lab is up[/]: {len(hosts)} hosts, {screen.changes} changes")
    else:
        screen.line(f"[bold green]the lab was up already[/]: {len(hosts)} hosts, nothing changed")


def raise_settings(screen: Screen) -> None:
    for name, (before, after) in kernel.remember_and_raise().items():
        screen.changed(f"raised {name} from {before} to {after} ({kernel.NEEDED[name][1]}); lab-down puts it back")


def is_older(container: podman.Container | None, image_id: str) -> bool:
    return container is not None and container.image.removeprefix("sha256:") != image_id.removeprefix("sha256:")


def devices_of(host: Host, loops: dict[str, str]) -> list[str]:
    return [f"{loops[host.name]}:{host.env['LAB_FILES_DEVICE']}"] if host.name in loops else []


def volumes_of(host: Host) -> list[str]:
    return [f"{guest.DIRECTORY}:/var/lib/lab/guest:ro"] if host.kind == "pve" else []


def make_networks(screen: Screen) -> None:
    present = podman.networks()
    for network in NETWORKS:
        if network.podman_name not in present:
            podman.create_network(network)
            screen.changed(f"made network {network.podman_name} {network.subnet}")


def wait_for_tunnel() -> None:
    """WireGuard says nothing by itself: ask for the handshake, and send something to provoke it."""
    deadline = time.monotonic() + TUNNEL_SECONDS
    while time.monotonic() < deadline:
        podman.attempt("bascule-gw-mtp", ["ping", "-c", "1", "-W", "1", "198.18.7.2"])
        result = podman.attempt("bascule-gw-mtp", ["wg", "show", "wg0", "latest-handshakes"])
        if re.search(r"\t[1-9]\d*\s*$", result.out):
            return
        time.sleep(0.5)
    raise LabError(
        f"no WireGuard handshake between the gateways after {TUNNEL_SECONDS} s",
        "podman exec bascule-gw-mtp journalctl -u wg-quick@wg0",
    )


# --- down -------------------------------------------------------------------------------------------------------------
def down(screen: Screen, purge: bool = False) -> None:
    """Remove all of the lab, also what a half-failed `up` left; keeps only caches, and says so."""
    check_machine()
    with only_one():
        podman.wait_for_starts()
        names = sorted(podman.containers())
        if names:
            shell.run(["podman", "rm", "--force", "--time", "0", *names], timeout=180)
            screen.changed(f"removed {len(names)} containers")
        present = podman.networks()
        removed = [network.podman_name for network in NETWORKS if network.podman_name in present]
        if removed:
            shell.run(["podman", "network", "rm", *removed])
            screen.changed(f"removed {len(removed)} networks")
        faults.show_all()
        for bridge in remove_bridges():
            screen.changed(f"removed the bridge {bridge}")
        podman.forget_leases()
        ended = end_ssh_masters()
        if ended:
            screen.changed(f"ended {ended} idle SSH connections to the lab")
        for point in storage.unmount_all():
            screen.changed(f"unmounted {point}")
        for device in storage.detach_all():
            screen.changed(f"detached {device}")
        for name, (before, after) in kernel.restore(others_run=podman.any_running()).items():
            screen.changed(f"put {name} back from {before} to {after}")
        if purge:
            for tag in image.remove():
                screen.changed(f"removed image {tag}")
        kept = remove_state(keep=() if purge else paths.KEPT)
    # The kernel takes an interface away a moment after podman has said so.
    deadline = time.monotonic() + GONE_SECONDS
    while (left := leftovers()) and time.monotonic() < deadline:
        time.sleep(0.5)
    if left:
        raise LabError("still there: " + ", ".join(left), "make lab-down once more")
    if not purge:
        tags = image.all_tags()
        if tags or kept:
            screen.line("kept for the next time: " + ", ".join([*(f"image {tag}" for tag in tags), *kept]))
            screen.line("to remove these too: .venv/bin/python tests/lab/lab.py down --purge")
    screen.line("[bold green]the lab is down[/]" if screen.changes else "[bold green]the lab was down already[/]")


def remove_state(keep: tuple[Path, ...]) -> list[str]:
    """Remove everything below .lab but the caches; returns what stays."""
    if not paths.STATE.exists():
        return []
    kept = []
    for path in paths.STATE.iterdir():
        if path in keep:
            kept.append(str(path.relative_to(paths.PROJECT)))
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not kept:
        paths.STATE.rmdir()
    return sorted(kept)


def end_ssh_masters() -> int:
    """End the shared SSH connections that Ansible keeps open for a while; only those that lead to the lab."""
    pids = set()
    for network in NETWORKS:
        out = shell.run(["ss", "--no-header", "--tcp", "--processes", "--numeric", "dst", network.subnet])
        pids |= {int(pid) for pid in re.findall(r'"ssh",pid=(\d+)', out)}
    ended = 0
    for pid in pids:
        try:
            if b"[mux]" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)
                ended += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ended


def remove_bridges() -> list[str]:
    """Remove bridges of the lab that podman forgot: a start cut short may leave one after its network is gone."""
    ours = {network.host_address for network in NETWORKS}
    removed = []
    for line in shell.run(["ip", "-brief", "-4", "address", "show", "type", "bridge"]).splitlines():
        name, _, *addresses = line.split()
        if ours & {address.partition("/")[0] for address in addresses}:
            shell.run(["ip", "link", "delete", name])
            removed.append(name)
    return removed


def leftovers() -> list[str]:
    """What `down` must not leave, looked up afresh."""
    left = [f"container {name}" for name in podman.containers()]
    present = podman.networks()
    addresses = shell.run(["ip", "-brief", "address"])
    for network in NETWORKS:
        if network.podman_name in present:
            left.append(f"network {network.podman_name}")
        if f" {network.host_address}/" in addresses:
            left.append(f"an interface with {network.host_address}")
    backing = shell.run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]).split()
    left += [f"a loop device for {name}" for name in backing if name.startswith(f"{paths.STATE}/")]
    return left
