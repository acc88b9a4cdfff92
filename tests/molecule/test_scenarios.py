"""Runs the Molecule scenario of every role: real services in containers, forward and back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from client.setting import podman_environment

ROOT = Path(__file__).resolve().parents[2]


def _length(scenario: str) -> int:
    """How much a scenario has to do, by the size of its files: the longest begins first."""
    return sum(path.stat().st_size for path in (Path(__file__).parent / scenario).rglob("*.yml"))


SCENARIOS = sorted((path.parent.name for path in Path(__file__).parent.glob("*/molecule.yml")), key=_length)[::-1]
TIME_LIMIT_SECONDS = 2700
# Guests are moved, broken and brought back by tests/faults/guests, and moved in other ways by tests/integration; every
# scenario installs the host agent, and what it says at a boot is looked at by tests/unit/agent.
ELSEWHERE = ("proxmox_guest", "bascule_host")


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """What Molecule needs: where the scenarios are, and podman's settings for this machine."""
    subprocess.run(
        [sys.executable, "tests/lab/lab.py", "settings"], cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60, check=True
    )
    return {
        **os.environ,
        **podman_environment(),
        "MOLECULE_GLOB": "tests/molecule/*/molecule.yml",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
    }


def told(log: str) -> str:
    """What failed, first: a report may be cut; then the end of the log."""
    lines = log.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith(("fatal:", "ERROR", "CRITICAL", "failed:"))]
    # Molecule lists the tasks that were not idempotent below its message.
    reasons = [line for at in starts[-6:] for line in lines[at : at + 8]]
    return "\n".join([*reasons, "", "The log ends:", log[-8000:]])


def left_behind(scenario: str) -> bool:
    """Say whether an interrupted run has left something of a scenario."""
    names = ["podman", "ps", "--all", "--quiet", "--filter", f"name=^{scenario}-"]
    found = subprocess.run(names, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    states = Path.home().glob(f".ansible/tmp/molecule.*.{scenario}/state.yml")
    return bool(found.stdout) or any("created: true" in state.read_text() for state in states)


def run(scenario: str, environment: dict[str, str], log: Path, steps: Sequence[str], skip: str) -> None:
    """Have Molecule take a scenario through these steps, without the tasks of a tag."""
    steps = ["destroy", *steps] if left_behind(scenario) else steps
    with log.open("w") as out:
        done = subprocess.run(
            ["molecule", "test", "-s", scenario],
            cwd=ROOT,
            env={
                **environment,
                "BASCULE_SCENARIO_STEPS": f"[{', '.join(steps)}]",
                "BASCULE_SCENARIO_SKIP": skip,
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    assert done.returncode == 0, told(log.read_text())


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in ELSEWHERE])
def test_scenario(scenario: str, environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Create the hosts, converge, verify what has no tag, and remove them."""
    if "not long" not in request.config.option.markexpr:
        pytest.skip("the whole scenario does all of it, with hosts of the same names")
    run(
        scenario, environment, tmp_path / "molecule.log", ["create", "prepare", "converge", "verify", "destroy"], "long"
    )


# That a second run changes nothing is proved for every role at once by tests/integration, phase by phase.
@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whole_scenario(scenario: str, environment: dict[str, str], tmp_path: Path) -> None:
    """Create the hosts, converge, prove idempotence, verify all there is, and remove them."""
    steps = ["create", "prepare", "converge", "idempotence", "verify", "destroy"]
    run(scenario, environment, tmp_path / "molecule.log", steps, "nothing")
