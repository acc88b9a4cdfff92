"""Which databases of a cluster are compared and dumped, and which are not: those are named, never passed over."""

from __future__ import annotations

from ....errors import BasculeError
from .cluster import Cluster
from .psql import Session

_READ = "datallowconn AND NOT datistemplate"
NAMES = f"SELECT datname AS name FROM pg_database WHERE {_READ} ORDER BY 1"
# The server makes template0 itself, and nobody comes in there.
_OTHERS = (
    "SELECT datname AS name, datallowconn AS admits FROM pg_database "
    f"WHERE NOT ({_READ}) AND datname <> 'template0' ORDER BY 1"
)
# What somebody has made has a number from here on.
_OBJECTS = "SELECT " + " + ".join(
    f"(SELECT count(*) FROM {catalogue} WHERE oid >= 16384)"
    for catalogue in ("pg_class", "pg_proc", "pg_type", "pg_namespace", "pg_extension", "pg_largeobject_metadata")
)

_WAY_OUT = "ALTER DATABASE … IS_TEMPLATE false ALLOW_CONNECTIONS true, or drop it, or take out what it holds"


def names(session: Session) -> list[str]:
    """Return the databases that are compared and dumped."""
    return [str(row["name"]) for row in session.query(NAMES)]


def left_out(cluster: Cluster, session: Session) -> list[str]:
    """Return, in words, the databases that are neither: templates and those that refuse connections.

    A session to a template keeps others from copying it, so none is held there; template1 is looked into for a moment,
    as every cluster has it and it mostly holds nothing of anybody's.
    """
    found = []
    for row in session.query(_OTHERS):
        name = str(row["name"])
        if not row["admits"]:
            found.append(f"{name} (it refuses connections)")
        elif name != "template1":
            found.append(f"{name} (a template)")
        else:
            with cluster.session(database=name) as looking:
                objects = int(looking.value(_OBJECTS))
            found += [f"{name} (a template, with {objects} objects that somebody has made)"] if objects else []
    return found


def require_all(cluster: Cluster, session: Session) -> None:
    """Refuse a dump that would leave something out."""
    found = left_out(cluster, session)
    if found:
        raise BasculeError(
            expected=f"a dump to hold every database of {cluster.spec.side}",
            found="it would leave out " + ", ".join(found),
            state="nothing was dumped",
            next_command=_WAY_OUT,
        )
