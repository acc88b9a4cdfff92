"""The declared firewall rules of a side: what they are in nftables, and what is to be seen from outside. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ..errors import BasculeError

ACCEPT, DROP, REJECT = "accept", "drop", "reject"
ACTIVE, PASSIVE = "active", "passive"
TCP, UDP = "tcp", "udp"
# What a port comes to, asked from another machine.
ANSWERED, REFUSED, SILENT, PROHIBITED = "answered", "refused", "silent", "prohibited"
# Before the chains at priority "filter" (0), where other managers have theirs. A packet goes through all of them: what
# is dropped here is dropped, and what is accepted here may still be dropped by another one.
PRIORITY = -10
# What a connection sees of it (EHOSTUNREACH) is another thing than a port at which nobody listens (ECONNREFUSED).
_VERDICTS = {ACCEPT: ACCEPT, DROP: DROP, REJECT: "reject with icmpx admin-prohibited"}
_KEYS = {"name", "at", "when", "protocol", "port", "from", "verdict"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,59}")

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
# Protocol and port.
Place = tuple[str, int]


class FirewallError(BasculeError):
    """The rules cannot be used, or the firewall does not do what it was told."""


@dataclass(frozen=True)
class Rule:
    """One declared rule.

    name: what it is for. protocol: TCP or UDP. port: 0 is all of the protocol. sources: whom it is about; empty is
    everybody. verdict: ACCEPT, DROP or REJECT.
    """

    name: str
    protocol: str
    port: int
    sources: tuple[Network, ...]
    verdict: str

    def is_about(self, place: Place, source: str) -> bool:
        """Tell whether it decides on a packet to a place from an address."""
        address = ipaddress.ip_address(source.partition("%")[0])
        asked = not self.sources or any(address in network for network in self.sources)
        return asked and self.protocol == place[0] and self.port in (0, place[1])


def table(component: str) -> str:
    """Return the name of the component's own table; no fence of another component has one that begins so."""
    return "bascule_firewall_" + re.sub(r"\W", "_", component)


def parse(entries: Sequence[Mapping[str, Any]], side: str, role: str) -> list[Rule]:
    """Return the rules of a side, in their order.

    Args:
        entries: firewall_rules, as the role describes them.
        side: the inventory name of the machine.
        role: ACTIVE or PASSIVE, what the side is now.

    Raises:
        FirewallError: an entry cannot be used; all of them are named.
    """
    faults = [f"rule {number} ({entry.get('name', '')}): {fault}" for number, entry in enumerate(entries, 1)
              for fault in _faults(entry)]  # fmt: skip
    if faults:
        raise FirewallError(
            expected="rules in firewall_rules that can be loaded",
            found="; ".join(faults),
            state="nothing was changed",
            next_command="correct firewall_rules, then run the same playbook again",
        )
    return [
        Rule(
            str(entry["name"]),
            str(entry.get("protocol") or TCP),
            int(entry.get("port") or 0),
            tuple(ipaddress.ip_network(str(text)) for text in entry.get("from") or []),
            str(entry["verdict"]),
        )
        for entry in entries
        if (entry.get("at") or side) == side and (entry.get("when") or "always") in ("always", role)
    ]


def _faults(entry: Mapping[str, Any]) -> Iterable[str]:
    if set(entry) - _KEYS:
        yield f"nothing is known of {', '.join(sorted(set(entry) - _KEYS))}"
    if not _NAME.fullmatch(str(entry.get("name", ""))):
        yield "its name is not letters, digits, spaces, dots, dashes and underscores, 60 at most"
    for key, words in (
        ("when", ("always", ACTIVE, PASSIVE)),
        ("protocol", (TCP, UDP)),
        ("verdict", tuple(_VERDICTS)),
    ):
        value = entry.get(key) or (words[0] if key != "verdict" else "")
        if value not in words:
            yield f"{key} is {value or 'missing'}, and not one of {', '.join(words)}"
    port = str(entry.get("port") or 0)
    if not port.isdecimal() or int(port) > 65535:
        yield f"port is {port}, and not a number up to 65535"
    for text in entry.get("from") or []:
        try:
            ipaddress.ip_network(str(text))
        except ValueError as error:
            yield f"from: {error}"


