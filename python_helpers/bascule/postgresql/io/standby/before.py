"""How a side was before prepare changed it: written once, told by the audit, given back when the side stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ....system.io import storage
from ... import conf, hba
from ...spec import Spec
from ..cluster.cluster import HOME, Cluster
from ..cluster.psql import Session

FILE = "before.json"
_SETTINGS = ("max_slot_wal_keep_size", "ssl", "ssl_cert_file", "ssl_key_file", "wal_keep_size")


def read(component: str) -> dict[str, Any]:
    """Return what was written down, or nothing."""
    found: dict[str, Any] = storage.read_json(HOME / component / FILE) or {}
    return found


def of_server(session: Session, spec: Spec) -> dict[str, Any]:
    """Return how a side that serves is set, but for what Bascule's own file has set."""
    known = read(spec.component)
    if known:
        return known
    listed = ", ".join(f"'{name}'" for name in _SETTINGS)
    rows = session.query(
        f"SELECT name, CASE WHEN sourcefile LIKE '%/{conf.BASE}' THEN boot_val ELSE setting END AS value "
        f"FROM pg_settings WHERE name IN ({listed})"
    )
    return {"served": True, "settings": {str(row["name"]): str(row["value"]) for row in rows}}


def keep(component: str, found: dict[str, Any]) -> bool:
    """Write it down, the first time only; return whether it was the first."""
    if read(component):
        return False
    storage.make_directory(HOME / component, 0o755)
    storage.write_json(HOME / component / FILE, found, 0o644)
    return True


def other_slots(session: Session, spec: Spec) -> list[str]:
    """Name the slots that somebody else relies on."""
    rows = session.query(
        f"SELECT slot_name AS name FROM pg_replication_slots WHERE slot_name <> '{spec.slot}' AND NOT temporary "
        "ORDER BY 1"
    )
    return [str(row["name"]) for row in rows]


def traces(cluster: Cluster) -> list[Path]:
    """Name what prepare has put beside the configuration of a side that served before; nothing at any other."""
    if not read(cluster.spec.component).get("served"):
        return []
    places = [cluster.config / "conf.d" / conf.BASE, cluster.config / "conf.d" / conf.STANDBY]
    places.append(cluster.config / "bascule-tls")
    return [path for path in places if path.exists()]


def give_back(cluster: Cluster) -> None:
    """Make the configuration of a side that stays what it was; what its clients come in by was its own all along."""
    own = read(cluster.spec.component).get("served")
    if not own:
        return
    rest = hba.without(cluster.hba_now(), cluster.spec.component)
    if hba.lets_in(rest, cluster.spec.owner):
        cluster.write(cluster.hba, rest)
    for path in traces(cluster):
        if path.is_dir():
            continue
        storage.remove(path)
    cluster.reload()
    # Only now does the server not name them any more.
    shutil.rmtree(cluster.config / "bascule-tls", ignore_errors=True)
    storage.remove(HOME / cluster.spec.component / FILE)
