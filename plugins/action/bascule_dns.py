"""Ask the name servers of a zone and move its records, from the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_dns
short_description: Ask the name servers of a zone and move its records
description:
  - Runs on the controller, which needs dnspython and reaches the name servers itself; it connects to no host.
  - Every authoritative server is updated by one signed update (RFC 2136) that changes all records and the state in the
    TXT record C(_bascule) together, and only while the server holds exactly what the decision was made from.
  - The TSIG secret comes from the variable C(dns_switchover_tsig_secret), never from an argument.
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
    description: The zone.
    type: str
    required: true
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
    description: What capture kept; V(look) and V(await) then want the serials to have moved since, if the records did.
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
  description: The guard of each side, as the newest state in the zone has it.
  returned: always
  type: dict
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
from collections.abc import Callable
from typing import Any, ClassVar

from ansible.utils.display import Display

from bascule.dns import apply, by_hand, hosted, planner
from bascule.dns.io import provider as io_provider
from bascule.dns.io import servers as io_dns
from bascule.dns.planner import Change, Survey, Zone
from bascule.dns.records import ServerView, parse_records
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
        """Keep the task's variables, role defaults included, for the key."""
        self._vars = task_vars or {}
        return super().run(tmp, task_vars)

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Do what the verb says."""
        sides = (args["from"], args["to"])
        records = parse_records(args["records"], args["zone"], sides)
        zone = Zone(args["zone"], args["component"], records, sides, quoteless=args["update"] == "octodns")
        now = int(time.time())
        asked: dict[str, Any] = {
            "zone": zone.name,
            "records": records,
            "port": args["port"],
            "timeout": args["timeout"],
        }

        def read(host: str) -> ServerView:
            return io_dns.read_server(host, args["servers"][host], **asked)

        def ask() -> list[ServerView]:
            follow = [io_dns.read_server(host, address, **asked) for host, address in args["secondaries"].items()]
            resolve = [io_dns.read_resolver(host, address, **asked) for host, address in args["resolvers"].items()]
            return [view for view in follow if not (view.error and args["allow_unreachable"])] + resolve

        if args["verb"] in ("look", "audit", "await"):
            found = apply.look(zone, list(args["servers"]), read)
            result = self._look(zone, args, found, ask, now)
            if args["verb"] == "audit":
                self._audit(zone, args, found, result)
            return result
        if self.check_mode and args["verb"] != "prepare" and not apply.look(zone, list(args["servers"]), read).newest:
            return {
                "changed": True,
                "active": "",
                "guards": {},
                "msg": "this would happen after prepare, which was not run",
            }
        # Until a server says so caches may still take the answer of before: they are counted from the last moment.
        slow = {"manual": args["manual_wait"], "octodns": args["provider_wait"]}.get(args["update"], 0)
        plan = {
            "prepare": functools.partial(
                planner.plan_prepare, zone, source=args["from"], target=args["to"], ttl=args["ttl"], now=now + int(slow)
            ),
            "switch": functools.partial(
                planner.plan_switch,
                zone,
                source=args["from"],
                target=args["to"],
                decision=identity.current() if args["verb"] == "switch" else "",
                now=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            ),
            "retire": functools.partial(planner.plan_retire, zone, stays=args["to"]),
        }[args["verb"]]
        write = self._writer(zone, args, read)

        def decide(found: Survey) -> list[Change]:
            if args["update"] == "octodns":
                hosted.refuse_unpublished(zone, found, self._provider(zone))
            return plan(found)

        outcome = apply.carry_out(
            zone,
            list(args["servers"]),
            read,
            write,
            decide,
            allow_unreachable=args["verb"] == "switch" and args["allow_unreachable"],
            check_mode=self.check_mode,
        )
        for text in outcome.warnings:
            display.warning(text)
        if self.check_mode and args["update"] == "manual":
            for change in outcome.done:
                display.display(f"A person would have to do this. {by_hand.instruction(change, zone.name)}")
        if self.check_mode and args["update"] == "octodns":
            for change in outcome.done:
                hosted.rehearse(change, zone, self._provider(zone))
        return {
            **_facts(zone, outcome.found, now),
            "changed": bool(outcome.done),
            "wrong": [],
            "diff": [
                {
                    "before_header": f"{change.host} {zone.name}",
                    "after_header": f"{change.host} {zone.name}",
                    "before": "".join(f"{line}\n" for line in change.lines("before")),
                    "after": "".join(f"{line}\n" for line in change.lines("after")),
                }
                for change in outcome.done
            ],
            "warned": list(outcome.warnings),
        }

    def _look(
        self, zone: Zone, args: dict[str, Any], found: Survey, ask: Callable[[], list[ServerView]], now: int
    ) -> dict[str, Any]:
        active = _active(found)
        side = active or args["from"]
        if args["verb"] == "await" and active:
            apply.await_answer(zone, ask, side, 0 if self.check_mode else args["wait"])
        resolvers = ask()
        views = [view for view in found.views if not (view.error and args["allow_unreachable"])]
        wrong = [text for view in [*views, *resolvers] for text in planner.wrong_answers(zone, view, side)]
        wrong += planner.unmoved(found, active, args["captured"] or {})
        faults = planner.faults(zone, found, side)
        follow = [view for view in resolvers if view.host in args["secondaries"]]
        faults += [text for view in follow for text in planner.wrong_answers(zone, view, side)]
        faults += planner.behind(found, follow)
        return {
            **_facts(zone, found, now),
            "wrong": wrong,
            "faults": faults,
            "late": planner.late(zone, found),
            "resolvers": [view.to_dict() for view in resolvers],
        }

    def _audit(self, zone: Zone, args: dict[str, Any], found: Survey, result: dict[str, Any]) -> None:
        """Ask who else serves the zone, and whether the way of the updates would take those of a move."""
        port, timeout = args["port"], args["timeout"]
        names = [
            name for view in found.answering[:1] for name in io_dns.name_servers(view.address, zone.name, port, timeout)
        ]
        warnings = planner.unlisted(names, len(args["servers"]) + len(args["secondaries"]))
        if args["update"] != "octodns":
            warnings += planner.one_primary(found.answering)
        for text in warnings:
            display.warning(text)
        if args["update"] == "octodns":
            asked = self._provider(zone)
            result["wrong"] += hosted.untakable(zone.records)
            result["wrong"] += asked.refusals(hosted.probes(zone, args["ttl"]), args["ttl"])
        key = self._key() if args["update"] == "signed" else None
        for view in found.answering:
            why = io_dns.refusal(view, zone.name, key, port) if key else ""
            result["wrong"] += [why] if why else []
            result["wrong"] += io_dns.homeless(view, zone.name, zone.records, port, timeout)

    def _writer(self, zone: Zone, args: dict[str, Any], read: apply.Reader) -> apply.Writer:
        """Return what carries out a change: a signed update, a person, or a provider."""
        if args["update"] == "manual":

            def wait(change: Change) -> None:
                by_hand.await_hand(change, zone.name, read, display.display, args["manual_wait"])

            return wait
        if args["update"] == "octodns":
            asked = self._provider(zone)

            def bring(change: Change) -> None:
                hosted.carry_out(change, zone, args["verb"], asked, read, display.display, args["provider_wait"])

            return bring
        key = self._key()

        def send(change: Change) -> None:
            io_dns.apply(change, zone.name, key, port=args["port"])

        return send

    def _provider(self, zone: Zone) -> io_provider.OctoDnsZone:
        """Make the provider from variables, as they hold its secrets."""
        declared, secrets = (self._variable(f"dns_switchover_{name}", {}) for name in ("provider", "provider_secrets"))
        return io_provider.OctoDnsZone(io_provider.settings(declared, secrets), zone)

    def _variable(self, name: str, default: Any) -> Any:
        """Read a variable: an argument of a task can be shown, a variable is not."""
        return plain(self._templar.template(self._vars.get(name, default)))

    def _key(self) -> io_dns.Key:
        """Read the key from variables."""
        names = {part: f"dns_switchover_tsig_{part}" for part in ("name", "secret", "algorithm")}
        values = {part: str(self._variable(name, "")).strip() for part, name in names.items()}
        missing = [names[part] for part, value in values.items() if not value]
        if missing:
            raise BasculeError(
                expected="a TSIG key", found=f"not set: {', '.join(missing)}", state="no record was changed"
            )
        return io_dns.Key(values["name"], values["secret"], values["algorithm"])


def _active(found: Survey) -> str:
    return (found.newest.active() or "") if found.newest else ""


def _silent(found: Survey) -> str:
    return "; ".join(f"name server {host}: {why}" for host, why in sorted(found.unreachable.items()))


def _facts(zone: Zone, found: Survey, now: int) -> dict[str, Any]:
    newest = found.newest
    return {
        "changed": False,
        "sampled_at": now,
        "active": _active(found),
        "guards": {name: side.to_dict() for name, side in newest.sides.items()} if newest else {},
        # A server that was silent may hold the state: what was not read is not "not prepared".
        "unread": {} if newest or not found.unreachable else dict.fromkeys(zone.sides, _silent(found)),
        "ttls": dict(newest.ttls) if newest else {},
        "lowered_at": newest.lowered_at if newest else None,
        "ttl_left": planner.seconds_until_forgotten(newest, now) if newest else None,
        "servers": [view.to_dict() for view in found.views],
        "silent": dict(found.unreachable),
        "differences": planner.differences(zone, found.views),
    }
