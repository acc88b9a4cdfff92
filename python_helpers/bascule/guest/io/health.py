"""Ask an application over HTTP whether it serves; only the status counts."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request


def ask(url: str, timeout: float = 3.0) -> str:
    """Return an empty text when `url` answers 200, else what came instead."""
    if not url.startswith(("http://", "https://")):
        return f"{url!r} is not an http or https address"
    # A proxy of the controller's environment has no business between it and a guest.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"
    return "" if status == 200 else f"{url} answered {status}"
