"""Plain HTTP, by a real server; and an address that is none proves nothing, whatever answers on this very host."""

from __future__ import annotations

import http.server
import importlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.bascule.entrance.mode import EntranceError

from bascule.entrance import nginx
from bascule.entrance.io import https, side
from bascule.entrance.io.https import Target
from bascule.entrance.requests import Answer, parse_requests, plain_faults, refusal_fault

from .test_https import NAME
from .test_nginx import FOLDER, HEADER, SERVER, dump


@pytest.fixture
def site() -> Iterator[dict[str, Any]]:
    """A server of plain HTTP at all addresses of this host, that shows its page while `closed` says so."""
    shared: dict[str, Any] = {"closed": {}, "seen": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = str(self.connection.getsockname()[0])
            shared["seen"].append((address, self.path, self.headers["Host"]))
            self.send_response(503 if shared["closed"].get(address) else 200)
            self.send_header("Retry-After", "5")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    second = http.server.ThreadingHTTPServer(("127.0.0.2", server.server_address[1]), Handler)
    threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in (server, second)]
    for thread in threads:
        thread.start()
    shared["port"] = server.server_address[1]
    try:
        yield shared
    finally:
        for one in (server, second):
            one.shutdown()
            one.server_close()
        for thread in threads:
            thread.join()


def probe(site: dict[str, Any], expect: str, *also: str, address: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    """Run the module's main."""
    module = importlib.import_module("bascule_entrance_probe")
    params = {
        "address": address,
        "also": list(also),
        "meets": False,
        "port": site["port"],
        "scheme": "http",
        "name": NAME,
        "ca_file": "/none",
        "expect": expect,
        "requests": [{"name": "health", "path": "/healthz"}],
        "headers": {},
        "patience": 0,
        **more,
    }
    result: dict[str, Any] = module.main(SimpleNamespace(params=params, check_mode=False))
    return result


def test_requests_follow_the_scheme(site: dict[str, Any]) -> None:
    """Without a certificate that could be read, under the service's own name; https at that port is no answer."""
    where = Target("127.0.0.1", NAME, "/none", site["port"], "http")
    assert side.make(parse_requests([{"path": "/healthz"}], "run"), where)[0] | {"seconds": 0} == {
        "name": "request 1",
        "status": 200,
        "seconds": 0,
        "tls": "",
        "fault": "",
    }
    assert site["seen"] == [("127.0.0.1", "/healthz", f"{NAME}:{site['port']}")] or site["seen"][0][2] == NAME
    site["closed"]["127.0.0.1"] = True
    assert refusal_fault(https.request(where)) is None
    assert https.request(Target("127.0.0.1", NAME, "/etc/ssl/certs/ca-certificates.crt", site["port"])).error
    assert "none of http, https" in https.request(Target("127.0.0.1", NAME, "/none", site["port"], "gopher")).error


def test_no_address_is_not_this_host(site: dict[str, Any]) -> None:
    """The system takes an empty address for this very host, which answers here."""
    for address in ("", " "):
        answer = https.request(Target(address, NAME, "/none", site["port"], "http"))
        assert (answer.status, answer.connected) == (0, False)
        assert "no address to ask" in answer.error
        with pytest.raises(EntranceError, match="nobody would be asked by it"):
            probe(site, "some", "127.0.0.2", address)
    with pytest.raises(EntranceError, match="nobody would be asked by it"):
        probe(site, "answer", address="")
    assert site["seen"] == [], "nobody was asked before all addresses were read"


def test_every_further_address_is_asked(site: dict[str, Any]) -> None:
    assert [one["address"] for one in probe(site, "otherwise", "127.0.0.2")["answers"]] == ["127.0.0.1", "127.0.0.2"]
    site["closed"]["127.0.0.1"] = True
    with pytest.raises(EntranceError, match=r"maintenance at 127\.0\.0\.2"):
        probe(site, "maintenance", "127.0.0.2")
    with pytest.raises(EntranceError, match=r"otherwise at 127\.0\.0\.1"):
        probe(site, "otherwise", "127.0.0.2")
    site["closed"]["127.0.0.2"] = True
    assert probe(site, "maintenance", "127.0.0.2")["reachable"]
    # One machine of a pair shows its page already; that it answers at all is what is asked.
    assert probe(site, "some", "127.0.0.2")["reachable"]
    with pytest.raises(EntranceError, match=r"some at 127\.0\.0\.3"):
        probe(site, "some", "127.0.0.3")


@pytest.mark.parametrize(("meets", "closes"), [(True, True), (False, True), (True, False)])
def test_the_other_machine_of_a_pair_is_waited_for(
    site: dict[str, Any], monkeypatch: pytest.MonkeyPatch, meets: bool, closes: bool
) -> None:
    """It closes while it is asked; the first address is never waited for, and one that stays open never passes."""
    site["closed"]["127.0.0.1"] = True
    looks = []

    def pause(_seconds: float) -> None:
        looks.append(1)
        site["closed"]["127.0.0.2"] = closes

    monkeypatch.setattr("time.sleep", pause)
    if meets and closes:
        assert probe(site, "maintenance", "127.0.0.2", meets=True, patience=60)["answers"][1]["attempts"] == 2
        return
    with pytest.raises(EntranceError, match=r"maintenance at 127\.0\.0\.2"):
        probe(site, "maintenance", "127.0.0.2", meets=meets, patience=0 if meets else 60)
    assert looks == []
    site["closed"] = {"127.0.0.2": True}
    with pytest.raises(EntranceError, match=r"maintenance at 127\.0\.0\.1"):
        probe(site, "maintenance", "127.0.0.2", meets=meets, patience=60)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=200, connected=True), ""),
        (Answer(status=503, headers={"retry-after": "5"}, connected=True), ""),
        (Answer(error="192.0.2.1:80: timed out", connected=True), "timed out"),
        (Answer(error="192.0.2.1:80: timed out"), "timed out"),
        (Answer(error="192.0.2.1:80: RemoteDisconnected", connected=True), "RemoteDisconnected"),
        (Answer(status=400, connected=True), "it may speak TLS"),
        (Answer(status=301, headers={"location": "https://x/"}, connected=True), "would stay open"),
        (Answer(status=301, headers={"location": "http://x/"}, connected=True), ""),
    ],
)
def test_what_serves_by_plain_http(answer: Answer, said: str) -> None:
    found = plain_faults(answer)
    assert (len(found) == 1 and said in found[0]) if said else found == []


@pytest.mark.parametrize(
    ("server", "port", "scheme", "said"),
    [
        (SERVER, 443, "https", ""),
        (SERVER, 443, "http", "(port 443) speaks TLS there, and web_entrance_scheme says http"),
        (SERVER.replace("443 ssl", "80"), 80, "http", ""),
        (SERVER.replace("443 ssl", "80"), 80, "https", "speaks no TLS there"),
        (SERVER.replace("443 ssl", "80").replace("add_header", "ssl on; add_header"), 80, "http", "speaks TLS there"),
        # It only redirects, at the port at which users come.
        (f"server {{ listen 80; server_name {NAME}; return 301 https://$host/; }}", 80, "http", "nobody could close"),
    ],
)
def test_what_nginx_speaks_is_what_is_declared(server: str, port: int, scheme: str, said: str) -> None:
    found = nginx.faults(dump(server), FOLDER, NAME, port, HEADER, scheme)
    assert any(said in fault for fault in found) if said else found == []
