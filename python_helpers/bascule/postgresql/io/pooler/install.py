"""Set up, look at and take away Bascule's own pooler on a database host; look at one that is somebody else's."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....system.io import storage
from ....system.io.process import run
from ... import pgbouncer
from ... import pgbouncer_entries as entries
from ...spec import Spec
from ..cluster.cluster import Cluster
from .console import Pooler, databases_text, write_like

UNITS = Path("/etc/systemd/system")


def prepare(spec: Spec, target: str, *, check: bool = False) -> dict[str, Any]:
    """See to the pooler: it runs, knows the declared clients, and points to the side `target`."""
    if spec.pooler == "none":
        return {"changed": False, "changes": []}
    _complete(spec)
    return _install(spec, target, check) if spec.pooler == "install" else _adopt(spec, target, check)


def remove(spec: Spec, *, check: bool = False) -> dict[str, Any]:
    """Take Bascule's own pooler away; somebody else's is left as it is."""
    unit, home = UNITS / spec.pooler_unit, Path(spec.pooler_home)
    changes = [str(path) for path in (unit, home) if path.exists()]
    if spec.pooler == "existing" or not changes:
        return {"changed": False, "changes": []}
    _unused(spec)
    if not check:
        run(["systemctl", "disable", "--now", spec.pooler_unit], timeout=60, check=False)
        storage.remove(unit)
        run(["systemctl", "daemon-reload"], timeout=60)
        run(["systemctl", "reset-failed", spec.pooler_unit], timeout=20, check=False)
        shutil.rmtree(home, ignore_errors=True)
    return {"changed": True, "changes": changes}


def audit(spec: Spec, budget: float) -> dict[str, Any]:
    """Say how the pooler is and what of it would stand in the way of a switch; nothing is changed."""
    if spec.pooler == "none":
        return {"pooler": "none", "warnings": [], "refused": []}
    if spec.pooler == "install" and not (UNITS / spec.pooler_unit).exists():
        found = {"pooler": "install", "prepared": False, "warnings": [], "refused": []}
        if shutil.which("pgbouncer") is None:
            found["warnings"] = [f"PgBouncer is not installed on {spec.side}: apt-get install pgbouncer"]
        return found
    with Pooler(spec) as pooler:
        state = pooler.audit(budget)
        warnings = list(state.pop("warnings"))
        warnings += [f"the pooler does not serve {name}; prepare again" for name in state["not_served"]]
        refused = stays_behind(spec) if spec.pooler == "existing" else []
        if spec.pooler == "existing" and pgbouncer.missing_include(spec.pooler_include, _main(spec)):
            refused.append(f"{spec.pooler_main} does not read {spec.pooler_include}: the pooler cannot be switched")
        if spec.pooler == "install" and Cluster(spec).postmaster() is not None:
            stale = storage.read_text(f"{spec.pooler_home}/users.txt") != pgbouncer.render_users(spec, _secrets(spec))
            if stale:
                warnings.append("a client's password was changed since; prepare again, or it cannot log in here")
        return {"pooler": spec.pooler, "prepared": True, **state, "warnings": warnings, "refused": refused}


def _unused(spec: Spec) -> None:
    """Refuse to take away a pooler while somebody is connected to it."""
    if run(["systemctl", "is-active", spec.pooler_unit], timeout=20, check=False).stdout.strip() != "active":
        return
    with Pooler(spec) as pooler:
        clients = pooler.clients()
    if clients:
        raise BasculeError(
            expected=f"nobody to use the pooler of {spec.side} any more",
            found=", ".join(sorted({f"{one['user']} from {one['addr']}" for one in clients})),
            state="the pooler serves as before",
            next_command=f"point these clients to the pooler of {spec.peer_side}, then retire again",
        )


def _complete(spec: Spec) -> None:
    missing = []
    if not spec.pooler_clients:
        missing.append("postgresql_replication_pooler_clients is empty")
    if not spec.address:
        missing.append(f"the address of {spec.side}")
    if spec.pooler == "install":
        missing += [name for name in ("ca", "certificate", "key") if not getattr(spec, name)]
        if shutil.which("pgbouncer") is None:
            missing.append("PgBouncer itself (apt-get install pgbouncer)")
    elif not spec.pooler_include:
        missing.append("postgresql_replication_pooler_include")
    if missing:
        raise BasculeError(
            expected=f"what a pooler at {spec.side} needs",
            found=f"missing: {', '.join(missing)}",
            state="the pooler was not changed",
            next_command=f"complete it, then ansible-playbook playbooks/20_prepare.yml --limit {spec.component}",
        )


def _install(spec: Spec, target: str, check: bool) -> dict[str, Any]:
    changes: list[str] = []
    home, unit = Path(spec.pooler_home), UNITS / spec.pooler_unit
    if not _account_exists():
        changes.append(f"account {pgbouncer.ACCOUNT}")
        if not check:
            run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", pgbouncer.ACCOUNT])
    main = pgbouncer.render_main(spec)
    restart = pgbouncer.needs_restart(storage.read_text(home / "pgbouncer.ini"), main)
    texts: list[tuple[str, str, int]] = [
        ("pgbouncer.ini", main, 0o640),
        ("hba.conf", pgbouncer.render_hba(spec), 0o640),
        ("hosts", pgbouncer.render_hosts(spec), 0o644),
    ]
    if check and Cluster(spec).postmaster() is None:
        # A standby that is yet to be built cannot be asked for the verifiers that it will have.
        changes.append(str(home / "users.txt"))
    else:
        texts.append(("users.txt", pgbouncer.render_users(spec, _secrets(spec)), 0o600))
    for source, name, mode in ((spec.ca, "ca.crt", 0o644), (spec.certificate, "host.crt", 0o644)):
        texts.append((name, _needed(source, spec.side), mode))
    texts.append(("host.key", _needed(spec.key, spec.side), 0o600))
    before = len(changes)
    differences = {name: _put(home / name, text, mode, check, changes) for name, text, mode in texts}
    # The unit sees its hosts file as it was when it started.
    restart = restart or differences["hosts"]
    if not (home / "databases.ini").exists():
        _put(home / "databases.ini", pgbouncer.render_databases(spec, target), 0o640, check, changes)
    if storage.read_text(unit) != pgbouncer.render_unit(spec):
        changes.append(str(unit))
        restart = True
        if not check:
            storage.write_durably(unit, pgbouncer.render_unit(spec), 0o644)
            run(["systemctl", "daemon-reload"], timeout=60)
    if run(["systemctl", "is-enabled", spec.pooler_unit], timeout=20, check=False).stdout.strip() != "enabled":
        changes.append(f"{spec.pooler_unit} enabled at boot")
        if not check:
            run(["systemctl", "enable", spec.pooler_unit], timeout=60)
    active = run(["systemctl", "is-active", spec.pooler_unit], timeout=20, check=False).stdout.strip() == "active"
    if restart or not active:
        changes.append(f"{spec.pooler_unit} {'restarted' if active else 'started'}")
        if not check:
            _start(spec)
    elif len(changes) > before and not check:
        run(["systemctl", "reload", spec.pooler_unit], timeout=20)
    if check and (restart or not active):
        return {"changed": bool(changes), "changes": changes}
    return _pointed(spec, target, changes, check)


def _adopt(spec: Spec, target: str, check: bool) -> dict[str, Any]:
    """Take over the one file of somebody else's pooler in which a switch changes hosts and ports."""
    if pgbouncer.missing_include(spec.pooler_include, _main(spec)):
        raise BasculeError(
            expected=f"{spec.pooler_main} at {spec.side} to read the databases from {spec.pooler_include}",
            found=f"no line '%include {spec.pooler_include}'",
            state="the pooler was not changed",
            next_command=f"move the entries of {', '.join(pgbouncer.databases(spec))} from its [databases] into that "
            "file, put the line in their place, and prepare again",
        )
    if found := stays_behind(spec):
        raise BasculeError(
            expected=f"every entry of the pooler at {spec.side} to follow a switch",
            found="; ".join(found),
            state="the pooler was not changed",
            next_command=f"mend what is named, RELOAD, then ansible-playbook playbooks/20_prepare.yml --limit "
            f"{spec.component}",
        )
    return _pointed(spec, target, [], check)


