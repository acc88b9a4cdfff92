"""What one side needs to know about its cluster; prepare keeps it on the host, everything later reads it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import BasculeError
from .restore_point import AUTO, DUMP, WANTED

POOLERS = ("none", "install", "existing")
# How the passive side comes to its data: it follows the log, or a dump is restored in the window.
STREAMING, DUMP_RESTORE = "streaming", "dump_restore"
METHODS = (STREAMING, DUMP_RESTORE)
# What of a side may lie, or be called, otherwise than Debian has it; its data directory has a variable of its own.
LAYOUT = ("config_file", "hba_file", "unit", "programs", "socket_directory")
# Where Debian and PGDG have the sockets of their servers.
SOCKETS = "/var/run/postgresql"
NUMBERS = {
    "port",
    "slot_hours",
    "ssh_port",
    "peer_port",
    "pooler_port",
    "pooler_max_clients",
    "pooler_pool_size",
    "pooler_query_wait",
    "compare_workers",
}


@dataclass(frozen=True)
class Spec:
    """One side of a component: its own cluster, and how to reach the other side's."""

    component: str
    side: str
    version: str
    cluster: str
    port: int
    peer_side: str
    peer_name: str
    peer_address: str
    peer_port: int
    replication_user: str
    listen: str = "*"
    owner: str = "postgres"
    database: str = "postgres"
    clients: tuple[Mapping[str, str], ...] = ()
    ca: str = ""
    certificate: str = ""
    key: str = ""
    firewall: bool = True
    # A size, or auto: from the measured rate of the log, for that many hours. Prepare keeps the size that came of it.
    max_slot_wal_keep_size: str = "8GB"
    slot_hours: int = 12
    wal_keep_size: str = "256MB"
    peer_clients: tuple[Mapping[str, str], ...] = field(default=())
    address: str = ""
    # How the other side's standby calls this server, for its TLS to check.
    name: str = ""
    # Where the data lies; empty: where the distribution puts it. The server is asked whether it is so.
    data_directory: str = ""
    # Where the rest of the cluster is, by LAYOUT; what has no entry is where Debian puts it.
    layout: Mapping[str, str] = field(default_factory=dict)
    # The major version that is moved although no test has run it, see majors.py.
    untested_major: str = ""
    # Whether the side that a switch closes dumps what it had, and proves the dump.
    safety_dump: bool = False
    # By what it keeps its state at the fence, see restore_point.py: auto, copy or dump.
    restore_point: str = AUTO
    # The pooler of this host: none, install (an instance of Bascule's own) or existing (only audited and driven).
    pooler: str = "none"
    pooler_port: int = 6432
    pooler_listen: str = "*"
    pooler_mode: str = "transaction"
    pooler_max_clients: int = 500
    pooler_pool_size: int = 20
    pooler_query_wait: int = 120
    # How the pooler calls each side's server, for its TLS to check; empty: by address.
    pooler_host: str = ""
    pooler_peer_host: str = ""
    pooler_clients: tuple[Mapping[str, str], ...] = ()
    # Only for an existing one: its pgbouncer.ini, the file of the databases in it that Bascule may write, the directory
    # of its socket, and the system user it runs as, to whom its console is open.
    pooler_main: str = "/etc/pgbouncer/pgbouncer.ini"
    pooler_include: str = ""
    pooler_directory: str = "/var/run/postgresql"
    pooler_user: str = "postgres"
    # How the rows of both sides are compared, fast or strict, and by how many sessions (0: as many as there are cores).
    compare_mode: str = "fast"
    compare_workers: int = 0
    method: str = STREAMING
    # Where the other side is read from by SSH: only dumps travel so.
    ssh_port: int = 22

    @property
    def pooler_unit(self) -> str:
        """The systemd unit of Bascule's own pooler."""
        return f"bascule-pooler-{self.component}.service"

    @property
    def pooler_home(self) -> str:
        """The directory of its files."""
        return f"/etc/bascule/pooler/{self.component}"

    @property
    def pooler_databases(self) -> str:
        """The file that says where the databases are: the one that a switch rewrites."""
        return f"{self.pooler_home}/databases.ini" if self.pooler == "install" else self.pooler_include

    @property
    def pooler_socket(self) -> str:
        """The directory of its local socket, through which its console is reached."""
        return f"/run/bascule-pooler-{self.component}" if self.pooler == "install" else self.pooler_directory

    @property
    def pooler_account(self) -> str:
        """The system user it runs as."""
        return "bascule-pooler" if self.pooler == "install" else self.pooler_user

    @property
    def unit(self) -> str:
        """The systemd unit of the cluster."""
        return self.layout.get("unit") or f"postgresql@{self.version}-{self.cluster}.service"

    @property
    def starts_by_start_conf(self) -> bool:
        """Whether Debian's start.conf says if it starts at boot; else its unit is enabled or not."""
        return self.unit.startswith("postgresql@")

    @property
    def data(self) -> str:
        """The data directory."""
        return self.data_directory or f"/var/lib/postgresql/{self.version}/{self.cluster}"

    @property
    def config(self) -> str:
        """The directory of the configuration files, and of what Bascule puts beside them."""
        place = self.layout.get("config_file", "").rpartition("/")[0]
        return place or f"/etc/postgresql/{self.version}/{self.cluster}"

    @property
    def config_file(self) -> str:
        """The server's own configuration file."""
        return self.layout.get("config_file") or f"{self.config}/postgresql.conf"

    @property
    def hba_file(self) -> str:
        """The file that says who is let in."""
        return self.layout.get("hba_file") or f"{self.config}/pg_hba.conf"

    @property
    def programs(self) -> str:
        """The directory of the server's programs."""
        return self.layout.get("programs") or f"/usr/lib/postgresql/{self.version}/bin"

    @property
    def socket_directory(self) -> str:
        """The directory of the server's socket, by which everything of this host comes in."""
        return self.layout.get("socket_directory") or SOCKETS

    @property
    def way_in(self) -> dict[str, str]:
        """What libpq is told of the way to this host's server, as environment.

        A socket of anybody else than the cluster's owner is refused: everybody may put one into some directories.
        """
        return {"PGHOST": self.socket_directory, "PGREQUIREPEER": self.owner}

    @property
    def slot(self) -> str:
        """The name of the replication slot, alike at both sides."""
        return "bascule_" + "".join(c if c.isalnum() else "_" for c in self.component.lower())

    @property
    def home(self) -> str:
        """Where the component's own files are kept on a host."""
        return f"/var/lib/bascule/{self.component}"

    @property
    def table(self) -> str:
        """The name of the firewall table."""
        return self.slot

    def unit_name(self, operation: str) -> str:
        """The name of a transient unit for a long operation."""
        return f"bascule-{self.component}-{operation}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        value = asdict(self)
        value["layout"] = dict(self.layout)
        value["clients"] = [dict(client) for client in self.clients]
        value["peer_clients"] = [dict(client) for client in self.peer_clients]
        value["pooler_clients"] = [dict(client) for client in self.pooler_clients]
        return value

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Spec:
        """Read what `to_dict` wrote, or what the role gives; unknown or missing entries are refused."""
        known = set(cls.__dataclass_fields__)
        odd = sorted(set(data) - known)
        if odd:
            raise BasculeError(
                expected=f"a side described by {', '.join(sorted(known))}", found=f"also {', '.join(odd)}"
            )
        value = dict(data)
        value["layout"] = _layout(value.get("layout") or {}, str(value.get("side")))
        for name in ("clients", "peer_clients", "pooler_clients"):
            value[name] = tuple({str(k): str(v) for k, v in client.items()} for client in value.get(name) or ())
            for client in value[name]:
                if not {"database", "user", "address"} <= set(client):
                    raise BasculeError(expected="clients with database, user and address", found=repr(client))
        if value.get("pooler", "none") not in POOLERS:
            raise BasculeError(expected=f"a pooler that is one of {', '.join(POOLERS)}", found=repr(value["pooler"]))
        if value.get("method", STREAMING) not in METHODS:
            raise BasculeError(expected=f"a method that is one of {', '.join(METHODS)}", found=repr(value["method"]))
        if value.get("restore_point", AUTO) not in WANTED:
            raise BasculeError(
                expected=f"a restore point that is one of {', '.join(WANTED)}", found=repr(value["restore_point"])
            )
        if value.get("restore_point") == DUMP and not value.get("safety_dump"):
            raise BasculeError(
                expected="safety dumps where the restore point is the safety dump",
                found="postgresql_replication_safety_dump: false",
                next_command="set it to true, or postgresql_replication_restore_point to auto or copy",
            )
        try:
            for name in NUMBERS & set(value):
                value[name] = int(value[name])
            value["version"] = str(value["version"])
            return cls(**value)
        except (KeyError, TypeError, ValueError) as error:
            raise BasculeError(expected="a whole description of a side", found=str(error)) from error


def _layout(given: Any, side: str) -> dict[str, str]:
    """Read where a side's cluster is; a path is absolute, a unit is one of systemd's, and nothing else is known."""
    variable = f"postgresql_replication_layouts of {side}"
    if not isinstance(given, Mapping) or set(given) - set(LAYOUT):
        raise BasculeError(expected=f"{variable} with {', '.join(LAYOUT)}", found=repr(given))
    found = {str(name): str(value) for name, value in given.items() if value}
    for name, value in found.items():
        right = value.endswith(".service") if name == "unit" else value.startswith("/") and not value.endswith("/")
        if not right:
            wanted = "a unit that ends in .service" if name == "unit" else "an absolute path, without a final /"
            raise BasculeError(expected=f"{name} in {variable} to be {wanted}", found=repr(value))
    return found
