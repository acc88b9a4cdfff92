"""Small real servers on loopback for the tests of the client programs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Handle = Callable[[str, str, bytes], tuple[int, dict[str, str], bytes] | None]


@contextlib.contextmanager
def http_server(handle: Handle) -> Iterator[int]:
    """Serve HTTP; `handle` gets method, path and body. None cuts the connection without a word."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = handle(self.command, self.path, body)
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, format: str, *args: Any) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class NameServer:
    """Answers every A question with one address and counts the questions."""

    def __init__(self, address: str, ttl: int, code: int = 0) -> None:
        self.address, self.ttl, self.code = address, ttl, code
        self.questions = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            packet, peer = self._socket.recvfrom(512)
            if not packet:
                return
            self.questions += 1
            count = 0 if self.code else 2
            answer = packet[:2] + struct.pack("!HHHHH", 0x8180 | self.code, 1, count, 0, 0) + packet[12:]
            if count:
                # An alias first, as a real zone may have, then the address by a compressed name.
                alias = b"\x05other\x04test\x00"
                answer += b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, self.ttl + 50, len(alias)) + alias
                address = socket.inet_aton(self.address)
                answer += alias + struct.pack("!HHIH", 1, 1, self.ttl, 4) + address
            self._socket.sendto(answer, peer)


class CoursesSite:
    """A site that keeps writes and serves a page and a file, like the lab's."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.maintenance = False
        self.cut = False
        self.file_bytes = b"handout"
        self.lock = threading.Lock()

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        if self.cut:
            return None
        if self.maintenance:
            return 503, {"Retry-After": "60"}, b"back soon"
        if method == "GET":
            if path.startswith("/file/"):
                return 200, {}, self.file_bytes
            return (200, {}, b"<html>") if path.startswith(("/course/", "/healthz")) else (404, {}, b"no")
        kind, ident = ("upload", path.rpartition("/")[2]) if method == "PUT" else (path[1:], json.loads(body)["id"])
        with self.lock:
            self.rows[ident] = hashlib.sha256(body).hexdigest() if kind == "upload" else kind
        committed = {"system_id": "77", "timeline": 1, "db": "courses"}
        said = {"id": ident, "kind": kind, "committed": committed, "local": kind == "login"}
        return 201, {"Content-Type": "application/json"}, json.dumps(said).encode()
