"""The timer of a phase: units that systemd takes, with the words of the command as they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.meta.tree import ROOT
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, World, have_moved, never_left

from bascule.cli.main import main
from bascule.errors import CommandFailed, PlanError
from bascule.run import timers
from bascule.run.io import timers as installed
from bascule.system.io.process import Result

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


# What systemd 257 has said of the two units, in the order in which it has them.
SHOWN = """Id=bascule-monitor.timer
LoadState={loaded}
ActiveState={timer}
UnitFileState={file}
Result=success
ActiveEnterTimestamp={started}

Result={result}
ExecMainExitTimestamp={ended}
ExecMainStatus={status}
Id=bascule-monitor.service
LoadState=loaded
ActiveState={service}
UnitFileState=static
ActiveEnterTimestamp=
"""
WELL = {"loaded": "loaded", "timer": "active", "file": "enabled", "started": "@1796200000", "result": "success"}
WELL |= {"ended": "@1796277037", "status": "0", "service": "inactive"}
TIMER = timers.units("monitor", "6h", "/bin/true", "/", "/", [], {})["bascule-monitor.timer"]
NOW = 1796277037 + 60.0
LOG = "journalctl --user -u bascule-monitor.service"


@pytest.mark.parametrize(
    ("change", "after", "expected"),
    [
        ({}, 0, []),
        ({}, 12 * 3600, []),
        ({}, 13 * 3600, [f"it has run last 13 h 1 min ago, and was to be begun every 6h; {LOG}"]),
        ({"service": "activating"}, 13 * 3600, []),
        (
            {"result": "exit-code", "status": "2", "service": "failed"},
            0,
            [f"its last round, 60 s ago, has failed (exit-code, status 2); {LOG}"],
        ),
        ({"ended": ""}, 0, [f"it has never run, 21 h 24 min after the timer was started; {LOG}"]),
        ({"ended": "", "service": "activating"}, 0, []),
        ({"ended": "", "started": "@1796277000"}, 0, []),
        (
            {"timer": "inactive", "file": "disabled"},
            0,
            [
                "the timer does not run (inactive, disabled): nothing begins it any more; "
                "systemctl --user enable --now bascule-monitor.timer"
            ],
        ),
        (
            {"file": "disabled"},
            0,
            [
                "the timer is disabled: it does not come back by itself; "
                "systemctl --user enable --now bascule-monitor.timer"
            ],
        ),
        ({"loaded": "not-found"}, 0, ["systemd has not read the timer (not-found): systemctl --user daemon-reload"]),
    ],
)
def test_a_timer_that_does_not_do_its_work_is_named(change: dict[str, str], after: float, expected: list[str]) -> None:
    assert timers.faults("monitor", TIMER, SHOWN.format(**{**WELL, **change}), NOW + after) == expected


def test_nothing_that_systemd_says_is_no_word_that_all_is_well() -> None:
    assert timers.faults("monitor", TIMER, "", NOW) == [
        "systemd has not read the timer (no answer): systemctl --user daemon-reload"
    ]
    said = timers.faults("monitor", TIMER, SHOWN.format(**WELL), NOW, lingers=False)
    assert said == ["it ends when you log out; loginctl enable-linger"]


def test_only_what_is_installed_is_asked_about_and_silence_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def runner(argv: Any, **_: Any) -> Result:
        asked.append(argv[0])
        if argv[0] == "loginctl":
            raise CommandFailed(
                expected="it to end", found="Failed to get user: User ID 5 is not logged in or lingering"
            )
        if len(asked) > 2:
            raise CommandFailed(expected="it to end", found="Failed to connect\nto bus")
        return Result(tuple(argv), 0, SHOWN.format(**{**WELL, "ended": "@99999999999"}), "")

    monkeypatch.setenv("HOME", str(tmp_path))
    assert installed.look(runner) == []
    assert asked == []
    folder = tmp_path / ".config/systemd/user"
    folder.mkdir(parents=True)
    (folder / "bascule-monitor.timer").write_text(TIMER)
    assert installed.look(runner) == ["monitor: it ends when you log out; loginctl enable-linger"]
    assert installed.look(runner) == ["monitor: whether its timer runs is not known: Failed to connect to bus"]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a short path, as sockets lie in it."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def test_status_names_a_dead_timer_and_that_nobody_watches(tmp_path: Path, home: Path) -> None:
    world = World(tmp_path)
    world.state = ELSEWHERE
    never_left(world, frozen=False)
    plan = tmp_path / "inventory/group_vars/all/plan.yml"
    plan.write_text(PLAN + "plan_monitor: {max_age_seconds: 0.001}\n")
    assert world.move("60_cutover.yml", "-e", "fail_at=top.thaw")[0] == 2
    have_moved(world)
    folder = home / ".config/systemd/user"
    folder.mkdir(parents=True)
    (folder / "bascule-monitor.timer").write_text(TIMER)
    # It stands for systemctl, and says what the real one has said of a timer that was stopped.
    stopped = SHOWN.format(**{**WELL, "timer": "inactive", "file": "disabled"})
    (tmp_path / "bin/systemctl").write_text(f"#!/bin/sh\ncat <<'END'\n{stopped}END\n")
    (tmp_path / "bin/systemctl").chmod(0o755)
    world.environment["HOME"] = str(home)
    rc, output = world.move("status.yml")
    assert rc == 0, output
    assert "TIMER of monitor: the timer does not run (inactive, disabled): nothing begins it any more" in output
    assert "Monitoring: NOBODY WATCHES: no round since the switch" in output
    assert "Criteria for rollback: thaw of top has failed: toy : Fail where the test wants it" in output
    (folder / "bascule-monitor.timer").unlink()
    plan.write_text(PLAN)
    rc, output = world.move("status.yml")
    assert rc == 0, output
    assert "TIMER" not in output
    assert "Monitoring" not in output
