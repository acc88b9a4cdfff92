"""Ask name servers and update them (RFC 2136, signed by TSIG). Runs on the controller only: hosts have no dnspython."""

from __future__ import annotations

import binascii
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update

from ...errors import BasculeError
from ..planner import Change, DnsRefused
from ..records import Record, RRset, ServerView, normal_value, state_name
from ..state import split_text

STATE_TTL = 0
# Values that no record of a service has, as many of each type as are needed: a record may hold some.
_FOREIGN = {
    "A": "192.0.2.{}",
    "AAAA": "2001:db8::{}",
    "CNAME": "a{}.bascule.invalid.",
    "PTR": "a{}.bascule.invalid.",
    "MX": "65535 a{}.bascule.invalid.",
    "SRV": "65535 0 1 a{}.bascule.invalid.",
    "TXT": '"bascule: {}"',
    "CAA": '0 issue "a{}.bascule.invalid"',
}
# Knot says so of a key that it knows, too, where it may not update what was sent.
_BAD_KEY = "BADKEY"
# PowerDNS answers so where it does not know the key.
_UNSIGNED = "an answer without a signature"
_ADVICE = "take it away, or write it at the names that need it"
# What a prerequisite that does not hold is answered with.
_CHANGED = (dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN)


@dataclass(frozen=True)
class Key:
    """A TSIG key. Its secret never appears in a text."""

    name: str
    secret: str = field(repr=False)
    algorithm: str = "hmac-sha256"


class DnsError(BasculeError):
    """A name server did not answer, or answered with an error."""


def located(address: str) -> str:
    """Return the address of a server that may be given by its name, as a machine of the inventory may be.

    Raises:
        OSError: no address is known for that name.
    """
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)
        return str(found[0][4][0])


def read_server(
    host: str, address: str, zone: str, records: Sequence[Record], port: int = 53, timeout: float = 2.0
) -> ServerView:
    """Ask an authoritative server for its serial, the records and the state; an error becomes part of the view."""
    try:
        soa = _ask(address, port, zone, "SOA", timeout, authoritative=True)
        if soa is None:
            raise DnsError(expected=f"a server of the zone {zone}", found=f"{address} has no SOA record for it")
        start = next(iter(soa))
        text = _ask(address, port, state_name(zone), "TXT", timeout, authoritative=True)
        if text is not None and not any(item.to_text().startswith('"{') for item in text):
            _refuse_wildcard(text, address, port, zone, timeout)
        return ServerView(
            host,
            address,
            int(start.serial),
            _state(text, address),
            _read(address, port, zone, records, timeout, True),
            primary=start.mname.to_text().lower(),
        )
    except DnsError as error:
        return ServerView(host, address, error=error.found or error.expected)


def read_resolver(
    host: str, address: str, zone: str, records: Sequence[Record], port: int = 53, timeout: float = 2.0
) -> ServerView:
    """Ask a resolver, as a client does."""
    try:
        return ServerView(host, address, rrsets=_read(address, port, zone, records, timeout, False))
    except DnsError as error:
        return ServerView(host, address, error=error.found or error.expected)


def apply(change: Change, zone: str, key: Key, port: int = 53, timeout: float = 5.0) -> None:
    """Send one change as one signed update; the server does all of it or nothing.

    Raises:
        DnsRefused: what the server holds is not what the change was decided from.
        DnsError: the server refused the key, failed, or gave no answer (then it may have done it: read it again).
    """
    message = _message(change, zone, key)
    try:
        answer = dns.query.tcp(message, located(change.address), timeout=timeout, port=port)
    except (dns.exception.DNSException, OSError) as error:
        raise DnsError(
            expected=f"{change.host} ({change.address}) to answer the update",
            found=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
            state="unknown whether the server carried it out; it is all or nothing",
            next_command="run the same playbook again: it reads the server first",
        ) from error
    code = answer.rcode()
    if code in _CHANGED:
        raise DnsRefused(
            expected=f"{change.host} to hold what this change was decided from",
            found=f"the server answered {dns.rcode.to_text(code)}: a record or the state changed in between",
            state=f"nothing was changed at {change.host}",
            next_command="ansible-playbook playbooks/status.yml",
        )
    if code != dns.rcode.NOERROR:
        raise DnsError(
            expected=f"{change.host} to carry out the update signed with key {key.name}",
            found=f"the server answered {dns.rcode.to_text(code)}",
            state=f"nothing was changed at {change.host}",
            next_command="compare the key and the update policy at the server with dns_switchover_tsig_*",
        )


