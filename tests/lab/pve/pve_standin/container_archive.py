"""vzdump and restore of containers: a real tar file of their files, made and read by the programs that Proxmox runs.

A stopped container's volumes are mounted read-only for it. A running one on raw files knows no snapshot, so that vzdump
copies it first, then keeps it still while rsync copies what has changed since, and packs the copy (`suspend`).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from . import guest_config
from .containers import Containers, volumes
from .errors import Failure, Vanished
from .faults import Faults
from .guest_config import Config
from .guest_store import GuestStore, check_lock
from .paths import Paths
from .restore import DECOMPRESSORS
from .tasks import Task
from .volumes import Volumes
from .vzdump_write import Backup

CONFIG = "./etc/vzdump/pct.conf"
_SAME = (
    "--sparse", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
)  # fmt: skip
# $0 is the folder to mount on, $1 how, then FILE:PLACE for each volume up to `--`, then what runs on them.
_MOUNTED = """
set -e
place=$0 how=$1
shift
while [ "$1" != -- ]; do
    at=$place${1##*:}
    mkdir -p "$at"
    mount -t ext4 -o "loop$how" "${1%:*}" "$at"
    shift
done
shift
"$@"
"""


def archived(config: Config) -> dict[str, dict[str, str]]:
    """The volumes that are in an archive: the root, and others where that is said."""
    return {key: options for key, options in volumes(config).items() if key == "rootfs" or options.get("backup") == "1"}


def on_volumes(command: list[str], place: Path, how: str, mounts: list[str]) -> list[str]:
    """The command that mounts volumes, for itself alone, and runs another on them."""
    alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNTED, str(place), how]
    return [*alone, *mounts, "--", *command]


class ContainerArchive:
    def __init__(
        self, paths: Paths, store: GuestStore, volumes_: Volumes, containers: Containers, faults: Faults
    ) -> None:
        self._paths = paths
        self._store = store
        self._volumes = volumes_
        self._containers = containers
        self._faults = faults

    def _mounts(self, config: Config, only: Mapping[str, object]) -> list[str]:
        return [
            f"{self._paths.volume(options['volume'])}:{options['mp']}"
            for key, options in volumes(config).items()
            if key in only
        ]

    # vzdump

    def write(self, backup: Backup, vmid: int, config: Config, running: bool, target: Path, compressor: str) -> None:
        """Write the archive; what is not whole has another name, and goes."""
        inside = archived(config)
        backup.say(f"CT Name: {config.get('hostname', f'CT{vmid}')}")
        for key, options in volumes(config).items():
            word = "including" if key in inside else "excluding"
            backup.say(f"{word} mount point {key} ('{options['mp']}') {'in' if key in inside else 'from'} backup")
        with tempfile.TemporaryDirectory(prefix="vzdumptmp-", dir=self._paths.scratch) as made:
            work = Path(made)
            noted = work / "config" / CONFIG
            noted.parent.mkdir(parents=True)
            noted.write_text(guest_config.render({k: v for k, v in config.items() if k not in ("lock", "digest")}))
            files = work / "files"
            files.mkdir()
            places = [f".{options['mp']}" if key != "rootfs" else "./" for key, options in inside.items()]
            tar = [
                "tar", "cpf", "-", *_SAME, "--one-file-system", "--warning=no-file-ignored",
                f"--directory={work / 'config'}", CONFIG, f"--directory={files}",
                "--no-anchored", "--exclude=lost+found", *places,
            ]  # fmt: skip
            if running:
                self._copy(backup, vmid, files, inside)
            else:
                tar = on_volumes(tar, files, ",ro", self._mounts(config, inside))
            backup.say(f"creating vzdump archive '{target}'")
            part = target.with_suffix(".dat")
            try:
                self._pack(backup, tar, compressor, part)
                part.rename(target)
            finally:
                part.unlink(missing_ok=True)

    def _copy(self, backup: Backup, vmid: int, files: Path, inside: Mapping[str, Mapping[str, str]]) -> None:
        def sync() -> None:
            for options in inside.values():
                there = f"{files}{options['mp']}"
                os.makedirs(there, exist_ok=True)
                root = f"/proc/{self._containers.pid(vmid)}/root{options['mp']}".rstrip("/")
                rsync = ["rsync", "-aHAXx", "--numeric-ids", "--delete", "--exclude=/lost+found", f"{root}/", there]
                done = subprocess.run(rsync, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise Failure(f"command '{shlex.join(rsync)}' failed: exit code {done.returncode}")

        backup.say("starting first sync")
        sync()
        backup.say("suspending guest")
        with self._containers.frozen(vmid):
            backup.say("starting final sync")
            sync()
        backup.say("guest is online again")

    def _pack(self, backup: Backup, tar: list[str], compressor: str, part: Path) -> None:
        script = f"{shlex.join(tar)} | {compressor}"
        with part.open("wb") as out:
            process = subprocess.Popen(["bash", "-o", "pipefail", "-c", script], stdout=out, stderr=subprocess.PIPE)
            assert process.stderr
            complaint = process.stderr.read().decode(errors="replace").strip()
            if process.wait():
                for line in complaint.splitlines():
                    backup.say(line, "ERROR")
                raise Failure(f"command 'set -o pipefail && {script}' failed: exit code {process.returncode}")
            backup.task.check()
            out.flush()
            os.fsync(out.fileno())

    # Restore

    def config_in(self, archive: Path) -> str:
        """The configuration in an archive."""
        script = f"{shlex.join([*DECOMPRESSORS[_packed(archive)], str(archive)])} | tar xOf - {CONFIG}"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"could not extract the configuration: {(done.stderr.splitlines() or [''])[-1]}")
        return done.stdout

    def restore(self, task: Task, vmid: int, archive: Path, overrides: Config, storage: str) -> None:
        """Make the container that an archive holds; one that fails leaves nothing, as with Proxmox."""
        made: list[str] = []
        with self._store.locked(vmid, task.log):
            try:
                task.log(f"recovering backed-up configuration from '{archive}'")
                config = guest_config.parse(self.config_in(archive))
                for volid in [options["volume"] for options in volumes(self._store.load(vmid)).values()]:
                    self._volumes.remove(volid)
                self._store.save(vmid, {"lock": "create"})
                for key, options in volumes(config).items():
                    config[key] = self._allocate(task, vmid, key, options, storage, made)
                self._extract(task, vmid, archive, config)
            except Vanished:
                raise
            except BaseException:
                for volid in made:
                    self._volumes.remove(volid)
                self._volumes.remove_folder(vmid)
                self._store.delete(vmid)
                raise
            task.log("merging backed-up and given configuration..")
            for key in ("lock", "template", "lxc"):
                config.pop(key, None)
            self._store.save(vmid, {**config, **overrides})

    def _allocate(self, task: Task, vmid: int, key: str, options: dict[str, str], storage: str, made: list[str]) -> str:
        size = guest_config.parse_size(options["size"])
        volid = self._volumes.allocate(vmid, size, storage)
        made.append(volid)
        path = self._volumes.path(volid)
        task.log(f"Formatting '{path}', fmt=raw size={size} preallocation=off")
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "root_owner=0:0", str(path)], check=True, capture_output=True
        )
        kept = {name: value for name, value in options.items() if name not in ("volume", "mp")}
        place = {} if key == "rootfs" else {"mp": options["mp"]}
        return guest_config.render_options({"volume": volid, **place, **kept}, "volume")

    def _extract(self, task: Task, vmid: int, archive: Path, config: Config) -> None:
        if self._faults.take("storage_full", vmid, at="restore"):
            raise Failure("command 'tar xpf -' failed: No space left on device")
        task.log(f"extracting archive '{archive}'")
        with tempfile.TemporaryDirectory(prefix="vzdumptmp-", dir=self._paths.scratch) as place:
            tar = ["tar", "xpf", "-", "--totals", *_SAME, "-C", place, "--skip-old-files"]
            tar += ["--anchored", "--exclude", "./dev/*"]
            mounts = self._mounts(config, volumes(config))
            script = shlex.join([*DECOMPRESSORS[_packed(archive)], str(archive)])
            script += f" | {shlex.join(on_volumes(tar, Path(place), '', mounts))}"
            done = subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False)
        for line in done.stderr.splitlines():
            task.log(line)
        if done.returncode:
            raise Failure(f"unable to restore CT {vmid} - command '{script}' failed: exit code {done.returncode}")
        task.check()

    def destroy(self, task: Task, vmid: int) -> None:
        with self._store.locked(vmid, task.log):
            config = self._store.load(vmid)
            check_lock(config, "CT")
            for options in volumes(config).values():
                self._volumes.remove(options["volume"])
            self._volumes.remove_folder(vmid)
            self._store.delete(vmid)
            shutil.rmtree(self._paths.run / f"ct-{vmid}", ignore_errors=True)


def _packed(archive: Path) -> str:
    if archive.suffix == ".tar":
        return ".vma"
    if archive.suffix not in DECOMPRESSORS:
        raise Failure(f"unable to parse archive name '{archive.name}'")
    return archive.suffix
