"""Name servers as Debian ships them, each as a process of its own on loopback that takes signed updates."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
API_KEY = "api-key-of-the-tests"
ZONE = "example.org"
TEXT = """\
$ORIGIN example.org.
$TTL 300
@ IN SOA ns1.example.org. hostmaster.example.org. 7 3600 600 86400 60
@ IN NS ns1.example.org.
ns1 IN A 127.0.0.1
courses IN A 203.0.113.1
both IN A 192.0.2.1
both IN A 192.0.2.2
six IN AAAA 2001:db8::5
www IN CNAME Entrance-A.example.net.
@ IN MX 10 mail-a
mail-a IN A 203.0.113.2
mail-b IN AAAA 2001:db8::7
mail-c IN CNAME mail-a
_sip._tcp IN SRV 0 5 5060 sip-a
text IN TXT "site a"
caa IN CAA 0 issue "a.example.net"
*.apps IN A 203.0.113.1
7.113.0.203 IN PTR host-a.example.net.
"""
REVERSE = "113.0.203.in-addr.arpa"
REVERSE_TEXT = """\
$ORIGIN 113.0.203.in-addr.arpa.
$TTL 300
@ IN SOA ns1.example.org. hostmaster.example.org. 7 3600 600 86400 60
@ IN NS ns1.example.org.
7 IN PTR host-a.example.net.
"""
API = """api=yes
api-key={key}
webserver-address={address}
webserver-port={port}
webserver-allow-from=127.0.0.0/8
"""
PROGRAMS = {"bind": "named", "knot": "knotd", "powerdns": "pdns_server"}
_SCHEMA = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")


@dataclass(frozen=True)
class Running:
    """One server; `folder` holds all that is its own."""

    kind: str
    address: str
    port: int
    folder: Path
    api: int = 0


def program(kind: str) -> str:
    """Return the path of a server's program."""
    found = shutil.which(PROGRAMS[kind], path="/usr/sbin:/usr/bin:/usr/local/sbin")
    assert found, f"{PROGRAMS[kind]} is not installed: make packages"
    return found


