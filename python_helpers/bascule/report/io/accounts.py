"""Reads the accounts that somebody outside has kept during a run, from a directory of theirs.

Its files, as the lab's client writes them: `user.jsonl` and `prober.jsonl`, and where there are any `data.jsonl` (a
client of the database alone), `lookup.forward.json` and `lookup.back.json`, and `legs.json`: each leg's start and end
in seconds since 1970.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import BasculeError
from ...system.io import storage
from ..legs import Outside
from ..records import Lookup, client_account, probe_account

_CLIENT, _PROBES, _DATA, LEGS = "user.jsonl", "prober.jsonl", "data.jsonl", "legs.json"


def read(directory: Path) -> Outside:
    """Return the accounts in the directory.

    Raises:
        BasculeError: there is no account of a client and of a prober, or a file is not what it should be.
    """
    missing = [name for name in (_CLIENT, _PROBES) if not storage.is_file(directory / name)]
    if missing:
        raise BasculeError(
            expected=f"a directory with the account of a client outside ({_CLIENT}, {_PROBES})",
            found=f"no {' and no '.join(missing)} in {directory}",
            state="no report was made",
            next_command="name where the client has written, or none: then the report says that nobody measured",
        )
    try:
        lookups = {
            path.name.split(".")[1]: Lookup.from_dict(storage.read_json(path))
            for path in storage.children(directory)
            if path.name.startswith("lookup.") and path.suffix == ".json"
        }
        bounds = {
            str(name): (float(one[0]), float(one[1]))
            for name, one in (storage.read_json(directory / LEGS) or {}).items()
        }
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BasculeError(
            expected=f"look-ups and {LEGS} as the client writes them",
            found=f"{type(error).__name__}: {error} in {directory}",
            state="no report was made",
        ) from error
    return Outside(
        client_account(_lines(directory / _CLIENT)),
        probe_account(_lines(directory / _PROBES)),
        client_account(_lines(directory / _DATA)),
        lookups,
        bounds,
    )


def _lines(path: Path) -> list[str]:
    return storage.read_bytes(path).decode("utf-8", "replace").splitlines() if storage.is_file(path) else []
