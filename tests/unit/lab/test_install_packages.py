"""The installer of the tests' own programs leaves a machine's services as they are, however it ends."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "lab" / "install-packages.sh"
MARK = "# bascule:"
OWN = "#!/bin/sh\nexit 0\n"


@dataclass
class Machine:
    """A machine of files: which packages and units it has, and what its programs were asked."""

    root: Path

    def program(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    @property
    def policy(self) -> Path:
        return self.root / "usr/sbin/policy-rc.d"

    @property
    def kept(self) -> Path:
        return self.root / "usr/sbin/policy-rc.d.before-bascule"

    def install(self) -> int:
        environment = {**os.environ, "BASCULE_ROOT": str(self.root), "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        done = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode

    def told(self, name: str) -> list[str]:
        path = self.root / name
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine that has every package but two servers, and the units of those that it is told to have."""
    for name in ("usr/sbin", "run/lock", "lib/systemd/system"):
        (tmp_path / name).mkdir(parents=True)
    found = Machine(tmp_path)
    found.program("id", "echo 0")
    found.program("dpkg-query", 'case "${@: -1}" in nginx|bind9) exit 1;; *) echo -n installed;; esac')
    found.program(
        "systemctl",
        f'[ "$1" = disable ] && echo "${{@: -1}}" >>{tmp_path}/disabled',
    )
    found.program(
        "apt-get",
        f"cd {tmp_path}; cat usr/sbin/policy-rc.d >>asked; cd lib/systemd/system; touch nginx.service named.service",
    )
    return found


def test_what_was_installed_is_disabled_and_nothing_was_started(machine: Machine) -> None:
    assert machine.install() == 0
    assert sorted(machine.told("disabled")) == ["named.service", "nginx.service"]
    assert "101" in machine.told("asked")
    assert not machine.policy.exists()


def test_a_unit_of_the_users_own_stays_enabled(machine: Machine) -> None:
    (machine.root / "lib/systemd/system/nginx.service").touch()
    assert machine.install() == 0
    assert machine.told("disabled") == ["named.service"]


def test_an_installation_that_fails_half_way_leaves_nothing_enabled(machine: Machine) -> None:
    machine.program("apt-get", f"cd {machine.root}; touch lib/systemd/system/nginx.service; exit 1")
    assert machine.install() == 1
    assert machine.told("disabled") == ["nginx.service"]
    assert not machine.policy.exists()


def test_the_users_own_policy_is_given_back(machine: Machine) -> None:
    machine.policy.write_text(OWN)
    assert machine.install() == 0
    assert machine.policy.read_text() == OWN
    assert not machine.kept.exists()


@pytest.mark.parametrize("own", [OWN, ""])
def test_a_policy_that_a_killed_run_has_left_is_nobodys(machine: Machine, own: str) -> None:
    machine.policy.write_text(
        f"#!/bin/sh\n{MARK} nothing is started while packages for the lab are installed\nexit 101\n"
    )
    if own:
        machine.kept.write_text(own)
    assert machine.install() == 0
    assert machine.policy.exists() is bool(own)
    if own:
        assert machine.policy.read_text() == own
