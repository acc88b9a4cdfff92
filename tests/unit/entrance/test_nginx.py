"""nginx as an entrance: what its configuration must say, and a real one on loopback that follows two files."""

from __future__ import annotations

import http.server
import inspect
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bascule.entrance import nginx
from bascule.entrance.io import https
from bascule.entrance.io.https import Target
from bascule.entrance.io.nginx import Nginx
from bascule.entrance.io.side import Side, driver, fence
from bascule.entrance.mode import EntranceError
from bascule.entrance.requests import Request, open_fault, refusal_fault
from bascule.guard import state as rule
from bascule.guard.io import store
from bascule.system.io.process import Result

from .test_https import NAME, certificate

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/bin") or ""
HEADER = "X-Bascule-Forwarded"
FOLDER = "/etc/nginx/bascule"
TOKEN = ("X-Bascule-Smoke", "t0ken")


def dump(server: str, *, rules: str = "", http: str = "", more: str = "") -> str:
    """Return what `nginx -T` says of a configuration as Debian lays it out."""
    return (
        "# configuration file /etc/nginx/nginx.conf:\n"
        f"events {{}}\nhttp {{ {http} include /etc/nginx/sites-enabled/*; }}\n\n"
        f"# configuration file /etc/nginx/sites-enabled/site:\n{server}\n\n"
        f"# configuration file {FOLDER}/entrance.conf:\n{rules or nginx.rules(FOLDER, HEADER)}\n{more}"
    )


LOCATIONS = "location @bascule_maintenance { return 503; } location @bascule_forward { return 502; }"
SERVER = f"""server {{
  listen 443 ssl; listen [::]:443 ssl; # both
  server_name other.example.org {NAME};
  add_header X "a; }} b";
  include {FOLDER}/entrance.conf;
  {LOCATIONS}
  location / {{ proxy_pass http://app; }}
}}"""
REDIRECT = f"server {{ listen 80; server_name {NAME}; return 301 https://$host$request_uri; }}"


def faults(text: str) -> list[str]:
    """Return what is wrong with a configuration."""
    return nginx.faults(text, FOLDER, NAME, 443, HEADER)


def test_a_configuration_as_the_readme_shows_it_has_no_fault() -> None:
    assert faults(dump(SERVER)) == []
    assert faults(dump(f"{SERVER}\n{REDIRECT}", http="open_file_cache off;")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "shows no configuration"),
        (dump(SERVER.replace(NAME, "x.example.org")), "no server block with server_name"),
        (dump(SERVER.replace("443", "8443")), "that listens on port 443"),
        (dump(SERVER.replace("include", "#")), "nobody could close it"),
        (dump(SERVER + REDIRECT.replace("return", "location /x { } return")), "nobody could close it"),
        (dump(SERVER + REDIRECT.replace("301", "200")), "nobody could close it"),
        (dump(SERVER.replace("include", "if ($a) { return 200; } include")), "has if before it includes"),
        (dump(SERVER.replace("location @bascule_forward", "location /f")), "has no location @bascule_forward"),
        (dump(SERVER, rules=nginx.rules(FOLDER, HEADER).replace("!=", "=")), "is not the file that README"),
        (dump(SERVER, rules=nginx.rules(FOLDER, "X-Other")), "is not the file that README"),
        (dump(SERVER, http="open_file_cache max=9;"), "open_file_cache is on"),
        (dump(SERVER.replace("location / {", "location / { open_file_cache max=9;")), "open_file_cache is on"),
    ],
)
def test_what_bascule_could_not_control_is_named(text: str, said: str) -> None:
    assert any(said in fault for fault in faults(text)), faults(text)


@pytest.mark.parametrize("text", ["http {", "http { } }", "listen 80", "server { listen 80 }"])
def test_a_configuration_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(EntranceError):
        nginx.parse(text)


@dataclass
class Real:
    """A running nginx before a small service; requests to /slow wait until `go` is set."""

    folder: Path
    port: int
    status: int
    ca_file: Path
    master: int
    go: threading.Event = field(default_factory=threading.Event)
    working: threading.Event = field(default_factory=threading.Event)

    def run(self, argv: Sequence[str], **_: Any) -> Result:
        """Stand in for systemd and for a nginx with Debian's paths."""
        if argv[0] == "systemctl":
            return Result(tuple(argv), 0, f"{self.master}\n", "")
        done = subprocess.run([PROGRAM, *_own(self.folder), *argv[1:]], capture_output=True, text=True, check=False)
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr)

    def options(self) -> dict[str, Any]:
        """Return what a module gets as `entrance`."""
        return {
            "kind": "nginx",
            "folder": str(self.folder / "bascule"),
            "status": f"http://127.0.0.1:{self.status}/",
            "address": "127.0.0.1",
            "port": self.port,
            "name": NAME,
            "ca_file": str(self.ca_file),
            "forwarded_header": HEADER,
        }

    def driver(self) -> Nginx:
        """Return what drives it."""
        return Nginx(self.options(), self.run)

    def ask(self, path: str = "/", **more: Any) -> Any:
        """Ask as a user does."""
        return https.request(Target("127.0.0.1", NAME, str(self.ca_file), self.port), path, **more)


