"""Runs the Molecule scenario of every role: real services in containers, forward and back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from client.setting import podman_environment

ROOT = Path(__file__).resolve().parents[2]


def _length(scenario: str) -> int:
    """How much a scenario has to do, by the size of its files: the longest begins first."""
    return sum(path.stat().st_size for path in (Path(__file__).parent / scenario).rglob("*.yml"))


SCENARIOS = sorted((path.parent.name for path in Path(__file__).parent.glob("*/molecule.yml")), key=_length)[::-1]
TIME_LIMIT_SECONDS = 2700


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


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, environment: dict[str, str], tmp_path: Path) -> None:
    """`molecule test` creates the hosts, converges, proves idempotence, verifies and removes them."""
    log = tmp_path / "molecule.log"
    with log.open("w") as out:
        done = subprocess.run(
            ["molecule", "test", "-s", scenario],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    assert done.returncode == 0, told(log.read_text())
