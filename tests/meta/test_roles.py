"""Every component role answers the same closed set of verbs, says what it takes, and is described and tested alike."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bascule.run.verbs import VERBS, has

from .tree import ALL_ROLES, COMPONENT_ROLES, ROLES, SCENARIOS, action_of, controller_actions, load, tasks_of

SECTIONS = ("Idempotence", "Rollback", "When it fails")
# They run on the controller, whatever the play's host is.
ON_CONTROLLER = {
    f"ansible.builtin.{name}"
    for name in (
        "assert",
        "debug",
        "fail",
        "include_role",
        "include_tasks",
        "include_vars",
        "import_tasks",
        "meta",
        "set_fact",
    )
}

by_role = pytest.mark.parametrize("role", COMPONENT_ROLES)
by_any_role = pytest.mark.parametrize("role", ALL_ROLES)
by_verb = pytest.mark.parametrize("verb", VERBS)


def specs(role: str) -> dict[str, Any]:
    """Return the role's argument specs."""
    path = ROLES / role / "meta" / "argument_specs.yml"
    assert path.is_file(), f"{role} has no meta/argument_specs.yml"
    found: dict[str, Any] = load(path)["argument_specs"]
    return found


def defaults(role: str) -> dict[str, Any]:
    """Return the role's defaults."""
    path = ROLES / role / "defaults" / "main.yml"
    return (load(path) if path.is_file() else None) or {}


def options(role: str) -> dict[str, Any]:
    """Return the options of all entries of the role's specs."""
    return {name: option for entry in specs(role).values() for name, option in (entry.get("options") or {}).items()}


def test_there_are_component_roles() -> None:
    assert len(COMPONENT_ROLES) >= 5


@by_role
@by_verb
def test_a_component_role_has_every_verb_and_a_spec_entry_for_it(role: str, verb: str) -> None:
    path = ROLES / role / "tasks" / f"{verb}.yml"
    if not has(role, verb):
        assert not path.exists(), f"no playbook calls {verb} of {role}"
        return
    assert path.is_file(), f"{role} has no verb {verb}"
    assert load(path), f"{path} does nothing"
    assert verb in specs(role), f"{role} has no argument spec for {verb}"


@by_any_role
def test_spec_entries_are_entry_points(role: str) -> None:
    for name, entry in specs(role).items():
        assert (ROLES / role / "tasks" / f"{name}.yml").is_file(), f"{role}: the spec entry {name} has no task file"
        assert entry.get("short_description"), f"{role}: {name} has no short_description"
        for option, spec in (entry.get("options") or {}).items():
            assert spec.get("description"), f"{role}: {option} has no description"
            assert spec.get("type"), f"{role}: {option} has no type"


@by_any_role
def test_defaults_equal_the_specs(role: str) -> None:
    given, declared = defaults(role), options(role)
    assert set(given) <= set(declared), f"not in the specs: {sorted(set(given) - set(declared))}"
    for name, option in declared.items():
        assert name.startswith(f"{role}_"), f"{name} is no public variable of {role}"
        if option.get("required"):
            assert "default" not in option, f"{name} is required and has a default"
            assert not given.get(name), f"{name} is required and defaults/main.yml gives it a value"
            continue
        assert name in given, f"{name} is in the specs and not in defaults/main.yml"
        computed = isinstance(given[name], str) and "{{" in given[name]
        if computed and "default" not in option:
            continue
        assert option.get("default") == given[name], f"{name}: the spec says {option.get('default')!r}"


@by_any_role
def test_variables_are_public_or_private_by_name(role: str) -> None:
    own = (f"{role}_", f"__{role}_")
    private = ROLES / role / "vars" / "main.yml"
    for name in (load(private) if private.is_file() else None) or {}:
        assert name.startswith(f"__{role}_"), f"vars/main.yml: {name} is not private"
    for path in sorted((ROLES / role / "tasks").glob("*.yml")):
        for task, _ in tasks_of(load(path)):
            names = [task["register"]] if "register" in task else []
            if action_of(task) == "ansible.builtin.set_fact":
                names += [name for name in task["ansible.builtin.set_fact"] if name != "cacheable"]
            for name in names:
                assert name.startswith(own), f"{path.name}: {name} belongs to no role"


@by_any_role
def test_a_role_is_described(role: str) -> None:
    path = ROLES / role / "README.md"
    assert path.is_file(), f"{role} has no README.md"
    text = path.read_text(encoding="utf-8")
    for section in SECTIONS:
        assert re.search(rf"^#+ {section}$", text, re.MULTILINE), f"{role}/README.md has no section {section}"
    missing = [name for name in options(role) if f"`{name}`" not in text]
    assert not missing, f"{role}/README.md does not describe {', '.join(missing)}"


