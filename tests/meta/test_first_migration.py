"""The page for the first half hour says what is true: every variable of a plan, every gate, every playbook it names."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from .tree import PACKAGE, PLUGINS, ROLES, ROOT, load, syntax, text_of, tracked

PAGE = ROOT / "docs" / "first-migration.md"
NAME = r"plan_[a-z_]+"
INVENTORIES = sorted(path.name for path in (ROOT / "inventories").iterdir() if path.is_dir())


@cache
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@cache
def words_of_the_code() -> frozenset[str]:
    """Return every text that stands alone in the project's Python."""
    return frozenset(
        node.value
        for root in (PACKAGE, PLUGINS)
        for path in root.rglob("*.py")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def declarations() -> list[Path]:
    """Return the YAML that reads variables: roles and playbooks."""
    return [path for root in (ROLES, ROOT / "playbooks") for path in root.rglob("*.yml")]


def read_by_the_code() -> set[str]:
    """Return the variables of a plan that code, roles or playbooks read."""
    texts = [text_of(path) for path in declarations()]
    # An operation of a module that plans something is no variable.
    operations = {name for text in texts for name in re.findall(rf"operation: ({NAME})\b", text)}
    found = {word for word in words_of_the_code() if re.fullmatch(NAME, word)}
    return (found | {name for text in texts for name in re.findall(rf"\b{NAME}\b", text)}) - operations


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading of the page, the head left out."""
    _, _, below = page().partition(f"\n## {heading}\n")
    section = below.split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return [row for row in cells[1:] if not set(row[0]) <= {"-", "|", ":"}]


def explained() -> dict[str, list[str]]:
    """Return what each variable's row says, by its name or its path (`plan_link.rate_mbit`)."""
    return {row[0].strip("`"): row[1:] for row in rows("The plan")}


def test_every_variable_of_a_plan_is_explained_and_none_that_nobody_reads() -> None:
    assert {name.partition(".")[0] for name in explained()} == read_by_the_code()
    assert set(re.findall(rf"\b{NAME}\b", page())) <= read_by_the_code()
    keys = {key for name in explained() for key in name.split(".")[1:] if "SITE" not in key and "GATE" not in key}
    assert keys <= words_of_the_code(), "a key that no code knows is explained"


def test_each_is_explained_whole() -> None:
    for name, cells in explained().items():
        assert len(cells) == 4, f"{name}: type and unit, default, meaning, and what breaks when it is wrong"
        assert all(cells), f"{name}: a cell is empty"


def test_every_variable_of_the_projects_own_plans_is_explained() -> None:
    for name in INVENTORIES:
        plan = load(ROOT / "inventories" / name / "group_vars" / "all" / "plan.yml")
        assert {key for key in plan if key.startswith("plan_")} <= {key.partition(".")[0] for key in explained()}


def test_every_gate_is_explained_with_the_role_that_samples_it() -> None:
    sampled = {
        (name, role.name)
        for role in ROLES.iterdir()
        for path in sorted((role / "tasks").glob("*.yml"))
        for name in re.findall(r"bascule_gate:\n\s+name: (\w+)", text_of(path))
    }
    assert {(row[0].strip("`"), row[1].strip("`")) for row in rows("The gates")} == sampled
    assert sampled


def test_what_it_names_is_there() -> None:
    text = page()
    for name in re.findall(r"\bplaybooks/\w+\.yml", text):
        assert (ROOT / name).is_file(), name
    for role in re.findall(r"component_role: (\w+)", text):
        assert (ROLES / role).is_dir(), role
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (PAGE.parent / link).exists(), link
    roles = "|".join(role.name for role in ROLES.iterdir())
    named = set(re.findall(rf"`((?:{roles})_\w+)`", text))
    known = {
        option
        for role in ROLES.iterdir()
        if (role / "meta" / "argument_specs.yml").is_file()
        for verb in load(role / "meta" / "argument_specs.yml")["argument_specs"].values()
        for option in verb.get("options") or {}
    }
    assert named <= known, named - known
    assert set(re.findall(r"\bBASCULE_[A-Z_]+\b", text)) <= words_of_the_code()


def test_the_readme_leads_to_it_and_says_what_is_supported_first() -> None:
    readme = text_of(ROOT / "README.md")
    assert "](docs/first-migration.md)" in readme
    headings = re.findall(r"^## (.+)$", readme, re.M)
    assert headings[0] == "What is supported"
    assert PAGE in tracked()


def test_what_is_kept_beside_the_hosts_is_no_inventory(tmp_path: Path) -> None:
    assert ">> inventories/mine/known_hosts" in page()
    mine = tmp_path / "mine"
    shutil.copytree(ROOT / "inventories" / "techcorp", mine)
    for name in ("known_hosts", "known_hosts.old", "ssh_config", "id_ed25519", "id_ed25519.pub", "README.md"):
        (mine / name).write_text("db.mtp.example.org ssh-ed25519 AAAA\n")
    done = subprocess.run(
        ["ansible-inventory", "-i", str(mine), "--graph"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "accounts_db" in done.stdout
