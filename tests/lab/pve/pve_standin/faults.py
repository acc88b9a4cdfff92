"""Faults that a test orders: what goes wrong next, how often, at which guest.

Orders live in the daemon's memory: a restart forgets them. `POST /standin/faults` takes one (from the lab's own root
token only), `GET` lists what is still due, `DELETE` forgets all. See README.md.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from .errors import ApiError

# What each fault may be told besides `fault`, `count` and `vmid`.
KINDS: dict[str, frozenset[str]] = {
    "storage_full": frozenset({"at"}),
    "task_fails": frozenset({"type", "text", "at"}),
    "refused": frozenset({"method", "path", "status", "text", "errors", "empty"}),
    "lock_held": frozenset({"lock", "seconds", "file"}),
    "api_down": frozenset({"seconds", "status"}),
    "slow": frozenset({"seconds", "path"}),
    "guest_does_not_boot": frozenset(),
    "agent_silent": frozenset(),
}


@dataclass
class Order:
    """One fault; `left` is how often it still happens (None: until it is forgotten)."""

    fault: str
    vmid: int | None
    left: int | None
    options: dict[str, Any] = field(default_factory=dict)
    until: float | None = None

    def matches(self, fault: str, vmid: int | None, options: dict[str, Any]) -> bool:
        """What an order says nothing about fits everything; `path` fits a part of the path."""
        if self.fault != fault or (self.vmid is not None and self.vmid != vmid):
            return False
        for key, value in options.items():
            wanted = self.options.get(key)
            if wanted is not None and not (wanted == value or (key == "path" and str(wanted) in str(value))):
                return False
        return True

    def shown(self) -> dict[str, Any]:
        """As it was ordered, with what is left of it."""
        vmid = {} if self.vmid is None else {"vmid": self.vmid}
        return {"fault": self.fault, "count": self.left, **vmid, **self.options}


class Faults:
    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._lock = threading.Lock()

    def order(self, given: dict[str, Any]) -> Order:
        """Take an order, or refuse it by name."""
        fault = given.get("fault")
        if fault not in KINDS:
            raise ApiError(400, f"unknown fault '{fault}': one of {', '.join(KINDS)}")
        options = {key: value for key, value in given.items() if key not in ("fault", "count", "vmid")}
        unknown = set(options) - KINDS[fault]
        if unknown:
            raise ApiError(400, f"{fault} takes {', '.join(sorted(KINDS[fault])) or 'no options'}, not {unknown.pop()}")
        seconds = options.get("seconds")
        lasting = fault == "api_down" and seconds is not None
        count = given.get("count", None if lasting else 1)
        vmid = given.get("vmid")
        made = Order(
            fault,
            None if vmid is None else int(vmid),
            None if count is None else int(count),
            options,
            time.monotonic() + float(str(seconds)) if lasting else None,
        )
        with self._lock:
            self._orders.append(made)
        return made

    def take(self, fault: str, vmid: int | None = None, **options: Any) -> Order | None:
        """The first order that fits, used up by one; None when nothing is due."""
        with self._lock:
            self._orders = [order for order in self._orders if order.until is None or order.until > time.monotonic()]
            for order in self._orders:
                if order.matches(fault, vmid, options):
                    if order.left is not None:
                        order.left -= 1
                        if order.left <= 0:
                            self._orders.remove(order)
                    return order
        return None

    def due(self) -> list[dict[str, Any]]:
        """What is still to happen."""
        with self._lock:
            return [order.shown() for order in self._orders]

    def forget(self) -> None:
        """Let everything go right again."""
        with self._lock:
            self._orders.clear()
