"""The lab's file server: course files over HTTP, uploads made durable before they are acknowledged.

GET and HEAD serve any file of the tree. PUT writes below /uploads/ only: a temporary file, fsync, rename, fsync of the
directory, and only then 201. Where the tree cannot be written (read-only, no uploads directory, not permitted) the
answer is 503: nothing was acknowledged.
"""

from __future__ import annotations

import argparse
import errno
import os
import secrets
import stat
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

LARGEST_UPLOAD = 64 * 1024 * 1024
CHUNK = 256 * 1024
# "Not now" and not "your mistake": a client may try again, here or at the other site.
UNWRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EIO}
TYPES = {b".html": "text/html; charset=utf-8", b".txt": "text/plain; charset=utf-8", b".css": "text/css"}


class BadPath(ValueError):
    """The path leaves the tree or cannot name a file."""


def tree_path(root: bytes, target: str) -> bytes:
    """Map the path of a request to a path of the tree, as bytes: file names need not be UTF-8."""
    path = unquote_to_bytes(urlsplit(target).path)
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    if not parts or b".." in parts or any(b"\0" in part for part in parts):
        raise BadPath(target)
    return os.path.join(root, *parts)


def store(path: bytes, body: bytes) -> None:
    """Write the file durably, or raise OSError having left nothing behind under its name."""
    directory = os.path.dirname(path)
    temporary = os.path.join(directory, b".upload-" + secrets.token_hex(8).encode())
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        try:
            view = memoryview(body)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError as error:
            print(f"left behind: {temporary!r}: {error}", file=sys.stderr)
        raise
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Handler(BaseHTTPRequestHandler):
    """One connection; the root of the tree comes from the server."""

    protocol_version = "HTTP/1.1"
    server_version = "coursefiles"
    timeout = 60
    # Head and body go out in two writes: without this a kept connection waits 40 ms for each answer.
    disable_nagle_algorithm = True
    root = b"/srv/courses"

    def do_GET(self) -> None:
        self._serve(send_body=True)

    def do_HEAD(self) -> None:
        self._serve(send_body=False)

    def do_PUT(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self.close_connection = True
            return self._answer(HTTPStatus.LENGTH_REQUIRED, "Content-Length is required")
        if int(length) > LARGEST_UPLOAD:
            self.close_connection = True
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return None
        try:
            path = tree_path(self.root, self.path)
        except BadPath:
            return self._answer(HTTPStatus.BAD_REQUEST, "bad path")
        if not path.startswith(os.path.join(self.root, b"uploads", b"")):
            return self._answer(HTTPStatus.FORBIDDEN, "only /uploads/ takes files")
        try:
            store(path, body)
        except OSError as error:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            if error.errno in UNWRITABLE:
                status = HTTPStatus.SERVICE_UNAVAILABLE
            elif error.errno in (errno.ENOSPC, errno.EDQUOT):
                status = HTTPStatus.INSUFFICIENT_STORAGE
            return self._answer(status, f"not stored: {os.strerror(error.errno or 0)}")
        return self._answer(HTTPStatus.CREATED, "stored")

    def _serve(self, send_body: bool) -> None:
        if urlsplit(self.path).path == "/healthz":
            return self._answer(HTTPStatus.OK, "ok", send_body)
        try:
            path = tree_path(self.root, self.path)
        except BadPath:
            return self._answer(HTTPStatus.BAD_REQUEST, "bad path", send_body)
        try:
            # Non-blocking, so that a FIFO in the tree cannot hang the server.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return self._answer(HTTPStatus.NOT_FOUND, "no such file", send_body)
        except OSError as error:
            status = HTTPStatus.FORBIDDEN if error.errno == errno.EACCES else HTTPStatus.SERVICE_UNAVAILABLE
            return self._answer(status, os.strerror(error.errno or 0), send_body)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            return self._answer(HTTPStatus.NOT_FOUND, "not a file", send_body)
        with os.fdopen(descriptor, "rb") as handle:
            kind = TYPES.get(os.path.splitext(path)[1], "application/octet-stream")
            self._head(HTTPStatus.OK, kind, facts.st_size)
            if not send_body:
                return None
            left = facts.st_size
            while left:
                piece = handle.read(min(CHUNK, left))
                if not piece:
                    # Shorter than promised: cut the connection, so that the reader sees it.
                    self.close_connection = True
                    return None
                self.wfile.write(piece)
                left -= len(piece)
        return None

    def _head(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _answer(self, status: HTTPStatus, text: str, send_body: bool = True) -> None:
        body = (text + "\n").encode()
        self._head(status, "text/plain; charset=utf-8", len(body))
        if send_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Only refusals and faults are worth a line in the journal."""
        if len(args) > 1 and str(args[1]) >= "400":
            super().log_message(format, *args)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is its own business."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="/srv/courses")
    parser.add_argument("--address", default="", help="empty: every address of the host")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    Handler.root = os.fsencode(options.root)
    with Server((options.address, options.port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
