"""The connection to a Proxmox node, by proxmoxer: TLS checked, token or ticket, outcome told apart from silence.

Only the controller uses this; hosts have no proxmoxer.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import requests
from proxmoxer.backends.https import Backend
from proxmoxer.core import ProxmoxResource, ResourceException
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar

from ..api import NoAnswer, NotSent
from ..errors import NotAuthenticated, ProxmoxError

Answer = tuple[int, str, Any, Optional[Mapping[str, str]]]
Ticket = tuple[str, str]

# A ticket lives two hours.
_RENEW_SECONDS = 3600


def connect(
    host: str, port: int, token_id: str, secret: str, ca_file: str, timeout: float, fingerprint: str = ""
) -> ProxmoxerTransport:
    """Return the connection to a node; nothing is sent yet."""
    return ProxmoxerTransport(host, token_id, secret, ca_file, port, timeout, fingerprint)


def fingerprint(host: str, port: int, ca_file: str, timeout: float) -> str:
    """Return the SHA-256 of a node's certificate as Proxmox writes it, after the certificate itself was verified."""
    context = ssl.create_default_context(cafile=ca_file or None)
    try:
        with (
            socket.create_connection((host, port), timeout) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert(binary_form=True) or b""
    except OSError as error:
        raise ProxmoxError(
            expected=f"a certificate of {host}:{port} that the given CA has signed",
            found=_short(error),
            state="nothing was sent",
            next_command="check proxmox_guest_ca_file, and that the address is the right one",
        ) from error
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(certificate).digest())


class ProxmoxerTransport:
    """One node's API, asked with one token (`user@realm!name`), or as one user (`user@realm`) by tickets."""

    def __init__(
        self,
        host: str,
        token_id: str,
        secret: str,
        ca_file: str,
        port: int = 8006,
        timeout: float = 30,
        fingerprint: str = "",
    ) -> None:
        user, mark, name = token_id.partition("!")
        if "@" not in user or bool(mark) != bool(name):
            raise ProxmoxError(
                expected="a token id such as bascule@pve!move (or a user such as bascule@pve)", found=repr(token_id)
            )
        if not secret:
            raise ProxmoxError(expected=f"the secret of the token {token_id}", found="an empty one")
        pin = parse_fingerprint(fingerprint)
        self._host = host
        self._trust = f"the fingerprint {fingerprint}" if pin else "a signature by the given CA"
        # The fingerprint alone is trusted where there is no CA; with both, both must hold.
        verify: Union[bool, str] = ca_file or not pin
        backend = Backend(
            host, port=port, user=user, token_name=name or "-", token_value=secret, verify_ssl=verify, timeout=timeout
        )
        session = backend.get_session()
        adapter = _Adapter(pin)
        session.mount("https://", adapter)
        self._ticket: Optional[_TicketAuth] = None
        if not name:
            base = backend.get_base_url()
            self._ticket = _TicketAuth(lambda: _log_in(adapter, base, user, secret, verify, timeout), verify, timeout)
            session.auth = self._ticket
        self._api = ProxmoxResource(
            base_url=backend.get_base_url(), session=session, serializer=backend.get_serializer()
        )

    def __call__(self, method: str, path: str, values: Mapping[str, Any]) -> Answer:
        """Send one request; a ticket that has run out is renewed once, because a 401 was not carried out."""
        answer = self._send(method, path, values)
        if answer[0] == 401 and self._ticket is not None and self._ticket.forget():
            answer = self._send(method, path, values)
        return answer

    def _send(self, method: str, path: str, values: Mapping[str, Any]) -> Answer:
        resource = self._api(path)
        send = {"GET": resource.get, "POST": resource.post, "PUT": resource.put, "DELETE": resource.delete}[method]
        try:
            data = send(**dict(values))
        except ResourceException as error:
            return int(error.status_code), str(error.content or "").partition(" - {")[0], None, _errors(error.errors)
        except requests.exceptions.SSLError as error:
            raise ProxmoxError(
                expected=f"a certificate of {self._host} with {self._trust}",
                found=_short(error),
                state="nothing was sent",
                next_command="check the fingerprint or proxmox_guest_ca_file, and that the address is the right one",
            ) from error
        except requests.exceptions.ConnectTimeout as error:
            raise NotSent(_short(error)) from error
        except requests.exceptions.ConnectionError as error:
            if "NewConnectionError" in repr(error):
                raise NotSent(_short(error)) from error
            raise NoAnswer(_short(error)) from error
        except requests.exceptions.RequestException as error:
            raise NoAnswer(_short(error)) from error
        if isinstance(data, Mapping) and isinstance(data.get("errors"), bytes):
            # Said to be a success, but nothing that can be read: a proxy lost the body.
            raise NoAnswer(f"an answer that is no JSON ({len(data['errors'])} bytes)")
        return 200, "OK", data, None


