"""How a shell is started on a journal host."""

from __future__ import annotations

import subprocess

import pytest

from bascule.errors import JournalError
from bascule.system.ssh import TRY, Target, remote_command, target


def test_ssh_takes_what_the_inventory_says() -> None:
    where = target(
        "db",
        {
            "ansible_host": "192.0.2.1",
            "ansible_user": "root",
            "ansible_port": 2222,
            "ansible_ssh_private_key_file": "/keys/k",
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=yes -o 'UserKnownHostsFile=/a b'",
        },
        "-o ControlMaster=auto",
        "/tmp/c",
    )
    words = list(where.argv)
    assert words[:3] == ["ssh", "-o", "ControlMaster=auto"]
    assert "UserKnownHostsFile=/a b" in words
    assert words[-4:] == ["-l", "root", "--", "192.0.2.1"]
    assert "BatchMode=yes" in words
    assert [words[words.index(flag) + 1] for flag in ("-i", "-p")] == ["/keys/k", "2222"]
    assert remote_command(where, "cat >> 'a b'")[-1] == "cat >> 'a b'"
    assert Target.from_dict(where.to_dict()) == where


def test_another_user_becomes_root() -> None:
    where = target("db", {"ansible_user": "ops"}, "", "/tmp/c")
    assert where.argv[-4:] == ("sudo", "-n", "sh", "-c")
    assert remote_command(where, "echo 'x y'")[-1] == "'echo '\"'\"'x y'\"'\"''"


def test_a_user_of_ansibles_own_settings_is_taken_where_no_variable_says_so() -> None:
    for variables, user in (({}, "ops"), ({"ansible_user": "ann"}, "ann"), ({"ansible_ssh_user": "bob"}, "bob")):
        words = target("db", variables, "", "/tmp/c", "ops").argv
        assert words[words.index("-l") + 1] == user
        assert words[-4:-1] == ("sudo", "-n", "sh")


def test_the_trial_of_a_way_in_names_who_is_not_root() -> None:
    def tried(identity: str) -> subprocess.CompletedProcess[str]:
        script = f'id() {{ [ "$1" = -un ] && echo ops || echo {identity}; }}; {TRY}'
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)

    assert tried("0").returncode == 0
    assert (tried("1000").returncode, tried("1000").stderr) == (1, "ops is not root\n")


def test_this_machine_and_what_is_reached_otherwise() -> None:
    assert target("a", {"ansible_connection": "local"}, "", "").argv == ("sh", "-c")
    with pytest.raises(JournalError, match="connection winrm"):
        target("a", {"ansible_connection": "winrm"}, "", "")
