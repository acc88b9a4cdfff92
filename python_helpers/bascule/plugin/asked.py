"""What the controller asks before a phase, all side by side: Proxmox's APIs and name servers, and its own versions.

Nothing is changed by asking. Components of which something is declared wrongly are not asked about.
"""

from __future__ import annotations

import platform
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.release import __version__ as core
from packaging.specifiers import SpecifierSet

from ..errors import BasculeError
from ..run.findings import Declared, Finding

# As in pyproject.toml; a test compares them.
CORE, PYTHON = ">=2.19.4,<2.20", ">=3.11"
# The major versions of Proxmox VE whose API is known.
RELEASES = ("8", "9")
# The phases that need both sides, by role. Later ones, and all ways back, ask by themselves who answers: a site that is
# silent then must not keep the other one from being let in, or judged.
NEEDED: Mapping[str, frozenset[str]] = {
    "proxmox_guest": frozenset({"audit", "prepare", "sync", "pretest", "plan"}),
    "dns_switchover": frozenset({"audit", "prepare", "pretest", "plan"}),
}
# Seconds for one answer, and for all of them.
PATIENCE, LONGEST = 5.0, 30.0
_PORT_OF_API, _PORT_OF_NAMES = 8006, 53
# What a request can carry in a header. No other secret is sent: what refuses it would quote it.
_SENDABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Question:
    """One thing to ask: whose it is, the variable, what is expected; `ask` returns what was found, nothing if right."""

    subject: str
    key: str
    expected: str
    ask: Callable[[], str]


def versions(ansible: str = core, python: str = platform.python_version()) -> list[Finding]:
    """Name what of the controller is too old, or newer than what was tried."""
    wanted = {"ansible-core": (CORE, ansible), "Python": (PYTHON, python)}
    return [
        Finding("controller", name, f"a version {needed}", found)
        for name, (needed, found) in wanted.items()
        if not SpecifierSet(needed).contains(found, prereleases=True)
    ]


def answers(declared: Iterable[Declared], phase: str, address: Callable[[str], str]) -> list[Finding]:
    """Ask what this phase needs, each place once; name what does not answer as it should.

    Args:
        declared: the components that take part and are declared rightly.
        phase: which playbook begins.
        address: where a machine of the inventory is reached.
    """
    asked: dict[Any, Question] = {}
    for one in declared:
        if phase in NEEDED.get(one.role, ()):
            of_role = _of_guest(one) if one.role == "proxmox_guest" else _of_names(one, address)
            for place, question in of_role:
                asked.setdefault(place, question)
    return put(list(asked.values()))


