"""Releases of an application: their names, which one to go back to, and which may be removed. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import BasculeError

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_DIGITS = 12


class DeployError(BasculeError):
    """A deployment was refused, or did not come through."""


@dataclass(frozen=True)
class Look:
    """What a host has.

    releases: those that are whole, oldest first. current: the one that the link names; empty where there is none.
    good: those that have served and were proved, the last one at the end. holder: the note of whoever has the lock.
    """

    releases: tuple[str, ...] = ()
    current: str = ""
    good: tuple[str, ...] = ()
    holder: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Look:
        """Return what a host has told."""
        return cls(tuple(said["releases"]), said["current"], tuple(said["good"]), said["holder"])


def name(version: str, digest: str) -> str:
    """Return the release's name, the same on all hosts: another artefact under the same version is another release.

    Args:
        version: what a person calls it. digest: the SHA-256 of the artefact.
    """
    if not _VERSION.fullmatch(version):
        raise DeployError(
            expected="a version of letters, digits, '.', '_', '+' and '-', at most 64",
            found=repr(version),
            state="nothing was changed",
        )
    return f"{version}-{digest[:_DIGITS]}"


def version_of(release: str) -> str:
    """Return the version of a release."""
    return release[: -_DIGITS - 1]


def removable(look: Look, keep: int) -> list[str]:
    """Return the releases that may go: what never served well, and known good ones beyond the last `keep`.

    What serves is never among them, nor what a return would go to; failed deployments push nothing out.
    """
    good = [one for one in look.good if one in look.releases]
    stay = {look.current, *good[-max(keep, 2) :]}
    return [one for one in look.releases if one not in stay]


def back_to(looks: Mapping[str, Look], broken: Collection[str] = ()) -> str:
    """Return the release to go back to: the newest that was good on every host, and that is not what all serve well.

    Where a deployment was broken off, hosts serve several, or one that was never proved: then it is the last good one.

    Args:
        looks: what each host has. broken: what deployments were about to bring that were broken off; where no host
            serves that, the way back is no way at all.

    Raises:
        DeployError: there is none.
    """
    good = _common([[one for one in look.good if one in look.releases] for look in looks.values()])
    serving = {look.current for look in looks.values()}
    left = serving & set(good) if len(serving) == 1 and not set(broken) - serving else set()
    found = [one for one in good if one not in left]
    if not found:
        told = "; ".join(
            f"{host}: serves {look.current or 'nothing'}, good {list(look.good)}" for host, look in looks.items()
        )
        raise DeployError(
            expected="a release that was good on every host, to go back to",
            found=told or "no host",
            state="nothing was changed",
            next_command="deploy a version: bascule deploy SERVICE VERSION",
        )
    return found[-1]


def _common(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return what is in all lists, in the order of the first."""
    first, *others = lists or [[]]
    return [one for one in first if all(one in other for other in others)]
