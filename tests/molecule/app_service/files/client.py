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
# The middle of a deployment holds requests in flight.
PATHS = ("/", "/?seconds=0.3", "/")

counts: collections.Counter[str] = collections.Counter()
guard = threading.Lock()


def use(path: str) -> None:
    """Ask over and over again, by a connection of its own each time."""
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=25)
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            connection.close()
            said = text.split(" in ")[0].strip() if answer.status == 200 else f"FAILED {answer.status}"
        except (OSError, http.client.HTTPException) as error:
            said = f"FAILED {type(error).__name__}"
        with guard:
            counts[said] += 1
        time.sleep(0.02)


for one in PATHS:
    threading.Thread(target=use, args=(one,), daemon=True).start()
while True:
    time.sleep(0.1)
    with guard:
        text = json.dumps(counts)
    new = COUNTS.with_suffix(".new")
    new.write_text(text)
    os.replace(new, COUNTS)
