"""Freeze, copy, close, open and thaw one side's databases, each with the proof that it did so."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import GuardRefused
from ...guard import state as rule
from ...guard.io import fence_settings, store
from ...guard.state import Epoch, GuardState, Receipt, Word
from ...system import mountinfo
from ...system.io import process, rsync, storage
from ...system.io.process import Runner
from ...system.rsync import Job, rsync_command
from ...system.safety_dump import PROVED, RUNNING
from .. import content, decisions
from ..decisions import BETWEEN, CLOSED, EMPTY, MISSING, OPEN, SqliteError
from . import database, holders, safety_dump
from .fence import DRAIN, Place

# What every module takes as `sqlite`: which databases, and the units of the application that has them open.
OPTIONS: dict[str, dict[str, Any]] = {
    "databases": {"type": "list", "elements": "path", "required": True},
    "units": {"type": "list", "elements": "str", "default": []},
}
Fetch = Callable[[str, str], None]


@dataclass
class Side:
    """One side's databases on this host."""

    component: str
    side: str
    options: Mapping[str, Any]
    check: bool = False
    runner: Runner = process.run
    drain: float = DRAIN

    def __post_init__(self) -> None:
        """Find where the databases are."""
        self.places = [Place(str(path)) for path in self.options["databases"]]

    @property
    def out(self) -> Path:
        """Where the other side reads copies: nobody but root sees what lies there."""
        return store.GUARD_DIRECTORY.parent / self.component / "out"

    def guard(self) -> GuardState:
        """Read the guard."""
        return store.read(self.component, self.side)

    def mode(self) -> str:
        """Return OPEN, CLOSED or BETWEEN for all databases together."""
        return decisions.together([place.mode() for place in self.places])

    def measure(self) -> dict[str, Any]:
        """Describe every database of this side, and SQLite itself; nothing is changed, and no lock kept."""
        found = [self._measure(place) for place in self.places]
        wrong = decisions.path_faults([place.path for place in self.places])
        return {
            "sqlite": sqlite3.sqlite_version,
            "mode": self.mode(),
            "databases": found,
            "units": {unit: self._runs(unit) for unit in self.options["units"]},
            "faults": wrong + [fault for one in found for fault in decisions.faults(one)],
        }

    def prepare(self) -> bool:
        """Leave what the boot fence needs, and see that this file system can close a database."""
        faults = [fault for fault in (self.measure()["faults"]) if fault]
        if not self.check:
            faults += [fault for fault in (place.tried() for place in self.places if place.mode() == OPEN) if fault]
        if faults:
            raise SqliteError(
                expected=f"databases of {self.side} that can be closed",
                found="; ".join(faults),
                state="nothing was taken over or changed",
                next_command="mend what is named, then run the same playbook again",
            )
        return fence_settings.keep(
            self.component, self.side, "sqlite", self.places[0].path, base=store.GUARD_DIRECTORY.parent,
            check=self.check, databases=[place.path for place in self.places], units=list(self.options["units"]),
        )  # fmt: skip

    def fenced(self) -> dict[str, Any]:
        """Close what the guard calls closed."""
        with self._locked():
            guard = self.guard()
            changed = guard.status == rule.CLOSED and self._shut()
        return {"changed": changed, "guard": guard.to_dict(), "mode": self.mode()}

    def freeze(self, written: bool = True) -> dict[str, Any]:
        """Stop the application, close the databases, and see a write of their owner refused that passed before.

        Args:
            written: refuse to begin where the write does not pass; a way back does not depend on it.
        """
        guard = self.guard()
        if guard.status == rule.UNKNOWN:
            if self.check:
                return {"changed": True, "guard": guard.to_dict(), "active": self.mode() == OPEN}
            raise GuardRefused(
                expected=f"a guard state of {self.component} at {self.side}",
                found="none: this side has not been taken over",
                state="nothing was changed",
                next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {self.component}",
            )
        if guard.status != rule.OPEN:
            with self._locked():
                guard = self.guard()
                changed = guard.status != rule.OPEN and self._shut()
            return {"changed": changed, "guard": guard.to_dict(), "active": False}
        if self.check:
            return {"changed": self.mode() == OPEN, "guard": guard.to_dict(), "active": True}
        before = self.attempts() if not guard.frozen else {}
        passed = [path for path, said in before.items() if said == database.WRITTEN]
        if written and len(passed) != len(before):
            raise SqliteError(
                expected=f"a write by its owner to pass at each database of {self.side} before it is closed",
                found="; ".join(f"{path}: {said}" for path, said in before.items() if said != database.WRITTEN),
                state="nothing was changed",
                next_command="see why the application cannot write, then run the same playbook again",
            )
        guard, marked = store.frozen(self.component, self.side, True)
        with self._locked():
            now = self.guard()
            if now.status != rule.OPEN or not now.frozen:
                raise GuardRefused(
                    expected=f"{self.side} to be open and frozen",
                    found=now.describe(),
                    state="another run took over in between",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            changed = self._shut() or marked
            refused = self._refused()
        return {
            "changed": changed, "guard": guard.to_dict(), "active": True, "closed": True, "before": before,
            "refused": refused,
        }  # fmt: skip

    def publish(self) -> dict[str, Any]:
        """Lay out a copy of every database for the other side, and say what is in each; only an open side does."""
        guard = self.guard()
        if self.check:
            return {"changed": False, "guard": guard.to_dict(), "copies": []}
        if guard.status != rule.OPEN:
            raise GuardRefused(
                expected=f"{self.side} to be open, so that what it has is the latest",
                found=guard.describe(),
                state="nothing was copied",
                next_command="ansible-playbook playbooks/status.yml",
            )
        storage.make_directory(self.out)
        copies = []
        for number, place in enumerate(self.places):
            target, still = str(self.out / f"{number}.sqlite"), place.mode() == CLOSED
            database.copy(place.file, target, still=still)
            status = os.stat(place.file)
            copies.append({
                "path": place.path, "file": target, "content": database.read(target, still=True), "still": still,
                "owner": pwd.getpwuid(status.st_uid).pw_name, "group": grp.getgrgid(status.st_gid).gr_name,
                "mode": status.st_mode & 0o777, "size": storage.size(target),
            })  # fmt: skip
        return {"changed": True, "guard": guard.to_dict(), "copies": copies}

    def pull(self, copies: Sequence[Mapping[str, Any]], fetch: Fetch) -> dict[str, Any]:
        """Bring the other side's copies over, prove each whole and the same, and put it in its place.

        Args:
            copies: what `publish` has said at the other side.
            fetch: brings a file of the other side to a path here.
        """
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict(), "comparison": {}}
        compared: list[dict[str, Any]] = []
        with self._locked():
            guard = self.guard()
            if guard.status != rule.CLOSED:
                raise GuardRefused(
                    expected=f"{self.side} to be closed, so that a copy may take the place of what it has",
                    found=guard.describe(),
                    state="nothing was changed",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            self._shut()
            there = {str(one["path"]): one for one in copies}
            if set(there) != {place.path for place in self.places}:
                raise SqliteError(
                    expected=f"copies of {', '.join(place.path for place in self.places)}",
                    found=", ".join(sorted(there)) or "none",
                    state="nothing was changed",
                    next_command="declare the same databases at both sides",
                )
            for place in self.places:
                compared.append(self._arrive(place, there[place.path], fetch))
        return {"changed": True, "guard": guard.to_dict(), "comparison": _summed(compared)}

    def close(self, epoch: str, other: GuardState | None = None, *, dump: bool = False) -> dict[str, Any]:
        """Close for an epoch and give the receipt; one that is back after `other` has given it up closes for good.

        With `dump` its safety dump begins, which nobody waits for here.
        """
        if self.check:
            promised = rule.promise(self._as_prepared(rule.adopt_open), Epoch.parse(epoch))
            guard, receipt = rule.closed(promised, Epoch.parse(epoch), {}, "check mode")
            return {"changed": True, "guard": guard.to_dict(), "receipt": receipt.to_dict()}
        # A side that is closed already holds what has arrived since, and not what it had itself.
        own = self.guard().status != rule.CLOSED
        closing = (
            store.giving_way(self.component, self.side, other, epoch)
            if other is not None
            else store.closing(self.component, self.side, epoch)
        )
        with closing as held:
            before = held.was_closed
            changed = self._shut() or not before
            self._refused()
            if own and not before:
                for place in self.places:
                    place.keep()
            receipt = held.closed(self.position())
        warnings = safety_dump.begin(self.component, self.side, epoch, self.runner) if dump else []
        said = {"changed": changed, "guard": held.state.to_dict(), "receipt": receipt.to_dict()}
        return {**said, "warnings": warnings} if warnings else said

    def open(self, epoch: str, receipt: Mapping[str, Any], other: GuardState) -> dict[str, Any]:
        """Take the permit to be open if exactly what the receipt says lies here; writers are let in by the thaw."""
        if self.check:
            closed = self._as_prepared(rule.adopt_closed)
            guard = rule.may_open(closed, Epoch.parse(epoch), Receipt.from_dict(receipt), True)
            return {"changed": True, "guard": guard.to_dict()}
        given = Receipt.from_dict(receipt)
        safety_dump.stop(self.component, self.runner)
        # The side that was open last has the latest, whatever the other one did not get.
        leads = rule.leader(self.guard(), other) == self.side
        with store.opening(
            self.component, self.side, epoch, receipt, reached=lambda: leads or self._reached(given.position)
        ) as held:
            changed = self._shut() or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def take_over(self, word: Word) -> dict[str, Any]:
        """Take the permit by a person's word that the other side is lost: with the copy that arrived last."""
        if self.check:
            return {"changed": True, "guard": self.guard().to_dict()}
        if missing := [place.path for place in self.places if place.mode() in (EMPTY, MISSING)]:
            raise SqliteError(
                expected=f"a copy of every database at {self.side}",
                found=f"none of {', '.join(missing)}",
                state="nothing was opened",
                next_command="restore a backup of it to the other name, by hand",
            )
        with store.opening_by_word(self.component, self.side, word) as held:
            changed = self._shut() or not held.was_open
            guard = held.opened(frozen=True)
        return {"changed": changed, "guard": guard.to_dict()}

    def thaw(self) -> dict[str, Any]:
        """Put the databases where the application finds them, and start it; when that fails, all is as before."""
        if self.check:
            guard = self.guard()
            return {"changed": self.mode() != OPEN or guard.frozen, "guard": guard.to_dict()}
        with store.thawing(self.component, self.side) as (guard, was_frozen):
            try:
                changed = [place.path for place in self.places if place.open()]
                for unit in self.options["units"]:
                    if not self._runs(unit):
                        self.runner(["systemctl", "start", unit], timeout=120)
                        changed.append(unit)
            except BaseException:
                if was_frozen:
                    self._shut()
                raise
        return {"changed": bool(changed) or was_frozen, "guard": guard.to_dict()}

    def retire(self, *, active: bool) -> dict[str, Any]:
        """Remove the copies that the moves have left, of which nobody reads one any more; the database itself stays.

        What the closed side had when it closed is removed only when the encrypted dump of that switch is proved.

        Args:
            active: whether this is the side that stays.

        Raises:
            SqliteError: it is not the side it is said to be, or its dump is still at work.
        """
        guard, wanted = self.guard(), rule.OPEN if active else rule.CLOSED
        dump = safety_dump.state(self.component, guard, self.runner)["state"]
        busy = dump == RUNNING
        if guard.status != wanted or guard.frozen or busy:
            raise SqliteError(
                expected=f"{self.component} at {self.side} to be {wanted}, and no safety dump at work",
                found=guard.describe() + (", and its safety dump is taken" if busy else ""),
                state="nothing was removed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        with self._locked():
            changed = not active and self._shut()
            done = [path for place in self.places for path in place.leftovers(kept=active or dump == PROVED)]
            done += [str(self.out)] if storage.is_directory(self.out) else []
            if not self.check:
                for place in self.places:
                    place.clear(kept=active or dump == PROVED)
                shutil.rmtree(self.out, ignore_errors=True)
        left = [place.kept for place in self.places if not active and dump != PROVED and storage.is_file(place.kept)]
        return {"changed": changed or bool(done), "done": done, "left": left, "guard": guard.to_dict()}

    def position(self) -> dict[str, str]:
        """Return the digest of what each closed database holds, by its path."""
        return {
            place.path: content.identity(database.read(place.inside, still=True))
            for place in self.places
            if place.mode() == CLOSED
        }

    def attempts(self) -> dict[str, str]:
        """Try to write to each database as its owner does; return what came of it, by path."""
        found = {}
        for place in self.places:
            here = Path(place.file)
            owner = here.stat() if here.exists() else None
            found[place.path] = database.write(place.path, owner.st_uid, owner.st_gid) if owner else "no such file"
        return found

    def tried(self, written: bool) -> dict[str, str]:
        """Try to write to each database as its owner does; raise SqliteError where that passes or fails against it."""
        seen = {} if self.check else self.attempts()
        wanted = database.WRITTEN if written else decisions.REFUSED
        wrong = {path: said for path, said in seen.items() if said != wanted}
        if wrong:
            raise SqliteError(
                expected=f"a write to each database of {self.side} to {'pass' if written else 'be refused'}",
                found="; ".join(f"{path}: {said}" for path, said in wrong.items()),
                state="nothing was changed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        return seen

    def _refused(self) -> dict[str, str]:
        found = self.attempts()
        root = {place.path: database.write(place.path, os.geteuid(), os.getegid()) for place in self.places}
        # An attempt that could not be made, or met a lock, is no refusal; what root does not get nobody gets.
        if wrong := [path for path in found if root[path] != decisions.REFUSED or found[path] == database.WRITTEN]:
            raise SqliteError(
                expected=f"a write to each database of {self.side} to be refused, to its owner and to root, by "
                f"'{decisions.REFUSED}'",
                found="; ".join(f"{path}: {found[path]}; root: {root[path]}" for path in wrong),
                state="the databases lie closed as far as Bascule sees; no receipt was given",
                next_command="ls -la on that path; ansible-playbook playbooks/rollback.yml",
            )
        return found

    def _arrive(self, place: Place, there: Mapping[str, Any], fetch: Fetch) -> dict[str, Any]:
        storage.remove(place.incoming)
        database.must_have_room(place.path, int(there.get("size", 0)))
        if place.mode() == CLOSED:
            # What is the same already does not travel.
            shutil.copyfile(place.inside, place.incoming)
            os.chmod(place.incoming, 0o600)
        fetch(str(there["file"]), place.incoming)
        here = database.read(place.incoming, still=True)
        different = content.differences(there["content"], here)
        faults = [*different, *database.check(place.incoming, still=True)]
        if faults:
            storage.remove(place.incoming)
            raise SqliteError(
                expected=f"a copy of {place.path} that is whole and the same as at the other side",
                found="; ".join(faults[:20]),
                state="it was thrown away; what lay here before still does",
                next_command="PRAGMA integrity_check and foreign_key_check at the side that serves; then run the same "
                "playbook again",
            )
        try:
            owner = (pwd.getpwnam(str(there["owner"])).pw_uid, grp.getgrnam(str(there["group"])).gr_gid)
        except KeyError as error:
            storage.remove(place.incoming)
            raise SqliteError(
                expected=f"the account {there['owner']} and the group {there['group']} at {self.side}, whose file "
                f"{place.path} is",
                found=str(error),
                state="the copy was thrown away",
                next_command="make the account there, then run the same playbook again",
            ) from error
        place.take(owner, int(there["mode"]))
        return {**here, "path": place.path, "different": different}

    def _reached(self, position: Mapping[str, str]) -> bool | str:
        faults = decisions.receipt_faults(position, self.position(), self.side)
        return "; ".join(faults) if faults else True

    def _shut(self) -> bool:
        """Stop the units and close every database; in check mode say whether there is anything to do."""
        runs = [unit for unit in self.options["units"] if self._runs(unit)]
        if self.check:
            return bool(runs) or self.mode() != CLOSED
        for unit in runs:
            self.runner(["systemctl", "stop", unit], timeout=120)
        return bool([place.path for place in self.places if place.shut(self.drain)] or runs)

    def _runs(self, unit: str) -> bool:
        done = self.runner(["systemctl", "show", "--property=ActiveState", "--value", unit], check=False)
        return done.stdout.strip() not in ("inactive", "failed", "")

    def _measure(self, place: Place) -> dict[str, Any]:
        mode, path = place.mode(), place.path
        mounts = mountinfo.parse_mountinfo(storage.read_text("/proc/self/mountinfo") or "")
        mount = mountinfo.holder(mounts, os.path.realpath(os.path.dirname(path)))
        here = place.file
        known = {
            "path": path, "mode": mode, "file_system": mount.kind if mount else "", "symlink": os.path.islink(path),
            "links": 1, "mounted": [], "holders": [], "size": 0,
        }  # fmt: skip
        if mode not in (OPEN, CLOSED, BETWEEN):
            return known
        status = os.stat(here)
        known.update(size=status.st_size, owner=status.st_uid, group=status.st_gid, access=oct(status.st_mode & 0o777))
        if mode == OPEN:
            log = Path(f"{path}-wal")
            known.update(
                links=status.st_nlink, mounted=holders.mounted(path), holders=holders.of(path),
                log=log.stat().st_size if log.exists() else 0, **database.header(path),
            )  # fmt: skip
        return known

    def _as_prepared(self, adopt: Callable[[GuardState], GuardState]) -> GuardState:
        guard = self.guard()
        return adopt(guard) if guard.status == rule.UNKNOWN else guard

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self.check:
            yield
            return
        with storage.locked(store.GUARD_DIRECTORY / f"{self.component}.lock", store.LOCK_WAIT):
            yield


def fetcher(component: str, address: str, port: int, user: str = "root") -> Fetch:
    """Return what brings a file over from the other side, by the key of this component."""

    def fetch(source: str, target: str) -> None:
        job = Job(component, "sqlite", address, port, user, (), True, 4096, 0, False)
        rsync.carry(rsync_command(job, source, target), lambda _: None)

    return fetch


def fence(component: str) -> str:
    """Close databases whose guard does not say open, or says frozen, at boot; return what was found or done."""
    spec = fence_settings.read(component, store.GUARD_DIRECTORY.parent)
    if spec is None:
        return f"{component}: no database was prepared here"
    guard = store.read(component, spec["side"])
    if guard.status == rule.OPEN and not guard.frozen:
        return f"{component}: left alone, {guard.describe()}"
    # Units are not stopped: at boot none of them runs yet, and whoever opens the path finds no database.
    changed = [path for path in spec["databases"] if Place(path).shut()]
    return f"{component}: {'closed' if changed else 'stays closed'}, {guard.describe()}"


def _summed(compared: list[dict[str, Any]]) -> dict[str, Any]:
    tables = [table for one in compared for table in one["tables"].values()]
    return {
        "tables_compared": len(tables),
        "tables_different": sum(len(one["different"]) for one in compared),
        "rows_compared": sum(table["rows"] for table in tables),
        "not_compared": [f"{one['path']}: {what}" for one in compared for what in one["not_compared"]],
        "position": {one["path"]: content.identity(one) for one in compared},
    }
