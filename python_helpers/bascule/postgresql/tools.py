"""What a side needs on its host, by package, and the command that installs what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..system.packages import install_command
from .spec import DUMP_RESTORE, STREAMING, Spec

# Of the server's own, all of the same major version.
_ALWAYS = ("postgres", "pg_controldata", "pg_ctl", "pg_dump", "pg_dumpall")
_BY_METHOD = {
    STREAMING: ("pg_basebackup", "pg_receivewal", "pg_rewind", "pg_verifybackup", "pg_waldump"),
    DUMP_RESTORE: (),
}
_RESTORES = ("initdb", "pg_restore", "vacuumdb")


@dataclass(frozen=True)
class Tool:
    """A program, its package at Debian, and what it is for."""

    program: str
    package: str
    purpose: str


def needed(spec: Spec) -> list[Tool]:
    """Return what this side needs for what its plan asks for; a program with a path lies among the server's own."""
    server, client = f"postgresql-{spec.version}", f"postgresql-client-{spec.version}"
    dumps = spec.safety_dump or spec.method == DUMP_RESTORE
    own = [*_ALWAYS, *_BY_METHOD[spec.method], *(_RESTORES if dumps else ())]
    found = [Tool("psql", client, "sessions")]
    found += [Tool(f"{spec.programs}/{name}", server, "the cluster") for name in own]
    if dumps:
        found += [Tool(name, "age", "encrypted dumps") for name in ("age", "age-keygen")]
    if spec.method == DUMP_RESTORE:
        found += [Tool("rsync", "rsync", "dumps on their way"), Tool("ssh", "openssh-client", "dumps on their way")]
    if spec.firewall:
        found.append(Tool("nft", "nftables", "the closed side's firewall table"))
    if spec.pooler == "install":
        found.append(Tool("pgbouncer", "pgbouncer", "the pooler"))
    return found


def finding(side: str, missing: Iterable[Tool], distribution: str) -> str:
    """Return what a host lacks and the command to type there, or an empty text; `distribution` is its os-release."""
    lacking = list(missing)
    if not lacking:
        return ""
    names = ", ".join(f"{one.program} ({one.purpose})" for one in lacking)
    packages = list(dict.fromkeys(one.package for one in lacking))
    return f"{names} is missing; on {side}: {install_command(packages, distribution)}"


def other_major(spec: Spec, said: str) -> str:
    """Return why the server's programs are not those of the cluster; `said` is what `postgres --version` prints."""
    words = said.split()
    found = words[2].split(".")[0] if len(words) > 2 else ""
    # A release candidate or a beta has letters behind the major version.
    found = "".join(c for i, c in enumerate(found) if found[: i + 1].isdigit())
    return (
        "" if found == spec.version else f"{spec.programs}/postgres is {said.strip() or 'silent'}, not {spec.version}"
    )