def name_servers(address: str, zone: str, port: int = 53, timeout: float = 2.0) -> list[str]:
    """Return the servers that the zone names; a hidden primary is not among them."""
    found = _ask(address, port, zone, "NS", timeout, authoritative=True)
    return sorted(item.to_text().lower() for item in found or ())


def refusal(view: ServerView, zone: str, key: Key, port: int = 53, timeout: float = 5.0) -> str:
    """Return why a server would not take the updates of a move signed with this key; nothing when it would.

    It is sent one that leaves every record as it was just read: of each, and of the state, a value is removed that it
    does not have. An empty update would not do: a server whose policy speaks of names lets it pass. Nor would adding a
    record as it stands: a server that compares it by its letters writes it anew, with another serial.
    """
    host = view.host
    everything = [*view.rrsets.values(), None]
    try:
        said = _try(view, everything, zone, key, port, timeout)
        if not said:
            return ""
        refused = [one for one in everything if _try(view, [one], zone, key, port, timeout) == said]
    except dns.tsig.PeerBadTime:
        return f"the clock of {host} and the controller's differ too much for a signed update (PeerBadTime)"
    except dns.tsig.PeerError as error:
        return f"{host} does not know the key {key.name} by this secret ({type(error).__name__})"
    except (dns.exception.DNSException, OSError) as error:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"{host} does not answer an update ({why})"
    if said in map(dns.rcode.to_text, _CHANGED):
        return _overtaken(view, [one for one in refused if one], said, zone, port, timeout)
    if 0 < len(refused) < len(everything):
        names = ", ".join(f"{one.name}/{one.type}" if one else f"{state_name(zone)}/TXT" for one in refused)
        return (
            f"{host} takes no update of {names} signed with the key {key.name} ({said}): let the key update them there"
        )
    if said in (_BAD_KEY, _UNSIGNED):
        return f"{host} does not know the key {key.name}, or lets it update nothing ({said})"
    return (
        f"{host} takes no update signed with the key {key.name} ({said}): where it is a secondary (its SOA names "
        f"{view.primary} as the primary), it belongs into dns_switchover_secondaries; else let the key update the zone "
        "there"
    )


def _overtaken(view: ServerView, those: Sequence[RRset], said: str, zone: str, port: int, timeout: float) -> str:
    """Say why a server calls records another than it has just told: they changed, or it compares them by letters."""
    try:
        own = [one for one in those if _values(view.address, port, zone, one.name, one.type, timeout) == one.values]
    except DnsError as error:
        return f"{view.host} does not answer any more ({error.found})"
    if not own or own != those:
        return f"{view.host} changed while it was asked ({said}): audit again"
    names = ", ".join(f"{one.name}/{one.type}" for one in own)
    return (
        f"{view.host} keeps {names} in a spelling of its own and compares it by its letters ({said}): write it "
        f"there as {'; '.join(line for one in own for line in one.lines())}"
    )


def _values(address: str, port: int, zone: str, name: str, kind: str, timeout: float) -> frozenset[str]:
    """Ask an authoritative server for one record set and return its values in one spelling."""
    rrset = _ask(address, port, name, kind, timeout, authoritative=True)
    return frozenset(normal_value(kind, item.to_text(), zone) for item in rrset or ())


