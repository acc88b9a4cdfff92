"""What both parts of a switch have in common: sessions that are open before it starts, a pooler, helpers that wait."""

from __future__ import annotations

import abc
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ....errors import BasculeError
from ....guard.io import store
from ...spec import Spec
from ..cluster.cluster import Cluster, world
from ..cluster.psql import Session
from ..pooler.console import Pooler
from .deadman import DeadMan, Steps
from .take_back import aim

THREADS = 4


class Part(abc.ABC):
    """One side of a switch, from the first look at it until the driver is gone."""

    # What has to run here for a switch on open sessions.
    needs = "server"

    def __init__(self, spec: Spec, steps: Steps) -> None:
        self.spec = spec
        self.steps = steps
        self.cluster = Cluster(spec)
        self.deadman = DeadMan(spec)
        self.session: Session | None = None
        self.pooler: Pooler | None = None
        self._held = False
        self._stack = contextlib.ExitStack()
        self._threads = self._stack.enter_context(ThreadPoolExecutor(THREADS))

    def look(self) -> dict[str, Any]:
        """Open the sessions, and say what this side is."""
        self._stack.enter_context(world(self.spec.component))
        if self.spec.pooler != "none":
            self.pooler = self._stack.enter_context(Pooler(self.spec))
        server = self.cluster.postmaster()
        primary = standby = False
        if server is not None and server.status not in ("stopping", "starting"):
            self.session = self._stack.enter_context(self.cluster.session())
            standby = bool(self.session.value("SELECT pg_is_in_recovery()"))
            primary = not standby
        guard = store.read(self.spec.component, self.spec.side)
        return {"guard": guard.to_dict(), "primary": primary, "standby": standby, "pooler": self.spec.pooler}

    def aim(self) -> dict[str, Any]:
        """Point the pooler at the side that serves, and let held clients go on."""
        changed = aim(self.spec, self.pooler) if self.pooler is not None else False
        self._held = False
        return {"changed": changed}

    @abc.abstractmethod
    def back(self) -> dict[str, Any]:
        """Take back what was done here for a switch that came to no receipt."""

    def end(self) -> None:
        """The driver is gone, or done: nothing that has no receipt stays closed."""
        try:
            self.back()
        finally:
            self._stack.close()

    def _open_session(self) -> Session:
        if self.session is None:
            raise BasculeError(
                expected=f"a running {self.needs} at {self.spec.side}", found="none", state="nothing was changed"
            )
        return self.session

    def _hold_clients(self, seconds: float) -> None:
        if self.pooler is not None:
            self._held = True
            self.pooler.pause(seconds)
        self.steps.mark("paused")

    def _let_clients_go(self) -> None:
        if self.pooler is not None:
            self.pooler.resume()
        self._held = False
        self.steps.mark("resumed")

    def _let_lock_go(self) -> None:
        """The thorough way takes the component's lock itself; the pooler's console is opened again."""
        pooler, self.pooler = self.pooler, None
        self._stack.close()
        self._stack = contextlib.ExitStack()
        self._threads = self._stack.enter_context(ThreadPoolExecutor(THREADS))
        self.session = None
        if pooler is not None:
            self.pooler = self._stack.enter_context(Pooler(self.spec))
