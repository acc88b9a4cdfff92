"""What one side needs to know about its cluster; prepare keeps it on the host, everything later reads it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import BasculeError


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
    max_slot_wal_keep_size: str = "8GB"
    wal_keep_size: str = "256MB"
    peer_clients: tuple[Mapping[str, str], ...] = field(default=())

    @property
    def unit(self) -> str:
        """The systemd unit of the cluster."""
        return f"postgresql@{self.version}-{self.cluster}.service"

    @property
    def data(self) -> str:
        """The data directory."""
        return f"/var/lib/postgresql/{self.version}/{self.cluster}"

    @property
    def config(self) -> str:
        """The directory of the configuration files."""
        return f"/etc/postgresql/{self.version}/{self.cluster}"

    @property
    def programs(self) -> str:
        """The directory of the server's programs."""
        return f"/usr/lib/postgresql/{self.version}/bin"

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
        value["clients"] = [dict(client) for client in self.clients]
        value["peer_clients"] = [dict(client) for client in self.peer_clients]
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
        for name in ("clients", "peer_clients"):
            value[name] = tuple({str(k): str(v) for k, v in client.items()} for client in value.get(name) or ())
            for client in value[name]:
                if not {"database", "user", "address"} <= set(client):
                    raise BasculeError(expected="clients with database, user and address", found=repr(client))
        try:
            value["port"], value["peer_port"] = int(value["port"]), int(value["peer_port"])
            value["version"] = str(value["version"])
            return cls(**value)
        except (KeyError, TypeError, ValueError) as error:
            raise BasculeError(expected="a whole description of a side", found=str(error)) from error
