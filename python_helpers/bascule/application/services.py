"""What an inventory says of the applications that are deployed: `app_service_services`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import PlanError
from .recipes import GIVEN, Recipe

VARIABLE = "app_service_services"
ALL = "all"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_KEYS = frozenset(
    {"stack", "hosts", "folder", "account", "port", "artefact", "settings", "environment", "shared", "keep", "batch"}
    | {"entrance", "drain_seconds", "health_seconds", "interruption", "depends_on"}
)
# What each is where nothing is said, the least and the most. keep: what serves, and what to go back to.
_NUMBERS = {
    "port": (None, 1, 65535),
    "keep": (3, 2, 100),
    "batch": (1, 1, 1000),
    "drain_seconds": (30, 1, 3600),
    "health_seconds": (0, 0, 3600),
}
_ENTRANCE = frozenset({"hosts", "socket", "backend", "servers"})


@dataclass(frozen=True)
class Entrance:
    """The HAProxy before an application.

    hosts: the inventory names of all machines it runs on. backend: the one with the application's servers. servers:
    what each host of the application is called in it.
    """

    hosts: tuple[str, ...]
    socket: str
    backend: str
    servers: Mapping[str, str]


@dataclass(frozen=True)
class Service:
    """One application.

    hosts: the address at which each host's application answers, by inventory name. artefact: a file on the controller,
    with `{version}` in its name. shared: paths that all releases have in common. keep: how many known good releases
    stay. batch: how many hosts at once. drain_seconds: how long requests in flight are waited for. health_seconds:
    how long a host may take until it answers as it should; 0 for what the recipe says. interruption: whether all hosts
    that serve may be taken at once.
    """

    name: str
    stack: str
    hosts: Mapping[str, str]
    folder: str
    account: str
    port: int
    artefact: str
    entrance: Entrance
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    keep: int = 3
    batch: int = 1
    drain_seconds: int = 30
    health_seconds: int = 0
    interruption: bool = False
    depends_on: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The systemd unit of the application."""
        return f"app-{self.name}.service"

    def values(self, recipe: Recipe, release: str, version: str) -> dict[str, str]:
        """Return what the recipe's names in braces stand for."""
        given = {
            "release": f"{self.folder}/releases/{release}",
            "current": f"{self.folder}/current",
            "shared": f"{self.folder}/shared",
            "version": version,
            "port": str(self.port),
            "account": self.account,
            "service": self.name,
        }
        return {**recipe.settings, **self.settings, **given}

    def batches(self, hosts: Sequence[str]) -> list[list[str]]:
        """Return hosts in the order and number in which they are taken."""
        return [list(hosts[at : at + self.batch]) for at in range(0, len(hosts), self.batch)]


def read(given: Any) -> dict[str, Service]:
    """Return the services by name, what others depend on first; raise PlanError with every contradiction."""
    if not isinstance(given, Mapping) or not given:
        raise PlanError(expected=f"{VARIABLE}: applications by name", found=repr(given), state="nothing was changed")
    wrong: list[str] = []
    found = {str(name): _service(str(name), value, wrong) for name, value in given.items()}
    for name, one in found.items():
        wrong += [f"{name}: depends_on names {other}, which is none" for other in one.depends_on if other not in found]
    ordered: dict[str, Service] = {}
    while ready := [
        name for name in found if name not in ordered and not set(found[name].depends_on) & set(found) - set(ordered)
    ]:
        ordered.update({name: found[name] for name in ready})
    if len(ordered) < len(found):
        wrong.append(f"these depend on each other in a circle: {', '.join(sorted(set(found) - set(ordered)))}")
    if wrong:
        raise PlanError(
            expected=f"{VARIABLE} without contradiction", found="; ".join(wrong), state="nothing was changed"
        )
    return ordered


def chosen(services: Mapping[str, Service], name: str) -> list[Service]:
    """Return the service of that name, or all in their order."""
    if name == ALL:
        return list(services.values())
    if name not in services:
        raise PlanError(
            expected=f"a service out of {', '.join(services)}, or {ALL}", found=name, state="nothing was changed"
        )
    return [services[name]]


