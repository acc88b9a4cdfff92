"""Names in zones: the one absolute spelling of a record's name, and the zone that it lies in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import PlanError


def origin(zone: str) -> str:
    """Return the absolute name of a zone in lower case: "example.org."."""
    return zone.strip().rstrip(".").lower() + "."


def absolute(name: str, zone: str) -> str:
    """Return the name as an absolute one in lower case: "courses" and "courses.example.org" mean the same.

    Raises:
        PlanError: the name ends with a dot and lies outside the zone.
    """
    own = origin(zone)
    text = name.strip().lower()
    if text in ("", "@"):
        return own
    dotted = text.rstrip(".") + "."
    if dotted == own or dotted.endswith("." + own):
        return dotted
    if text.endswith("."):
        raise PlanError(expected=f"a record name below {own}", found=repr(name))
    return f"{dotted}{own}"


def placed(name: str, said: str, zones: Sequence[str]) -> tuple[str, str]:
    """Return the zone that a record lies in, as it is spelled in `zones`, and the record's absolute name.

    The zone is the longest of `zones` that the name ends with: a server answers from that one, whatever is declared. A
    single label without a zone is below the first one.

    Args:
        name: the record's name as it is declared.
        said: the zone that the record names; nothing where it names none.
        zones: all zones of the component.

    Raises:
        PlanError: nobody can tell where it belongs, or it belongs somewhere else than it says.
    """
    spelled = {origin(zone): zone for zone in zones}
    text = name.strip().lower()
    if said:
        if origin(said) not in spelled:
            raise PlanError(expected=f"one of the zones {', '.join(zones)}", found=repr(said))
        full = absolute(name, said)
        dotted = text.rstrip(".") + "."
        if (other := _longest(dotted, spelled)) and full != dotted:
            raise PlanError(
                expected=f"a record of the zone {said}",
                found=f"{name!r}, which ends with the zone {other} and would become {full}",
            )
    elif len(spelled) == 1:
        full = absolute(name, zones[0])
    elif _longest(dotted := text.rstrip(".") + ".", spelled):
        full = dotted
    elif text.endswith("."):
        raise PlanError(expected=f"a record name below one of {', '.join(spelled)}", found=repr(name))
    elif "." in text:
        raise PlanError(
            expected="a final dot at a name of several labels, or its zone, as there are several zones",
            found=f"{name!r}, which ends with none of {', '.join(spelled)}",
        )
    else:
        full = absolute(name, zones[0])
    within = _longest(full, spelled)
    if said and within != origin(said):
        raise PlanError(
            expected=f"{full} in the zone {within}", found=f"the zone {said}: no server answers it from there"
        )
    return spelled[within], full


def _longest(name: str, origins: Iterable[str]) -> str:
    return max((one for one in origins if name == one or name.endswith("." + one)), key=len, default="")