def wildcards(
    view: ServerView, zone: str, records: Sequence[Record], port: int = 53, timeout: float = 2.0
) -> list[str]:
    """Name the wildcards of type TXT that answer for a TXT record of the component wherever that is not there.

    A move reads what is there before it changes it, and what a wildcard answers with looks like a record of that name.
    The wildcards that move with the component are its own.
    """
    own = {record.name for record in records if record.type == "TXT"}
    found = {}
    for name in sorted({state_name(zone), *own}):
        for star in _stars(name, zone):
            if star == name or star in own or star in found:
                continue
            try:
                if _ask(view.address, port, star, "TXT", timeout, authoritative=True) is not None:
                    found[star] = f"{view.host}: the wildcard {star} of type TXT answers for {name}: {_ADVICE}"
            except DnsError as error:
                found[star] = f"{view.host}: {error.found or error.expected}"
    return list(found.values())


def _stars(name: str, zone: str) -> list[str]:
    """Return the names of the wildcards in a zone that could answer for a name, the nearest first."""
    labels, last = name.rstrip(".").lower().split("."), zone.rstrip(".").lower().split(".")
    return [".".join(["*", *labels[number:], ""]) for number in range(1, len(labels) - len(last) + 1)]


def _refuse_wildcard(text: dns.rrset.RRset, address: str, port: int, zone: str, timeout: float) -> None:
    """Refuse what a wildcard says under the name of the state, which holds none then."""
    for star in _stars(state_name(zone), zone):
        said = _ask(address, port, star, "TXT", timeout, authoritative=True)
        if said is not None and set(said) == set(text):
            raise DnsError(
                expected=f"the state of the switch, or nothing, under {state_name(zone)}",
                found=f"the wildcard {star} of type TXT answers for it at {address}: {_ADVICE}",
                state="nothing was changed",
                next_command="ansible-playbook playbooks/10_audit.yml",
            )


def homeless(view: ServerView, zone: str, records: Sequence[Record], port: int = 53, timeout: float = 2.0) -> list[str]:
    """Name the mail hosts in the zone that have no address of their own: BIND refuses an update that points to one.

    Both sides' values are looked at; a host whose address is one of the records that move has one on either side.
    """
    origin = dns.name.from_text(zone)
    moving = {record.name for record in records if record.type in ("A", "AAAA")}
    found = []
    for record in (one for one in records if one.type == "MX"):
        for side, values in sorted(record.values.items()):
            for host in sorted(value.split()[-1] for value in values):
                name = dns.name.from_text(host)
                if host in moving or name == dns.name.root or not name.is_subdomain(origin):
                    continue
                try:
                    if any(_values(view.address, port, zone, host, kind, timeout) for kind in ("A", "AAAA")):
                        continue
                except DnsError as error:
                    found.append(f"{view.host}: {error.found or error.expected}")
                    continue
                found.append(
                    f"{view.host}: {record.key} names {host} for {side}, which has no address there (or is an alias): "
                    "mail could not get there, and BIND refuses such an update"
                )
    return found


def _try(view: ServerView, those: Sequence[RRset | None], zone: str, key: Key, port: int, timeout: float) -> str:
    """Send an update that leaves these records (None: the state) as they were read; return the refusal, if any."""
    message = _unchanged(zone, key)
    message.present(dns.name.from_text(zone), "SOA")
    own = dns.name.from_text(state_name(zone))
    for rrset in those:
        if rrset is None:
            _require_state(message, own, view.state_text)
            message.delete(own, _txt("nothing"))
        else:
            name, rdatas = dns.name.from_text(rrset.name), _rdatas(rrset)
            message.present(name, *rdatas)
            message.delete(name, _foreign(rrset.type, rdatas))
    try:
        code = dns.query.tcp(message, located(view.address), timeout=timeout, port=port).rcode()
    except dns.tsig.PeerBadKey:
        return _BAD_KEY
    except dns.exception.FormError:
        return _UNSIGNED
    return "" if code == dns.rcode.NOERROR else dns.rcode.to_text(code)


def _foreign(kind: str, held: Sequence[dns.rdata.Rdata]) -> dns.rdata.Rdata:
    """Return a value of the record's type that it does not hold, whatever the case of its letters."""
    some = (dns.rdata.from_text("IN", kind, _FOREIGN[kind].format(number)) for number in range(1, len(held) + 2))
    return next(value for value in some if value not in held)


