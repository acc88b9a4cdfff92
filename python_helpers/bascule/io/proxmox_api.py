"""The connection to a Proxmox node, by proxmoxer: TLS checked, token in the header, outcome told apart from silence.

Only the controller uses this; hosts have no proxmoxer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException

from ..proxmox.api import NoAnswer, NotSent
from ..proxmox.errors import ProxmoxError

Answer = tuple[int, str, Any, Optional[Mapping[str, str]]]


def connect(host: str, port: int, token_id: str, secret: str, ca_file: str, timeout: float) -> ProxmoxerTransport:
    """Return the connection to a node; nothing is sent yet."""
    return ProxmoxerTransport(host, token_id, secret, ca_file, port, timeout)


class ProxmoxerTransport:
    """One node's API, asked with one token."""

    def __init__(
        self, host: str, token_id: str, secret: str, ca_file: str, port: int = 8006, timeout: float = 30
    ) -> None:
        user, mark, name = token_id.partition("!")
        if not mark or not name or "@" not in user:
            raise ProxmoxError(expected="a token id such as bascule@pve!move", found=repr(token_id))
        if not secret:
            raise ProxmoxError(expected=f"the secret of the token {token_id}", found="an empty one")
        self._host = host
        self._api = ProxmoxAPI(
            host,
            port=port,
            user=user,
            token_name=name,
            token_value=secret,
            verify_ssl=ca_file or True,
            timeout=timeout,
        )

    def __call__(self, method: str, path: str, values: Mapping[str, Any]) -> Answer:
        """Send one request."""
        resource = self._api(path)
        send = {"GET": resource.get, "POST": resource.post, "PUT": resource.put, "DELETE": resource.delete}[method]
        try:
            return 200, "OK", send(**dict(values)), None
        except ResourceException as error:
            return int(error.status_code), str(error.content).partition(" - {")[0], None, _errors(error.errors)
        except requests.exceptions.SSLError as error:
            raise ProxmoxError(
                expected=f"a certificate of {self._host} that the given CA has signed",
                found=_short(error),
                state="nothing was sent",
                next_command="check proxmox_guest_ca_file, and that the address is the right one",
            ) from error
        except requests.exceptions.ConnectTimeout as error:
            raise NotSent(_short(error)) from error
        except requests.exceptions.ConnectionError as error:
            if "NewConnectionError" in repr(error):
                raise NotSent(_short(error)) from error
            raise NoAnswer(_short(error)) from error
        except requests.exceptions.RequestException as error:
            raise NoAnswer(_short(error)) from error


def _errors(found: Any) -> Optional[Mapping[str, str]]:
    if not isinstance(found, Mapping):
        return None
    # proxmoxer puts a body that is not JSON under "errors", as bytes: the status line has said all there is.
    return {str(name): str(text).strip() for name, text in found.items() if not isinstance(text, bytes)}


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
