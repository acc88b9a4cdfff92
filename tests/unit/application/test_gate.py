"""What HAProxy is told, and what is made of its answers. A stand-in: tests/molecule/app_service has the real one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bascule.application.io.gate import Gate
from bascule.application.releases import DeployError

ADMIN = {"ready": 0, "maint": 1, "drain": 8}


class StandIn:
    """A stand-in for HAProxy with two servers, of which a command changes one; a check succeeds at the next look."""

    socket = "/run/haproxy/admin.sock"

    def __init__(self, checks: bool = True, in_flight: int = 0) -> None:
        self.admin = {"one": "ready", "two": "ready"}
        self.up = {"one": True, "two": True}
        self.checks, self.in_flight = checks, in_flight
        self.told: list[str] = []
        self.forgets = False

    def command(self, text: str) -> str:
        if text.startswith("show"):
            names = "# be_name srv_name srv_admin_state srv_uweight srv_check_state"
            rows = [f"be {name} {ADMIN[admin]} 1 {6 * self.checks}" for name, admin in self.admin.items()]
            return "\n".join(["1", names, *rows])
        self.told.append(text)
        for part in text.split("; "):
            _, _, server, what, value = part.split()
            name = server.removeprefix("be/")
            if what == "state" and not self.forgets:
                self.admin[name] = value
            self.up[name] = what != "health"
        return "\n"

    def stat(self) -> list[dict[str, str]]:
        rows = []
        for name, admin in self.admin.items():
            status = "MAINT" if admin == "maint" else ("UP" if self.up[name] else "DOWN") if self.checks else "no check"
            rows.append({"pxname": "be", "svname": name, "status": status, "scur": str(self.in_flight), "qcur": "0"})
        # Time goes by with each look: a request ends, a check succeeds.
        self.in_flight = max(0, self.in_flight - 1)
        self.up = dict.fromkeys(self.up, True)
        return rows


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Callable[[StandIn], Gate]:
    def before(haproxy: StandIn) -> Gate:
        made = Gate(haproxy.socket, "be")
        monkeypatch.setattr(made, "_haproxy", haproxy)
        return made

    return before


def test_a_server_is_out_once_it_works_on_nothing(gate: Callable[[StandIn], Gate]) -> None:
    haproxy = StandIn(in_flight=5)
    done = gate(haproxy).put(["one"], "maint", 60)
    assert haproxy.told == ["set server be/one state maint"]
    assert (done["changed"], done["servers"]["one"]["admin"], done["servers"]["one"]["in_flight"]) == (True, "maint", 0)
    assert haproxy.admin["two"] == "ready"
    assert gate(haproxy).put(["one"], "maint", 60)["changed"] is False


@pytest.mark.parametrize("before", ["maint", "drain"])
@pytest.mark.parametrize(("checks", "more"), [(True, "; set server be/one health down"), (False, "")])
def test_one_that_comes_back_waits_for_the_checks_of_haproxy_where_there_are_any(
    before: str, checks: bool, more: str, gate: Callable[[StandIn], Gate]
) -> None:
    haproxy = StandIn(checks=checks)
    haproxy.admin["one"] = before
    done = gate(haproxy).put(["one"], "ready", 60)
    assert haproxy.told == [f"set server be/one state ready{more}"]
    assert done["servers"]["one"]["status"] == ("UP" if checks else "no check")


def test_what_takes_too_long_or_is_not_what_was_told_is_an_error(gate: Callable[[StandIn], Gate]) -> None:
    with pytest.raises(
        DeployError, match=r"maint, and no request in flight within 0 s.*one maint MAINT, \d+ in flight"
    ):
        gate(StandIn(in_flight=1000)).put(["one"], "maint", 0)
    haproxy = StandIn()
    haproxy.forgets = True
    with pytest.raises(DeployError, match=r"to be maint.*found: one ready UP"):
        gate(haproxy).put(["one"], "maint", 60)
    with pytest.raises(DeployError, match="one ready UP"):
        gate(haproxy).see(["one"], "maint")
    gate(haproxy).see(["one"], "ready")
    with pytest.raises(DeployError, match="without three"):
        gate(haproxy).put(["one", "three"], "maint", 60)
