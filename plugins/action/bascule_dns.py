"""Ask the name servers of a zone and move its records, from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_dns
short_description: Ask the name servers of zones and move their records
description:
  - Runs on the controller, which needs dnspython and reaches the name servers itself; it connects to no host.
  - Every authoritative server is updated by one signed update (RFC 2136) that changes all records and the state in the
    TXT record C(_bascule) together, and only while the server holds exactly what the decision was made from.
  - No update changes two zones. A zone that a switch has not reached is brought up by the next one, and until then no
    side is told to be open.
  - Secrets come from the variables C(dns_switchover_tsig_secret), C(dns_switchover_provider_secrets) and
    C(dns_switchover_further_secrets), never from an argument.
options:
  verb:
    description:
      - V(look) asks every server and every resolver and changes nothing. V(audit) also asks each server whether it
        would take the updates of a move, by one that leaves every record as it is.
      - V(prepare) adopts the zone and lowers the times to live, V(switch) moves the records to O(to), V(retire) gives
        the times to live back.
      - V(await) waits until every secondary and resolver gives the answers of the active side.
    type: str
    choices: [look, audit, prepare, switch, retire, await]
    required: true
  zone:
    description: The zone; a record of a single label that names no zone is below it.
    type: str
    required: true
  further_zones:
    description: Other zones of the component, as dns_switchover_further_zones declares them.
    type: list
    elements: dict
    default: []
  records:
    description: The records that move, as dns_switchover_records declares them.
    type: list
    elements: dict
    required: true
  from:
    description: The side we come from.
    type: str
    required: true
  to:
    description: The side we move to.
    type: str
    required: true
  servers:
    description: The primaries of the zone, name to address; each is updated by itself.
    type: dict
    required: true
  secondaries:
    description:
      - The authoritative servers that take the zone over from a primary, name to address; asked, never updated.
    type: dict
    default: {}
  resolvers:
    description: The resolvers to ask as a client does, name to address.
    type: dict
    default: {}
  port:
    description: The port of all servers.
    type: int
    default: 53
  ttl:
    description: The lowered time to live in seconds.
    type: int
    default: 5
  timeout:
    description: Seconds for one query.
    type: float
    default: 2
  wait:
    description: Seconds that V(await) waits.
    type: float
    default: 30
  captured:
    description:
      - What is kept on the machines. V(look) and V(await) want the serials to have moved since capture, if the records
        did. Where a person changes a zone, caches are counted from when prepare first saw the lowered times to live.
    type: dict
  update:
    description:
      - V(signed) updates the servers. V(manual) says what a person has to change, and waits until the servers say so;
        it needs no key. V(octodns) has a provider of octoDNS change the hosted zone, and waits until the servers say
        so; the provider is read from the variables C(dns_switchover_provider) and C(dns_switchover_provider_secrets).
    type: str
    choices: [signed, manual, octodns]
    default: signed
  manual_wait:
    description: Seconds that V(manual) waits for one server.
    type: float
    default: 900
  provider_wait:
    description: Seconds that V(octodns) waits for a server to publish what the provider holds.
    type: float
    default: 300
  allow_unreachable:
    description: Whether V(switch) and V(await) go on without a server that does not answer.
    type: bool
    default: false
extends_documentation_fragment:
  - bascule.component
"""

EXAMPLES = r"""
- name: Move the records
  bascule_dns:
    verb: switch
    component: names
    zone: example.org
    records: [{name: courses, type: A, values: {ns-a: 192.0.2.1, ns-b: 198.51.100.1}}]
    from: ns-a
    to: ns-b
    servers: {ns-a: 192.0.2.53, ns-b: 198.51.100.53}
"""

