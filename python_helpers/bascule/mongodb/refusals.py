"""What keeps a pair of servers from being moved, each in words. Pure: from what was measured at both hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import BasculeError
from . import members

# Read at one moment on both sides, collections that the server clusters by _id included: from 6.0 on.
MAJORS = ("6.0", "7.0", "8.0")
# Databases of the server's own; users and roles lie in admin.
OWN_DATABASES = ("admin", "config", "local")
# Bascule's own, in which it writes to see what a write comes to.
BASCULE = "bascule"


class MongoError(BasculeError):
    """The server cannot be moved, or does not do what it was told."""


def series(version: str) -> str:
    """Return the first two numbers of a version."""
    return ".".join(version.split(".")[:2])


def side(measured: Mapping[str, Any], own: str, peer: str) -> list[str]:
    """Return what keeps one side from being moved.

    Args:
        measured: version, set, role, engine, key, key_given, tls, socket (its permissions; 0 where there is none), and
            config of the replica set, empty before it is one.
        own: this member's name, host:port, as the other side reaches it.
        peer: that of the other side's.
    """
    found = []
    if series(measured["version"]) not in MAJORS:
        found.append(f"the server is MongoDB {measured['version']}; {', '.join(MAJORS)} can be moved")
    if not measured["set"]:
        found.append(
            "it is no member of a replica set: replication.replSetName, and a start at a time of your choosing"
        )
    if measured["role"]:
        found.append(f"it is part of a sharded cluster ({measured['role']}), which decides itself where data lies")
    if measured["engine"] != "wiredTiger":
        found.append(f"its storage engine is {measured['engine']}, not wiredTiger: no snapshot can be read")
    if measured["key"] != measured["key_given"]:
        found.append(
            f"security.keyFile is {measured['key'] or 'not set'}, not {measured['key_given']}: by it the members, and "
            "Bascule at the other side, prove who they are"
        )
    if measured["tls"] not in ("requireTLS", "preferTLS"):
        found.append(f"net.tls.mode is {measured['tls'] or 'not set'}: nothing crosses between the sites unencrypted")
    if measured["socket"] & 0o077 or not measured["socket"]:
        found.append(
            "the server has no UNIX socket of its own account alone (net.unixDomainSocket.enabled, filePermissions "
            "0700): by it Bascule comes in where the port is shut, and nobody else may"
        )
    config = measured["config"]
    if config:
        if not members.member(config, own):
            names = ", ".join(str(one["host"]) for one in config["members"])
            found.append(f"the set knows {names}, and not {own}, by which the other side reaches this member")
        found += [
            f"{name} is a further member of the set: only sets of one member at each side are moved"
            for name in members.further(config, own, peer)
        ]
        if config.get("settings", {}).get("chainingAllowed", True) is not True:
            found.append("settings.chainingAllowed is false: a frozen side could not be followed to its end")
    return found


def pair(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Return what must be otherwise between two servers, by what was measured at each."""
    found = []
    if here["set"] != there["set"]:
        found.append(f"replication.replSetName: {here['set']!r} and {there['set']!r}")
    if series(here["version"]) != series(there["version"]):
        found.append(f"version: {here['version']} and {there['version']}")
    ids = [str(one["config"].get("settings", {}).get("replicaSetId", "")) for one in (here, there)]
    if all(ids) and ids[0] != ids[1]:
        found.append("both sides are replica sets of their own: the one to be filled must never have been initiated")
    return found
