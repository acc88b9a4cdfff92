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
from bascule.filetree.io.transfer import account, alone
from bascule.filetree.mounts import TreeError
from bascule.system.io import sshd

LABEL = "bascule-c-peer"
LINE = f'from="192.0.2.1",restrict,command="{account.forced("c", "nobody")}" ssh-ed25519 AAAA {LABEL}'
# A number that no account of this machine has, nor a test beside this one: no program of it runs.
UID = 30000 + os.getpid() % 30000


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The home of a real account that is not root."""
    nobody = pwd.getpwnam("nobody")
    outer = Path(tempfile.mkdtemp())
    outer.chmod(0o755)
    place = outer / "home"
    place.mkdir()
    known = pwd.struct_passwd((*nobody[:2], UID, UID, nobody[4], str(place), "/bin/sh"))
    os.chown(place, known.pw_uid, known.pw_gid)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"nobody": known}[name])
    monkeypatch.setattr(account, "SUDOERS", tmp_path)
    yield place
    shutil.rmtree(outer)


def test_the_line_and_the_rule_are_written_once_and_taken_away(home: Path, tmp_path: Path) -> None:
    assert account.let_in("c", "nobody", LABEL, LINE, check=True)
    assert list(tmp_path.iterdir()) == list(home.iterdir()) == []
    assert account.let_in("c", "nobody", LABEL, LINE)
    assert not account.let_in("c", "nobody", LABEL, LINE)
    keys = home / ".ssh" / "authorized_keys"
    assert keys.read_text() == f"{LINE}\n"
    assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (UID, 0o600)
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
        assert account.let_in(component, "nobody", f"bascule-{component}-peer", f"{LINE}-{component}")
    files = sorted(tmp_path.iterdir())
    aliases = {word for file in files for word in re.findall(r"Cmnd_Alias (\S+)", file.read_text())}
    assert (len(files), len(aliases)) == (3, 3)


def test_root_writes_nothing_where_the_account_has_put_a_link(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root's own\n")
    secret.chmod(0o600)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").symlink_to(secret)
    os.chown(home / ".ssh", UID, -1)
    with pytest.raises(TreeError, match="as nobody"):
        account.let_in("c", "nobody", LABEL, LINE)
    assert secret.read_text() == "root's own\n"


def test_who_is_not_fit_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert account.faults("root", "/srv") == account.faults("nobody", "/srv") == []
    assert "no plain name" in account.faults("a ALL=(ALL) NOPASSWD: ALL #", "/srv")[0]
    assert account.faults("nobodyelse", "/srv")[0].startswith("there is no account nobodyelse (useradd")
    known = pwd.getpwnam("nobody")
    odd = pwd.struct_passwd((*known[:2], 0, 0, "", "/nowhere", "/usr/sbin/nologin"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: odd)
    monkeypatch.setenv("PATH", "/nowhere")
    told = account.faults("nobody", "/srv")
    for part in ("root by another name", "runs no command", "no directory of its own", "visudo is not installed"):
        assert any(part in one for one in told), told
    with pytest.raises(TreeError, match="nobody was let in"):
        account.let_in("c", "nobody", LABEL, LINE)


def test_the_audit_says_what_the_account_is_worth() -> None:
    told = audit.notes("a", {"survey": {"account": "mover"}})
    assert "the account mover (rsync_delta_sync_account) is worth as much as root in a passive tree" in told[0]
    assert audit.notes("a", {"survey": {"account": "root"}}) == []


def test_an_account_that_owns_something_beside_its_home_is_named(home: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "deep").mkdir(parents=True)
    os.chown(tree / "a" / "deep", UID, -1)
    assert account.faults("nobody", str(tree)) == []
    for number in range(5):
        os.symlink("/nowhere", tree / f"link{number}")
        os.lchown(tree / f"link{number}", UID, -1)
    (told,) = account.faults("nobody", str(tree))
    assert told.startswith(f"nobody owns {tree}/link0, {tree}/link1, {tree}/link2 and 2 more: it is there for"), told
    os.chown(tree, UID, -1)
    assert f"nobody owns {tree}, {tree}/link0" in account.faults("nobody", str(tree))[0]
    # Its home may lie there as well as anywhere.
    assert account.faults("nobody", str(home.parent)) == []


def test_an_account_of_which_a_program_runs_is_named(home: Path, tmp_path: Path) -> None:
    command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "sh", "-c", "echo on; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"on\n"
            told = account.faults("nobody", str(tmp_path))
            assert len(told) == 1
            assert told[0].startswith("programs of nobody run, each of which could ask for what the other side may: ")
            # The shell becomes the program a moment after it has spoken.
            assert re.search(rf": (sh|sleep) \(process {process.pid}\) \(end them", told[0]), told
        finally:
            process.kill()
    assert account.faults("nobody", str(tmp_path)) == []


@pytest.mark.parametrize("name", alone.KEYS)
@pytest.mark.parametrize(
    "line",
    [
        "ssh-ed25519 AAAA somebody",
        LINE.replace("restrict,", ""),
        LINE.replace("files_receive c", "boot c"),
        LINE.replace('restrict,command="', 'restrict,pty,command="'),
        LINE.replace("files_receive c", "files_receive c; id"),
    ],
    ids=["plain", "unrestricted", "another command", "with a terminal", "a second command"],
)
def test_a_key_that_lets_somebody_in_for_more_is_named(home: Path, tmp_path: Path, name: str, line: str) -> None:
    keys = home / name
    keys.parent.mkdir()
    os.chown(keys.parent, UID, UID)
    keys.write_text(f"# the other side\n\n{LINE}\n")
    assert account.faults("nobody", str(tmp_path)) == []
    keys.write_text(f"# the other side\n{LINE}\n{line}\n")
    (told,) = account.faults("nobody", str(tmp_path))
    assert told.startswith(f"line 3 of {keys} lets somebody in for more than the one command"), told
    assert "AAAA" not in told
    with pytest.raises(TreeError, match=r"line 3 of .*nobody was let in"):
        account.let_in("c", "nobody", LABEL, LINE, str(tmp_path))


def test_keys_that_the_account_may_not_read_are_not_read_by_root_either(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's own\n")
    secret.chmod(0o600)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "authorized_keys").symlink_to(secret)
    (told,) = account.faults("nobody", str(tmp_path))
    assert "cannot be read as nobody: Permission denied" in told
    (home / ".ssh" / "authorized_keys").unlink()
    os.mkfifo(home / ".ssh" / "authorized_keys", 0o644)
    (told,) = account.faults("nobody", str(tmp_path))
    assert told.endswith(".ssh/authorized_keys is no plain file")


class Processes:
    """A stand-in for /proc: who is whose parent, by whom it runs, and whose program it is."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        proc.mkdir()

    def add(self, pid: int, parent: int, program: str, uid: int = 0, owner: int = 0) -> None:
        place = self.proc / str(pid)
        place.mkdir()
        (place / "stat").write_text(f"{pid} (a) b (c)) S {parent} 1 1")
        (place / "status").write_text(f"Name:\ta\nState:\tS (sleeping)\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        file = self.proc / f"of-{pid}" / program
        file.parent.mkdir()
        file.write_text("")
        os.chown(file, owner, -1)
        (place / "exe").symlink_to(file)


def test_only_what_roots_own_ssh_server_has_started_comes_by_it(tmp_path: Path) -> None:
    host = Processes(tmp_path / "proc")
    host.add(1, 0, "systemd")
    host.add(10, 1, "sshd")
    host.add(11, 10, "sshd-session")
    host.add(12, 11, "sshd-session", uid=UID)
    host.add(13, 12, "sudo")
    host.add(14, 13, "python3.11")
    way = sshd.way_in(14, UID, proc=host.proc)
    assert (way.by_server, way.names) == (True, ("sudo", "sshd-session", "sshd-session"))
    # By cron, by a server of the account's own, by a program with that name; and what is seen only in part.
    host.add(20, 1, "cron")
    host.add(21, 20, "python3.11")
    host.add(30, 1, "sshd", uid=UID)
    host.add(31, 30, "python3.11")
    host.add(40, 1, "sshd", owner=UID)
    host.add(41, 40, "python3.11")
    host.add(51, 50, "python3.11")
    host.add(60, 61, "a")
    host.add(61, 60, "b")
    for pid, names in ((21, ("cron", "systemd")), (31, ("sshd", "systemd")), (41, ("sshd", "systemd")), (51, ())):
        assert sshd.way_in(pid, UID, proc=host.proc) == sshd.WayIn(False, names)
    assert not sshd.way_in(60, UID, proc=host.proc).by_server
    assert not sshd.way_in(os.getpid(), UID).by_server
    # The session itself, which is no request, has come the same way.
    assert sshd.way_in(12, UID, proc=host.proc).by_server


def test_who_came_in_as_somebody_else_and_became_the_account_does_not_come_by_it(tmp_path: Path) -> None:
    host = Processes(tmp_path / "proc")
    host.add(1, 0, "systemd")
    host.add(10, 1, "sshd")
    host.add(11, 10, "sshd-session")
    for pid, parent, program, uid in (
        (12, 11, "sshd-session", 1000),
        (13, 12, "bash", 1000),
        (14, 13, "su", 0),
        (15, 14, "bash", UID),
        # By root, whose session has no process of another user; and by a server's program that was found on the way.
        (20, 11, "bash", 0),
        (21, 20, "sshd", UID),
    ):
        host.add(pid, parent, program, uid=uid)
    for parent in (15, 20, 21):
        host.add(parent + 100, parent, "sudo")
        assert not sshd.way_in(parent + 100, UID, proc=host.proc).by_server


def test_a_program_that_ends_while_it_is_looked_at_is_no_stranger(home: Path, tmp_path: Path) -> None:
    host = Processes(tmp_path / "proc")
    host.add(13, 1, "sudo", uid=UID)
    (host.proc / "13" / "cmdline").write_bytes(b"sudo\0-n\0files_receive\0c")
    (host.proc / "13" / "cgroup").write_text("0::/user.slice\n")
    known = pwd.getpwnam("nobody")
    assert list(alone._running(known, "files_receive ", host.proc)) == ["a (process 13)"]
    (host.proc / "13" / "stat").write_text("13 (a) Z 1 1 1")
    assert list(alone._running(known, "files_receive ", host.proc)) == []
    (host.proc / "13" / "stat").unlink()
    assert list(alone._running(known, "files_receive ", host.proc)) == []
