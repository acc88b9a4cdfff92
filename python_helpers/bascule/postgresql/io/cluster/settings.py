"""What a cluster's files set, as the server's own program reads them; the server need not run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ....errors import BasculeError, CommandFailed
from ....system.io import storage, units
from ....system.io.process import run
from ... import compatibility, conf, layout, majors
from ...spec import Spec
from . import host
from .psql import Session, SqlError

_DEEPEST = 10
_PENDING = "setting could not be applied"


def setting(spec: Spec, name: str, **tried: str) -> str:
    """Ask what a setting would be; `tried` is set on top. An impossible value is an error."""
    argv = [f"{spec.programs}/postgres", "-C", name, "-c", f"config_file={spec.config_file}"]
    if spec.layout.get("config_file"):
        # Debian's file names the data directory; another one may leave that to the unit.
        argv += ["-D", spec.data]
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


def unread(spec: Spec) -> list[str]:
    """Name what Bascule writes, or goes by, where this cluster's server does not look; its files are asked."""
    main = Path(spec.config_file)
    if not main.is_file():
        return [layout.no_cluster(spec, host.clusters())]
    found = [*layout.inside_data(spec), *layout.beside_debian(spec, host.same_place), *_versions(spec)]
    found += layout.unit_findings(spec, units.shown(spec.unit, *layout.PROPERTIES))
    directory = Path(spec.config) / "conf.d"
    if os.path.realpath(directory) not in {os.path.realpath(one) for one in _directories(main, 0)}:
        found.append(f"{main} does not read {directory}: add include_dir = 'conf.d' to it")
    try:
        said = {name: setting(spec, name) for name in ("data_directory", "hba_file")}
        found += layout.differences(spec, said, str(main), host.same_place)
        found += layout.no_sockets(spec, setting(spec, "unix_socket_directories"), host.same_place)
        if (port := setting(spec, "port")) != str(spec.port):
            found.append(
                f"port is {port}, not {spec.port}, says {main}; postgresql_replication_port is alike at both sides"
            )
    except CommandFailed as error:
        # Between the two renames of a base backup there is no data directory to ask about.
        if Path(spec.data).exists():
            found.append(f"the server refuses its files: {error.found}")
    return found


def unread_by_server(session: Session, spec: Spec) -> list[str]:
    """Name what the server that runs on this port goes by in place of what Bascule writes."""
    said = says(session)
    ran = host.process(said.get("data_directory", ""))
    compared = {**{name: said.get(name, "") for name in layout.COMPARED}, **ran}
    active = units.shown(spec.unit, "ActiveState").get("ActiveState", "") if ran else ""
    return [
        *layout.differences(spec, compared, f"the server on port {spec.port}", host.same_place),
        *layout.no_sockets(spec, said.get("unix_socket_directories", ""), host.same_place),
        *layout.by_hand(spec, ran, active),
    ]


def says(session: Session) -> dict[str, str]:
    """Return where the running server says that its files are."""
    listed = ", ".join(f"'{name}'" for name in layout.ASKED)
    rows = session.query(f"SELECT name, setting FROM pg_settings WHERE name IN ({listed})")
    return {str(row["name"]): str(row["setting"]) for row in rows}


def require_read(spec: Spec) -> None:
    """Refuse a side whose server does not read what Bascule writes, before anything is changed."""
    _refuse(spec, host.missing(spec) or unread(spec))


def require_places(spec: Spec) -> None:
    """Refuse as well a side on whose port another cluster answers: files that nobody uses may be in order too."""
    _refuse(spec, host.missing(spec) or unread(spec) or _another(spec))


def _another(spec: Spec) -> list[str]:
    try:
        with Session(spec.port, spec.way_in, owner=spec.owner, timeout=5) as session:
            return unread_by_server(session, spec)
    except SqlError:
        # Nobody answers; whether somebody should is for others to say.
        return []


