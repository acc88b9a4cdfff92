"""One member of the set: what it is, what it has, and who may be elected."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...system import polling
from ...system.io import storage
from .. import decisions, members
from ..refusals import BASCULE, OWN_DATABASES, MongoError
from .client import NO_MEMBER, NOT_INITIALIZED, NOT_PRIMARY, NOT_READABLE, Client, NotReached, Refused

WRITTEN = "written"
NOT_WRITABLE = "refused: not the primary"
# Seconds in which a member has to take another state.
STATE_WAIT = 30.0


@dataclass(frozen=True)
class Server:
    """A member, as Bascule sees it through its socket."""

    client: Client

    def measure(self, key_given: str, place: str) -> dict[str, Any]:
        """Return what decides whether it can be moved; what is secret among its options stays there."""
        options = self.client.run({"getCmdLineOpts": 1})["parsed"]
        status = self.client.run({"serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0})
        config = self.config()
        return {
            "version": str(status["version"]),
            "set": str(
                options.get("replication", {}).get("replSetName") or options.get("replication", {}).get("replSet") or ""
            ),
            "role": str(options.get("sharding", {}).get("clusterRole", "")),
            "engine": str(status["storageEngine"]["name"]),
            "key": str(options.get("security", {}).get("keyFile", "")),
            "key_given": key_given,
            "tls": str(options.get("net", {}).get("tls", {}).get("mode", "")),
            "socket": storage.permissions(place) if place else 0,
            # As plain types: a result of a module is JSON.
            "config": json.loads(json.dumps(config, default=str)),
            "state": self.state(),
            "databases": self.databases(),
            "optime": self.optime(),
            "oplog_seconds": self.oplog_seconds(),
        }

    def config(self) -> dict[str, Any]:
        """Return the configuration of the set; empty before there is one."""
        try:
            found: dict[str, Any] = self.client.run({"replSetGetConfig": 1})["config"]
        except Refused as error:
            if error.code == NOT_INITIALIZED:
                return {}
            raise
        return found

    def status(self) -> dict[str, Any]:
        """Return what the member knows of the set; empty before it is in one, and when it was left out."""
        try:
            return self.client.run({"replSetGetStatus": 1})
        except Refused as error:
            if error.code in (NOT_INITIALIZED, NO_MEMBER):
                return {}
            raise

    def state(self) -> str:
        """Return the member's state in a word."""
        found = self.status().get("members", ())
        return next((str(one["stateStr"]) for one in found if one.get("self")), "none")

    def databases(self) -> list[str]:
        """Return the databases that are not the server's own, nor Bascule's.

        One that was never initiated, or fills itself, names none; it still counts collections, and filling drops them.
        """
        try:
            found = self.client.run({"listDatabases": 1, "nameOnly": True})["databases"]
        except Refused as error:
            if error.code != NOT_READABLE:
                raise
            number = int(self.client.run({"serverStatus": 1})["catalogStats"]["collections"])
            return [f"{number} collections that it does not name yet"] if number else []
        return sorted(one["name"] for one in found if one["name"] not in (*OWN_DATABASES, BASCULE))

    def optime(self) -> str:
        """Return the last operation that this member has, as TERM:SECONDS:COUNTER; empty when it has none."""
        last = self._oplog(-1)
        return f"{last['t']}:{last['ts'].time}:{last['ts'].inc}" if last else ""

    def oplog_seconds(self) -> int:
        """Return how far back the oplog reaches: a member that is away for longer has to be filled anew."""
        first, last = self._oplog(1), self._oplog(-1)
        return int(last["ts"].time - first["ts"].time) if first and last else 0

    def durable(self, timeout: float = 10.0) -> str:
        """Wait until the last operation is on disk, so that a crash leaves it there; return it."""
        began = time.monotonic()
        while True:
            # A member that was left out of the set has no times of the set; a sync of all files does the same for it.
            found = self.status().get("optimes")
            if not found:
                self.client.run({"fsync": 1})
                return self.optime()
            last, safe = found["appliedOpTime"], found["durableOpTime"]
            if (last["t"], last["ts"]) == (safe["t"], safe["ts"]):
                return f"{last['t']}:{last['ts'].time}:{last['ts'].inc}"
            if time.monotonic() - began > timeout:
                raise MongoError(expected="the last operation on disk", found=f"{safe} of {last}")
            time.sleep(0.05)

    def reconfigure(self, config: Mapping[str, Any], *, force: bool) -> None:
        """Give the set another configuration; by force where there is no primary who could."""
        self.client.run({"replSetReconfig": dict(config), "force": force})

    def leave_office(self, own: str) -> bool:
        """Have nobody elected any more; return whether anything had to be done for it."""
        until = time.monotonic() + STATE_WAIT
        why, done = "", False
        while True:
            config = self.config()
            if members.electable(config, own):
                # One that has just heard that it was left out of the set is told nothing more, and is no primary.
                try:
                    self.reconfigure(members.closed(config), force=True)
                    done = True
                except (NotReached, Refused) as error:
                    why = f", and a configuration in which nobody is was not taken: {error.found}"
            elif self.state() != decisions.PRIMARY:
                return done
            if time.monotonic() > until:
                raise MongoError(
                    expected="a member that is not the primary, and cannot be elected",
                    found=f"it is {self.state()}{why}",
                    state="its port is shut",
                    next_command="see the server's log; then run the same playbook again",
                )
            time.sleep(0.02)

    def take_office(self, own: str) -> bool:
        """Be the primary, elected by itself alone; return whether it was not. Only under the guard's permit."""
        if self.state() == decisions.PRIMARY and not members.nobody_serves(self.config()):
            return False
        began = time.monotonic()
        while True:
            config = self.config()
            if members.nobody_serves(config) or not members.electable(config, own):
                self.reconfigure(members.opened(config, own), force=True)
            with contextlib.suppress(Refused, NotReached):
                # It does not wait until it would have noticed by itself that there is no primary.
                self.client.run({"replSetStepUp": 1})
            with contextlib.suppress(NotReached):
                if self.client.run({"hello": 1}).get("isWritablePrimary"):
                    return True
            if time.monotonic() - began > STATE_WAIT:
                raise MongoError(expected="this member to be elected by itself", found=f"it is {self.state()}")
            time.sleep(0.02)

    def wait_for(self, want: str, timeout: float) -> str:
        """Wait until an operation is applied; return why it is not after `timeout` seconds, or nothing."""
        began = time.monotonic()
        while members.optime(self.optime()) < members.optime(want):
            waited = time.monotonic() - began
            if waited > timeout:
                return f"{want} is not applied here: it stands at {self.optime() or 'nothing'}, and is {self.state()}"
            time.sleep(polling.pause(waited, 0.05))
        return ""

    def wait_until_filled(self, timeout: float) -> None:
        """Wait until this member has all that the set has, and follows."""
        began = time.monotonic()
        while (state := self.state()) != decisions.SECONDARY:
            waited = time.monotonic() - began
            if waited > timeout:
                raise MongoError(
                    expected=f"a member that was filled within {timeout:g} s",
                    found=f"it is {state}",
                    state="the server fills itself on; the side that serves is not disturbed",
                    next_command="see its log; then run the same playbook again",
                )
            time.sleep(polling.pause(waited, 0.2))

    def try_write(self, number: int) -> str:
        """Try to write; return WRITTEN, NOT_WRITABLE, or what else was answered, which proves nothing."""
        change = {"q": {"_id": number}, "u": {"$currentDate": {"at": True}}, "upsert": True}
        try:
            self.client.run({"update": "probe", "updates": [change], "writeConcern": {"w": 1}}, BASCULE)
        except Refused as error:
            return NOT_WRITABLE if error.code in NOT_PRIMARY else f"no proof: {error.found}"
        return WRITTEN

    def _oplog(self, direction: int) -> dict[str, Any] | None:
        command = {"find": "oplog.rs", "sort": {"$natural": direction}, "limit": 1, "projection": {"ts": 1, "t": 1}}
        try:
            answer = self.client.run(command, "local")
        except Refused as error:
            # Before it is a member, and while it fills itself, it says nothing of it.
            if error.code == NOT_READABLE:
                return None
            raise
        return next(iter(answer["cursor"]["firstBatch"]), None)
