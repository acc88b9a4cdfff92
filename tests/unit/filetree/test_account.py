"""An account by which the other side comes in: what is written for it, with whose rights, and who is not fit."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule.filetree import audit
from bascule.filetree.io.transfer import account
from bascule.filetree.mounts import TreeError

LABEL, LINE = "bascule-c-peer", 'from="192.0.2.1",restrict ssh-ed25519 AAAA bascule-c-peer'


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The home of a real account that is not root."""
    nobody = pwd.getpwnam("nobody")
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    known = pwd.struct_passwd((*nobody[:5], str(place), "/bin/sh"))
    os.chown(place, known.pw_uid, known.pw_gid)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"nobody": known}[name])
    monkeypatch.setattr(account, "SUDOERS", tmp_path)
    yield place
    shutil.rmtree(place)


def test_the_line_and_the_rule_are_written_once_and_taken_away(home: Path, tmp_path: Path) -> None:
    assert account.let_in("c", "nobody", LABEL, LINE, check=True)
    assert list(tmp_path.iterdir()) == list(home.iterdir()) == []
    assert account.let_in("c", "nobody", LABEL, LINE)
    assert not account.let_in("c", "nobody", LABEL, LINE)
    keys = home / ".ssh" / "authorized_keys"
    assert keys.read_text() == f"{LINE}\n"
    assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (pwd.getpwnam("nobody").pw_uid, 0o600)
    rule = tmp_path / "bascule-c"
    assert rule.stat().st_mode & 0o777 == 0o440
    # The real program reads it as it is meant.
    subprocess.run(["visudo", "-cqf", str(rule)], check=True)
    command = account.forced("c", "nobody").removeprefix("sudo -n -- ")
    assert re.search(rf"^Cmnd_Alias BASCULE_[0-9A-F]{{16}} = {re.escape(command)}$", rule.read_text(), re.MULTILINE)
    # A stream of a whole tree in sudo's log of sessions would fill the disk.
    assert "!log_input, !log_output" in rule.read_text()
    assert account.let_in("c", "nobody", LABEL, None)
    assert not rule.exists()
    assert keys.read_text() == ""
    assert not account.let_in("c", "nobody", LABEL, None)


def test_two_components_never_share_an_alias_or_a_file(home: Path, tmp_path: Path) -> None:
    for component in ("a-b", "a_b", "a.b"):
        assert account.let_in(component, "nobody", f"bascule-{component}-peer", f"{LINE}-{component}", check=False)
    files = sorted(tmp_path.iterdir())
    aliases = {word for file in files for word in re.findall(r"Cmnd_Alias (\S+)", file.read_text())}
    assert (len(files), len(aliases)) == (3, 3)


def test_root_writes_nothing_where_the_account_has_put_a_link(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root's own\n")
    secret.chmod(0o600)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").symlink_to(secret)
    os.chown(home / ".ssh", pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(TreeError, match="as nobody"):
        account.let_in("c", "nobody", LABEL, LINE)
    assert secret.read_text() == "root's own\n"


def test_who_is_not_fit_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert account.faults("root") == account.faults("nobody") == []
    assert "no plain name" in account.faults("a ALL=(ALL) NOPASSWD: ALL #")[0]
    assert account.faults("nobodyelse")[0].startswith("there is no account nobodyelse (useradd")
    known = pwd.getpwnam("nobody")
    odd = pwd.struct_passwd((*known[:2], 0, 0, "", "/nowhere", "/usr/sbin/nologin"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: odd)
    monkeypatch.setenv("PATH", "/nowhere")
    told = account.faults("nobody")
    for part in ("root by another name", "runs no command", "no directory of its own", "visudo is not installed"):
        assert any(part in one for one in told), told
    with pytest.raises(TreeError, match="nobody was let in"):
        account.let_in("c", "nobody", LABEL, LINE)


def test_the_audit_says_what_the_account_is_worth() -> None:
    told = audit.notes("a", {"survey": {"account": "mover"}})
    assert "the account mover (rsync_delta_sync_account) is worth as much as root in a passive tree" in told[0]
    assert audit.notes("a", {"survey": {"account": "root"}}) == []