def render(name: str, rules: Sequence[Rule]) -> str:
    """Return a table as nft(8) reads it; nothing for no rules: there is no table then.

    Connections that are there already go on, and so does all that no rule is about.
    """
    if not rules:
        return ""
    lines = ["ct state established,related accept", 'iif "lo" accept']
    for rule in rules:
        what = f"{rule.protocol} dport {rule.port}" if rule.port else f"meta l4proto {rule.protocol}"
        for whom in _whom(rule.sources):
            lines.append(f'{whom}{what} {_VERDICTS[rule.verdict]} comment "{rule.name}"')
    body = "".join(f"\t\t{line}\n" for line in (f"type filter hook input priority {PRIORITY}; policy accept;", *lines))
    return f"table inet {name} {{\n\tchain input {{\n{body}\t}}\n}}\n"


def _whom(sources: Sequence[Network]) -> list[str]:
    if not sources:
        return [""]
    # A set takes no two networks that overlap.
    old = ipaddress.collapse_addresses([one for one in sources if isinstance(one, ipaddress.IPv4Network)])
    new = ipaddress.collapse_addresses([one for one in sources if isinstance(one, ipaddress.IPv6Network)])
    families = {"ip": [str(one) for one in old], "ip6": [str(one) for one in new]}
    return [f"{word} saddr {{ {', '.join(texts)} }} " for word, texts in families.items() if texts]


def replacing(name: str, text: str) -> str:
    """Return what has nft(8) put the table in the place of the one of that name at once, or take that away."""
    return f"table inet {name}\ndelete table inet {name}\n{text}"


def places(rules: Iterable[Rule]) -> list[Place]:
    """Return what can be asked from outside."""
    return sorted({(rule.protocol, rule.port) for rule in rules if rule.port})


def expected(rules: Sequence[Rule], source: str) -> dict[Place, str]:
    """Return the verdict that the rules have for somebody, by place; what no rule decides on is left out."""
    found = {}
    for place in places(rules):
        verdict = next((rule.verdict for rule in rules if rule.is_about(place, source)), "")
        if verdict:
            found[place] = verdict
    return found


@dataclass(frozen=True)
class Judged:
    """What was seen from one machine: checked is how many places came out as they must, wrong what did not."""

    checked: int
    wrong: list[str]
    not_proved: list[str]


def judge(wanted: Mapping[Place, str], seen: Mapping[Place, str], where: str, whose: str, must: bool = True) -> Judged:
    """Hold what was seen against what the rules want.

    An active refusal is an open way: the packet came through to the host, where nobody listens. Silence proves a closed
    place only where another one has let the same machine through, and no UDP port at all: an open one is silent too.

    Args:
        wanted: the verdicts, by place.
        seen: ANSWERED, REFUSED, SILENT or PROHIBITED, by place.
        where: the address that was asked.
        whose: who has asked.
        must: whether this machine has to get through; one that need not is no reason for anything until it does.
    """
    through = any(seen[place] in (ANSWERED, REFUSED) for place, verdict in wanted.items() if verdict == ACCEPT)
    checked, wrong, not_proved = 0, [], []
    for place, verdict in sorted(wanted.items()):
        what = f"{place[0]} {place[1]} of {where}, asked from {whose}, is {seen[place]}"
        let_in, open_way = seen[place] in (ANSWERED, REFUSED), verdict == ACCEPT
        silent_udp = place[0] == UDP and seen[place] == SILENT
        if open_way and not let_in and (silent_udp or not (through or must)):
            not_proved.append(f"{what}: not proved open")
        elif open_way != let_in:
            wrong.append(f"{what}, and has to be {'open' if open_way else 'closed'}")
        elif not open_way and silent_udp:
            not_proved.append(f"{what}, as an open one may be: not proved closed")
        elif not open_way and not through:
            # Who has to get through was to prove it.
            said = wrong if must else not_proved
            said.append(f"{what}, and nothing open there has let {whose} through: not proved closed")
        else:
            checked += 1
    return Judged(checked, wrong, not_proved)
