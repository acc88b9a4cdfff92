"""The timer of a phase: units that systemd takes, with the words of the command as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bascule.cli.main import main
from bascule.errors import PlanError
from bascule.run import timers

ODD = ["-i", "my inventory", "-e", '{"a": "50% of $HOME \\ \\"x\\""}']


def test_both_units_are_made_as_systemd_reads_them(tmp_path: Path) -> None:
    made = timers.units("monitor", "6h", "/bin/true", "/", ODD, {"ANSIBLE_CONFIG": "/a b/50%.cfg"})
    assert list(made) == ["bascule-monitor.service", "bascule-monitor.timer"]
    service, timer = made.values()
    assert '"{\\"a\\": \\"50%% of $$HOME' in service
    assert 'Environment="ANSIBLE_CONFIG=/a b/50%%.cfg"' in service
    assert service.splitlines()[7].endswith(" playbooks/75_monitor.yml")
    assert "OnUnitInactiveSec=6h" in timer, "also after a round that has failed"
    if (verify := shutil.which("systemd-analyze")) is not None:
        for name, text in made.items():
            (tmp_path / name).write_text(text)
        done = subprocess.run(
            [verify, "--user", "verify", *(str(tmp_path / name) for name in made)],
            capture_output=True, text=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )  # fmt: skip
        assert [line for line in done.stderr.splitlines() if "bascule-monitor" in line] == []


@pytest.mark.parametrize(
    ("phase", "every"),
    [("cutover", "6h"), ("status", "6h"), ("sync", ""), ("sync", "0h"), ("sync", "1h; rm"), ("x", "6h")],
)
def test_only_what_asks_nobody_has_a_timer_and_only_by_a_time(phase: str, every: str) -> None:
    with pytest.raises(PlanError, match="such as 6h"):
        timers.units(phase, every, "/bin/true", "/", [], {})


def test_it_prints_and_changes_nothing_or_writes_and_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    # It stands for systemctl, and says what it was called with.
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/called\n')
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", "/root/vault")
    assert main(["timer", "sync", "--every", "1d", "-i", "inventories/mine"]) == 0
    printed = capsys.readouterr().out
    assert "-i inventories/mine playbooks/30_sync.yml" in printed
    assert "Environment=ANSIBLE_VAULT_PASSWORD_FILE=/root/vault" in printed
    assert not (tmp_path / ".config").exists()
    assert main(["timer", "sync", "--every", "1d", "--install"]) == 0
    assert sorted(path.name for path in (tmp_path / ".config/systemd/user").iterdir()) == [
        "bascule-sync.service", "bascule-sync.timer"
    ]  # fmt: skip
    assert (tmp_path / "called").read_text().splitlines() == [
        "--user daemon-reload", "--user enable --now bascule-sync.timer"
    ]  # fmt: skip
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    assert main(["timer", "sync", "--every", "1d", "--install"]) == 2
    assert "Failed to connect to bus" in capsys.readouterr().err
