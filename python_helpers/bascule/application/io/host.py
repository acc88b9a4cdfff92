"""One application on one of its hosts: releases, the link `current`, the lock. Runs there, as root.

FOLDER/releases/RELEASE is never changed once it is whole; FOLDER/current is a link that is replaced by a rename;
FOLDER/shared is what all releases have in common; FOLDER/.bascule holds the lock and which releases were good.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Callable

from ...entrance.io import https
from ...errors import BasculeError, CommandFailed
from ...system.io import storage, units
from ...system.io.process import Runner, run
from .. import recipes, releases
from ..releases import DeployError, Look

_MARK = ".bascule.json"
_BUILD_SECONDS = 1800
Ask = Callable[..., Any]


class Host:
    """The application's folder on this host."""

    def __init__(self, folder: str, unit: str, runner: Runner = run, ask: Ask = https.request) -> None:
        self.folder = Path(folder)
        self.unit = unit
        self._run = runner
        self._ask = ask
        self._own = self.folder / ".bascule"

    def release(self, name: str) -> Path:
        """Return a release's folder."""
        return self.folder / "releases" / name

    def look(self) -> Look:
        """Return what is here."""
        marked = [
            (float(note["at"]), path.name)
            for path in storage.children(self.folder / "releases")
            if (note := storage.read_json(path / _MARK)) is not None
        ]
        return Look(
            releases=tuple(name for _, name in sorted(marked)),
            current=self.current(),
            good=tuple(storage.read_json(self._own / "good.json") or ()),
            holder=storage.read_json(self._own / "lock.json"),
        )

    def current(self) -> str:
        """Return the release that the link names; empty where there is none."""
        try:
            return Path(os.readlink(self.folder / "current")).name
        except FileNotFoundError:
            return ""

    # --- the lock

    def take(self, note: Mapping[str, Any], over: str) -> Mapping[str, Any] | None:
        """Take the lock for the process of this note; return the note of who has it, where it is not taken.

        What a dead one has begun here and is about to change comes to its end first.

        Args:
            note: the process, with its `token`. over: the token of a holder that was proved dead, whom it replaces.
        """
        path = self._own / "lock.json"
        storage.make_directory(self._own)
        with self._alone():
            holder = storage.read_json(path)
            if holder is not None and holder["token"] not in (note["token"], over):
                return dict(holder)
            storage.write_json(path, dict(note))
        return None

    def give(self, token: str) -> bool:
        """Give the lock back; return whether it was this token's."""
        with self._alone():
            holder = storage.read_json(self._own / "lock.json")
            if holder is None or holder["token"] != token:
                return False
            return storage.remove(self._own / "lock.json")

    def held_by(self, token: str) -> None:
        """Raise DeployError unless the lock is this token's: whoever was taken for dead changes nothing any more."""
        holder = storage.read_json(self._own / "lock.json")
        if holder is None or holder["token"] != token:
            raise DeployError(
                expected="the lock of this deployment",
                found=f"another one's: {holder}" if holder else "none",
                state=f"{self.folder}/current names {self.current() or 'nothing'}",
                next_command="see who deploys, then run the same command again",
            )

    # --- releases

    def stage(self, order: Mapping[str, Any]) -> bool:
        """Make a release out of its archive, build it and test it; return whether there was anything to do.

        Args:
            order: `name`, `token`, `archive`, `digest` (SHA-256), `account`, `shared`, `assets`, `prerequisites`,
                `build` and `test`.

        Raises:
            DeployError: it did not come to a whole release. What serves is as it was.
        """
        # One that was broken off may still build here: it comes to its end, and what is whole then is used.
        with self._alone("building"):
            self.held_by(str(order["token"]))
            return self._staged(order)

    def _staged(self, order: Mapping[str, Any]) -> bool:
        name = str(order["name"])
        place = self.release(name)
        if storage.read_json(place / _MARK) is not None:
            return False
        if self.current() == name:
            raise self._failed(name, f"the link `current` names it, and it has no {_MARK}", "deploy another version")
        for one in order["prerequisites"]:
            self._has(one)
        try:
            if place.exists():
                # Of a deployment that was broken off: it never had its mark, so nothing serves from it.
                shutil.rmtree(place)
            place.mkdir(parents=True, mode=0o755)
            _unpack(Path(order["archive"]), str(order["digest"]), place)
            account = pwd.getpwnam(str(order["account"]))
            for path in order["shared"]:
                self._share(place, str(path), account)
            _owned(place, account.pw_uid, account.pw_gid)
            environment = {"HOME": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
            for argv in [*order["build"], *order["test"]]:
                self._run(argv, timeout=_BUILD_SECONDS, env=environment, cwd=str(place), user=account.pw_name)
            self._keep_assets(place, order["assets"])
            # From here on it is root's: the application cannot change its own code.
            _owned(place, 0, account.pw_gid)
        except (CommandFailed, OSError, tarfile.TarError, KeyError) as error:
            found = error.found if isinstance(error, BasculeError) else " ".join(str(error).split())
            wanted = f" ({error.expected})" if isinstance(error, BasculeError) else ""
            raise self._failed(name, found + wanted, "correct the artefact and deploy it again") from error
        storage.write_json(place / _MARK, {"digest": order["digest"], "at": time.time()}, 0o644)
        return True

    def activate(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Have this host serve a release: link, unit, then health and version.

        Args:
            order: `name`, `token`, `address`, `port`, `health`, `version`, `logs`.

        Raises:
            DeployError: it does not serve as it should; the link names it all the same.
        """
        name = str(order["name"])
        with self._alone():
            self.held_by(str(order["token"]))
            if storage.read_json(self.release(name) / _MARK) is None:
                raise self._failed(name, f"no whole release in {self.release(name)}", "deploy that version again")
            before = self.current()
            if self.serves(order):
                return {"changed": False, "before": before}
            self._link(name)
            units.set_enabled(self.unit, enabled=True, runner=self._run)
            self._run(["systemctl", "restart", self.unit], timeout=120, check=False)
        deadline = time.monotonic() + order["health"]["seconds"]
        while complaint := self._complaint(order):
            if time.monotonic() >= deadline:
                said = " ".join(units.last_messages(self.unit.removesuffix(".service"), self._run).split())[-600:]
                raise DeployError(
                    expected=f"{name} to answer {order['health']['path']} with {order['health']['status']} within "
                    f"{order['health']['seconds']} s, and to say its version",
                    found=f"{complaint}; the unit said last: {said or 'nothing'}",
                    state=f"{self.folder}/current names {name}; before it was {before or 'none'}",
                    next_command=str(order["logs"]),
                )
            time.sleep(0.1)
        return {"changed": True, "before": before}

    def serves(self, order: Mapping[str, Any]) -> bool:
        """Return whether this host serves a release already; `order` is that of `activate`."""
        return self.current() == order["name"] and not self._complaint(order)

    def running(self) -> str:
        """Return the release that the unit's process stands in; a process that was not started anew has the old one."""
        pid = units.shown(self.unit, "MainPID", runner=self._run).get("MainPID", "0")
        try:
            return Path(os.readlink(f"/proc/{pid}/cwd")).name if pid not in ("", "0") else ""
        except OSError:
            return ""

    def settle(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Note that a release has served well everywhere, or that one was left; remove what may go.

        Args:
            order: `token`, `good`: the release; `left`: those that no return goes to any more; `keep`: how many stay.
        """
        with self._alone():
            self.held_by(str(order["token"]))
            return self._settled(order)

    def _settled(self, order: Mapping[str, Any]) -> dict[str, Any]:
        look = self.look()
        good = [one for one in look.good if one not in (order["good"], *order["left"])] + [order["good"]]
        changed = list(look.good) != good
        if changed:
            storage.write_json(self._own / "good.json", good)
        gone = releases.removable(self.look(), int(order["keep"]))
        for name in gone:
            # Without its mark it is none, also where the removal is broken off.
            storage.remove(self.release(name) / _MARK)
            shutil.rmtree(self.release(name))
        return {"changed": changed or bool(gone), "removed": gone}

    # --- parts

    @contextlib.contextmanager
    def _alone(self, what: str = "guard") -> Iterator[None]:
        """Wait until no other process of this host does such a thing; the kernel frees it where one dies."""
        with (self._own / what).open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _link(self, name: str) -> None:
        link = self._own / "current.new"
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(f"releases/{name}")
        os.replace(link, self.folder / "current")
        storage.sync_directory(self.folder)

    def _has(self, one: Mapping[str, Any]) -> None:
        try:
            done = self._run(one["command"], timeout=60)
            found = " ".join((done.stdout or done.stderr).split())
        except CommandFailed as error:
            found = error.found
        if not recipes.is_enough(found, str(one["at_least"])):
            raise DeployError(
                expected=f"{one['name']} {one['at_least']} or newer on this host",
                found=found or "nothing",
                state="nothing was changed",
                next_command=f"apt-get install {one['package']}",
            )

    def _share(self, place: Path, path: str, account: pwd.struct_passwd) -> None:
        real, link = self.folder / "shared" / path, place / path
        if link.is_symlink() or (link.exists() and (not link.is_dir() or any(link.iterdir()))):
            raise OSError(f"the artefact brings {path}, which the releases share: it would hide what is there")
        if not real.exists():
            real.mkdir(parents=True, mode=0o750)
            os.chown(real, account.pw_uid, account.pw_gid)
        if link.is_dir():
            link.rmdir()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real)

    def _keep_assets(self, place: Path, folders: Sequence[str]) -> None:
        """Add what pages of the release before still ask for: files that the new one does not have."""
        serving = self.current()
        for folder in folders if serving else ():
            old = self.release(serving) / folder
            for path in sorted(old.rglob("*")) if old.is_dir() else []:
                copy = place / folder / path.relative_to(old)
                if path.is_file() and not path.is_symlink() and not copy.exists():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, copy)

    def _complaint(self, order: Mapping[str, Any]) -> str:
        """Return what is wrong with the answers of the application; empty where they are as they should be."""
        target = https.Target(str(order["address"]), str(order["address"]), "", int(order["port"]), https.HTTP)
        health, version = order["health"], order["version"]
        answer = self._ask(target, str(health["path"]), timeout=5.0)
        if answer.error or answer.status != health["status"]:
            return f"{health['path']}: {answer.error or f'status {answer.status}'}"
        answer = self._ask(target, str(version["path"]), timeout=5.0)
        text = answer.body.decode("utf-8", "replace")
        if answer.error or version["contains"] not in text:
            return f"{version['path']}: {answer.error or f'{text[:80]!r}, without {version}'}"
        standing = self.running()
        return "" if standing == order["name"] else f"the unit's process stands in {standing or 'nothing'}"

    def _failed(self, name: str, found: str, what: str) -> DeployError:
        return DeployError(
            expected=f"a whole release {name}",
            found=found,
            state=f"{self.folder}/current names {self.current() or 'nothing'}, as before",
            next_command=what,
        )


def _unpack(archive: Path, digest: str, place: Path) -> None:
    """Unpack an archive whose digest is known, and nothing that would lie elsewhere."""
    with archive.open("rb") as stream:
        seen = hashlib.sha256()
        while block := stream.read(1 << 20):
            seen.update(block)
        if seen.hexdigest() != digest:
            raise OSError(f"{archive} has SHA-256 {seen.hexdigest()}, not {digest}")
        stream.seek(0)
        with tarfile.open(fileobj=stream) as tar:
            members = tar.getmembers()
            for one in members:
                if not (one.isfile() or one.isdir() or one.issym()):
                    raise OSError(f"{one.name} is neither file, folder nor link")
                ends = os.path.normpath(os.path.join("/x", one.name))
                leads = os.path.normpath(os.path.join(os.path.dirname(ends), one.linkname)) if one.issym() else ends
                if one.name.startswith("/") or not all(f"{path}/".startswith("/x/") for path in (ends, leads)):
                    raise OSError(f"{one.name} leads out of the release")
                one.mode = (one.mode & 0o755) | 0o400
            links = {os.path.normpath(one.name) for one in members if one.issym()}
            for one in members:
                parents = list(Path(os.path.normpath(one.name)).parents)
                if any(str(parent) in links for parent in parents):
                    raise OSError(f"{one.name} lies behind a link of the archive")
            for one in members:
                tar.extract(one, place)


def _owned(place: Path, uid: int, gid: int) -> None:
    """Give a tree to an account; links are not followed, and root's is writable for nobody else."""
    for root, folders, files in os.walk(place):
        for path in [Path(root), *(Path(root, name) for name in (*folders, *files))]:
            os.chown(path, uid, gid, follow_symlinks=False)
            if uid == 0 and not path.is_symlink():
                mode = path.stat().st_mode
                # The account reads it by its group.
                path.chmod((mode & ~0o022) | (mode & 0o500) >> 3)
