"""A small service behind an entrance: says where it runs, takes logins, and can hold a request until it is released."""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SITE = sys.argv[1]
RELEASE = Path("/run/release-slow-requests")
LONGEST_SECONDS = 120


class Handler(BaseHTTPRequestHandler):
    """Answers a few paths."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer the paths that read."""
        if self.path == "/slow":
            self._hold()
        known = self.path in ("/healthz", "/course/1", "/slow", "/")
        self._answer(200 if known else 404, f"<h1>served at {SITE}</h1>\n".encode())

    def do_POST(self) -> None:
        """Take a login."""
        data = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self._answer(201, json.dumps({"id": data["id"], "site": SITE}).encode())

    def _hold(self) -> None:
        deadline = time.monotonic() + LONGEST_SECONDS
        while not RELEASE.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
