"""Runs the Molecule scenario of every role: real services in containers, forward and back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/molecule.yml"))
TIME_LIMIT_SECONDS = 1500


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, tmp_path: Path) -> None:
    """`molecule test` creates the hosts, converges, proves idempotence, verifies and removes them."""
    env = {**os.environ, "MOLECULE_GLOB": "tests/molecule/*/molecule.yml", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    log = tmp_path / "molecule.log"
    with log.open("w") as out:
        done = subprocess.run(
            ["molecule", "test", "-s", scenario],
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
    assert done.returncode == 0, log.read_text()[-12000:]
