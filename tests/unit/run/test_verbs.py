"""Verbs, directions, and the extra variables nobody may set."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import PlanError
from bascule.run.context import announce, announced, declared_sides, journal_targets
from bascule.run.verbs import VERBS, refuse_reserved, sides, verb
from bascule.system.ssh import Target

COMPONENT = {"component_role": "role", "source_host": "a", "target_host": "b"}


def test_the_way_back_is_the_way_forward_with_the_sides_swapped() -> None:
    assert sides("forward", "a", "b") == ("a", "b")
    assert sides("back", "a", "b") == ("b", "a")
    with pytest.raises(PlanError, match="a direction"):
        sides("sideways", "a", "b")


def test_only_what_reads_is_left_out_of_the_sites_journals() -> None:
    assert {name for name, v in VERBS.items() if not v.mutates} == {"state", "audit", "check", "verify", "watch"}
    assert {name for name, v in VERBS.items() if v.both_copies} == {"switch", "thaw", "reopen", "retire"}
    with pytest.raises(PlanError, match="a verb out of"):
        verb("sneak")


@pytest.mark.parametrize(
    "name",
    [
        "bascule_from",
        "bascule_direction",
        "component_role",
        "source_host",
        "target_host",
        "direction",
        "depends_on",
        "ansible_host",
        "plan_gates",
        "plan_sites",
        "plan_source_site",
        "plan_target_site",
        "plan_journal_hosts",
        "plan_limits",
        "plan_name",
        "plan_whatever_comes_next",
    ],
)
def test_reserved_extra_variables_are_refused(name: str) -> None:
    with pytest.raises(PlanError, match=f"-e {name}"):
        refuse_reserved(["confirm", name])


def test_other_extra_variables_are_welcome() -> None:
    refuse_reserved(["confirm", "gate_overrides", "postgresql_replication_port"])


def test_a_verb_is_announced_for_a_component_only() -> None:
    about = announce("db", COMPONENT, "rollback", "switch", "back")
    assert (about.from_host, about.to_host) == ("b", "a")
    with pytest.raises(PlanError, match="no component_role, target_host"):
        declared_sides("db-mtp", {"source_host": "a"})
    with pytest.raises(PlanError, match="bascule_begin to have announced"):
        announced("db", {"bascule_phase": "cutover"})


def test_journal_hosts_are_machines_of_the_inventory() -> None:
    hostvars = {"a": {"ansible_host": "192.0.2.1"}}

    def reach(host: str) -> Target:
        return Target(host, ("ssh", host))

    assert journal_targets({"mtp": "a"}, hostvars, reach) == {"mtp": Target("a", ("ssh", "a"))}
    assert journal_targets(None, hostvars, reach) == {}
    several = journal_targets({"mtp": ["a", "b"]}, {**hostvars, "b": {}}, reach)["mtp"]
    assert (several.host, [one.host for one in several.spares]) == ("a", ["b"])
    unknown: list[Any] = [{"mtp": "b"}, ["a"], {"mtp": []}, {"mtp": ["a", "b"]}]
    for wrong in unknown:
        with pytest.raises(PlanError, match="plan_journal_hosts"):
            journal_targets(wrong, hostvars, reach)
