"""What the tests of deployments share: a service, a recipe, and a stand-in for its machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bascule.application import recipes, services
from bascule.application.fleet import Answer, Order

ROOT = Path(__file__).resolve().parents[3]
STACKS = ROOT / "roles" / "app_service" / "vars" / "stacks"
DECLARED: dict[str, Any] = {
    "stack": "flask",
    "hosts": {"app-1": "192.0.2.1", "app-2": "192.0.2.2", "app-3": "192.0.2.3"},
    "folder": "/srv/shop",
    "account": "shop",
    "port": 8000,
    "artefact": "/artefacts/shop-{version}.tar.gz",
    "entrance": {"hosts": ["gw"], "socket": "/run/haproxy/admin.sock", "backend": "be_shop"},
}
NOTE = {"token": "mine", "host": "here", "pid": 1, "user": "ann", "since": "now"}


def service(**more: Any) -> services.Service:
    """The service, with something declared otherwise."""
    return services.read({"shop": {**DECLARED, **more}})["shop"]


def recipe() -> recipes.Recipe:
    """The recipe of Flask, as it is shipped."""
    return recipes.read(yaml.safe_load((STACKS / "flask.yml").read_text()), "flask.yml")


class Machines:
    """A stand-in for three hosts and a HAProxy: what each has, every order in its turn, and who fails at what."""

    def __init__(self, current: str = "", good: tuple[str, ...] = ()) -> None:
        self.hosts: dict[str, dict[str, Any]] = {
            host: {"releases": [*good], "current": current, "good": [*good], "holder": None}
            for host in DECLARED["hosts"]
        }
        self.admin = dict.fromkeys(self.hosts, "ready")
        self.orders: list[tuple[str, str, str]] = []
        self.bad: set[str] = set()
        self.silent: set[str] = set()
        # (host, what) after which the deployment's own process is gone.
        self.dies_at: tuple[str, str] = ("", "")

    def ask(self, orders: Mapping[str, Order]) -> dict[str, Answer]:
        """Answer as the agents do."""
        return {host: self._answer(host, order) for host, order in orders.items()}

    def told(self, *what: str) -> list[tuple[str, str]]:
        """Return the orders of these kinds: host or servers, and what."""
        return [(host, said) for host, do, said in self.orders if do in what]

    def _answer(self, host: str, order: Order) -> Answer:
        what = str(order["do"])
        if host in self.silent:
            return Answer(error={"expected": "an answer", "found": "no route to host"}, silent=True)
        done = getattr(self, f"_{what}")(host, order)
        if (host, what) == self.dies_at:
            raise KeyboardInterrupt
        return done if isinstance(done, Answer) else Answer(done=done)

    def _servers(self, host: str, order: Order) -> Any:
        return {
            name: {"name": name, "admin": admin, "status": self._status(name), "in_flight": 0, "weight": 1}
            for name, admin in self.admin.items()
        }

    def _status(self, name: str) -> str:
        return "UP" if self.hosts[name]["current"] not in ("", *self.bad) else "DOWN"

    def _put(self, host: str, order: Order) -> Any:
        for name in order["names"]:
            self.admin[name] = order["state"]
            self.orders.append((name, "put", order["state"]))
        return {"changed": True}

    def _see(self, host: str, order: Order) -> Any:
        return None

    def _look(self, host: str, order: Order) -> Any:
        return dict(self.hosts[host])

    def _take(self, host: str, order: Order) -> Any:
        holder = self.hosts[host]["holder"]
        if holder and holder["token"] not in (order["note"]["token"], order["over"]):
            return holder
        self.hosts[host]["holder"] = order["note"]
        return None

    def _give(self, host: str, order: Order) -> Any:
        holder = self.hosts[host]["holder"]
        if not holder or holder["token"] != order["token"]:
            return False
        self.hosts[host]["holder"] = None
        return True

    def _stage(self, host: str, order: Order) -> Any:
        fresh = order["name"] not in self.hosts[host]["releases"]
        if f"stage {host}" in self.bad:
            return Answer(error={"expected": "a whole release", "found": "pip failed"})
        if fresh:
            self.hosts[host]["releases"].append(order["name"])
        return fresh

    def _serves(self, host: str, order: Order) -> Any:
        return self.hosts[host]["current"] == order["name"] and order["name"] not in self.bad

    def _activate(self, host: str, order: Order) -> Any:
        assert self.admin[host] == "maint", "nothing is changed under a request"
        before, self.hosts[host]["current"] = self.hosts[host]["current"], order["name"]
        self.orders.append((host, "activate", order["name"]))
        if {order["name"], f"{order['name']} at {host}"} & self.bad:
            return Answer(
                error={"expected": "200", "found": "/healthz: status 500", "state": "", "next_command": "look"}
            )
        return {"changed": True, "before": before}

    def _settle(self, host: str, order: Order) -> Any:
        good = [one for one in self.hosts[host]["good"] if one not in (order["good"], *order["left"])] + [order["good"]]
        changed, self.hosts[host]["good"] = good != self.hosts[host]["good"], good
        return {"changed": changed, "removed": []}
