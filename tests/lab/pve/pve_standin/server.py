"""HTTPS: requests in, Proxmox's answers out."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
import traceback
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from . import api_cluster, api_containers, api_guests, api_storage, api_tasks, remote
from .access import Caller
from .errors import ApiError, Failure, Unauthorised
from .faults import Order
from .node import Node
from .routes import WithTotal, answer

PREFIX = "/api2/json"
ORDERS = "/standin/faults"
# What a proxy says about a node it cannot reach.
PROXY = {595: "Network is unreachable", 596: "Connection timed out", 599: "Too many redirections"}
MAX_BODY = 4 << 20
NOBODY = Caller("", {})
# Importing these fills the table of routes.
ENDPOINTS = (api_cluster, api_containers, api_guests, api_storage, api_tasks, remote)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    disable_nagle_algorithm = True
    node: Node

    def setup(self) -> None:
        # Here and not while accepting: a slow or silent client holds up nobody else.
        if isinstance(self.request, ssl.SSLSocket):
            self.request.settimeout(10)
            self.request.do_handshake()
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:
        """The tasks have their logs; requests would only repeat them."""

    def _given(self) -> dict[str, Any]:
        """Parameters of the query and of the body (a form, or JSON); a name given twice is a list."""
        url = urllib.parse.urlsplit(self.path)
        pairs = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            raise ApiError(501, f"for data too large ({length} > {MAX_BODY})")
        body = self.rfile.read(length) if length else b""
        if self.headers.get_content_type() == "application/json" and body:
            try:
                decoded = json.loads(body)
            except ValueError as error:
                raise ApiError(400, "malformed JSON string") from error
            return {**dict(pairs), **(decoded if isinstance(decoded, dict) else {})}
        pairs += urllib.parse.parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        given: dict[str, Any] = {}
        for key, value in pairs:
            earlier = given.get(key)
            given[key] = value if earlier is None else [*(earlier if isinstance(earlier, list) else [earlier]), value]
        return given

    def _send(self, status: int, reason: str, payload: dict[str, Any] | None) -> None:
        body = b"" if payload is None else json.dumps(payload, separators=(",", ":")).encode()
        # A status line has no room for what Latin-1 or a line cannot hold.
        self.send_response(status, " ".join(reason.split()).encode("latin-1", "replace").decode("latin-1"))
        if payload is not None:
            self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            # Else a client that asks again at once may do so on what is being closed.
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _orders(self, given: dict[str, Any]) -> Any:
        """Faults that a test orders, from the lab's own root token only."""
        faults = self.node.faults
        caller = self.node.access.caller(self.headers.get("Authorization"))
        if not caller.name.startswith("root@pam"):
            raise ApiError(403, "Permission check failed (user != root@pam)")
        if self.command == "POST":
            order = faults.order(given)
            if order.fault == "lock_held":
                faults.take(order.fault, order.vmid)
                return {"upid": self.node.hold(order)}
        if self.command == "DELETE":
            faults.forget()
        return faults.due()

    def _hindered(self, path: str) -> bool:
        """Keep the caller waiting, or without an answer, where a test has ordered that."""
        slow = self.node.faults.take("slow", path=path)
        if slow:
            time.sleep(float(str(slow.options.get("seconds", 2))))
        refused = self.node.faults.take("refused", method=self.command, path=path)
        if refused:
            told = refused.options
            if told.get("empty"):
                self._send(int(told["status"]), str(told["text"]), None)
                return True
            raise ApiError(int(told["status"]), str(told["text"]), told.get("errors"))
        down = self.node.faults.take("api_down")
        if down is None:
            return False
        self._refuse(down)
        return True

    def _refuse(self, order: Order) -> None:
        status = order.options.get("status")
        self.close_connection = True
        if status is not None:
            self._send(int(status), PROXY.get(int(status), "unknown"), None)

    def _tunnel(self) -> None:
        """A piece of a guest that comes from another cluster; its ticket says which."""
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            remote.receive(self.node, query, body)
        except Failure as failure:
            raise ApiError(500, str(failure)) from failure
        self._send(200, "OK", {"data": None})

    def _serve(self) -> None:
        try:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            if path == remote.TUNNEL:
                self._tunnel()
                return
            given = self._given()
            if path == ORDERS:
                self._send(200, "OK", {"data": self._orders(given)})
                return
            if self._hindered(path):
                return
            if not path.startswith(PREFIX):
                raise ApiError(501, f"Method '{self.command} {path}' not implemented")
            # Whoever logs in is nobody yet.
            login = (self.command, path) == ("POST", f"{PREFIX}/access/ticket")
            caller = NOBODY if login else self.node.access.caller_of(self.headers, self.command)
            result = answer(self.node, caller, self.command, path.removeprefix(PREFIX) or "/", given)
            if isinstance(result, WithTotal):
                self._send(200, "OK", {"data": result.data, "total": result.total})
            else:
                self._send(200, "OK", {"data": result})
        except Unauthorised as refusal:
            self._send(401, refusal.reason, None)
        except ApiError as error:
            payload: dict[str, Any] = {"data": None, "message": f"{error.reason}\n"}
            if error.errors:
                payload["errors"] = error.errors
            self._send(error.status, error.reason, payload)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            self.close_connection = True
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self._send(500, f"{type(error).__name__}: {error}", {"data": None, "message": str(error)})

    do_GET = do_POST = do_PUT = do_DELETE = _serve


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # The base class asks the name server for its own name, which may be away: not needed.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "pve-standin", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off its handshake is its own affair."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handle_error(request, client_address)


def make(node: Node, address: tuple[str, int], certificate: Path | None, key: Path | None) -> Server:
    handler = type("NodeHandler", (Handler,), {"node": node})
    server = Server(address, handler)
    if certificate and key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server
