"""A client that never rests: counts the answers of the application behind HAProxy, by what they say."""

from __future__ import annotations

import collections
import http.client
import json
import os
import threading
import time
from pathlib import Path

COUNTS = Path("/run/client.json")
# The middle of a deployment holds requests in flight, and users who come back with the cookie of their server.
PATHS = ("/", "/?seconds=0.3")

counts: collections.Counter[str] = collections.Counter()
guard = threading.Lock()


def once(path: str, cookie: str) -> tuple[str, str]:
    """Ask once, by a connection of its own; return what to count, and the cookie for the next time."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=25)
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        return f"FAILED {type(error).__name__}", cookie
    given = (answer.getheader("Set-Cookie") or cookie).split(";")[0]
    return text.split(" in ")[0].strip() if answer.status == 200 else f"FAILED {answer.status}", given


def use(path: str, comes_back: bool) -> None:
    """Ask over and over again, as ever new users or as one who comes back."""
    cookie = ""
    while True:
        said, given = once(path, cookie)
        cookie = given if comes_back else ""
        with guard:
            counts[said] += 1
        time.sleep(0.02)


for one in PATHS:
    for comes_back in (False, True):
        threading.Thread(target=use, args=(one, comes_back), daemon=True).start()
while True:
    time.sleep(0.1)
    with guard:
        text = json.dumps(counts)
    new = COUNTS.with_suffix(".new")
    new.write_text(text)
    os.replace(new, COUNTS)
