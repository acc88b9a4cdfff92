"""The declaration of components: everything that is wrong is said at once; layers and batches."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import PlanError
from bascule.run.components import NO_MACHINE, batches, layers_in, layers_of, resolve, upstream

MACHINES = {"a", "b"}


def entry(*depends_on: str, **changes: Any) -> dict[str, Any]:
    """Return a component's declaration."""
    return {"component_role": "role", "source_host": "a", "target_host": "b", "depends_on": list(depends_on)} | changes


def declare(**components: Any) -> Any:
    """Resolve a declaration."""
    return resolve(components, MACHINES, lambda role: role == "role")


def test_components_come_layer_by_layer_in_the_declared_order() -> None:
    found = declare(top=entry("mid"), free=entry(), mid=entry("low"), low=entry())
    assert [(c.name, c.layer) for c in found] == [("free", 0), ("low", 0), ("mid", 1), ("top", 2)]


def test_a_component_has_its_variables_and_no_machine() -> None:
    variables = declare(db=entry(role_size=3))[0].host_vars()
    assert variables["ansible_host"] == NO_MACHINE
    assert NO_MACHINE.endswith(".invalid"), "a name that never resolves, whatever the resolver says (RFC 2606)"
    assert variables["role_size"] == 3
    assert variables["component_layer"] == 0


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PlanError) as refusal:
        declare(
            db=entry("nobody", component_role="unheard"),
            files=entry(source_host="c", target_host=None),
            guest=entry("entrance"),
            entrance=entry("guest"),
            same=entry(target_host="a"),
            odd=entry(bascule_from="x", ansible_host="y"),
            a=entry(),
            nothing=None,
            loose=entry(depends_on="db"),
        )
    for words in (
        "db: there is no role 'unheard'",
        "db: depends_on names 'nobody', which is not declared",
        "files: source_host 'c' is not a machine of the inventory",
        "files: target_host is missing",
        "circle: guest -> entrance -> guest",
        "same: source_host and target_host are the same machine",
        "odd: ansible_host is reserved",
        "odd: bascule_from is reserved",
        "a: a machine has the same name",
        "nothing: no variables",
        "loose: depends_on is not a list: 'db'",
    ):
        assert words in refusal.value.found, words
    assert refusal.value.found.startswith("11 problem(s)")
    assert "ansible-inventory" in refusal.value.next_command


@pytest.mark.parametrize("declared", [None, {}, [], "db"])
def test_an_empty_declaration_is_refused(declared: Any) -> None:
    with pytest.raises(PlanError, match="'components'"):
        resolve(declared, MACHINES, lambda role: True)


def test_a_component_that_depends_on_itself_is_a_circle() -> None:
    assert layers_of({"a": ["a"]}) == ({}, ["a", "a"])


def test_upstream_is_everything_below() -> None:
    depends = {"top": ["mid"], "mid": ["low", "side"], "low": [], "side": []}
    assert upstream("top", depends) == {"mid", "low", "side"}
    assert upstream("low", depends) == set()


def test_batches_count_the_layers_of_the_hosts_that_play() -> None:
    groups = {"all": ["x"], "component_layer_0": ["a", "b"], "component_layer_2": ["c"], "components": ["a", "b", "c"]}
    layers = layers_in(groups)
    assert batches(["a", "c", "b"], layers) == [2, 1]
    assert batches(["a", "c", "b"], layers, reverse=True) == [1, 2]
    assert batches(["c"], layers) == [1]
    assert batches([], layers) == []
    with pytest.raises(PlanError, match="x to be a component"):
        batches(["x"], layers)
