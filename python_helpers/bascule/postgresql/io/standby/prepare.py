"""Make both sides ready: what replication needs at the active side, a standby at the passive one."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....errors import BasculeError
from ....guard import state as rule
from ....guard.io import fence_settings, store
from ....guard.state import GuardState
from ....system.io import storage, units
from ... import conf, hba, lsn, scram
from ...spec import STREAMING, Spec
from ..cluster import host, peer, tls
from ..cluster import settings as cluster_settings
from ..cluster.cluster import HOME, KIND, RETIRED_FILE, SPEC_FILE, Cluster, world
from ..cluster.psql import Session
from . import before, data_directory, divergence, rewind, slot
from .follow import FOLLOW_FILE

SEED_FILE = "seed.json"
FIRST_USER_OID = 16384
_DISTRIBUTION = "postgresql.service"


class Changes:
    """Counts what was changed; in check mode only what would be."""

    def __init__(self, check: bool) -> None:
        self.check = check
        self.names: list[str] = []
        self.diff: list[dict[str, str]] = []

    def file(self, cluster: Cluster, path: Path, text: str, mode: int = 0o640) -> bool:
        """Write a file of the cluster's if it differs."""
        same = storage.read_text(path) == text and path.stat().st_mode & 0o7777 == mode
        if same:
            return False
        self.names.append(str(path))
        if mode & 0o077:
            # What the others on the host may not read is not shown either.
            shown = {"before": storage.read_text(path) or "", "after": text}
            self.diff.append({"before_header": str(path), "after_header": str(path), **shown})
        if not self.check:
            cluster.write(path, text, mode)
        return True


def configure(
    spec: Spec,
    password: str,
    active: bool,
    settings: Mapping[str, str],
    raised: Mapping[str, int],
    *,
    other: GuardState | None = None,
    check: bool = False,
) -> tuple[Cluster, Changes]:
    """Write what both sides have alike: description, TLS files, settings, password file, who is let in, guard."""
    cluster, changes = Cluster(spec), Changes(check)
    data_directory.require(spec)
    # Nothing is written before it is known that the guard lets this side be taken over.
    status, empty = rule.OPEN if active else rule.CLOSED, not user_databases(cluster)
    store.adopt(spec.component, spec.side, status, other=other, empty=empty, check=True)
    fence_settings.refuse_shared(spec.component, spec.side, KIND, spec.data, HOME)
    _managed(spec)
    cluster_settings.require_read(spec)
    description = HOME / spec.component / SPEC_FILE
    if storage.read_json(description) != spec.to_dict():
        changes.names.append(str(description))
        if not check:
            storage.make_directory(description.parent, 0o755)
            storage.write_json(description, spec.to_dict(), 0o644)
    for source, name, mode in (
        (spec.ca, "ca.crt", 0o644),
        (spec.certificate, "host.crt", 0o644),
        (spec.key, "host.key", 0o600),
    ):
        if source:
            text = storage.read_text(source)
            if text is None:
                raise BasculeError(expected=f"the TLS file {source} on {spec.side}", found="no such file")
            changes.file(cluster, Path(conf.tls_path(spec, name)), text, mode)
    if fence_settings.keep(spec.component, spec.side, KIND, spec.data, base=HOME, check=check):
        changes.names.append("how it is fenced at boot")
    forget_retired(spec.component, changes)
    entry = ":".join(_escape(word) for word in ("*", str(spec.peer_port), "*", spec.replication_user, password))
    changes.file(cluster, Path(conf.passfile(spec)), entry + "\n", 0o600)
    changes.file(cluster, cluster.config / "conf.d" / conf.BASE, conf.base(spec, settings, raised))
    state, adopted = store.adopt(spec.component, spec.side, status, other=other, empty=empty, check=check)
    if adopted:
        changes.names.append("guard")
    admitted = hba.OPEN if state.status == rule.OPEN and not state.frozen else hba.CLOSED
    changes.file(cluster, cluster.hba, cluster.hba_text(admitted))
    if changes.names and not check:
        cluster.reload()
    # It starts what start.conf lets start; any other unit is enabled, or not, by itself.
    if spec.starts_by_start_conf and not units.is_enabled(_DISTRIBUTION):
        changes.names.append(f"{_DISTRIBUTION} enabled at boot")
        if not check:
            units.set_enabled(_DISTRIBUTION, enabled=True)
    return cluster, changes


def forget_retired(component: str, changes: Changes) -> None:
    """Take away the record of an earlier decommission: the next one has something to dump and to remove again."""
    record = HOME / component / RETIRED_FILE
    if storage.is_file(record):
        changes.names.append(str(record))
        if not changes.check:
            storage.remove(record)