def stays_behind(spec: Spec) -> list[str]:
    """Name the entries of somebody else's pooler that a switch could not move."""
    main = _main(spec)
    databases = entries.section(main)
    others = [name for name in entries.included(databases) if name != spec.pooler_include]
    beside = "\n".join([databases, *(storage.read_text(Path(spec.pooler_main).parent / name) or "" for name in others)])
    sides = {spec.address, spec.peer_address}

    def same(host: str) -> bool:
        try:
            return any(str(found[4][0]) in sides for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except OSError:
            # Then the pooler does not reach it either.
            return False

    return entries.problems(spec, storage.read_text(spec.pooler_include) or "", beside, same)


def _pointed(spec: Spec, target: str, changes: list[str], check: bool) -> dict[str, Any]:
    """Point the running pooler at the active side; whom a switch holds back stays held back."""
    if check:
        now = storage.read_text(spec.pooler_databases)
        if now != databases_text(spec, target, now):
            changes.append(f"points to {target}")
        return {"changed": bool(changes), "changes": changes}
    with Pooler(spec) as pooler:
        pooler.ready()
        if pooler.point(*pgbouncer.server(spec, target)):
            changes.append(f"points to {target}")
    return {"changed": bool(changes), "changes": changes}


def _start(spec: Spec) -> None:
    run(["systemctl", "reset-failed", spec.pooler_unit], timeout=20, check=False)
    done = run(["systemctl", "restart", spec.pooler_unit], timeout=60, check=False)
    if done.rc != 0:
        words = run(["journalctl", "-u", spec.pooler_unit, "-n", "3", "-o", "cat", "--no-pager"], timeout=20).stdout
        raise BasculeError(
            expected=f"{spec.pooler_unit} to start at {spec.side}",
            found=" ".join(words.split())[-500:] or done.stderr.strip(),
            state=f"the databases are untouched; nobody listens on port {spec.pooler_port} for Bascule",
            next_command=f"journalctl -u {spec.pooler_unit}; then prepare again",
        )


def _put(path: Path, text: str, mode: int, check: bool, changes: list[str]) -> bool:
    """Write a file for the pooler's account; of what is in it only the name is told."""
    account = None if check and not _account_exists() else pwd.getpwnam(pgbouncer.ACCOUNT)
    same = storage.read_text(path) == text
    if same and account is not None:
        known = path.stat()
        same = known.st_mode & 0o7777 == mode and known.st_uid == account.pw_uid
    if same:
        return False
    changes.append(str(path))
    if not check and account is not None:
        storage.make_directory(path.parent, 0o755)
        path.parent.chmod(0o750)
        os.chown(path.parent, 0, account.pw_gid)
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.chown(path, account.pw_uid, account.pw_gid)
        path.chmod(mode)
        write_like(path, path, text)
    return True


def _account_exists() -> bool:
    try:
        pwd.getpwnam(pgbouncer.ACCOUNT)
    except KeyError:
        return False
    return True


def _needed(source: str, side: str) -> str:
    text = storage.read_text(source)
    if text is None:
        raise BasculeError(expected=f"the TLS file {source} on {side}", found="no such file")
    return text


def _main(spec: Spec) -> str:
    return storage.read_text(spec.pooler_main) or ""


def _secrets(spec: Spec) -> dict[str, str | None]:
    """Read the clients' verifiers where they are: at the local server, primary or standby."""
    names = sorted({client["user"] for client in spec.pooler_clients})
    # Names are compared as text inside the query; a quote in one is doubled.
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
    with Cluster(spec).session() as session:
        found = session.query(
            f"SELECT rolname AS name, rolpassword AS secret FROM pg_authid WHERE rolname IN ({listed})"
        )
    return {row["name"]: row["secret"] for row in found}
