"""What is started to run a script as root on a machine."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace

from bascule.system.ssh import TRY, Target, begins, prompt, remote_command

BY_SSH = Target("db", ("ssh", "-o", "User=ops", "--", "192.0.2.1"))
SCRIPT = "cat >> 'a b'"


def test_root_runs_the_script_itself() -> None:
    assert remote_command(BY_SSH, SCRIPT) == [*BY_SSH.argv, SCRIPT]
    assert remote_command(Target("here", ("sh", "-c")), SCRIPT) == ["sh", "-c", SCRIPT]


def test_another_user_becomes_root_and_nobody_is_asked() -> None:
    (*argv, text) = remote_command(replace(BY_SSH, sudo=("sudo", "-H")), SCRIPT)
    assert tuple(argv) == BY_SSH.argv
    # The other side's shell splits the text that ssh hands over.
    assert shlex.split(text) == ["sudo", "-H", "-n", "sh", "-c", SCRIPT]


def test_sudo_asks_with_words_that_nobody_can_guess_and_without_what_it_has_cached() -> None:
    where = replace(BY_SSH, sudo=("/opt/sudo",), password="s3cr3t", note="/n")
    (*_, text) = remote_command(where, SCRIPT, "f00d")
    assert shlex.split(text)[:-1] == ["/opt/sudo", "-S", "-k", "-p", prompt("f00d"), "sh", "-c"]
    assert shlex.split(text)[-1] == f"echo {begins('f00d')} >&2; {SCRIPT}"
    assert "f00d" in prompt("f00d")
    assert "%" not in prompt("f00d"), "sudo would replace it"


def test_a_password_is_in_no_text_of_a_target() -> None:
    where = replace(BY_SSH, sudo=("sudo",), password="s3cr3t")
    assert "s3cr3t" not in f"{where} {where!r} {[where]} {remote_command(where, SCRIPT, 'f00d')}"


def test_the_trial_of_a_way_in_names_who_is_not_root() -> None:
    def tried(identity: str) -> subprocess.CompletedProcess[str]:
        script = f'id() {{ [ "$1" = -un ] && echo ops || echo {identity}; }}; {TRY}'
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    assert tried("0").returncode == 0
    assert (tried("1000").returncode, tried("1000").stderr) == (1, "ops is not root\n")
