"""Where a node keeps things: Proxmox's own places, below a root that tests may move."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    root: Path = Path("/")
    # Where the devices of the thin storage have their names; there is such a storage where this folder is.
    devices: Path = Path("/dev/pve")

    @property
    def configs(self) -> Path:
        return self.root / "etc/pve/qemu-server"

    @property
    def container_configs(self) -> Path:
        return self.root / "etc/pve/lxc"

    @property
    def tokens(self) -> Path:
        return self.root / "etc/pve/priv/token.cfg"

    @property
    def users(self) -> Path:
        """Users who may log in with a password, as `user@realm password`."""
        return self.root / "etc/pve/priv/standin-users.cfg"

    @property
    def root_token(self) -> Path:
        """The token that may order faults; it belongs to the lab, not to whoever moves guests."""
        return self.root / "etc/pve/priv/standin-root.cfg"

    @property
    def jobs(self) -> Path:
        return self.root / "etc/pve/jobs.json"

    @property
    def retention(self) -> Path:
        """How many backups of a guest the storage keeps, a number; without the file it keeps all."""
        return self.root / "etc/pve/standin-retention"

    @property
    def privileges(self) -> Path:
        return self.root / "etc/pve/priv/standin-privileges.json"

    @property
    def storage(self) -> Path:
        return self.root / "var/lib/vz"

    @property
    def images(self) -> Path:
        return self.storage / "images"

    @property
    def thin(self) -> Path:
        """What lies behind the devices of the thin storage."""
        return self.root / "var/lib/pve-standin-thin"

    @property
    def dump(self) -> Path:
        return self.storage / "dump"

    @property
    def scratch(self) -> Path:
        return self.root / "var/tmp"

    @property
    def tasks(self) -> Path:
        return self.root / "var/log/pve/tasks"

    @property
    def consoles(self) -> Path:
        return self.root / "var/log/pve-standin"

    @property
    def run(self) -> Path:
        return self.root / "run/qemu-server"

    @property
    def locks(self) -> Path:
        return self.root / "var/lock/qemu-server"

    @property
    def vzdump_lock(self) -> Path:
        return self.root / "run/vzdump.lock"

    def make(self) -> None:
        for path in (
            self.configs,
            self.container_configs,
            self.images,
            self.dump,
            self.scratch,
            self.tasks,
            self.consoles,
            self.run,
            self.locks,
        ):
            path.mkdir(parents=True, exist_ok=True)
        self.tokens.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def config(self, vmid: int) -> Path:
        return self.configs / f"{vmid}.conf"

    def of_container(self, vmid: int) -> bool:
        """Whether a number is a container's."""
        return (self.container_configs / f"{vmid}.conf").exists()

    def console(self, vmid: int) -> Path:
        return self.consoles / f"{vmid}.console"

    def pid_file(self, vmid: int) -> Path:
        return self.run / f"{vmid}.pid"

    def container_pid(self, vmid: int) -> Path:
        """The number of a container's init, and when that began."""
        return self.run / f"ct-{vmid}.pid"

    def applied(self, vmid: int) -> Path:
        """The cards of a running guest that its configuration has others for from its next start on."""
        return self.run / f"{vmid}.applied.json"

    def qmp(self, vmid: int) -> Path:
        return self.run / f"{vmid}.qmp"

    def agent(self, vmid: int) -> Path:
        return self.run / f"{vmid}.qga"

    def serial(self, vmid: int) -> Path:
        return self.run / f"{vmid}.serial0"

    def volume(self, volid: str) -> Path:
        """The place of `local:100/vm-100-disk-0.raw`, `local:backup/vzdump-….vma.zst` or `local-lvm:vm-100-disk-0`."""
        storage, _, name = volid.partition(":")
        if storage == "local-lvm" and name and "/" not in name and not name.startswith("."):
            return self.devices / name
        kind, _, rest = name.partition("/")
        if storage != "local" or not rest or "/" in rest or rest.startswith("."):
            raise ValueError(f"unable to parse volume ID '{volid}'")
        # As Proxmox lays a folder storage out.
        folders = {"backup": self.dump, "iso": self.storage / "template/iso", "snippets": self.storage / "snippets"}
        return folders.get(kind, self.images / kind) / rest
