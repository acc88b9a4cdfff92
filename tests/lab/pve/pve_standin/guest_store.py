"""The configurations on disk, and the locks around them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import guest_config
from .errors import Failure
from .guest_config import Config
from .paths import Paths

LOCK_SECONDS = 10.0


class GuestStore:
    def __init__(self, paths: Paths, node: str, noun: str = "VM") -> None:
        self._paths = paths
        self._node = node
        self._configs = paths.configs if noun == "VM" else paths.container_configs

    def _config(self, vmid: int) -> Path:
        return self._configs / f"{vmid}.conf"

    def vmids(self) -> list[int]:
        return sorted(int(path.stem) for path in self._configs.glob("*.conf") if path.stem.isdigit())

    def exists(self, vmid: int) -> bool:
        return self._config(vmid).exists()

    def load(self, vmid: int) -> Config:
        """The configuration with its `digest`."""
        try:
            text = self._config(vmid).read_text()
        except FileNotFoundError as error:
            name = f"nodes/{self._node}/{self._configs.name}/{vmid}.conf"
            raise Failure(f"Configuration file '{name}' does not exist") from error
        return {**guest_config.parse(text), "digest": guest_config.digest(text)}

    def save(self, vmid: int, config: Config) -> None:
        write_durably(self._config(vmid), guest_config.render(config))

    def delete(self, vmid: int) -> None:
        self._config(vmid).unlink()

    def change(self, vmid: int, **values: str | None) -> Config:
        """Set (or, with None, remove) single values of a configuration whose lock the caller holds."""
        config = self.load(vmid)
        for key, value in values.items():
            if value is None:
                config.pop(key, None)
            else:
                config[key] = value
        self.save(vmid, config)
        return self.load(vmid)

    def applied(self, vmid: int) -> Config:
        """The cards that a running guest has and its configuration has others for."""
        try:
            kept: Config = json.loads(self._paths.applied(vmid).read_text())
        except FileNotFoundError:
            return {}
        return kept

    def keep_applied(self, vmid: int, cards: Config) -> None:
        write_durably(self._paths.applied(vmid), json.dumps(cards))

    @contextlib.contextmanager
    def locked(self, vmid: int, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
        """Hold the guest's lock file; `say` gets the line that a waiting task writes."""
        path = self._paths.locks / f"lock-{vmid}.conf"
        with path.open("a") as held:
            if not _try_lock(held.fileno()):
                say("trying to acquire lock...")
                deadline = time.monotonic() + LOCK_SECONDS
                while not _try_lock(held.fileno()):
                    if time.monotonic() > deadline:
                        raise Failure(f"can't lock file '/var/lock/qemu-server/{path.name}' - got timeout")
                    time.sleep(0.05)
                say(" OK")
            yield


def check_lock(config: Config, noun: str = "VM") -> None:
    if "lock" in config:
        raise Failure(f"{noun} is locked ({config['lock']})")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_durably(path: Path, text: str) -> None:
    """Replace a file so that a killed node has either the old text or the new one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o640)
        os.rename(name, path)
    except BaseException:
        os.unlink(name)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