def fits(service: Service, recipe: Recipe) -> None:
    """Raise PlanError where a service gives settings that its recipe does not have."""
    if odd := sorted(set(service.settings) - set(recipe.settings) | set(service.settings) & GIVEN):
        raise PlanError(
            expected=f"settings of {service.name} out of {', '.join(recipe.settings)} (recipe {recipe.stack})",
            found=", ".join(odd),
            state="nothing was changed",
        )


def _service(name: str, given: Any, wrong: list[str]) -> Service:
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if not _NAME.fullmatch(name) or name == ALL:
        wrong.append(f"{name}: a name is made of small letters, digits and '-', and is not '{ALL}'")
    wrong += [f"{name}: {key} is nothing that Bascule knows" for key in sorted(map(str, said)) if key not in _KEYS]
    for key in ("stack", "folder", "account", "artefact"):
        if not isinstance(said.get(key), str) or not said[key]:
            wrong.append(f"{name}: {key} is a text")
    folder = str(said.get("folder", ""))
    if not folder.startswith("/") or folder.rstrip("/").count("/") < 2 or ".." in folder.split("/"):
        wrong.append(f"{name}: folder is a path of its own, such as /srv/{name}")
    if said.get("account") == "root":
        wrong.append(f"{name}: account is not root")
    if "{version}" not in str(said.get("artefact", "")):
        wrong.append(f"{name}: artefact has {{version}} in its name")
    whole: dict[str, int] = {}
    for key, (default, least, most) in _NUMBERS.items():
        value = said.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            wrong.append(f"{name}: {key} is a whole number from {least} to {most}")
            value = least
        whole[key] = value
    hosts = _texts(name, "hosts", said.get("hosts"), wrong)
    if not hosts:
        wrong.append(f"{name}: hosts is addresses by inventory name")
    shared = _list(name, "shared", said.get("shared", []), wrong)
    for path in shared:
        if path.startswith("/") or not set(path.split("/")).isdisjoint({"", ".", "..", ".bascule.json"}):
            wrong.append(f"{name}: shared path {path!r} lies below the release")
    if not isinstance(said.get("interruption", False), bool):
        wrong.append(f"{name}: interruption is true or false")
    return Service(
        name=name,
        stack=str(said.get("stack", "")),
        hosts=hosts,
        folder=folder.rstrip("/"),
        account=str(said.get("account", "")),
        port=whole["port"],
        artefact=str(said.get("artefact", "")),
        entrance=_entrance(name, said.get("entrance"), hosts, wrong),
        settings=_texts(name, "settings", said.get("settings", {}), wrong),
        environment=_texts(name, "environment", said.get("environment", {}), wrong),
        shared=shared,
        keep=whole["keep"],
        batch=whole["batch"],
        drain_seconds=whole["drain_seconds"],
        health_seconds=whole["health_seconds"],
        interruption=said.get("interruption", False) is True,
        depends_on=_list(name, "depends_on", said.get("depends_on", []), wrong),
    )


def _entrance(name: str, given: Any, hosts: Mapping[str, str], wrong: list[str]) -> Entrance:
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    wrong += [f"{name}: entrance.{key} is nothing that Bascule knows" for key in sorted(set(said) - _ENTRANCE)]
    for key in ("socket", "backend"):
        if not isinstance(said.get(key), str) or not said[key]:
            wrong.append(f"{name}: entrance.{key} is a text")
    machines = _list(name, "entrance.hosts", said.get("hosts", []), wrong)
    if not machines:
        wrong.append(f"{name}: entrance.hosts names the machines of HAProxy")
    servers = {**{host: host for host in hosts}, **_texts(name, "entrance.servers", said.get("servers", {}), wrong)}
    if set(servers) != set(hosts) or len(set(servers.values())) != len(servers):
        wrong.append(f"{name}: entrance.servers has one server for each of hosts")
    odd = [word for word in (str(said.get("backend", "")), *servers.values()) if not re.fullmatch(r"[\w.:-]+", word)]
    wrong += [f"{name}: {word!r} is no name that HAProxy takes" for word in odd]
    return Entrance(machines, str(said.get("socket", "")), str(said.get("backend", "")), servers)


def _texts(name: str, key: str, given: Any, wrong: list[str]) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        wrong.append(f"{name}: {key} is texts by name (numbers in quotes)")
        return {}
    return {str(one): value for one, value in given.items()}


def _list(name: str, key: str, given: Any, wrong: list[str]) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        wrong.append(f"{name}: {key} is a list of texts")
        return ()
    return tuple(given)
