"""How an inventory says the way to a PostgreSQL database: keywords of libpq, without a secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Keywords of libpq (https://www.postgresql.org/docs/15/libpq-connect.html) that hold no secret.
CONNECTION = frozenset(
    {"service", "host", "hostaddr", "port", "dbname", "user", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey"}
)


def way(name: str, key: str, said: Mapping[str, Any], wrong: list[str]) -> dict[str, str]:
    """Return the keywords that an inventory says under a key of `name`, and add to `wrong` what cannot be one."""
    given = said.get(key)
    if given is None:
        if key == "connection":
            wrong.append(f"{name}: connection is not given")
        return {}
    if not isinstance(given, Mapping):
        wrong.append(f"{name}: {key} has keywords of libpq, such as service: NAME")
        return {}
    for word in sorted(map(str, given)):
        if word not in CONNECTION:
            secret = "; a password stands in a file of libpq (passfile)" if "pass" in word else ""
            wrong.append(f"{name}: {key} has {word}, and may have {', '.join(sorted(CONNECTION))}{secret}")
    return {str(word): str(value) for word, value in given.items()}
