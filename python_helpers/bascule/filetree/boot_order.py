"""Whether a tree that has to be closed after a reboot is closed before anything can write to it. Pure.

`bascule-boot.service` runs before basic.target, hence before services. It can close only what is mounted by then, so it
has to wait for the tree's mount unit. It does where that one comes before local-fs.target, as a plain line of
/etc/fstab does. Where it does not (nofail, _netdev, a unit somebody wrote), a unit of the component's own waits for it,
and bascule-boot for that; unless the mount itself waits for what comes later.

A tree that is a part of a larger file system has a mount unit of Bascule's own, before local-fs.target: what holds it
has to be mounted before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BOOT = "bascule-boot.service"
LOCAL = "local-fs.target"
# What a mount that is awaited by the boot fence must not wait for.
_LATER = ("basic.target", BOOT)

# The properties of a unit, as systemd tells them.
Unit = Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """The mount unit of a tree; `fault` says why its tree cannot be fenced after a reboot, `mend` what to do."""

    unit: str
    fault: str = ""
    mend: str = ""
    # Services that wait for the mount: they have to wait for the fence as well, when it is mounted by hand later.
    services: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """Return the fault and what to do about it; empty when there is none."""
        return f"{self.fault}: {self.mend}" if self.fault else ""


def parse_show(text: str) -> list[dict[str, str]]:
    """Read what `systemctl show` prints of several units."""
    blocks = [block for block in text.strip().split("\n\n") if block]
    return [dict(line.partition("=")[::2] for line in block.splitlines()) for block in blocks]


def judge(path: str, mount: Unit, local: Unit, units: Iterable[Unit]) -> Order:
    """Judge the mount unit of a tree: `local` is local-fs.target, `units` are all with what they wait for."""
    found = _of_a_boot(path, path, mount, local)
    name = found.unit
    if found.fault or not mount.get("FragmentPath") or LOCAL in _words(mount, "Before"):
        return found
    later = _waits_for(name, units, _LATER)
    if later:
        return Order(
            name,
            f"{path} is mounted after {' after '.join(later)}, when services may have started already",
            f"have it mounted before {LOCAL}; systemctl show -p After '{name}' says what it waits for",
        )
    return found


def judge_holder(path: str, holder: str, mount: Unit, local: Unit) -> Order:
    """Judge the mount unit of the file system at `holder`, of which the tree at `path` is a part.

    The tree's bind of its own comes before local-fs.target and needs this mount, which has to be there by then. One
    that may come later (nofail, _netdev) has systemd break the circle, or stop the boot where the disk is missing.
    """
    found = _of_a_boot(path, holder, mount, local)
    name = found.unit
    if found.fault or not mount.get("FragmentPath") or LOCAL in _words(mount, "Before"):
        return found
    return Order(
        name,
        f"{holder}, which holds {path}, is not mounted before {LOCAL} (nofail, _netdev, or a unit without that order), "
        "as the tree's bind of its own is: it would be a bind of an empty folder, or none",
        f"take nofail and _netdev out of its line in /etc/fstab (Before={LOCAL} in a unit of one's own); "
        f"systemctl daemon-reload; systemctl show -p Before '{name}'; or give the tree a file system of its own",
    )


def _of_a_boot(tree: str, path: str, mount: Unit, local: Unit) -> Order:
    """Tell why no boot mounts a path before somebody enters it or asks for it; no fault when a boot does."""
    name = mount.get("Id", "")
    what = path if path == tree else f"{path}, which holds {tree},"
    automounts = [one for one in _words(mount, "TriggeredBy") if one.endswith(".automount")]
    if automounts:
        return Order(
            name,
            f"{what} is mounted by {automounts[0]} when somebody enters it: a fence that has passed does not hold it",
            "have it mounted at boot: take x-systemd.automount out of its line in /etc/fstab; systemctl daemon-reload; "
            f"systemctl stop '{automounts[0]}'; mount {path}",
        )
    services = tuple(
        sorted(one for one in _words(mount, "Before") if one.endswith(".service") and not one.startswith("bascule-"))
    )
    if not mount.get("FragmentPath"):
        if _since(mount) <= _since(local):
            # Whatever mounts it (an initrd, a tool of its file system) did so in time when this machine started.
            return Order(name, services=services)
        return Order(
            name,
            f"{what} was mounted by hand, or by what systemd does not know: it may come back after the fence",
            "give it a line in /etc/fstab, without noauto; systemctl daemon-reload; "
            f"systemctl show -p FragmentPath {path}",
        )
    wanted_by = _words(mount, "WantedBy") + _words(mount, "RequiredBy")
    if not any(one.endswith(".target") for one in wanted_by):
        return Order(
            name,
            f"{what} is not mounted at boot, but whenever a service or a person asks for it",
            f"have it mounted at boot: take noauto out of its line in /etc/fstab, or systemctl add-wants {LOCAL} "
            f"'{name}'; systemctl daemon-reload",
        )
    return Order(name, services=services)


def _waits_for(name: str, units: Iterable[Unit], later: Iterable[str]) -> list[str]:
    """Return the way from a unit to the first of `later` that it waits for; empty when it waits for none of them."""
    after = {unit.get("Id", ""): _words(unit, "After") for unit in units}
    ways: dict[str, list[str]] = {name: []}
    waiting = [name]
    while waiting:
        one = waiting.pop(0)
        for before in after.get(one, []):
            if before in ways:
                continue
            ways[before] = [*ways[one], before]
            if before in later:
                return ways[before]
            waiting.append(before)
    return []


def _words(unit: Unit, name: str) -> list[str]:
    return unit.get(name, "").split()


def _since(unit: Unit) -> int:
    """Return when a unit became active; 0 when it was there before systemd."""
    return int(unit.get("ActiveEnterTimestampMonotonic") or 0)