def _require_state(message: dns.update.UpdateMessage, own: dns.name.Name, text: str | None) -> None:
    if text is None:
        message.absent(own, "TXT")
    else:
        message.present(own, _txt(text))


def _unchanged(zone: str, key: Key) -> dns.update.UpdateMessage:
    try:
        ring = dns.tsigkeyring.from_text({key.name: key.secret})
    except (binascii.Error, ValueError):
        raise DnsError(
            expected="a TSIG secret in base64",
            found="one that does not decode (not shown)",
            state="no record was changed",
            next_command="look at dns_switchover_tsig_secret",
        ) from None
    return dns.update.UpdateMessage(
        zone, keyring=ring, keyname=dns.name.from_text(key.name), keyalgorithm=dns.name.from_text(key.algorithm)
    )


def _message(change: Change, zone: str, key: Key) -> dns.update.UpdateMessage:
    message = _unchanged(zone, key)
    own = dns.name.from_text(state_name(zone))
    _require_state(message, own, change.state_before)
    for rrset in change.before:
        message.present(dns.name.from_text(rrset.name), *_rdatas(rrset))
    for rrset in change.after:
        # A CNAME that is added takes the place of the one before (RFC 2136, 3.4.2.2). One that is removed first may not
        # come again: Knot 3.2 ignores it beside the signatures of a signed zone, and the name is gone.
        put = message.add if rrset.type == "CNAME" else message.replace
        put(dns.name.from_text(rrset.name), rrset.ttl, *_rdatas(rrset))
    message.replace(own, STATE_TTL, _txt(change.state_after))
    return message


def _ask(address: str, port: int, name: str, kind: str, timeout: float, authoritative: bool) -> dns.rrset.RRset | None:
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    if authoritative:
        query.flags &= ~dns.flags.RD
    answer = None
    problem = ""
    # One datagram may get lost; a server that is down stays silent twice.
    for _ in range(2):
        try:
            answer, _ = dns.query.udp_with_fallback(query, located(address), timeout=timeout, port=port)
            break
        except (dns.exception.DNSException, OSError) as error:
            problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if answer is None:
        raise DnsError(expected=f"{address} to answer", found=f"{address} does not answer ({problem})")
    code = answer.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise DnsError(
            expected=f"{address} to answer", found=f"{address} answers {dns.rcode.to_text(code)} for {name} {kind}"
        )
    if authoritative and not answer.flags & dns.flags.AA:
        raise DnsError(expected="an authoritative answer", found=f"{address} is not authoritative for {name}")
    # A resolver follows aliases: the set under the name asked for is what the zone says.
    return answer.get_rrset(
        dns.message.ANSWER, dns.name.from_text(name), dns.rdataclass.IN, dns.rdatatype.from_text(kind)
    )


def _read(
    address: str, port: int, zone: str, records: Sequence[Record], timeout: float, authoritative: bool
) -> dict[str, RRset]:
    found = {}
    for record in records:
        rrset = _ask(address, port, record.name, record.type, timeout, authoritative)
        if rrset is not None:
            values = frozenset(normal_value(record.type, item.to_text(), zone) for item in rrset)
            found[record.key] = RRset(record.name, record.type, rrset.ttl, values)
    return found


def _state(rrset: dns.rrset.RRset | None, address: str) -> str | None:
    if rrset is None:
        return None
    texts = [item for item in rrset if isinstance(item, dns.rdtypes.txtbase.TXTBase)]
    if len(texts) != 1:
        raise DnsError(
            expected="one TXT record with the state", found=f"{address} has {len(texts)} TXT records under {rrset.name}"
        )
    return b"".join(texts[0].strings).decode("ascii", "replace")


def _rdatas(rrset: RRset) -> list[dns.rdata.Rdata]:
    return [dns.rdata.from_text("IN", rrset.type, value) for value in sorted(rrset.values)]


def _txt(text: str) -> dns.rdata.Rdata:
    strings = " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in split_text(text))
    return dns.rdata.from_text("IN", "TXT", strings)
