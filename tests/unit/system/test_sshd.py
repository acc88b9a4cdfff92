"""Whom an SSH server would let in, by what it says itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.system import sshd
from bascule.system.io import sshd as asked
from bascule.system.io.process import Result

PEER = "192.0.2.11"
# As Debian 13's server says it, shortened.
DEBIAN = """port 22
permitrootlogin without-password
pubkeyauthentication yes
authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2
"""


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("", ""),
        ("allowusers marie@192.0.2.12\nallowusers root@192.0.2.11\n", ""),
        ("allowusers root\n", ""),
        ("allowusers *@192.0.2.0/24\n", ""),
        ("allowusers r??t@192.0.2.*\n", ""),
        ("allowusers marie\n", "AllowUsers marie"),
        ("allowusers root@192.0.2.12\n", "AllowUsers root@192.0.2.12, without root@192.0.2.11"),
        ("allowusers root@198.51.100.0/24\n", "AllowUsers"),
        # A name of the peer's may be meant where the server looks for names.
        ("usedns yes\nallowusers root@*.rennes.example\n", ""),
        ("usedns no\nallowusers root@*.rennes.example\n", "AllowUsers root@*.rennes.example"),
        ("denyusers marie\n", ""),
        ("denyusers marie root\n", "DenyUsers marie root"),
    ],
)
def test_lists_of_users_are_read_as_the_server_reads_them(more: str, named: str) -> None:
    found = sshd.refusals(DEBIAN + more, PEER)
    assert bool(found) == bool(named)
    assert named in "".join(found)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("permitrootlogin without-password", "permitrootlogin no"),
        ("pubkeyauthentication yes", "pubkeyauthentication no"),
        ("authorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2", "authorizedkeysfile /etc/ssh/keys/%u"),
    ],
)
def test_what_keeps_a_key_of_root_out_is_named(line: str, instead: str) -> None:
    assert line in DEBIAN
    (found,) = sshd.refusals(DEBIAN.replace(line, instead), PEER)
    assert found.lower().startswith(instead)


@pytest.mark.parametrize("word", ["yes", "prohibit-password", "without-password", "forced-commands-only"])
def test_a_key_with_a_forced_command_needs_no_more(word: str) -> None:
    assert sshd.refusals(DEBIAN.replace("without-password", word), PEER) == []


def test_the_server_is_asked_about_just_that_connection() -> None:
    commands: list[Sequence[str]] = []

    def runner(argv: Sequence[str], **_options: Any) -> Result:
        commands.append(argv)
        return Result((), 0, DEBIAN.replace("without-password", "no"), "")

    assert asked.refusals(PEER, runner=runner) == ["PermitRootLogin no (forced-commands-only is enough)"]
    assert commands == [["/usr/sbin/sshd", "-T", "-C", f"user=root,host={PEER},addr={PEER}"]]


def test_a_server_that_cannot_be_asked_is_not_condemned() -> None:
    def says_no(argv: Sequence[str], **_options: Any) -> Result:
        return Result(
            (), 255, "", "'Match LocalPort' in configuration but 'lport' not in connection test specification"
        )

    def is_missing(argv: Sequence[str], **_options: Any) -> Result:
        raise BasculeError(expected="sshd", found="none", next_command="none")

    assert asked.refusals(PEER, runner=says_no) == []
    assert asked.refusals(PEER, runner=is_missing) == []


def test_a_name_is_asked_about_by_its_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"one.example": [PEER], "two.example": [PEER, "192.0.2.12"]}
    monkeypatch.setattr("bascule.system.io.reach.addresses", lambda name: known.get(name, []))

    def refuses(argv: Sequence[str], **_options: Any) -> Result:
        assert argv[-1].endswith(f"addr={PEER}")
        return Result((), 0, DEBIAN + "denyusers root\n", "")

    assert asked.refusals("one.example", runner=refuses) == ["DenyUsers root"]
    assert asked.refusals("two.example", runner=refuses) == []
    assert asked.refusals("none.example", runner=refuses) == []
