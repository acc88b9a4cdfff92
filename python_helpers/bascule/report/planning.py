"""What a plan shows beside the forecast: what depends on what, and what would happen in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..run.components import layers_of

_WIDE = 140


def graph(components: Mapping[str, str], depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the layers, what others depend on first, each component with its role and what it depends on.

    Args:
        components: the role of each component that takes part, by its name.
        depends_on: what each depends on; who takes no part is shown in brackets.
    """
    lines = []
    for number, names in enumerate(layers(components, depends_on)):
        for name in names:
            needs = [other if other in components else f"({other})" for other in depends_on.get(name, ())]
            after = f"  after {', '.join(needs)}" if needs else ""
            lines.append(f"layer {number}  {name} ({components[name]}){after}")
    return lines


def steps(components: Iterable[str], depends_on: Mapping[str, Iterable[str]], pointing: Iterable[str]) -> list[str]:
    """Return what a cutover does, in its order; what closes goes backwards along `depends_on`, what opens along it.

    Args:
        components: those that take part.
        depends_on: what each depends on.
        pointing: those that only point to a site.
    """
    last = list(pointing)
    after = set(last)
    moving = [name for name in components if name not in after]
    up = layers(moving, depends_on)
    if not moving:
        return [f"1 point    {', '.join(last)}"]
    lines = [
        f"1 check    {_arrows(up)}: fresh samples to every gate, NO-GO ends it here",
        "2 capture  all: what a return must restore",
        f"3 freeze   {_arrows(up[::-1])}: users wait from here on",
        "4 sync     each after its own freeze",
        f"5 switch   {_arrows(up)}: when all are frozen and carried over; until here a return only lets users in again",
        f"6 thaw     {_arrows(up)}: users are let in",
    ]
    return [*lines, f"7 point    {', '.join(last)}"] if last else lines


def layers(names: Iterable[str], depends_on: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the names in layers, what others depend on first; who takes no part still orders those who do."""
    wanted = list(names)
    known = {name: [other for other in others if other in depends_on] for name, others in depends_on.items()}
    of = layers_of(known)[0]
    found: dict[int, list[str]] = {}
    for name in wanted:
        found.setdefault(of.get(name, 0), []).append(name)
    return [found[number] for number in sorted(found)]


def _arrows(names: Iterable[Iterable[str]]) -> str:
    text = " > ".join(", ".join(one) for one in names)
    return text if len(text) <= _WIDE else f"{text[:_WIDE]} …"
