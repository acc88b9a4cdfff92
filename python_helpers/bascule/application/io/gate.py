"""The HAProxy before an application, on this machine: take servers out and have them back, each time read back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...entrance.io.haproxy import Haproxy
from ..balance import OUT, READY, Server, servers
from ..releases import DeployError


class Gate:
    """A backend of the HAProxy here."""

    def __init__(self, socket: str, backend: str) -> None:
        self.backend = backend
        self._haproxy = Haproxy("", socket, "")

    def look(self) -> dict[str, Server]:
        """Return the backend's servers by name."""
        state = self._haproxy.command(f"show servers state {self.backend}")
        return servers(state, self._haproxy.stat(), self.backend)

    def put(self, names: Sequence[str], state: str, seconds: float) -> dict[str, Any]:
        """Take servers out until they work on nothing, or have them back until they serve.

        One that comes back gets no request until HAProxy's own checks, where it has any, have found it healthy.

        Args:
            names: the servers. state: `maint` or `ready`. seconds: how long that is waited for.

        Raises:
            DeployError: it did not come to that in time, or HAProxy says something else than it was told.
        """
        self._known(self.look(), names)
        changed = False
        for name in names:
            one = self.look()[name]
            if one.admin != state:
                server = f"{self.backend}/{name}"
                # HAProxy takes one for healthy that comes out of maintenance, until a check has failed.
                unproved = f"; set server {server} health down" if state == READY and one.checked else ""
                complaint = self._haproxy.command(f"set server {server} state {state}{unproved}").strip()
                if complaint:
                    raise self._other(names, state, complaint)
                changed = True
        deadline = time.monotonic() + seconds
        while True:
            seen = {name: one for name, one in self.look().items() if name in names}
            if any(one.admin != state for one in seen.values()):
                # A reload forgets it: the new process has what the configuration says.
                raise self._other(names, state, _told(seen))
            left = [one for one in seen.values() if (one.in_flight if state == OUT else not one.serves)]
            if not left:
                return {"changed": changed, "servers": {name: one.to_dict() for name, one in seen.items()}}
            if time.monotonic() >= deadline:
                wanted = "no request in flight" if state == OUT else "healthy for HAProxy's own checks"
                raise self._other(names, f"{state}, and {wanted} within {seconds:g} s", _told(seen))
            time.sleep(0.05)

    def see(self, names: Sequence[str], state: str) -> None:
        """Raise DeployError unless these servers are still as they were put."""
        seen = self.look()
        self._known(seen, names)
        if any(seen[name].admin != state for name in names):
            raise self._other(names, state, _told({name: seen[name] for name in names}))

    def _known(self, seen: Mapping[str, Server], names: Sequence[str]) -> None:
        if missing := [name for name in names if name not in seen]:
            raise DeployError(
                expected=f"servers {', '.join(names)} in backend {self.backend}",
                found=f"{', '.join(seen)}, without {', '.join(missing)}",
                state="nothing was changed",
                next_command="compare entrance.servers with the configuration of HAProxy",
            )

    def _other(self, names: Sequence[str], wanted: str, found: str) -> DeployError:
        return DeployError(
            expected=f"servers {', '.join(names)} of {self.backend} to be {wanted}",
            found=found,
            state="HAProxy goes on with what it says",
            next_command=f"echo 'show servers state {self.backend}' | socat - {self._haproxy.socket}",
        )


def _told(seen: Mapping[str, Server]) -> str:
    return ", ".join(f"{one.name} {one.admin} {one.status}, {one.in_flight} in flight" for one in seen.values())


def is_state(word: str) -> str:
    """Return a state that a server can be put into, or refuse it."""
    if word not in (READY, OUT):
        raise DeployError(expected=f"{READY} or {OUT}", found=repr(word))
    return word