def put(questions: Collection[Question], longest: float = LONGEST) -> list[Finding]:
    """Ask all at once; who has not answered after so many seconds is named, and waited for no longer."""
    found: dict[int, str] = {}

    def ask(number: int, question: Question) -> None:
        try:
            found[number] = question.ask()
        except BasculeError as error:
            found[number] = error.found or error.expected
        except Exception as error:
            # What it says may quote a secret.
            found[number] = f"an error, {type(error).__name__}"

    until = time.monotonic() + longest
    threads = [
        threading.Thread(target=ask, args=(number, question), daemon=True) for number, question in enumerate(questions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    told = [
        (question, found.get(number, f"no answer within {longest:g} s")) for number, question in enumerate(questions)
    ]
    return [Finding(question.subject, question.key, question.expected, text) for question, text in told if text]


def _of_guest(one: Declared) -> list[tuple[Any, Question]]:
    sides, secrets = one.values.get("proxmox_guest_sides") or {}, one.values.get("proxmox_guest_token_secrets") or {}
    found: list[tuple[Any, Question]] = []
    for machine in one.sides:
        entry = sides.get(machine) or {}
        host, port = str(entry.get("api_host") or ""), str(entry.get("api_port") or _PORT_OF_API)
        token = str(entry.get("token_id") or one.values.get("proxmox_guest_token_id") or "")
        secret, ca = str(secrets.get(machine) or ""), str(one.values.get("proxmox_guest_ca_file") or "")
        pin = str(entry.get("fingerprint") or "")

        def ask(
            host: str = host, port: str = port, token: str = token, secret: str = secret, ca: str = ca, pin: str = pin
        ) -> str:
            return api(host, port, token, secret, ca, pin)

        key = f"proxmox_guest_sides.{machine}.api_host"
        expected = f"the API of Proxmox {' or '.join(RELEASES)} at {host}:{port} to answer to {token.partition('=')[0]}"
        found.append(((host, port, token, secret, ca, pin), Question(one.name, key, expected, ask)))
    return found


def api(host: str, port: str, token: str, secret: str, ca_file: str, pin: str) -> str:
    """Return what is wrong with a node's API, asked with this token; the secret is never in it."""
    try:
        from ..guest.api import Api
        from ..guest.io.proxmox_api import connect
    except ImportError:
        # What the controller lacks is named by itself.
        return ""
    if not port.isdecimal():
        return f"{port!r}, which is no port"
    if "=" in token:
        return "a token's id with a secret in it (not shown)"
    if not _SENDABLE.fullmatch(secret):
        return "a secret of the token that has other characters than a token's (not shown)"
    try:
        release = Api(connect(host, int(port), token, secret, ca_file, PATIENCE, pin), host, attempts=1).version()
    except BasculeError as error:
        return without(secret, error.found or error.expected)
    except OSError as error:
        # Such as a file of certificates that is not there.
        return without(secret, str(error) or type(error).__name__)
    return "" if release.partition(".")[0] in RELEASES else f"Proxmox {release}"


def without(secret: str, text: str) -> str:
    """Return a text without a secret that it may quote, as it is or as Python shows it."""
    for shown in (secret, repr(secret)[1:-1], repr(secret.encode())[2:-1]):
        text = text.replace(shown, "(not shown)")
    return text


def _of_names(one: Declared, address: Callable[[str], str]) -> list[tuple[Any, Question]]:
    values = one.values
    usual = values.get("dns_switchover_servers") or {host: address(host) for host in one.sides}
    zone, port = str(values.get("dns_switchover_zone") or ""), int(values.get("dns_switchover_port") or _PORT_OF_NAMES)
    found: list[tuple[Any, Question]] = []

    def add(key: str, table: Any, zone: str, port: int, ways: Collection[str]) -> None:
        for name, where in (table or {}).items():
            for way in ways:
                expected = f"an answer of {where} about {zone} by {way.upper()} at port {port}, asked from here"

                def ask(where: str = str(where), zone: str = zone, port: int = port, way: str = way) -> str:
                    return name_server(where, port, zone, way)

                found.append(((str(where), port, zone, way), Question(one.name, f"{key}.{name}", expected, ask)))

    if zone and not _goes_on(values):
        add("dns_switchover_servers", usual, zone, port, ("udp", "tcp"))
        add("dns_switchover_secondaries", values.get("dns_switchover_secondaries"), zone, port, ("udp", "tcp"))
        for entry in values.get("dns_switchover_further_zones") or []:
            servers = entry.get("servers") or usual
            add(
                "dns_switchover_further_zones",
                {**servers, **(entry.get("secondaries") or {})},
                str(entry.get("name") or zone),
                int(entry.get("port") or port),
                ("udp", "tcp"),
            )
    if zone:
        add("dns_switchover_resolvers", values.get("dns_switchover_resolvers"), zone, port, ("udp",))
    return found


def _goes_on(values: Mapping[str, Any]) -> bool:
    """Whether a server that is silent is declared to hold up nothing."""
    return values.get("dns_switchover_allow_unreachable") is True


def name_server(address: str, port: int, zone: str, way: str, patience: float = PATIENCE) -> str:
    """Return why a name server does not answer; whatever it answers is judged by the audit."""
    try:
        import dns.exception
        import dns.message
        import dns.name
        import dns.query

        from ..dns.io.servers import located
    except ImportError:
        return ""
    why = ""
    # One datagram may get lost.
    for _ in range(2 if way == "udp" else 1):
        try:
            query = dns.message.make_query(dns.name.from_text(zone), "SOA", use_edns=0, payload=1232)
            if way == "udp":
                dns.query.udp(query, located(address), timeout=patience, port=port)
            else:
                dns.query.tcp(query, located(address), timeout=patience, port=port)
            return ""
        except (dns.exception.DNSException, OSError) as error:
            why = f"none ({type(error).__name__}: {error})" if str(error) else f"none ({type(error).__name__})"
    return why
