"""What HAProxy says of the servers of a backend, by its runtime socket. Pure.

Source: HAProxy 2.6 management guide, `show servers state` (srv_admin_state is a sum of flags), `show stat`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .releases import DeployError

# A server that is drained still gets users who are bound to it, by a cookie or a table; one in maintenance gets nobody.
READY, OUT = ("ready", "maint")
# srv_check_state: checks are declared.
_CHECKED = 0x02
# srv_admin_state: out for maintenance, by command, by inheritance, by configuration or by name.
_OUT = 0x01 | 0x02 | 0x04 | 0x20
_DRAINED = 0x08 | 0x10
UP = "UP"


@dataclass(frozen=True)
class Server:
    """One server of a backend: what was asked of it, what its checks say, and the requests it works on.

    checked: whether HAProxy has checks of its own for it.
    """

    name: str
    admin: str
    status: str
    in_flight: int
    weight: int
    checked: bool = False

    @property
    def serves(self) -> bool:
        """Whether new requests go to it."""
        return self.admin == READY and self.status.startswith((UP, "no check")) and self.weight > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return asdict(self)


def servers(state: str, stat: Sequence[Mapping[str, str]], backend: str) -> dict[str, Server]:
    """Return the servers of a backend by name.

    Args:
        state: the answer to `show servers state BACKEND`. stat: the rows of `show stat`. backend: its name.
    """
    lines = [line for line in state.splitlines() if line.strip()]
    names = next((line.lstrip("# ").split() for line in lines if line.startswith("#")), [])
    rows = [dict(zip(names, line.split())) for line in lines if not line.startswith("#")]
    found = [row for row in rows if row.get("be_name") == backend]
    if not found:
        raise DeployError(
            expected=f"a backend {backend} with servers in HAProxy",
            found=" ".join(state.split())[:200] or "nothing",
            state="nothing was changed",
            next_command="compare entrance.backend with the configuration of HAProxy",
        )
    told = {row["svname"]: row for row in stat if row["pxname"] == backend}
    return {row["srv_name"]: _server(row, told.get(row["srv_name"], {})) for row in found}


def _server(row: Mapping[str, str], told: Mapping[str, str]) -> Server:
    admin = int(row["srv_admin_state"])
    word = OUT if admin & _OUT else "drain" if admin & _DRAINED else READY
    flying = int(told.get("scur") or 0) + int(told.get("qcur") or 0)
    checked = bool(int(row.get("srv_check_state", "0")) & _CHECKED)
    return Server(row["srv_name"], word, told.get("status", ""), flying, int(row["srv_uweight"]), checked)


def leaves_nobody(seen: Mapping[str, Server], taken: Collection[str]) -> bool:
    """Return whether taking these servers ends all service there is."""
    serving = {name for name, one in seen.items() if one.serves}
    return bool(serving) and serving <= set(taken)