def _refuse(spec: Spec, found: Sequence[str]) -> None:
    if found:
        raise BasculeError(
            expected=f"the server of {spec.side} to read its configuration where Bascule writes it",
            found="; ".join(found),
            state="nothing was changed",
            next_command=f"mend what is named, then ansible-playbook playbooks/10_audit.yml --limit {spec.component}",
        )


def require_taken(session: Session, spec: Spec, settings: Mapping[str, str], patience: float = 5) -> None:
    """Ask the running server whether it has taken what was written; what waits for a restart of its own may wait."""
    path = f"{spec.config}/conf.d/{conf.BASE}"
    deadline = time.monotonic() + patience
    while found := not_taken(session, spec, settings):
        if time.monotonic() > deadline:
            raise BasculeError(
                expected=f"the server of {spec.side} to take what {path} sets",
                found="; ".join(found),
                state=f"{spec.side} serves as before; nothing was copied",
                next_command=f"mend what is named, then ansible-playbook playbooks/20_prepare.yml --limit "
                f"{spec.component}",
            )
        time.sleep(0.2)


def require_standing(spec: Spec, settings: Mapping[str, str]) -> None:
    """Ask the server's program what a start would find, of a side that is not asked while it runs."""
    if not Path(spec.data).exists():
        return
    found = []
    for name, value in settings.items():
        try:
            said = setting(spec, name)
        except CommandFailed as error:
            said = error.found
        if said != value:
            found.append(f"{name} would be {said!r}, not {value!r}")
    if found:
        raise BasculeError(
            expected=f"a start on {spec.side} to find what {spec.config}/conf.d sets",
            found="; ".join(found),
            state=f"{spec.side} is closed and was not started; {spec.peer_side} serves as before",
            next_command=f"remove what sets it later ({spec.config}/conf.d, ALTER SYSTEM), then run prepare again",
        )


def not_taken(session: Session, spec: Spec, settings: Mapping[str, str]) -> list[str]:
    """Say what of the file of settings the running server does not go by."""
    path = os.path.realpath(f"{spec.config}/conf.d/{conf.BASE}")
    # A setting that is in no file any more and holds until a restart is listed without a file.
    errors = session.query(
        "SELECT format('%s:%s: %s: %s', sourcefile, sourceline, name, error) AS text FROM pg_file_settings "
        f"WHERE error IS NOT NULL AND error <> '{_PENDING}' AND sourcefile IS NOT NULL"
    )
    if errors:
        return [str(row["text"]) for row in errors]
    if session.value(f"SELECT current_setting('{conf.MARK}', true)") != spec.side:
        return [f"it does not read {path} ({conf.MARK} is not set)"]
    listed = ", ".join(f"'{name}'" for name in settings) or "''"
    rows = session.query(
        "SELECT name, setting, coalesce(sourcefile, source) AS place, pending_restart AS waits "
        f"FROM pg_settings WHERE name IN ({listed})"
    )
    return [
        f"{row['name']} is {row['setting']}, from {row['place']}"
        for row in rows
        if not row["waits"] and os.path.realpath(str(row["place"])) != path
    ]


def _versions(spec: Spec) -> list[str]:
    """Name a cluster of another major version than the declared one, and one that is not moved."""
    major = (storage.read_text(Path(spec.data) / "PG_VERSION") or spec.version).strip()
    found = [text] if (text := majors.finding(major, spec.untested_major)) else []
    if major != spec.version:
        found.append(f"{spec.data} is of PostgreSQL {major}, not {spec.version} (postgresql_replication_version)")
    return found


def _directories(path: Path, depth: int) -> Iterator[Path]:
    """Return the directories that a configuration file reads whole, through whatever it includes."""
    for directive, name in conf.includes(storage.read_text(path) or ""):
        place = path.parent / name
        if directive == "include_dir":
            yield place
        elif depth < _DEEPEST:
            yield from _directories(place, depth + 1)