def free_port() -> int:
    """Return a port at which neither UDP nor TCP is served."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", 0))
            with suppress(OSError):
                udp.bind(("127.0.0.1", tcp.getsockname()[1]))
                return int(tcp.getsockname()[1])


@contextmanager
def serving(
    kind: str,
    folder: Path,
    *,
    port: int = 0,
    names: str = "ANY",
    signed: bool = False,
    primary: int = 0,
    forward: bool = False,
    notify: int = 0,
    text: str = TEXT,
    api: bool = False,
    reverse: bool = False,
) -> Iterator[Running]:
    """Serve the zone by one server until the block ends.

    names: BIND's update policy for the key, `zonesub ANY` where it says ANY. primary: the port of which the server is
    a secondary. forward: a secondary hands updates on. notify: the port of the secondary that is told of a change.
    api: PowerDNS answers its HTTP API at another port. reverse: a reverse zone is served beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    running = Running(kind, "127.0.0.1", port or free_port(), folder, free_port() if api else 0)
    (folder / "zone").write_text(text)
    if reverse:
        (folder / "reverse").write_text(REVERSE_TEXT)
    if kind == "bind":
        command = _bind(running, names, signed, primary, forward, notify)
    elif kind == "knot":
        command = _knot(running, signed)
    else:
        command = _powerdns(running, signed)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program(kind), *command], stdout=log, stderr=log, cwd=folder)
    try:
        _await(running, process)
        while signed and kind == "bind" and not _still(running):
            pass
        yield running
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(running: Running, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(dns.exception.DNSException, OSError):
            query = dns.message.make_query(ZONE, "SOA")
            answer = dns.query.tcp(query, running.address, timeout=5, port=running.port)
            if answer.rcode() == dns.rcode.NOERROR and answer.answer:
                return
        time.sleep(0.05)
    raise AssertionError(f"{running.kind} does not serve: {(running.folder / 'log').read_text()[-3000:]}")


def _still(running: Running) -> bool:
    """Tell whether BIND has come to an end of signing the zone: its serial stays for a second."""
    serials = []
    for _ in range(2):
        answer = dns.query.udp(dns.message.make_query(ZONE, "SOA"), running.address, timeout=20, port=running.port)
        serials.append(answer.answer[0][0].serial)
        time.sleep(1)
    return len(set(serials)) == 1


def _bind(running: Running, names: str, signed: bool, primary: int, forward: bool, notify: int) -> list[str]:
    folder = running.folder
    policy = "grant bascule zonesub ANY;" if names == "ANY" else names
    own = f'type primary; file "{folder}/zone"; update-policy {{ {policy} }};'
    if signed:
        own += f' dnssec-policy default; inline-signing yes; key-directory "{folder}";'
    if primary:
        own = f'type secondary; file "{folder}/copy"; primaries {{ {running.address} port {primary}; }};'
        own += " allow-update-forwarding { any; };" if forward else ""
    if notify:
        own += f" notify explicit; also-notify {{ {running.address} port {notify}; }};"
    (folder / "named.conf").write_text(
        f"""options {{ directory "{folder}"; listen-on port {running.port} {{ {running.address}; }};
  listen-on-v6 {{ none; }}; pid-file none; session-keyfile "{folder}/session.key"; recursion no; dnssec-validation no;
  allow-transfer {{ any; }};
  managed-keys-directory "{folder}"; empty-zones-enable no; minimal-responses no; }};
controls {{ }};
key "bascule" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "{ZONE}" {{ {own} }};
"""
        + (f'zone "{REVERSE}" {{ {own.replace("/zone", "/reverse")} }};' if (folder / "reverse").exists() else "")
    )
    return ["-g", "-n", "1", "-c", str(folder / "named.conf")]


def _knot(running: Running, signed: bool) -> list[str]:
    folder = running.folder
    reverse = (folder / "reverse").exists()
    (folder / "db").mkdir()
    (folder / "knot.conf").write_text(
        f"""server:
    listen: {running.address}@{running.port}
    rundir: {folder}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {folder}/db
key:
  - id: bascule
    algorithm: hmac-sha256
    secret: {SECRET}
acl:
  - id: update
    key: bascule
    action: update
zone:
  - domain: {ZONE}
    storage: {folder}
    file: zone
    acl: update
    dnssec-signing: {"on" if signed else "off"}
"""
        + (f"  - domain: {REVERSE}\n    storage: {folder}\n    file: reverse\n    acl: update\n" * reverse)
    )
    return ["-c", str(folder / "knot.conf")]


def _powerdns(running: Running, signed: bool) -> list[str]:
    folder = running.folder
    with sqlite3.connect(folder / "pdns.sqlite") as database:
        database.executescript(_SCHEMA.read_text())
    database.close()
    (folder / "pdns.conf").write_text(
        f"""launch=gsqlite3
gsqlite3-database={folder}/pdns.sqlite
gsqlite3-dnssec=yes
local-address={running.address}
local-port={running.port}
socket-dir={folder}
daemon=no
guardian=no
receiver-threads=1
distributor-threads=1
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
"""
        + (API.format(address=running.address, port=running.api, key=API_KEY) if running.api else "")
    )
    util = ["pdnsutil", f"--config-dir={folder}"]
    steps = [
        ["load-zone", ZONE, str(folder / "zone")],
        ["import-tsig-key", "bascule", "hmac-sha256", SECRET],
        ["set-meta", ZONE, "TSIG-ALLOW-DNSUPDATE", "bascule"],
        # Without it the API leaves the serial as it is.
        ["set-meta", ZONE, "SOA-EDIT-API", "DEFAULT"],
    ]
    if (folder / "reverse").exists():
        steps[1:1] = [["load-zone", REVERSE, str(folder / "reverse")]]
        steps.append(["set-meta", REVERSE, "TSIG-ALLOW-DNSUPDATE", "bascule"])
    for step in [*steps, *([["secure-zone", ZONE], ["rectify-zone", ZONE]] if signed else [])]:
        subprocess.run([*util, *step], check=True, capture_output=True)
    return [f"--config-dir={folder}"]