class _Adapter(HTTPAdapter):
    """Connections that accept one certificate only, where a fingerprint is given."""

    def __init__(self, pin: str) -> None:
        self._pin = pin
        super().__init__()

    def init_poolmanager(self, *args: Any, **values: Any) -> None:
        """Make the pool of connections."""
        if self._pin:
            values["assert_fingerprint"] = self._pin
        super().init_poolmanager(*args, **values)


class _TicketAuth(AuthBase):
    """Logs in when a ticket is first needed, again every hour, and when a ticket is refused."""

    def __init__(
        self,
        log_in: Callable[[], Ticket],
        verify: Union[bool, str],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # These three are what proxmoxer's session asks of its authentication.
        self.timeout = timeout
        self.verify_ssl = verify
        self.cert = None
        self._log_in = log_in
        self._clock = clock
        self._held: Optional[Ticket] = None
        self._since = 0.0

    def _current(self) -> Ticket:
        if self._held is None or self._clock() - self._since >= _RENEW_SECONDS:
            self._held, self._since = self._log_in(), self._clock()
        return self._held

    def forget(self) -> bool:
        """Drop a ticket that was refused."""
        held, self._held = self._held, None
        return held is not None

    def get_cookies(self) -> RequestsCookieJar:
        """Return what proves who asks."""
        jar = RequestsCookieJar()
        jar.set("PVEAuthCookie", self._current()[0])
        return jar

    def __call__(self, request: Any) -> Any:
        """Prove that a write was meant."""
        if request.method != "GET":
            request.headers["CSRFPreventionToken"] = self._current()[1]
        return request


def _log_in(
    adapter: HTTPAdapter, base: str, user: str, password: str, verify: Union[bool, str], timeout: float
) -> Ticket:
    session = requests.Session()
    session.mount("https://", adapter)
    given = {"username": user, "password": password}
    reply = session.post(f"{base}/access/ticket", data=given, verify=verify, timeout=timeout)
    try:
        data = reply.json()["data"] if reply.status_code == 200 else {}
        return str(data["ticket"]), str(data["CSRFPreventionToken"])
    except (ValueError, KeyError, TypeError) as error:
        # The answer is not told: it may hold a ticket.
        raise NotAuthenticated(
            f"POST access/ticket as {user}",
            reply.status_code,
            reply.reason or "no ticket in the answer",
            next_command="check the user's name, realm and password",
        ) from error


def parse_fingerprint(text: str) -> str:
    """Return a certificate's SHA-256 fingerprint as hexadecimal digits; empty when none is given."""
    digits = text.replace(":", "").strip().lower()
    if digits and (len(digits) != 64 or set(digits) - set("0123456789abcdef")):
        raise ProxmoxError(
            expected="the SHA-256 fingerprint of a certificate, as 'pvenode cert info' shows it (AA:BB:…, 32 bytes)",
            found=repr(text),
            state="nothing was sent",
        )
    return digits


def _errors(found: Any) -> Optional[Mapping[str, str]]:
    if not isinstance(found, Mapping):
        return None
    # proxmoxer puts a body that is not JSON under "errors", as bytes: the status line has said all there is.
    return {str(name): str(text).strip() for name, text in found.items() if not isinstance(text, bytes)}


def _short(error: BaseException) -> str:
    # Around the reason stands the request, which whoever reads this knows.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return f"{type(error).__name__}: {reason or error}"[:300]
