"""Two balancers that nobody drives but the test's person: in memory, or on loopback as real HTTPS servers."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, cast

from bascule.entrance.io import https
from bascule.entrance.io.https import Target
from bascule.entrance.requests import Answer

from .test_https import NAME, certificate

HEADER = "X-Bascule-Forwarded"
SMOKE = "X-Bascule-Smoke"
A, B = "127.0.0.1", "127.0.0.2"
SIDES = {"gw-a": A, "gw-b": B}


class Balancer:
    """One balancer. `does` is what its person has made of it:

    serves, page, forwards, blindly (forwards whatever header a request has), 503 (no Retry-After), 302, 502,
    mixed (one node of three has not followed), once (serves, and shows the page to what was forwarded), off.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.does = "page"
        self.asked = 0

    def answer(self, headers: Mapping[str, str], forwarded: Callable[[], Answer]) -> tuple[int, dict[str, str]]:
        """Return status and headers of the answer to a request."""
        self.asked += 1
        does = self.does
        if headers.get(SMOKE) == "t":
            return 200, {}
        if does == "mixed":
            does = "page" if self.asked % 3 else "serves"
        if does == "once":
            does = "page" if headers.get(HEADER) else "serves"
        if does in ("503", "302", "502"):
            return int(does), {}
        if does == "blindly" or (does == "forwards" and not headers.get(HEADER)):
            got = forwarded()
            return got.status, {"Retry-After": got.headers["retry-after"]} if "retry-after" in got.headers else {}
        return (200, {}) if does == "serves" else (503, {"Retry-After": "5"})


class Pair:
    """The balancers of both sides, at one port."""

    def __init__(self, ca_file: str) -> None:
        self.ca_file = ca_file
        self.port = 0
        self.at = {address: Balancer(address) for address in (A, B)}

    def options(self, side: str, **more: Any) -> dict[str, Any]:
        """Return what a module gets as `entrance` at a side."""
        other = next(address for name, address in SIDES.items() if name != side)
        return {
            "kind": "manual",
            "address": SIDES[side],
            "other_address": other,
            "port": self.port,
            "name": NAME,
            "ca_file": self.ca_file,
            "forwarded_header": HEADER,
            "forward": False,
            "manual_wait": 60.0,
            **more,
        }

    def do(self, a: str, b: str) -> None:
        """Do by hand what a person does at both."""
        self.at[A].does, self.at[B].does = a, b

    def target(self, address: str) -> Target:
        """Return where one is."""
        return Target(address, NAME, self.ca_file, self.port)

    def other(self, address: str) -> str:
        """Return the address of the other one."""
        return B if address == A else A

    def ask(
        self, where: Target, path: str = "/", method: str = "GET", headers: Any = None, *_: Any, **__: Any
    ) -> Answer:
        """Answer in memory what the servers answer."""
        balancer = self.at[where.address]
        if balancer.does == "off":
            return Answer(error=f"{where.address}:{where.port}: RemoteDisconnected")
        other = self.target(self.other(where.address))
        status, given = balancer.answer(headers or {}, lambda: self.ask(other, headers={HEADER: "1"}))
        return Answer(status=status, headers={name.lower(): value for name, value in given.items()}, tls="TLSv1.3")


@contextmanager
def running(directory: Path) -> Iterator[Pair]:
    """Serve both until the end."""
    pem = certificate(directory)
    pair = Pair(str(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            balancer = pair.at[str(cast("tuple[str, int]", self.server.server_address)[0])]
            if balancer.does == "off":
                # Closed without a word, as a balancer does that is switched off in the middle.
                self.close_connection = True
                return
            other = pair.target(pair.other(balancer.address))
            status, headers = balancer.answer(
                dict(self.headers.items()), lambda: https.request(other, headers={HEADER: "1"})
            )
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    servers = []
    for address in (A, B):
        server = http.server.ThreadingHTTPServer((address, pair.port), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        pair.port = server.server_address[1]
        servers.append((server, threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})))
    for _, thread in servers:
        thread.start()
    try:
        yield pair
    finally:
        for server, thread in servers:
            server.shutdown()
            thread.join()
            server.server_close()
