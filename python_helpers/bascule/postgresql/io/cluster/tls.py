"""Whether the other side's standby could trust this server as it is: it is asked for its TLS, as a client is."""

from __future__ import annotations

import contextlib
import socket
import ssl

from ....errors import BasculeError
from ... import wire
from ...spec import Spec

_PATIENCE = 5.0


def complaint(spec: Spec) -> str:
    """Return what a standby that demands TLS 1.3, this CA and this name would refuse, or an empty text."""
    address = spec.address or "127.0.0.1"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if spec.ca:
            context.load_verify_locations(spec.ca)
        with contextlib.closing(socket.create_connection((address, spec.port), timeout=_PATIENCE)) as plain:
            plain.settimeout(_PATIENCE)
            plain.sendall(wire.SSL_REQUEST)
            if plain.recv(1) != b"S":
                return "it offers no TLS"
            with context.wrap_socket(plain, server_hostname=spec.name or address):
                return ""
    except ssl.SSLError as error:
        return getattr(error, "verify_message", "") or error.reason or str(error)
    except OSError as error:
        raise BasculeError(
            expected=f"the server of {spec.side} to answer at {address}:{spec.port}",
            found=str(error),
            state="nothing was changed",
            next_command="see that listen_addresses has this address, then audit again",
        ) from error
