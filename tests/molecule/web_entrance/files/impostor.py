"""Serves at another port, as an entrance does, whatever HAProxy's mode says."""

from __future__ import annotations

import http.server
import ssl


class Impostor(http.server.BaseHTTPRequestHandler):
    """Says 200 to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>served behind the guard's back</h1>\n")


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain("/etc/lab/tls/host.crt", "/etc/lab/tls/host.key")
server = http.server.ThreadingHTTPServer(("", 8443), Impostor)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