def publish(spec: Spec, password: str, *, other: GuardState | None = None, check: bool = False) -> dict[str, Any]:
    """Prepare the active side; return what the passive side has to know."""
    with world(spec.component, check=check):
        own = Cluster(spec)
        with own.session() as session:
            if session.value("SELECT pg_is_in_recovery()"):
                raise BasculeError(
                    expected=f"{spec.side} to be the primary",
                    found="it is in recovery",
                    state="nothing was changed",
                    next_command="ansible-playbook playbooks/status.yml",
                )
            elsewhere = cluster_settings.unread_by_server(session, spec)
            if elsewhere:
                raise BasculeError(
                    expected=f"the server of {spec.side} to go by the files that Bascule writes",
                    found="; ".join(elsewhere),
                    state="nothing was changed",
                    next_command="mend what is named, then audit again",
                )
            spec = slot.at_active(session, spec)
            running = _settings(session)
            text = storage.read_text(own.config / "conf.d" / conf.BASE)
            known = before.of_server(session, spec)
            settings = _serving(session, spec, known, text)
            if not check:
                before.keep(spec.component, known)
            cluster, changes = configure(spec, password, True, settings, conf.raised_in(text), other=other, check=check)
            if not check:
                # A side that served nobody before gets more than it needs: what its owner has set instead, holds.
                needed = settings if known.get("served") else {"ssl": settings["ssl"]}
                if cluster_settings.not_taken(session, spec, needed):
                    # Also where an earlier run was killed after it had written.
                    cluster.reload()
                cluster_settings.require_taken(session, spec, needed)
            lost = spec.method == STREAMING and _serve_standby(session, spec, password, changes)
            # What the log still holds: a standby that needs older log has lost its way, whatever the slot says.
            oldest = str(session.value("SELECT min(right(name, 16)) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'"))
            size = int(session.value("SELECT sum(pg_database_size(oid)) FROM pg_database"))
            errors = session.query("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
            if errors:
                raise BasculeError(expected=f"a valid {cluster.hba}", found=repr(errors))
            role = f"SELECT count(*) FROM pg_hba_file_rules WHERE '{spec.replication_user}' = ANY(user_name)"
            if not check and not session.value(role):
                raise BasculeError(
                    expected=f"the server of {spec.side} to read {cluster.hba}",
                    found=f"it knows no rule for {spec.replication_user}",
                    state=f"{spec.side} serves as before; nothing was copied",
                    next_command="SHOW hba_file; then prepare again",
                )
    return {
        "changed": bool(changes.names),
        "changes": changes.names,
        "diff": changes.diff,
        "settings": running,
        "lost": lost,
        "oldest_segment": oldest,
        "slot_keeps": spec.max_slot_wal_keep_size,
        "size_bytes": size,
        "system_id": cluster.control().system_id,
        "guard": store.read(spec.component, spec.side).to_dict(),
    }


def _serving(session: Session, spec: Spec, known: Mapping[str, Any], text: str | None) -> dict[str, str]:
    """Return what the file of a side that serves has to set: what it lacks, or what it sets since it was no copy."""
    if not known.get("served"):
        return conf.whole(spec, cluster_settings.wal_compression(spec))
    if spec.method != STREAMING:
        # A dump is taken on the spot, and travels by SSH.
        return {}
    tls_wanting = "ssl" in conf.set_in(text) or bool(tls.complaint(spec))
    return conf.needed(spec, known["settings"], tls=tls_wanting, other_slots=before.other_slots(session, spec))


def _waiting(spec: Spec, text: str | None) -> dict[str, str]:
    """Return what the file of a closed side has to set; one that served before keeps what it was given then."""
    if not before.read(spec.component).get("served"):
        return conf.whole(spec, cluster_settings.wal_compression(spec))
    return {
        name: value for name, value in conf.set_in(text).items() if name != conf.MARK and name not in conf.NOT_SMALLER
    }


def _serve_standby(session: Session, spec: Spec, password: str, changes: Changes) -> bool:
    """See to what a standby needs of this server; return whether it has lost the log it needs."""
    check = changes.check
    if _role(session, spec, password, check):
        changes.names.append(f"role {spec.replication_user}")
    if rewind.permit(session, spec, check=check):
        changes.names.append(f"functions of {spec.replication_user}")
    if not check:
        rewind.make_ready(session)
    return _slot(session, spec, changes, check)


def stage(
    spec: Spec,
    password: str,
    settings: Mapping[str, int],
    *,
    system_id: str,
    lost: bool = False,
    oldest_segment: str = "",
    size_bytes: int = 0,
    replace: bool = False,
    max_rate: str = "",
    slot_keeps: str = "",
    other: GuardState | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Prepare the passive side, and start its base backup unless it is a standby already."""
    warnings: list[str] = []
    with world(spec.component, check=check):
        guard = store.read(spec.component, spec.side)
        if guard.status not in (rule.UNKNOWN, rule.CLOSED):
            raise BasculeError(
                expected=f"{spec.side} to be closed",
                found=guard.describe(),
                state="nothing was changed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        cluster = Cluster(spec)
        standby = is_standby(cluster, system_id)
        spec = slot.at_passive(spec, slot_keeps, 0 if standby else size_bytes)
        missing = standby and misses_log(cluster, oldest_segment)
        # What it alone had is exported by then, and its whole state was kept aside.
        diverged = divergence.pending(spec, storage.read_json(HOME / spec.component / FOLLOW_FILE)) if standby else ""
        seeded = standby and not lost and not missing and not diverged
        if diverged:
            warnings.append(f"{diverged}: it goes back to the fork, or is built again from nothing where that fails")
        elif standby and not seeded:
            warnings.append(
                f"{spec.side} has lost log it needs ({'its slot is lost' if lost else 'it was removed'}): "
                "the standby is built again from nothing"
            )
        if not replace and not (standby and (lost or missing)) and not units.is_running(spec.unit_name("seed")):
            data_directory.refuse_primary(cluster, guard, system_id)
        foreign = (
            [] if standby or replace or data_directory.was_built_here(cluster, system_id) else user_databases(cluster)
        )
        if foreign and not units.is_running(spec.unit_name("seed")):
            raise BasculeError(
                expected=f"an empty cluster {spec.version}/{spec.cluster} on {spec.side}",
                found=f"databases of its own (directories {', '.join(foreign)} in {cluster.data}/base)",
                state="nothing was changed",
                next_command="move them away, or set postgresql_replication_replace_target: true",
            )
        text = storage.read_text(cluster.config / "conf.d" / conf.BASE)
        raised = conf.to_raise(conf.raised_in(text), _running_settings(cluster) if seeded else {}, settings)
        cluster, changes = configure(spec, password, False, _waiting(spec, text), raised, other=other, check=check)
        if not check:
            before.keep(spec.component, {"served": False})
            cluster_settings.require_standing(spec, {conf.MARK: spec.side, "ssl": "on"})
            cluster_settings.require(spec, settings)
        if cluster.start_mode() != "manual":
            changes.names.append("start.conf" if spec.starts_by_start_conf else f"{spec.unit} disabled")
            if not check:
                cluster.set_start("manual")
        if seeded:
            if cluster.postmaster() is None:
                changes.names.append("started")
                if not check:
                    cluster.start()
        elif not units.is_running(spec.unit_name("seed")):
            changes.names.append("base backup")
            last = storage.read_json(HOME / spec.component / SEED_FILE) or {}
            if last.get("state") in ("running", "failed"):
                why = last.get("error") or "it was interrupted"
                warnings.append(f"the base backup starts again from nothing, the last one did not end well: {why}")
            if not check:
                # Whoever cannot log in finds out now, not after hours.
                peer.identify(spec)
                storage.write_json(
                    HOME / spec.component / SEED_FILE,
                    {"state": "running", "step": "starting", "total": size_bytes, "began": time.time()},
                )
                rate = ["--max-rate", max_rate] if max_rate else []
                units.start(spec.unit_name("seed"), [*units.AGENT, "seed", "--component", spec.component, *rate])
    return {
        "changed": bool(changes.names),
        "changes": changes.names,
        "diff": changes.diff,
        "seeded": seeded,
        "warnings": warnings,
    }


def stage_closed(
    spec: Spec,
    password: str,
    *,
    replace: bool = False,
    slot_keeps: str = "",
    other: GuardState | None = None,
    check: bool = False,
) -> dict[str, Any]:
    """Prepare the passive side of a move by dump and restore: closed, and its own cluster stopped or standing."""
    with world(spec.component, check=check):
        guard = store.read(spec.component, spec.side)
        if guard.status not in (rule.UNKNOWN, rule.CLOSED):
            raise BasculeError(
                expected=f"{spec.side} to be closed",
                found=guard.describe(),
                state="nothing was changed",
                next_command="ansible-playbook playbooks/status.yml",
            )
        spec = slot.at_passive(spec, slot_keeps, 0)
        cluster = Cluster(spec)
        foreign = user_databases(cluster) if guard.status == rule.UNKNOWN and not replace else []
        if foreign:
            raise BasculeError(
                expected=f"an empty cluster {spec.version}/{spec.cluster} on {spec.side}",
                found=f"databases of its own (directories {', '.join(foreign)} in {cluster.data}/base)",
                state="nothing was changed",
                next_command="move them away, or set postgresql_replication_replace_target: true",
            )
        text = storage.read_text(cluster.config / "conf.d" / conf.BASE)
        cluster, changes = configure(spec, password, False, _waiting(spec, text), {}, other=other, check=check)
        if not check:
            before.keep(spec.component, {"served": False})
            cluster_settings.require_standing(spec, {conf.MARK: spec.side})
        if cluster.start_mode() != "manual" or (cluster.exists() and not cluster.has_signal()):
            # What is there may run as a primary, with nobody's data in it: it ends, and starts as none any more.
            changes.names.append("closed")
            if not check:
                cluster.fence()
                if not cluster.stop(120):
                    raise BasculeError(expected=f"the empty cluster on {spec.side} to stop", found="it still runs")
    return {"changed": bool(changes.names), "changes": changes.names, "seeded": True, "warnings": []}


def misses_log(cluster: Cluster, oldest_segment: str) -> bool:
    """Whether this standby needs log that its primary no longer has; `oldest_segment` is the primary's oldest file."""
    if not oldest_segment:
        return False
    control = cluster.control()
    reached = max(lsn.parse(control.checkpoint_lsn), lsn.parse(control.min_recovery_lsn))
    if cluster.postmaster() is not None:
        with cluster.session() as session:
            last = session.value("SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text")
            reached = max(reached, lsn.parse(str(last))) if last else reached
    return reached // control.segment_bytes < segment_number(oldest_segment, control.segment_bytes)


def segment_number(name: str, segment_bytes: int) -> int:
    """Return the number of a log file from the last 16 digits of its name."""
    return int(name[:8], 16) * ((1 << 32) // segment_bytes) + int(name[8:], 16)


def is_standby(cluster: Cluster, system_id: str) -> bool:
    """Whether this side already is a copy of the other, made by a base backup or by having been its primary."""
    if not cluster.exists() or not cluster.has_signal():
        return False
    notes = storage.read_json(HOME / cluster.spec.component / SEED_FILE) or {}
    given = store.read(cluster.spec.component, cluster.spec.side).receipt is not None
    return (notes.get("state") == "done" or given) and cluster.control().system_id == system_id


def user_databases(cluster: Cluster) -> list[str]:
    """Return the directories of databases that somebody made, seen without starting the server."""
    base = cluster.data / "base"
    if not base.is_dir():
        return []
    return sorted(name for name in os.listdir(base) if name.isdigit() and int(name) >= FIRST_USER_OID)


def _settings(session: Session) -> dict[str, int]:
    return {name: int(session.value(f"SELECT current_setting('{name}')")) for name in conf.NOT_SMALLER}


def _running_settings(cluster: Cluster) -> dict[str, int]:
    if cluster.postmaster() is None:
        return {}
    with cluster.session() as session:
        return _settings(session)


def _managed(spec: Spec) -> None:
    if names := host.managers(spec):
        raise BasculeError(
            expected=f"nothing else to manage the cluster on {spec.side}",
            found=", ".join(names),
            state="nothing was changed",
            next_command="take the cluster out of its hands first (pause is not enough), then audit again",
        )


def _role(session: Session, spec: Spec, password: str, check: bool) -> bool:
    name = spec.replication_user
    found = session.query(
        f"SELECT rolreplication AND rolcanlogin AS able, rolsuper AS super, rolpassword AS secret FROM pg_authid "
        f"WHERE rolname = '{name}'"
    )
    if found and found[0]["able"] and scram.matches(password, found[0]["secret"]):
        return False
    if not check:
        # The server gets a verifier: the password itself never reaches it, nor its log.
        secret = scram.verifier(password, secrets.token_bytes(16))
        verb = "ALTER" if found else "CREATE"
        session.execute(f"{verb} ROLE \"{name}\" LOGIN REPLICATION PASSWORD '{secret}'")
    return True


def _slot(session: Session, spec: Spec, changes: Changes, check: bool) -> bool:
    """See to the slot; return whether the standby has lost what it needs."""
    found = session.query(
        f"SELECT wal_status AS status, active FROM pg_replication_slots WHERE slot_name = '{spec.slot}'"
    )
    lost = bool(found) and found[0]["status"] == "lost"
    if found and not lost:
        return False
    changes.names.append(f"slot {spec.slot}")
    if not check:
        if lost:
            session.execute(f"SELECT pg_drop_replication_slot('{spec.slot}')")
        session.execute(f"SELECT pg_create_physical_replication_slot('{spec.slot}', true)")
    return lost


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace(":", "\\:")


def free_bytes(path: str) -> int:
    """Return the free bytes of the file system under a path, or under its nearest parent."""
    place = Path(path)
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
