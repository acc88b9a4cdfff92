"""A plan is what it was made from, is used once, and all that differs is named."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from bascule.errors import PlanError
from bascule.guard import state as rule
from bascule.guard.state import GuardState
from bascule.run import plans
from bascule.run.io import plan_files
from bascule.run.plans import Basis
from bascule.system.io import storage

NOW = 1_000_000.0
BASIS = Basis(
    ("low", "top"), {"lab/hosts.yml": "a"}, {"plan_gates": "b"}, {"low at a": "open 1.d", "low at b": "closed"}
)


def make(**change: Any) -> dict[str, Any]:
    given = {"plan_id": "i" * 32, "salt": "s", "run": "r", "plan": "toy", "made": NOW - 10, "by": "nadia on here"}
    return plans.make(BASIS, **{**given, **change})


def must_fit(plan: dict[str, Any], basis: Basis = BASIS, **change: Any) -> None:
    given: dict[str, Any] = {"run": "r", "name": "toy", "now": NOW, "max_age": 60.0, **change}
    plans.must_fit(plan, basis, **given)


def entry(decision: str, epoch: str = "d1", **data: Any) -> dict[str, Any]:
    plan = make()
    known = {"decision": decision, "id": plan["id"], "checksum": plan["checksum"], "by": "nadia on here", **data}
    return {"kind": "decision", "epoch": epoch, "time": "2026-12-01T22:00:00.000+00:00", "data": known}


def test_what_was_written_is_read_and_fits() -> None:
    plan = make()
    assert set(plan) == set(plans.FIELDS)
    assert plans.read(json.dumps(plan), "f") == plan
    must_fit(plan)
    # Where nobody has looked at the sides, they are not compared.
    must_fit(plan, replace(BASIS, observed={}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "no f"),
        ("", "which is none"),
        ("[" * 100_000, "which is none"),
        ("{}", "which is none"),
        (json.dumps({**make(), "more": 1}), "which is none"),
        (json.dumps({**make(), "made": "now"}), "which is none"),
        (json.dumps({**make(), "inventory": []}), "which is none"),
        (json.dumps({**make(), "id": 7}), "which is none"),
        (json.dumps({**make(), "run": "another"}), "its checksum is another one"),
    ],
)
def test_what_is_no_plan_or_was_edited_is_refused(text: str | None, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        plans.read(text, "f")


@pytest.mark.parametrize(
    ("basis", "change", "why"),
    [
        (BASIS, {"now": NOW + 51}, "61 s ago, 60 s are allowed"),
        (BASIS, {"now": NOW - 100}, "90 s in the future: a clock is wrong"),
        (BASIS, {"run": "other"}, "it is one of run r, and run other is gone on with"),
        (BASIS, {"name": "other"}, "it is one of plan toy, and this inventory is plan other"),
        (replace(BASIS, components=("low",)), {}, r"made for low, top, and low take part \(--limit\)"),
        (replace(BASIS, inventory={"lab/hosts.yml": "x"}), {}, "lab/hosts.yml has changed"),
        (replace(BASIS, inventory={}), {}, "lab/hosts.yml is gone"),
        (replace(BASIS, variables={"plan_gates": "b", "-e x": "1"}), {}, "-e x is new"),
        (replace(BASIS, observed={"low at a": "open 1.d"}), {}, "low at b was closed and is not known"),
        (
            replace(BASIS, observed={"low at a": "open 1.d, frozen", "low at b": "closed"}),
            {},
            "low at a was open 1.d and is open 1.d, frozen",
        ),
    ],
)
def test_what_is_stale_is_refused_and_named(basis: Basis, change: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        must_fit(make(), basis, **change)


def test_a_plan_of_a_moment_fits_until_its_age_is_over() -> None:
    must_fit(make(), now=NOW + 50)


def test_a_plan_is_used_once() -> None:
    plan = make()
    made, used = entry(plans.MADE), entry(plans.USED)
    plans.must_be_unused(plan, [made], "d1")
    # Its own use is no use by somebody else.
    plans.must_be_unused(plan, [made, used], "d1")
    with pytest.raises(PlanError, match="was USED 2026-12-01T22:00:00Z by nadia on here, decision d1"):
        plans.must_be_unused(plan, [made, used], "d2")
    # Two at the same moment: neither goes on.
    for mine in ("d1", "d2"):
        with pytest.raises(PlanError, match="was USED"):
            plans.must_be_unused(plan, [made, used, entry(plans.USED, "d2")], mine)


@pytest.mark.parametrize(
    ("entries", "why"),
    [([], "no plan of that id"), ([entry(plans.MADE, checksum="another")], "another checksum of it")],
)
def test_a_plan_that_the_journal_does_not_know_is_refused(entries: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(PlanError, match=why):
        plans.must_be_unused(make(), entries, "d1")


def test_a_side_stands_as_its_guard_says() -> None:
    there = rule.adopt_open(GuardState("low", "a"))
    assert plans.stands(None) == "not read"
    assert plans.stands(GuardState("low", "a")) == "unknown"
    assert plans.stands(there) == "open 0.adopted"
    assert plans.stands(rule.freeze(there)) == "open 0.adopted, frozen"
    assert plans.stands(rule.promise(there, rule.Epoch(3, "d"))) == "closing 3.d"


def test_digests_are_of_the_value_and_of_the_salt() -> None:
    assert plans.digest("s", {"a": 1, "b": 2}) == plans.digest("s", {"b": 2, "a": 1})
    assert len({plans.digest("s", 1), plans.digest("t", 1), plans.digest("s", "1"), plans.digest("s", b"1 ")}) == 4


def test_every_file_of_an_inventory_counts_wherever_it_lies(tmp_path: Any) -> None:
    for place in ("here/lab", "there/deeper/lab"):
        for name in ("hosts.yml", "group_vars/all/plan.yml", "host_vars/a.yml", ".git/config", ".hidden"):
            path = tmp_path / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    found = plan_files.inventory([str(tmp_path / "here/lab")], "s")
    assert sorted(found) == ["lab/group_vars/all/plan.yml", "lab/host_vars/a.yml", "lab/hosts.yml"]
    assert plan_files.inventory([str(tmp_path / "there/deeper/lab")], "s") == found
    # One file alone, with what Ansible reads beside it.
    assert plan_files.inventory([str(tmp_path / "here/lab/hosts.yml")], "s") == found
    assert list(plan_files.inventory(["a,b"], "s")) == ["-i a,b"]
    (tmp_path / "here/lab/host_vars/a.yml").write_text("other")
    changed = plan_files.inventory([str(tmp_path / "here/lab")], "s")
    assert {name for name in found if found[name] != changed[name]} == {"lab/host_vars/a.yml"}


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Any) -> None:
    with pytest.raises(PlanError, match="directory"):
        plan_files.read(str(tmp_path))


def test_of_two_inventories_with_the_same_name_each_file_counts(tmp_path: Any) -> None:
    both = [str(tmp_path / place / "lab") for place in ("here", "there")]
    for one in both:
        (tmp_path / one).mkdir(parents=True)
        (tmp_path / one / "hosts.yml").write_text(one)
    found = plan_files.inventory(both, "s")
    (tmp_path / both[0] / "hosts.yml").write_text("other")
    changed = plan_files.inventory(both, "s")
    assert len([name for name in found if found[name] != changed[name]]) == 1


def test_an_inventory_that_cannot_be_read_is_refused_and_a_pipe_is_not_waited_for(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts.yml").write_text("all:")
    os.mkfifo(tmp_path / "pipe")
    assert [name.partition("/")[2] for name in plan_files.inventory([str(tmp_path)], "s")] == ["hosts.yml"]

    def closed(path: Any) -> bytes:
        raise PermissionError(f"no way to {path}")

    monkeypatch.setattr(storage, "read_bytes", closed)
    with pytest.raises(PlanError, match="no way to"):
        plan_files.inventory([str(tmp_path)], "s")
