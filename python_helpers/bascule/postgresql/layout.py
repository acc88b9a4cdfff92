"""Where a side's cluster is: what its files, its server and its process say, beside what the plan declares. Pure.

What is declared is Debian's layout where no variable says otherwise. What the server says is never taken over in
silence: after a crash there is nobody to ask, so both have to be the same before anything changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .spec import Spec

VARIABLE = "postgresql_replication_layouts"
# What the server is asked for. The first three are compared; the rest is kept with the audit, for whoever looks for it.
COMPARED = ("config_file", "data_directory", "hba_file")
ASKED = (*COMPARED, "ident_file", "log_directory", "port", "unix_socket_directories")
# What systemd is asked about the unit.
PROPERTIES = ("LoadState", "Restart", "UnitFileState")
_CAN_BE_ENABLED = ("enabled", "enabled-runtime", "disabled")
# After a clean stop too; one after a crash is the owner's matter.
_RESTARTS = ("always", "on-success")
# As long as a unit is in one of these, a stop of it reaches the server.
_STOPPED_BY_SYSTEMD = ("active", "activating", "reloading", "deactivating")
# A server that somebody has started from a session is in that session's service.
_SESSIONS = ("ssh.service", "sshd.service", "cron.service", "user@")


def declared(spec: Spec) -> dict[str, str]:
    """Return where the plan says that it is."""
    return {
        "config_file": spec.config_file,
        "data_directory": spec.data,
        "hba_file": spec.hba_file,
        "programs": spec.programs,
        "socket_directory": spec.socket_directory,
        "unit": spec.unit,
    }


def of_process(cgroup: str, executable: str) -> dict[str, str]:
    """Return the unit and the directory of the programs of a server that runs.

    `cgroup` is its /proc/PID/cgroup, see cgroups(7); `executable` is where its /proc/PID/exe leads.
    """
    found = {}
    last = (line.rpartition("/")[2] for line in cgroup.splitlines())
    units = [name for name in last if name.endswith(".service") and not name.startswith(_SESSIONS)]
    if units:
        found["unit"] = units[0]
    if executable:
        found["programs"] = executable.removesuffix(" (deleted)").rpartition("/")[0]
    return found


def differences(spec: Spec, said: Mapping[str, str], who: str, same: Callable[[str, str], bool]) -> list[str]:
    """Name what `who` says otherwise than the plan, and the variable to set; `same` compares two paths."""
    wanted = declared(spec)
    return [
        f"{name} is {value!r}, not {wanted[name]}, says {who}; {way_out(name, value, spec.side)}"
        for name, value in said.items()
        if name in wanted and not (value == wanted[name] if name == "unit" else same(value, wanted[name]))
    ]


def way_out(name: str, value: str, side: str) -> str:
    """Return the variable that says where it is."""
    if name == "data_directory":
        return f"set postgresql_replication_data_directories for {side}"
    return f"set {VARIABLE} for {side}: {{{name}: {value}}}"


def beside_debian(spec: Spec, same: Callable[[str, str], bool]) -> list[str]:
    """Name a file beside which Debian's unit does not look for start.conf and conf.d; `same` compares two paths."""
    if not spec.starts_by_start_conf:
        return []
    instance = spec.unit.partition("@")[2].removesuffix(".service")
    directory = "/etc/postgresql/" + instance.replace("-", "/", 1)
    if same(spec.config, directory) and spec.config_file.endswith("/postgresql.conf"):
        return []
    return [
        f"config_file is declared as {spec.config_file}, but {spec.unit} reads {directory}/postgresql.conf, and "
        f"start.conf and conf.d beside that: {way_out('config_file', f'{directory}/postgresql.conf', spec.side)} (a "
        "link there may lead to the file), or declare a unit of its own"
    ]


def by_hand(spec: Spec, ran: Mapping[str, str], active: str) -> list[str]:
    """Name a server that its unit would not stop.

    `ran` is what its process says, empty where no process was found; `active` is systemd's ActiveState of the unit.
    """
    if not ran:
        return []
    how = f"stop it as it was started, then systemctl start {spec.unit}"
    if "unit" not in ran:
        return [f"the server runs in no unit of systemd (it was started by hand): {spec.unit} would not stop it; {how}"]
    if ran["unit"] == spec.unit and active not in _STOPPED_BY_SYSTEMD:
        return [
            f"the server runs while {spec.unit} is {active or 'unknown'} to systemd, which would not stop it; {how}"
        ]
    return []


def inside_data(spec: Spec) -> list[str]:
    """Name configuration that lies in the data directory, which a copy of the other side's takes the place of."""
    return [
        f"{name} {path} lies in the data directory, where a copy of {spec.peer_side}'s would take its place: move "
        f"it out of there (/etc/postgresql, say), start {spec.unit} with it, and {way_out(name, '…', spec.side)}"
        for name, path in (("config_file", spec.config_file), ("hba_file", spec.hba_file))
        if path.startswith(f"{spec.data}/")
    ]


def no_sockets(spec: Spec, directories: str, same: Callable[[str, str], bool]) -> list[str]:
    """Name a server into which nobody comes where its own programs look for it."""
    listed = [one.strip().strip('"') for one in directories.split(",") if one.strip()]
    if any(same(one, spec.socket_directory) for one in listed):
        return []
    other = next((one for one in listed if one.startswith("/")), "")
    declare = f", or {way_out('socket_directory', other, spec.side)}" if other else ""
    return [
        f"unix_socket_directories is {directories!r}: Bascule comes in by {spec.socket_directory}; add it (a restart)"
        f"{declare}"
    ]


def unit_findings(spec: Spec, shown: Mapping[str, str]) -> list[str]:
    """Name why its unit does not start, stop or rest a cluster as it is told; `shown` is what systemd shows."""
    if shown.get("LoadState") != "loaded":
        state = shown.get("LoadState") or "unknown"
        return [f"{spec.unit} is {state} to systemd; {way_out('unit', '…', spec.side)}, or mend it"]
    found = []
    if not spec.starts_by_start_conf and shown.get("UnitFileState") not in _CAN_BE_ENABLED:
        state = shown.get("UnitFileState") or "in no file"
        found.append(f"{spec.unit} is {state}: it cannot be kept from starting at boot; give it an [Install] section")
    if shown.get("Restart") in _RESTARTS:
        found.append(f"{spec.unit} has Restart={shown['Restart']}: systemd would start it again when it is closed")
    return found


def no_cluster(spec: Spec, others: Sequence[str]) -> str:
    """Say that there is no cluster, and how one is made; `others` are the clusters that Debian knows here."""
    if spec.starts_by_start_conf and not spec.layout.get("config_file"):
        place = f"-d {spec.data_directory} " if spec.data_directory else ""
        how = f"pg_createcluster -p {spec.port} {place}{spec.version} {spec.cluster}"
    else:
        how = (
            f"make one there that {spec.unit} starts ({spec.programs}/initdb -D {spec.data}), or set {VARIABLE} for "
            f"{spec.side}"
        )
    known = f" (clusters here: {'; '.join(others)})" if others else ""
    return f"no {spec.config_file}: {how}{known}"
