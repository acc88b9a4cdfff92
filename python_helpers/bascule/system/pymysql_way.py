"""How an inventory says the way to a MariaDB database: keywords of PyMySQL, without a secret. Pure.

Source: https://pymysql.readthedocs.io/en/latest/modules/connections.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What holds no secret.
CONNECTION = frozenset({"host", "port", "unix_socket", "user", "database", "read_default_file", "ssl_ca"})
# The names of the same in an option file of MariaDB's own programs.
_OPTIONS = {"host": "host", "port": "port", "unix_socket": "socket", "user": "user", "ssl_ca": "ssl-ca"}


def way(name: str, key: str, given: Any, wrong: list[str], *, database: bool = True) -> dict[str, str]:
    """Return the keywords that an inventory says under a key of `name`, and add to `wrong` what cannot be one.

    Args:
        name: whose way it is. key: `connection`, or another. given: what is said. wrong: what is added to.
        database: whether it names a database; else it may not.
    """
    if given is not None and not isinstance(given, Mapping):
        wrong.append(f"{name}: {key} has keywords of PyMySQL, such as unix_socket: PATH")
    said: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if database and "database" not in said:
        wrong.append(f"{name}: {key} names a database")
    if not database and "database" in said:
        wrong.append(f"{name}: {key} names no database: one is made for each copy")
    for word in sorted(map(str, said)):
        if word not in CONNECTION:
            secret = "; a password stands in a file of the client (read_default_file)" if "pass" in word else ""
            wrong.append(f"{name}: {key} has {word}, and may have {', '.join(sorted(CONNECTION))}{secret}")
        elif word == "port" and not str(said[word]).isdecimal():
            wrong.append(f"{name}: port of {key} is a number")
    return {str(word): str(value) for word, value in said.items()}


def arguments(found: Mapping[str, str]) -> dict[str, Any]:
    """Return a way as PyMySQL takes it."""
    return {**found, "port": int(found["port"])} if "port" in found else dict(found)


def option_file(found: Mapping[str, str]) -> str:
    """Return a way as an option file of MariaDB's own programs; its secret stays in the file that it names."""
    lines = [f"!include {found['read_default_file']}"] if "read_default_file" in found else []
    lines.append("[client]")
    lines += [f'{option}="{found[word]}"' for word, option in _OPTIONS.items() if word in found]
    return "\n".join(lines) + "\n"
