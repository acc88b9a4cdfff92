"""What a cluster's files set, as the server's own program reads them; the server need not run."""

from __future__ import annotations

from collections.abc import Mapping

from ....errors import BasculeError, CommandFailed
from ....system.io.process import run
from ... import compatibility, conf
from ...spec import Spec


def setting(spec: Spec, name: str, **tried: str) -> str:
    """Ask what a setting would be; `tried` is set on top. An impossible value is an error."""
    argv = [f"{spec.programs}/postgres", "-C", name, "-c", f"config_file={spec.config}/postgresql.conf"]
    for key, value in tried.items():
        argv += ["-c", f"{key}={value}"]
    return run(argv, timeout=20, user=spec.owner, cwd="/").stdout.strip()


def effective(spec: Spec) -> dict[str, int]:
    """Return the settings that a standby must not have smaller; empty when the server refuses its files."""
    try:
        return {name: int(setting(spec, name)) for name in conf.NOT_SMALLER}
    except (CommandFailed, ValueError):
        # The server says so itself when it starts.
        return {}


def own(spec: Spec) -> dict[str, str]:
    """Return what this side's files would do to writes if it were the primary; empty when the server refuses them."""
    try:
        return {name: setting(spec, name) for name in compatibility.OWN_SETTINGS}
    except CommandFailed:
        return {}


def wal_compression(spec: Spec) -> str:
    """Return the best compression of the log that this build has: less of it goes over the link."""
    for method in ("lz4", "pglz"):
        try:
            return setting(spec, "wal_compression", wal_compression=method)
        except CommandFailed:
            continue
    return "on"


def require(spec: Spec, needed: Mapping[str, int]) -> None:
    """Refuse a standby whose files set less than its primary: it would not start, or stop replaying one day."""
    found = effective(spec)
    small = [
        f"{name} is {found[name]}, not {value}" for name, value in needed.items() if found.get(name, value) < value
    ]
    if small:
        raise BasculeError(
            expected=f"the cluster on {spec.side} to set no less than its primary",
            found=f"{'; '.join(small)}, although {spec.config}/conf.d/{conf.BASE} sets it",
            state=f"{spec.side} is closed and was not started; {spec.peer_side} serves as before",
            next_command=f"remove what sets it later ({spec.config}/conf.d, ALTER SYSTEM), then run prepare again",
        )
