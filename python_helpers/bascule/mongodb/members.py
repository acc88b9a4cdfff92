"""Who of a replica set may be elected: the configurations of a pair, and positions in the oplog. Pure.

One side votes and may be elected, the other one neither: it takes the vote of one site alone to serve, and what cuts
the sites apart elects nobody. A closed pair has a placeholder as its only voter, which no machine answers for; so no
start of a server and no election makes anybody the primary until a side that holds its permit says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NOBODY = "bascule-nobody.invalid:1"
_FOLLOWS = {"priority": 0, "votes": 0}


def member(config: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return the member that the set knows by this name (host:port); None when there is none."""
    return next((one for one in config.get("members", ()) if one["host"] == name), None)


def electable(config: Mapping[str, Any], name: str) -> bool:
    """Tell whether the member of this name could be elected."""
    found = member(config, name)
    return found is not None and float(found.get("priority", 1)) > 0


def further(config: Mapping[str, Any], *known: str) -> list[str]:
    """Return the names of members beside these and the placeholder."""
    return [str(one["host"]) for one in config.get("members", ()) if one["host"] not in (*known, NOBODY)]


def joined(config: Mapping[str, Any], peer: str) -> dict[str, Any]:
    """Return the configuration with the other side as a member that neither votes nor serves, unseen by clients."""
    number = 1 + max(int(one["_id"]) for one in config["members"])
    new = {"_id": number, "host": peer, "hidden": True, **_FOLLOWS}
    return _next(config, [*config["members"], new])


def closed(config: Mapping[str, Any], *, without: str = "", version: int = 0) -> dict[str, Any]:
    """Return the configuration in which nobody can be elected.

    Args:
        config: as the set has it now.
        without: a member to leave out, which is lost.
        version: one that the result must not fall below, of the other side's configuration.
    """
    kept = [{**one, **_FOLLOWS} for one in config["members"] if one["host"] not in (NOBODY, without)]
    nobody = {"_id": 1 + max(int(one["_id"]) for one in kept), "host": NOBODY, "priority": 1, "votes": 1}
    return _next({**config, "version": max(int(config["version"]), version)}, [*kept, nobody])


def opened(config: Mapping[str, Any], own: str) -> dict[str, Any]:
    """Return the configuration in which this member alone votes and is elected, and all others follow, unseen."""
    kept = [one for one in config["members"] if one["host"] != NOBODY]
    return _next(
        config,
        [
            {**one, "priority": 1, "votes": 1, "hidden": False}
            if one["host"] == own
            else {**one, **_FOLLOWS, "hidden": True}
            for one in kept
        ],
    )


def nobody_serves(config: Mapping[str, Any]) -> bool:
    """Tell whether the configuration is one in which nobody can be elected."""
    return member(config, NOBODY) is not None


def optime(text: str) -> tuple[int, int, int]:
    """Return term, seconds and counter of a position; an empty one lies before all others."""
    if not text:
        return (-1, 0, 0)
    term, seconds, counter = text.split(":")
    return int(term), int(seconds), int(counter)


def _next(config: Mapping[str, Any], members: list[Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in config.items() if key != "term"},
        "version": int(config["version"]) + 1,
        "members": members,
    }