@by_any_role
def test_a_role_has_a_molecule_scenario(role: str) -> None:
    for name in ("molecule.yml", "converge.yml", "verify.yml"):
        assert (SCENARIOS / role / name).is_file(), f"tests/molecule/{role}/{name} is missing"


@by_role
def test_every_task_on_a_machine_is_delegated(role: str) -> None:
    local = ON_CONTROLLER | controller_actions()
    for path in sorted((ROLES / role / "tasks").glob("*.yml")):
        for task, inherited in tasks_of(load(path)):
            action = action_of(task)
            where = f"{role}/tasks/{path.name}: {task.get('name')}"
            if action == "ansible.builtin.include_role":
                called = task[action]["name"]
                assert called in COMPONENT_ROLES or "delegate_to" in task[action].get("apply", {}), (
                    f"{where}: on what machine?"
                )
            elif action not in local:
                assert "delegate_to" in inherited, (
                    f"{where}: {action} has no delegate_to, and no machine is behind a component"
                )


@by_any_role
def test_nothing_is_delegated_to_nobody(role: str) -> None:
    """Where a name may be empty, Ansible refuses the task before it asks whether to skip it."""
    for path in sorted((ROLES / role / "tasks").glob("*.yml")):
        for task, inherited in tasks_of(load(path)):
            machine = str(inherited.get("delegate_to", ""))
            empty = [
                name for text in inherited["when"] for name in re.findall(r"([\w.]+) != ''", text) if name in machine
            ]
            assert not empty or "default(" in machine, f"{path.name}: {task.get('name')}: {machine} may be empty"


def _flat(role: str, entry: str) -> list[dict[str, Any]]:
    """Return the tasks of an entry in their order, with those of the files they include by a plain name."""
    found: list[dict[str, Any]] = []
    for task, _ in tasks_of(load(ROLES / role / "tasks" / f"{entry}.yml")):
        included = str(task.get("ansible.builtin.include_tasks", task.get("ansible.builtin.import_tasks", "")))
        if included and "{" not in included:
            found += [{**inner, "_by": task} for inner in _flat(role, included.removesuffix(".yml"))]
        else:
            found.append(task)
    return found


@by_role
def test_who_serves_is_told_last_that_the_other_side_has_given_way(role: str) -> None:
    tasks = load(ROLES / role / "tasks" / "give_way.yml")
    asked = [number for number, task in enumerate(tasks) if "bascule_gives_way" in task]
    if not asked:
        assert role == "dns_switchover", "names open nothing, and have no word"
        return
    told = tasks[-1].get("bascule_guard", {}).get("state") or tasks[-1].get("bascule_guest", {}).get("operation")
    assert (told, len(asked)) == ("settle", 2), "asked before it closes, and again of what has closed"


@by_role
def test_an_open_side_is_let_in_by_its_own_machine_alone(role: str) -> None:
    """What asks the other machine comes after users are in, and not when that machine is silent."""
    for number, task in enumerate(_flat(role, "thaw")):
        where = str(task.get("delegate_to", ""))
        if where in ("", "{{ bascule_to }}"):
            continue
        assert number > 0, f"{role}: the first task of thaw asks {where}"
        # Nodes out of a list that holds the own one alone, when the other is silent.
        spared = "bascule_alone" in str(task) or where == "{{ __proxmox_guest_node }}"
        assert spared, f"{role}: {task['name']}"


@by_role
def test_one_side_that_fails_does_not_hide_the_other(role: str) -> None:
    """Both guards are read, whatever a machine that answers says instead of its guard."""
    tasks = load(ROLES / role / "tasks" / "state.yml")
    readings = [task for task in _flat(role, "state") if task.get("delegate_to", "").startswith("{{ bascule_")]
    if readings:
        assert [task["delegate_to"] for task in readings] == ["{{ bascule_from }}", "{{ bascule_to }}"]
        assert [len(tasks), len(tasks[0]["block"]), len(tasks[0]["always"])] == [1, 1, 1]


@by_any_role
def test_roles_name_no_site_and_no_group(role: str) -> None:
    places = re.compile(r"\b\w+-(?:mtp|tls)\b|montpellier|toulouse|\bgroups\s*[.\[]|\bsite_\w+", re.IGNORECASE)
    for path in sorted((ROLES / role).rglob("*.yml")):
        found = places.findall(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROLES)} names {found}"


@by_any_role
def test_become_stands_on_tasks_and_nothing_is_ignored(role: str) -> None:
    for path in sorted((ROLES / role).rglob("*.yml")):
        text = path.read_text(encoding="utf-8")
        # What a component may not carry: each hides a failure, or makes a task on the controller root.
        for word in ("ansible_become", "ignore_errors", "failed_when: false"):
            assert word not in text, f"{path.relative_to(ROLES)} has {word}"
        if path.parent.name == "tasks":
            for block in [item for item in load(path) or [] if "block" in item]:
                assert "become" not in block, f"{path.relative_to(ROLES)}: become on the block {block.get('name')}"