def _own(folder: Path) -> list[str]:
    return ["-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]


def free_port() -> int:
    """Return a port at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    """Run nginx as the README says."""
    assert PROGRAM, "nginx is not installed: make packages"
    running = Real(tmp_path, free_port(), free_port(), certificate(tmp_path), 0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/slow":
                running.working.set()
                running.go.wait(20)
            forwarded = self.headers.get(HEADER, "")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.command} forwarded={forwarded}".encode())

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    app = f"http://127.0.0.1:{server.server_address[1]}"
    bascule = tmp_path / "bascule"
    bascule.mkdir()
    (bascule / "entrance.conf").write_text(nginx.rules(str(bascule), HEADER))
    (bascule / "smoke_token").write_text(f'"{TOKEN[1]}" 1;\n')
    (tmp_path / "nginx.conf").write_text(
        f"""{"user root;" if os.geteuid() == 0 else ""}
worker_processes 2; daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy; fastcgi_temp_path {tmp_path}/fastcgi;
  uwsgi_temp_path {tmp_path}/uwsgi; scgi_temp_path {tmp_path}/scgi;
  map $http_x_bascule_smoke $bascule_smoke {{ default 0; include {bascule}/smoke_token; }}
  server {{ listen 127.0.0.1:{running.status}; location / {{ stub_status; }} }}
  server {{
    listen 127.0.0.1:{running.port} ssl; server_name {NAME};
    ssl_certificate {running.ca_file}; ssl_certificate_key {running.ca_file}; ssl_protocols TLSv1.3;
    include {bascule}/entrance.conf;
    location / {{ proxy_pass {app}; proxy_set_header X-Bascule-Smoke ""; }}
    location @bascule_maintenance {{
      default_type text/html; add_header Retry-After 5 always; return 503 "<h1>Back soon</h1>";
    }}
    location @bascule_forward {{ proxy_pass {app}; proxy_set_header {HEADER} 1; }}
  }}
}}
"""
    )
    process = subprocess.Popen([PROGRAM, *_own(tmp_path)], stderr=subprocess.DEVNULL)
    running.master = process.pid
    try:
        deadline = time.monotonic() + 20
        while running.ask().error:
            assert process.poll() is None, (tmp_path / "error.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield running
    finally:
        running.go.set()
        process.terminate()
        process.wait(20)
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_real_nginx_follows_the_two_files_with_each_request(real: Real) -> None:
    """Nothing is reloaded; what is not said is the maintenance page, for every method."""
    drives = real.driver()
    assert drives.measure([], False)[1] == []
    assert (drives.mode(), refusal_fault(real.ask())) == ("maintenance", None)
    assert refusal_fault(real.ask(method="POST", body="x")) is None
    assert b"Back soon" in real.ask().body
    assert real.ask(headers=dict([TOKEN])).body == b"GET forwarded="
    assert refusal_fault(real.ask(headers={TOKEN[0]: "guessed"})) is None
    assert (drives.set_mode("open", check=True), drives.mode()) == (True, "maintenance")
    assert [drives.set_mode("open") for _ in range(2)] == [True, False]
    assert real.ask(method="POST", body="x").body == b"POST forwarded="
    assert open_fault(real.ask()) is None
    assert real.ask(headers={HEADER: "1"}).status == 200
    assert drives.set_mode("forward")
    assert real.ask(method="POST", body="x").body == b"POST forwarded=1"
    assert refusal_fault(real.ask(headers={HEADER: "1"})) is None, "no entrance forwards twice"
    (real.folder / "bascule/open").touch()
    assert (drives.mode(), refusal_fault(real.ask())) == ("maintenance", None), "both files say nothing"
    assert "has both files" in drives.measure([], False)[1][0]
    assert [drives.set_mode("maintenance") for _ in range(2)] == [True, False]
    assert drives.measure([], True)[1] == ["nginx cannot cut requests in flight: leave web_entrance_drain_cut off"]


def test_what_nginx_has_not_read_yet_is_named(real: Real) -> None:
    """The files say what it will do after a reload, not what it does."""
    os.utime(real.folder / "nginx.conf", (time.time() + 60, time.time() + 60))
    (fault,) = real.driver().measure([], False)[1]
    assert fault == f"{real.folder}/nginx.conf changed after nginx has read it: nginx -t && systemctl reload nginx"
    (real.folder / "nginx.conf").write_text("http {")
    assert "nginx -t refuses the configuration" in real.driver().measure([], False)[1][0]


@pytest.fixture
def side(real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    """Return a side whose entrance is the real nginx, open and taken over."""
    root = tmp_path / "lib" / "guard"
    monkeypatch.setattr(store, "GUARD_DIRECTORY", root)
    for function in (store.closing, store.opening, store.read, store.adopt, store.frozen, store.thawing):
        monkeypatch.setitem(inspect.unwrap(function).__kwdefaults__, "root", root)
    made = Side("entrance", "gw-a", real.options())
    made.driver = real.driver()
    made.driver.set_mode("open")
    assert made.prepare()
    store.adopt("entrance", "gw-a", "open")
    return made


def test_a_freeze_waits_for_what_runs_and_proves_the_page(real: Real, side: Side) -> None:
    """A request that has begun ends with its answer; whoever comes meanwhile sees the page."""
    answers: list[Any] = []
    slow = threading.Thread(target=lambda: answers.append(real.ask("/slow")))
    slow.start()
    assert real.working.wait(20)
    with pytest.raises(EntranceError, match="1 requests in flight"):
        side.freeze(0.3, cut=False)
    assert refusal_fault(real.ask()) is None
    threading.Timer(0.3, real.go.set).start()
    frozen = side.freeze(20, cut=False)
    slow.join()
    assert (frozen["drained"]["requests"], answers[0].status, answers[0].body) == (1, 200, b"GET forwarded=")
    assert side.thaw()["mode"] == "open"
    assert open_fault(real.ask()) is None


def test_a_worker_of_before_a_reload_is_waited_for(real: Real, side: Side) -> None:
    slow = threading.Thread(target=lambda: real.ask("/slow"))
    slow.start()
    assert real.working.wait(20)
    real.run(["nginx", "-s", "reload"])
    deadline = time.monotonic() + 20
    assert isinstance(side.driver, Nginx)
    while not side.driver.old_workers() and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(EntranceError, match="1 workers of before a reload"):
        side.freeze(0.3, cut=True)
    real.go.set()
    slow.join()
    assert side.freeze(20, cut=False)["mode"] == "maintenance"


def test_closed_stays_closed_over_a_restart_and_opens_by_the_rule(real: Real, side: Side) -> None:
    """The boot fence looks at the files; the way back opens through the smoke requests."""
    receipt = side.close("1.d1", 10, cut=False)["receipt"]
    assert receipt["epoch"] == "1.d1"
    assert fence("entrance") == "entrance: mode maintenance stays, " + side.guard().describe()
    (real.folder / "bascule/open").touch()
    assert "mode open became maintenance" in fence("entrance")
    assert (side.driver.mode(), refusal_fault(real.ask())) == ("maintenance", None)
    other = rule.GuardState("entrance", "gw-b")
    _, theirs = rule.closed(
        rule.promise(rule.adopt_open(other), rule.Epoch.parse("2.d2")), rule.Epoch(2, "d2"), {}, "now"
    )
    here = Target("127.0.0.1", NAME, str(real.ca_file), real.port)
    opened = side.open("2.d2", theirs.to_dict(), [Request("health", "/healthz")], TOKEN, 5, [here])
    assert [one["status"] for one in opened["smoke"]] == [200]
    assert refusal_fault(real.ask()) is None, "nobody is let in before the thaw"
    assert side.thaw()["changed"]
    assert real.ask().status == 200


def test_an_nginx_that_does_not_answer_thaws_nothing(real: Real, side: Side) -> None:
    side.freeze(10, cut=False)
    assert isinstance(side.driver, Nginx)
    side.driver.status = "http://127.0.0.1:1/"
    with pytest.raises(EntranceError, match="the status of nginx at"):
        side.thaw()
    assert (side.driver.mode(), side.guard().frozen) == ("maintenance", True)


def test_a_kind_without_what_it_needs_is_refused(real: Real) -> None:
    with pytest.raises(EntranceError, match="status of an entrance of kind nginx"):
        driver({**real.options(), "status": ""})
    with pytest.raises(EntranceError, match="map_file, socket, backend of an entrance of kind haproxy"):
        driver({"kind": "haproxy"})


def test_the_readme_shows_the_rules() -> None:
    readme = Path(__file__).parents[3] / "roles/web_entrance/README.md"
    assert f"```nginx\n{nginx.rules(FOLDER, HEADER)}```" in readme.read_text()
