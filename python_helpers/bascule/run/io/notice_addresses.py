"""Look at the addresses of `notice_urls` before anybody depends on them, in a process of its own. Nothing is sent.

What is said names an address by its place in the list, and a machine by its name and port: an address may hold a
password. apprise itself reads the address; whether its machine takes a connection is tried for some seconds.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import CommandFailed
from ...system.io.process import run

# Seconds for a connection, and for all of it.
_CONNECTION, _LONGEST = 4.0, 20.0
_PORTS = {True: 443, False: 80}


def look(urls: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Return what is wrong with addresses, and what has not answered; never raises.

    Args:
        urls: a `notice_urls` whose shape is right.
    """
    try:
        done = run([sys.executable, "-m", __name__], stdin=json.dumps(dict(urls)), timeout=_LONGEST)
        found = json.loads(done.stdout)
        return [str(one) for one in found["wrong"]], [str(one) for one in found["silent"]]
    except (CommandFailed, ValueError, KeyError, TypeError):
        return [], ["the addresses could not be looked at: apprise gave no answer"]


def main() -> int:
    """Look at what standard input has; print what was found."""
    urls = json.load(sys.stdin)
    sys.stdout.flush()
    answer = os.dup(1)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # Libraries below may print or log an address.
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        logging.disable(logging.CRITICAL)
        found = _looked(urls)
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        json.dump(found, out)
    sys.stdout.flush()
    # Whoever still waits for a name or a connection is given up.
    os._exit(0)


def _looked(urls: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    try:
        apprise = importlib.import_module("apprise")
        schemes = set(importlib.import_module("apprise.manager_plugins").NotificationManager().schemas())
    except ImportError:
        return {"wrong": ["apprise is not installed at the controller: pip install '.[notices]'"], "silent": []}
    wrong, places = [], {}
    for role, given in urls.items():
        for number, url in enumerate(given, 1):
            name = f"{role}: address {number}"
            scheme = str(url).partition("://")[0].lower()
            service = _service(apprise, url)
            if scheme not in schemes:
                # A word before :// is a scheme; anything longer may be a part of a secret.
                known = scheme if scheme.isalnum() and len(scheme) <= 12 else "what stands before ://"
                wrong.append(f"{name}: {known} is no service that apprise knows")
            elif service is None:
                wrong.append(f"{name}: apprise cannot read it as one of {scheme}")
            elif place := _place(service):
                places[name] = place
    return {"wrong": wrong, "silent": _silent(places)}


def _service(apprise: Any, url: str) -> Any:
    try:
        return apprise.Apprise.instantiate(url, suppress_exceptions=True)
    except Exception:
        # Whatever a service makes of what it is given: it is none.
        return None


def _place(service: Any) -> tuple[str, int] | None:
    """Return the machine and the port of a service; nothing where they are not known, or a proxy stands between."""
    secure = bool(getattr(service, "secure", False))
    mail, host = (str(getattr(service, name, None) or "") for name in ("smtp_host", "host"))
    port = getattr(service, "port", None)
    if mail:
        return mail, int(port or 25)
    if urllib.request.getproxies():
        return None
    if host and "host" in (getattr(service, "template_tokens", None) or {}):
        return host.strip("[]"), int(port or _PORTS[secure])
    known = urllib.parse.urlsplit(str(getattr(service, "notify_url", "") or ""))
    return (known.hostname, known.port or _PORTS[known.scheme == "https"]) if known.hostname else None


def _silent(places: Mapping[str, tuple[str, int]]) -> list[str]:
    """Return which of these take no connection, all of them tried at once."""
    why = dict.fromkeys(places, f"no answer within {_CONNECTION:g} s")

    def connect(name: str, place: tuple[str, int]) -> None:
        try:
            with socket.create_connection(place, _CONNECTION):
                why[name] = ""
        except OSError as error:
            why[name] = error.strerror or type(error).__name__

    threads = [threading.Thread(target=connect, args=one, daemon=True) for one in places.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        # A name that nobody resolves has no time limit of its own.
        thread.join(_CONNECTION + 1)
    return [f"{name}: {places[name][0]}:{places[name][1]}: {text}" for name, text in why.items() if text]


if __name__ == "__main__":
    sys.exit(main())
