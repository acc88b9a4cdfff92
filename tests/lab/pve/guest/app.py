"""The lab's web application: a small course site, run inside the guest.

Logins and progress live in PostgreSQL, course files and uploads on the file server, and a log of logins on the guest's
own disk (the state a guest carries). Every acknowledged write is durable where it says it is: the transaction has
committed, the file server has answered 201 for the very bytes, the local line is synced. Whatever cannot be
acknowledged within a few seconds is a 5xx. A write is idempotent by its identifier.

It finds `db` and `files` by name in the search domain of its site, so the same disk serves either site.
"""

from __future__ import annotations

import html
import json
import os
import re
import signal
import socket
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .parts import TABLES, Database, FileServer, LocalLog, Parts, Refused, setting

LOCAL_LOG = Path("/var/lib/courses/logins.log")
PORT = 8000
MAX_UPLOAD = 16 << 20


def identifier(value: object) -> str:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError as error:
        raise Refused(400, "id must be a UUID") from error


def whole(form: dict[str, Any], name: str) -> int:
    value = form.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(400, f"{name} must be a whole number")
    return value


class Handler(BaseHTTPRequestHandler):
    """One request: the path decides, the parts do."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True
    parts: Parts

    def log_message(self, format: str, *args: Any) -> None:
        """Only failures reach the console (see `_serve`): it is a slow serial line."""

    def _answer(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            # Said aloud: an entrance that keeps connections would send the next request into a closed one.
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, value: object) -> None:
        self._answer(status, json.dumps(value).encode() + b"\n")

    def _body(self) -> bytes:
        try:
            length = int(self.headers["Content-Length"])
        except (TypeError, ValueError) as error:
            self.close_connection = True
            raise Refused(411, "Content-Length is missing") from error
        if not 0 <= length <= MAX_UPLOAD:
            self.close_connection = True
            raise Refused(413, f"more than {MAX_UPLOAD} bytes")
        body = self.rfile.read(length)
        if len(body) != length:
            raise Refused(400, "the body ended early")
        return body

    def _form(self) -> dict[str, Any]:
        try:
            form = json.loads(self._body())
        except ValueError as error:
            raise Refused(400, "the body must be JSON") from error
        if not isinstance(form, dict):
            raise Refused(400, "the body must be a JSON object")
        return form

    def _serve(self, routes: dict[str, Callable[..., None]]) -> None:
        path = self.path.partition("?")[0]
        try:
            for pattern, action in routes.items():
                match = re.fullmatch(pattern, path)
                if match:
                    action(*match.groups())
                    return
            raise Refused(404, "no such page")
        except Refused as refusal:
            if refusal.status >= 500:
                print(f"{self.command} {path}: {refusal.status} {refusal}", flush=True)
            # A body that was not read would be taken for the next request.
            self.close_connection = self.close_connection or self.command != "GET"
            self._json(refusal.status, {"error": str(refusal)})
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            print(f"{self.command} {path}: {type(error).__name__}: {error}", flush=True)
            self.close_connection = True
            self._json(500, {"error": type(error).__name__})

    def do_GET(self) -> None:
        self._serve(
            {
                r"/healthz": lambda: self._answer(200, b"ok\n", "text/plain"),
                r"/course/(\d{1,9})": self._course,
                r"/file/(.+)": self._file,
                r"/local": lambda: self._lines(self.parts.local.all()),
                r"/local/([0-9A-Fa-f-]+)": self._local,
                r"/record/(login|progress|upload)/([0-9A-Fa-f-]+)": self._record,
                r"/records/(login|progress|upload)": self._records,
            }
        )

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._serve({r"/login": self._login, r"/progress": self._progress})

    def do_PUT(self) -> None:
        self._serve({r"/upload/([0-9A-Fa-f-]+)": self._upload})

    def _course(self, number: str) -> None:
        rows = self.parts.database.rows("SELECT title FROM app.courses WHERE id = %s", (int(number),))
        if not rows:
            raise Refused(404, "no such course")
        _, text = self.parts.files.get(setting("course_path", "/content/%s/lesson.txt") % number)
        title = html.escape(str(rows[0][0]))
        page = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
            f"<body><h1>{title}</h1>\n<pre>{html.escape(text.decode(errors='replace'))}</pre></body></html>\n"
        )
        self._answer(200, page.encode(), "text/html; charset=utf-8")

    def _file(self, path: str) -> None:
        # Passed on as it stands in the URL: names need not be UTF-8.
        content_type, body = self.parts.files.get("/" + path)
        self._answer(200, body, content_type)

    def _lines(self, lines: list[str]) -> None:
        self._answer(200, "".join(f"{line}\n" for line in lines).encode(), "text/plain")

    def _local(self, ident: str) -> None:
        if identifier(ident) not in self.parts.local:
            raise Refused(404, "no such local record")
        self._json(200, {"id": identifier(ident), "local": True})

    def _record(self, kind: str, ident: str) -> None:
        rows = self.parts.database.rows(f"SELECT id::text FROM {TABLES[kind]} WHERE id = %s", (identifier(ident),))
        if not rows:
            raise Refused(404, "no such record")
        self._json(200, {"id": rows[0][0], "kind": kind})

    def _records(self, kind: str) -> None:
        self._lines([str(row[0]) for row in self.parts.database.rows(f"SELECT id::text FROM {TABLES[kind]}")])

    def _login(self) -> None:
        form = self._form()
        ident, student = identifier(form.get("id")), whole(form, "student")
        client = str(form.get("client", self.client_address[0]))[:200]
        committed = self.parts.database.write("login", (ident, student, client))
        self.parts.local.append(ident, student)
        self._json(201, {"id": ident, "kind": "login", "committed": committed, "local": True})

    def _progress(self) -> None:
        form = self._form()
        ident = identifier(form.get("id"))
        values = (ident, whole(form, "student"), whole(form, "course"), whole(form, "percent"))
        committed = self.parts.database.write("progress", values)
        self._json(201, {"id": ident, "kind": "progress", "committed": committed})

    def _upload(self, raw: str) -> None:
        ident, body = identifier(raw), self._body()
        path = f"/uploads/{ident}"
        digest = self.parts.files.put(path, body)
        committed = self.parts.database.write("upload", (ident, path.lstrip("/"), digest))
        self._json(201, {"id": ident, "kind": "upload", "committed": committed, "sha256": digest})


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def server_bind(self) -> None:
        # The base class asks the name server for its own name, which may be away: not needed.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "courses", self.server_address[1]


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Handler.parts = Parts(Database(), FileServer(), LocalLog(LOCAL_LOG))
    threading.Thread(target=Handler.parts.database.warm_up, daemon=True).start()
    server = Server(("", int(os.environ.get("COURSES_PORT", PORT))), Handler)
    print(f"courses: answering on port {server.server_port}", flush=True)
    server.serve_forever(poll_interval=5)


if __name__ == "__main__":
    main()
