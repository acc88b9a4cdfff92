"""The timer of a phase: units that systemd takes, with the words of the command as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.meta.tree import ROOT

from bascule.cli.main import main
from bascule.errors import PlanError
from bascule.run import timers

ODD = ["-i", "my inventory", "-e", '{"a": "50% of $HOME \\ \\"x\\""}']


def test_both_units_are_made_as_systemd_reads_them(tmp_path: Path) -> None:
    made = timers.units("monitor", "6h", "/bin/true", "/srv/x", "/", ODD, {"ANSIBLE_CONFIG": "/a $b/50%.cfg"})
    assert list(made) == ["bascule-monitor.service", "bascule-monitor.timer"]
    service, timer = made.values()
    assert '"{\\"a\\": \\"50%% of $$HOME' in service
    assert 'Environment="ANSIBLE_CONFIG=/a $b/50%%.cfg"' in service
    assert service.splitlines()[7].endswith(" /srv/x/playbooks/75_monitor.yml")
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
        timers.units(phase, every, "/bin/true", "/srv/x", "/", [], {})


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
    assert f"-i inventories/mine {ROOT}/playbooks/30_sync.yml" in printed
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


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-e", "ansible_become_password=hunter2"], "-e @FILE"),
        (["-eansible_become_password=hunter2"], "-e @FILE"),
        (["--extra-vars=key=hunter2"], "-e @FILE"),
        (["--extra-v", '{"key": "hunter2"}'], "-e @FILE"),
        (["-e", "@vars.yml", "-e", "key=hunter2"], "-e @FILE"),
        (["-K"], "options that ask nobody"),
        (["--ask-vault-pass"], "--vault-password-file"),
        (["--check"], "try nothing"),
        (["-DC"], "try nothing"),
        (["-t", "nothing"], "a phase is run whole"),
        (["playbooks/60_cutover.yml"], "options only"),
    ],
)
def test_what_asks_tries_or_may_be_a_secret_is_in_no_unit(options: list[str], why: str, capsys: Any) -> None:
    assert main(["timer", "monitor", "--every", "6h", *options]) == 2
    said = capsys.readouterr()
    assert why in said.err
    assert "hunter2" not in said.out + said.err
    assert "ExecStart" not in said.out
    assert timers.checked(["-e@vars.yml", "-i", "x", "--limit=low"]) == ("-e@vars.yml", "-i", "x", "--limit=low")


def test_another_user_than_the_one_of_the_runs_has_no_timer_and_a_replaced_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BASCULE_RUNS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = ["timer", "monitor", "--every", "6h", "--install", "-i"]
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: os.getuid() + 1)
        assert main([*command, "first"]) == 2
    assert "the user whose runs these are" in capsys.readouterr().err
    assert not (tmp_path / ".config").exists()
    assert main([*command, "first"]) == 0
    assert "takes the place" not in capsys.readouterr().out
    assert main([*command, "second"]) == 0
    assert "it takes the place of ExecStart=" in (said := capsys.readouterr().out)
    assert f"-i first {ROOT}/playbooks/75_monitor.yml" in said
    unit = (tmp_path / ".config/systemd/user/bascule-monitor.service").read_text()
    assert f"Environment=ANSIBLE_CONFIG={ROOT}/ansible.cfg" in unit, "begun elsewhere, with the project's settings"