RETURN = r"""
active:
  description: The side that the records point to; empty before prepare.
  returned: always
  type: str
guards:
  description:
    - The guard of each side, as the newest state in any zone has it. A side is opening while a zone was not reached
      yet; there are no guards while a zone was not taken over.
  returned: always
  type: dict
unseen:
  description: The zones of which no server answers, while the state of others is known; nothing else.
  returned: always
  type: str
unread:
  description: Why the guards of both sides are not known, where no server that answered has a state.
  returned: always
  type: dict
servers:
  description: What every authoritative server says, serial and times to live included.
  returned: always
  type: list
  elements: dict
resolvers:
  description: What every secondary and resolver says.
  returned: when O(verb=look), O(verb=audit) or O(verb=await)
  type: list
  elements: dict
silent:
  description: The authoritative servers that do not answer, name to reason.
  returned: always
  type: dict
differences:
  description: The records on which the servers disagree.
  returned: always
  type: list
  elements: str
wrong:
  description:
    - The answers that are not those of the active side, secondaries and resolvers included; with O(verb=audit) also why
      a server would take no update.
  returned: always
  type: list
  elements: str
captured:
  description: What capture keeps, the active side, and serials and records by zone and server.
  returned: when O(verb=look), O(verb=audit) or O(verb=await)
  type: dict
answers_checked:
  description: How many answers were compared.
  returned: when O(verb=look), O(verb=audit) or O(verb=await)
  type: int
seen:
  description:
    - By zone that a person changes, when the lowered times to live were first seen at all servers, and the state's own
      time beside which that counts.
  returned: when O(verb=prepare)
  type: dict
faults:
  description:
    - What keeps the records from being moved. A server that an interrupted switch has not reached is no fault.
  returned: when O(verb=look) or O(verb=await)
  type: list
  elements: str
late:
  description: The answers of servers that were away when the records moved, and send users to where they were.
  returned: when O(verb=look), O(verb=audit) or O(verb=await)
  type: list
  elements: str
sampled_at:
  description: When the servers were asked, in seconds since 1970.
  returned: always
  type: int
ttl_left:
  description: Seconds for which a cache may still hold an answer from before prepare; null before prepare.
  returned: always
  type: int
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ansible.utils.display import Display

from bascule.dns import apply, by_hand, facts, hosted, planner
from bascule.dns.apply import Part
from bascule.dns.io import provider as io_provider
from bascule.dns.io import servers as io_dns
from bascule.dns.planner import Change, Survey, Zone
from bascule.dns.records import ServerView
from bascule.dns.zones import ALGORITHMS, Served, served
from bascule.errors import BasculeError
from bascule.plugin.action import ControllerAction, Scope
from bascule.plugin.values import plain
from bascule.run.io import identity

display = Display()


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "verb": {"type": "str", "choices": ["look", "audit", "prepare", "switch", "retire", "await"], "required": True},
        "component": {"type": "str", "required": True},
        "zone": {"type": "str", "required": True},
        "further_zones": {"type": "list", "elements": "dict", "default": []},
        "records": {"type": "list", "elements": "dict", "required": True},
        "from": {"type": "str", "required": True},
        "to": {"type": "str", "required": True},
        "servers": {"type": "dict", "required": True},
        "secondaries": {"type": "dict", "default": {}},
        "resolvers": {"type": "dict", "default": {}},
        "port": {"type": "int", "default": 53},
        "ttl": {"type": "int", "default": 5},
        "timeout": {"type": "float", "default": 2},
        "wait": {"type": "float", "default": 30},
        "captured": {"type": "dict"},
        "update": {"type": "str", "choices": ["signed", "manual", "octodns"], "default": "signed"},
        "manual_wait": {"type": "float", "default": 900},
        "provider_wait": {"type": "float", "default": 300},
        "allow_unreachable": {"type": "bool", "default": False},
    }

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Keep the task's variables, role defaults included, for the keys."""
        self._vars = task_vars or {}
        return super().run(tmp, task_vars)

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Do what the verb says."""
        every = served(args, self._variable("dns_switchover_further_secrets", {}))
        if args["verb"] in ("look", "audit", "await"):
            return self._look(every, args)
        return self._change(every, args)

    def _look(self, every: list[Served], args: dict[str, Any]) -> dict[str, Any]:
        now = int(time.time())
        zones = [one.zone for one in every]
        found = apply.look_at_all([self._reading(one, args) for one in every])
        side = facts.active(found) or args["from"]
        if args["verb"] == "await" and facts.active(found):
            deadline = time.monotonic() + (0 if self.check_mode else args["wait"])
            for one in every:
                apply.await_answer(
                    one.zone, functools.partial(self._views, one, args), side, deadline - time.monotonic()
                )
        asked = [self._ask(one, args) for one in every]
        kept = args["captured"] or {}
        counted = {
            one.zone.name: planner.first_seen(one.zone, seen, kept, now)
            for one, seen in zip(every, found)
            if one.update == "manual"
        }
        result = {
            **facts.facts(zones, found, now, counted),
            **facts.look(zones, found, asked, side, kept, args["allow_unreachable"]),
            "captured": facts.captured(zones, found),
        }
        if args["captured"] is not None:
            for one, seen in zip(every, found):
                result["faults"] += planner.unseen_lowering(one.zone, seen, kept) if one.update == "manual" else []
        if args["verb"] == "audit":
            for one, seen in zip(every, found):
                try:
                    self._audit(one, args, seen, result)
                except BasculeError as error:
                    result["wrong"].append(f"{one.zone.name}: {error.message()}")
        return result

    def _change(self, every: list[Served], args: dict[str, Any]) -> dict[str, Any]:
        now = int(time.time())
        zones = [one.zone for one in every]
        if self.check_mode and args["verb"] != "prepare":
            found = apply.look_at_all([self._reading(one, args) for one in every])
            if not planner.guards(zones, found):
                return {
                    "changed": True,
                    "active": "",
                    "guards": {},
                    "msg": "this would happen after prepare, which was not run",
                }
        outcome = apply.carry_out(
            [self._part(one, args) for one in every],
            self._plan(every, args, now),
            allow_unreachable=args["verb"] == "switch" and args["allow_unreachable"],
            check_mode=self.check_mode,
        )
        for text in outcome.warnings:
            display.warning(text)
        if self.check_mode:
            self._rehearse(every, outcome.done)
        done, kept = int(time.time()), args["captured"] or {}
        seen = {
            one.zone.name: {
                "lowered_at": here.own.lowered_at or 0,
                "seen_at": planner.first_seen(one.zone, here, kept, done),
            }
            for one, here in zip(every, outcome.found)
            if args["verb"] == "prepare" and one.update == "manual" and here.own and not self.check_mode
        }
        counted = {name: times["seen_at"] for name, times in seen.items()}
        return {
            **facts.facts(zones, outcome.found, done if counted else now, counted),
            "changed": bool(outcome.done),
            "seen": seen,
            "wrong": [],
            "diff": [
                {
                    "before_header": f"{change.host} {change.zone}",
                    "after_header": f"{change.host} {change.zone}",
                    "before": "".join(f"{line}\n" for line in change.lines("before")),
                    "after": "".join(f"{line}\n" for line in change.lines("after")),
                }
                for change in outcome.done
            ],
            "warned": list(outcome.warnings),
        }

    def _plan(self, every: list[Served], args: dict[str, Any], now: int) -> Callable[[Zone, Survey], list[Change]]:
        """Return what decides the changes of a zone."""
        if args["verb"] == "retire":
            return lambda zone, found: planner.plan_retire(zone, found, args["to"])
        source, target = args["from"], args["to"]
        if args["verb"] == "switch":
            decision, at = identity.current(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
            return lambda zone, found: planner.plan_switch(zone, found, source, target, decision, at)
        # Until a provider publishes, caches may still take the answer of before: they are counted from the last moment,
        # after all that is waited for before. Where a person is waited for, the state's time is no more than a mark.
        slow, later = 0.0, {}
        for one in every:
            slow += {"octodns": args["provider_wait"]}.get(one.update, 0) * len(one.servers)
            later[one.zone.name] = int(slow)

        def prepare(zone: Zone, found: Survey) -> list[Change]:
            last = int(time.time()) + later[zone.name]
            return planner.plan_prepare(zone, found, source, target, args["ttl"], last)

        return prepare

    def _rehearse(self, every: list[Served], changes: Sequence[Change]) -> None:
        """Say what a person would have to do; ask a provider whether it would take it."""
        known = {one.zone.name: one for one in every}
        for change in changes:
            one = known[change.zone]
            if one.update == "manual":
                display.display(f"A person would have to do this. {by_hand.instruction(change, change.zone)}")
            elif one.update == "octodns":
                hosted.rehearse(change, one.zone, self._provider(one))

    def _ask(self, one: Served, args: dict[str, Any]) -> tuple[list[ServerView], list[ServerView]]:
        """Ask the secondaries of a zone and the resolvers."""
        asked = _asked(one, args)
        follow = [io_dns.read_server(host, address, **asked) for host, address in one.secondaries.items()]
        resolve = [io_dns.read_resolver(host, address, **asked) for host, address in one.resolvers.items()]
        return [view for view in follow if not (view.error and args["allow_unreachable"])], resolve

    def _views(self, one: Served, args: dict[str, Any]) -> list[ServerView]:
        follow, resolve = self._ask(one, args)
        return follow + resolve

    def _reading(self, one: Served, args: dict[str, Any]) -> Part:
        """Return a zone that is only read."""
        asked = _asked(one, args)

        def read(host: str) -> ServerView:
            return io_dns.read_server(host, one.servers[host], **asked)

        def write(change: Change) -> None:
            raise BasculeError(expected="nothing to be changed by a look", found=f"a change of {change.zone}")

        return Part(one.zone, list(one.servers), read, write)

    def _part(self, one: Served, args: dict[str, Any]) -> Part:
        """Return a zone with what carries out a change of it: a signed update, a person, or a provider.

        A key or a provider that cannot be had is refused when the zone is decided: it is no fault of the others.
        """
        part = self._reading(one, args)
        zone = one.zone
        if one.update == "manual":

            def wait(change: Change) -> None:
                by_hand.await_hand(change, zone.name, part.read, display.display, args["manual_wait"])

            return replace(part, write=wait)
        if one.update == "octodns":
            asked = functools.lru_cache(maxsize=None)(functools.partial(self._provider, one))

            def bring(change: Change) -> None:
                hosted.carry_out(change, zone, args["verb"], asked(), part.read, display.display, args["provider_wait"])

            def unpublished(found: Survey) -> None:
                hosted.refuse_unpublished(zone, found, asked())

            return replace(part, write=bring, refuse=unpublished)

        def send(change: Change) -> None:
            io_dns.apply(change, zone.name, self._key(one), port=one.port)

        def without_key(found: Survey) -> None:
            self._key(one)

        return replace(part, write=send, refuse=without_key)

    def _audit(self, one: Served, args: dict[str, Any], found: Survey, result: dict[str, Any]) -> None:
        """Ask who else serves a zone, and whether the way of the updates would take those of a move."""
        port, timeout, zone = one.port, args["timeout"], one.zone
        names = [
            name for view in found.answering[:1] for name in io_dns.name_servers(view.address, zone.name, port, timeout)
        ]
        warnings = planner.unlisted(names, len(one.servers) + len(one.secondaries))
        if args["resolvers"] and not one.resolvers:
            warnings.append(f"no resolver is asked for {zone.name}, as its table of resolvers is empty")
        if one.update != "octodns":
            warnings += planner.one_primary(found.answering)
        for text in warnings:
            display.warning(text)
        if one.update == "octodns":
            asked = self._provider(one)
            result["wrong"] += hosted.untakable(zone.records)
            result["wrong"] += asked.refusals(hosted.probes(zone, args["ttl"]), args["ttl"])
        key = self._key(one) if one.update == "signed" else None
        for view in found.answering:
            why = io_dns.refusal(view, zone.name, key, port) if key else ""
            result["wrong"] += [why] if why else []
            result["wrong"] += io_dns.homeless(view, zone.name, zone.records, port, timeout)
            result["wrong"] += io_dns.wildcards(view, zone.name, zone.records, port, timeout)

    def _provider(self, one: Served) -> io_provider.OctoDnsZone:
        """Make the provider of a zone, its own or the component's, from variables, as they hold its secrets."""
        if "provider" in one.settings:
            declared, secrets = one.settings["provider"], one.settings.get("provider_secrets", {})
        else:
            declared, secrets = (
                self._variable(f"dns_switchover_{name}", {}) for name in ("provider", "provider_secrets")
            )
        return io_provider.OctoDnsZone(io_provider.settings(declared, secrets), one.zone)

    def _variable(self, name: str, default: Any) -> Any:
        """Read a variable: an argument of a task can be shown, a variable is not."""
        return plain(self._templar.template(self._vars.get(name, default)))

    def _key(self, one: Served) -> io_dns.Key:
        """Read the key of a zone, its own or the component's, from variables."""
        names = {part: f"dns_switchover_tsig_{part}" for part in ("name", "secret", "algorithm")}
        values = {part: str(self._variable(name, "")).strip() for part, name in names.items()}
        if "tsig_name" in one.settings:
            # The secret belongs to the name; the algorithm may be the usual one.
            usual = {"algorithm": values["algorithm"]}
            values = {part: str(one.settings.get(f"tsig_{part}", usual.get(part, ""))).strip() for part in names}
            names["secret"] = f"tsig_secret of {one.zone.name} in dns_switchover_further_secrets"
        missing = [names[part] for part, value in values.items() if not value]
        if missing:
            raise BasculeError(
                expected="a TSIG key", found=f"not set: {', '.join(missing)}", state="no record was changed"
            )
        if values["algorithm"].lower().rstrip(".") not in ALGORITHMS:
            raise BasculeError(
                expected=f"a TSIG algorithm, one of {', '.join(ALGORITHMS)}",
                found=repr(values["algorithm"]),
                state="no record was changed",
                next_command=f"look at {names['algorithm']}, or the zone's tsig_algorithm",
            )
        return io_dns.Key(values["name"], values["secret"], values["algorithm"])


def _asked(one: Served, args: dict[str, Any]) -> dict[str, Any]:
    return {
        "zone": one.zone.name,
        "records": one.zone.records,
        "port": one.port,
        "timeout": args["timeout"],
    }
