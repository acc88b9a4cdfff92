"""All hosts come to a release, or all are brought back; whoever is broken off is gone on with."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.application.deployment import Deployment
from bascule.application.releases import DeployError

from .world import NOTE, Machines, recipe, service

OLD, NEW = "1-aaaaaaaaaaaa", "2-bbbbbbbbbbbb"
DEAD = {**NOTE, "token": "dead"}


def deployment(machines: Machines, alive: Any = False, lines: list[str] | None = None, **more: Any) -> Deployment:
    """A deployment; `alive` is what is known of whoever else has the lock."""
    told = [] if lines is None else lines
    return Deployment(service(**more), recipe(), machines, NOTE, lambda note: (alive, "another machine"), told.append)


def deploy(machines: Machines, **more: Any) -> dict[str, Any]:
    """Deploy the new release."""
    return deployment(machines, **more).deploy(NEW, "/archive", "digest")


def served(machines: Machines) -> list[str]:
    """What each host serves."""
    return [one["current"] for one in machines.hosts.values()]


def test_hosts_are_taken_one_after_the_other_and_each_is_out_while_it_changes() -> None:
    machines = Machines(OLD, (OLD,))
    result = deploy(machines)
    assert machines.orders == [
        step
        for host in machines.hosts
        for step in ((host, "put", "maint"), (host, "activate", NEW), (host, "put", "ready"))
    ]
    assert (result["changed"], result["before"]) == (True, dict.fromkeys(machines.hosts, OLD))
    assert all(one["good"] == [OLD, NEW] and one["holder"] is None for one in machines.hosts.values())


def test_a_second_time_nothing_is_touched() -> None:
    machines = Machines(OLD, (OLD,))
    deploy(machines)
    machines.orders.clear()
    assert (deploy(machines)["changed"], machines.orders) == (False, [])


def test_a_batch_goes_together_and_never_takes_all_that_serve() -> None:
    machines = Machines(OLD, (OLD,))
    deploy(machines, batch=2)
    assert machines.told("put")[:2] == [("app-1", "maint"), ("app-2", "maint")]
    machines = Machines(OLD, (OLD,))
    with pytest.raises(DeployError, match="somebody else to serve shop") as caught:
        deploy(machines, batch=3)
    assert served(machines) == [OLD] * 3
    assert not machines.told("activate")
    assert (caught.value.state, machines.told("put")) == ("app-1, app-2, app-3 as before", [])
    deploy(machines, batch=3, interruption=True)
    assert served(machines) == [NEW] * 3


@pytest.mark.parametrize(("more", "seconds"), [({}, 30), ({"health_seconds": 90}, 90)])
def test_an_application_is_waited_for_as_long_as_its_recipe_says_or_it_itself(
    more: dict[str, int], seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = Machines(OLD, (OLD,))
    asked: list[int] = []
    real = machines._activate

    def activate(host: str, order: Any) -> Any:
        asked.append(order["health"]["seconds"])
        return real(host, order)

    monkeypatch.setattr(machines, "_activate", activate)
    deploy(machines, **more)
    assert asked == [seconds] * 3


def test_a_bad_release_reaches_one_host_and_that_is_brought_back() -> None:
    machines = Machines(OLD, (OLD,))
    machines.bad = {NEW}
    with pytest.raises(DeployError, match=r"app-1: .*status 500") as caught:
        deploy(machines)
    assert machines.told("activate") == [("app-1", NEW), ("app-1", OLD)]
    assert caught.value.state == f"app-1 serves {OLD} again; app-2, app-3 as before"
    assert (served(machines), set(machines.admin.values())) == ([OLD] * 3, {"ready"})
    assert all(one["good"] == [OLD] and one["holder"] is None for one in machines.hosts.values())


def test_where_a_later_host_fails_those_before_it_are_brought_back_as_well_last_first() -> None:
    machines = Machines(OLD, (OLD,))
    machines.bad = {f"{NEW} at app-3"}
    with pytest.raises(DeployError, match="app-3") as caught:
        deploy(machines)
    assert machines.told("activate")[3:] == [("app-3", OLD), ("app-2", OLD), ("app-1", OLD)]
    assert (served(machines), caught.value.state.count("again")) == ([OLD] * 3, 3)


def test_a_host_that_goes_silent_stays_out_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(OLD, (OLD,))
    real = machines._activate

    def activate(host: str, order: Any) -> Any:
        if (host, order["name"]) == ("app-2", NEW):
            machines.silent.add("app-2")
            return machines._answer(host, order)
        return real(host, order)

    monkeypatch.setattr(machines, "_activate", activate)
    with pytest.raises(DeployError) as caught:
        deploy(machines)
    assert f"app-2 was NOT brought back to {OLD}" in caught.value.state
    assert machines.admin == {"app-1": "ready", "app-2": "maint", "app-3": "ready"}
    assert served(machines)[::2] == [OLD, OLD]


def test_nothing_is_switched_unless_the_release_is_whole_everywhere() -> None:
    machines = Machines(OLD, (OLD,))
    machines.bad = {"stage app-3"}
    with pytest.raises(DeployError, match="app-3: pip failed"):
        deploy(machines)
    assert machines.orders == []
    assert all(one["holder"] is None for one in machines.hosts.values())


def test_a_host_that_is_silent_from_the_start_ends_it_before_anything() -> None:
    machines = Machines(OLD, (OLD,))
    machines.silent = {"app-2"}
    with pytest.raises(DeployError, match="app-2: no route to host"):
        deploy(machines)
    assert (machines.orders, machines.hosts["app-1"]["holder"]) == ([], None)


def test_the_lock_of_the_dead_is_taken_over_and_that_of_others_is_not() -> None:
    lines: list[str] = []
    machines = Machines(OLD, (OLD,))
    machines.hosts["app-2"]["holder"] = DEAD
    for alive, words in ((True, "ann on here, process 1, since now .* is at work"), (None, "another machine")):
        with pytest.raises(DeployError, match=words):
            deploy(machines, alive=alive)
        assert [one["holder"] for one in machines.hosts.values()] == [None, DEAD, None]
    deploy(machines, alive=False, lines=lines)
    assert lines[0].startswith("shop: takes over app-2 from ann on here, process 1")
    assert served(machines) == [NEW] * 3


@pytest.mark.parametrize("at", ["take", "stage", "activate", "settle"])
@pytest.mark.parametrize("host", ["app-1", "app-3"])
@pytest.mark.parametrize("back", [False, True])
def test_one_that_was_broken_off_is_gone_on_with_or_brought_back(host: str, at: str, back: bool) -> None:
    machines = Machines(OLD, ("0-cccccccccccc", OLD))
    machines.dies_at = (host, at)
    with pytest.raises(KeyboardInterrupt):
        deploy(machines)
    machines.dies_at = ("", "")
    for one in machines.hosts.values():
        # As after a kill: nobody has given anything back.
        one["holder"] = {**DEAD, "release": NEW}
    if back:
        assert deployment(machines).back()["release"] == OLD
    else:
        deploy(machines)
    assert served(machines) == [OLD if back else NEW] * 3
    assert set(machines.admin.values()) == {"ready"}


def test_a_broken_off_one_that_then_fails_leaves_no_host_with_the_new_release() -> None:
    machines = Machines(OLD, (OLD,))
    machines.hosts["app-1"]["current"] = NEW
    machines.bad = {f"{NEW} at app-3"}
    with pytest.raises(DeployError) as caught:
        deploy(machines)
    assert served(machines) == [OLD] * 3, caught.value.state


def test_back_leaves_what_it_came_from_and_goes_further_back_each_time() -> None:
    machines = Machines(OLD, ("0-cccccccccccc", OLD))
    deploy(machines)
    assert deployment(machines).back()["release"] == OLD
    assert deployment(machines).back()["release"] == "0-cccccccccccc"
    assert [one["good"] for one in machines.hosts.values()] == [["0-cccccccccccc"]] * 3
    with pytest.raises(DeployError, match="a release that was good on every host"):
        deployment(machines).back()


def test_the_first_release_of_all_that_fails_stays_out() -> None:
    machines = Machines()
    machines.bad = {NEW}
    with pytest.raises(DeployError) as caught:
        deploy(machines)
    assert caught.value.state == "app-1 stays taken out: it has no good release; app-2, app-3 as before"
    assert machines.admin["app-1"] == "maint"
