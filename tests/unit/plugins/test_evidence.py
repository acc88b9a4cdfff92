"""Journals read over SFTP by the real sshd, through a bastion, as root by the real sudo: with paramiko."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest
from tests.unit.plugins.conftest import PASSWORD, Machine
from tests.unit.plugins.test_play import COMPONENTS, PATIENCE_SECONDS, PLAN, ROOT
from tests.unit.run.test_agreement import ALL

from bascule.guard.io.store import GUARD_DIRECTORY
from bascule.report.io import verify
from bascule.run import chain, seals
from bascule.run.io import identity, signing
from bascule.run.io.journal import SITE_DIRECTORY, Journal
from bascule.run.outcome import Status
from bascule.system.io import sftp
from bascule.system.ssh import Target

SECRET = "s3cret-of-the-vault"
FOLDER = f"{SITE_DIRECTORY}/r"
TEXT = "".join(map(chain.line, ALL))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is shared by many is slow."""
    monkeypatch.setattr(sftp, "PATIENCE", 300.0)


@pytest.fixture
def journal(machine: Machine) -> Iterator[Machine]:
    """The machine, with a journal in a folder of root's."""
    write(machine, "c-d.jsonl", TEXT)
    yield machine
    assert machine.run(machine.way("free"), f"rm -r {SITE_DIRECTORY}").error == ""


def write(machine: Machine, name: str, text: str) -> None:
    """Write a file of the journal there."""
    script = f"set -e; umask 077; mkdir -p {FOLDER}; cat > {FOLDER}/{name}"
    assert machine.run(machine.way("free"), script, text).error == ""


def knows(where: Target, path: Path, text: str) -> Target:
    """Return the way by which these keys are known."""
    path.write_text(text)
    argv = [f"UserKnownHostsFile={path}" if word.startswith("UserKnownHostsFile=") else word for word in where.argv]
    assert tuple(argv) != where.argv
    return replace(where, argv=tuple(argv))


@pytest.mark.parametrize("user", ["free", "asked"])
def test_what_lies_in_a_folder_of_roots_is_read_through_the_bastion(journal: Machine, user: str) -> None:
    write(journal, "other.txt", "not asked for")
    assert (
        journal.run(journal.way("free"), f"ln -s /etc/shadow {FOLDER}/link.jsonl; mkdir {FOLDER}/d.jsonl").error == ""
    )
    assert sftp.read_files(journal.way(user), FOLDER, ".jsonl") == {"c-d.jsonl": TEXT}
    assert sftp.read_files(journal.way(user), f"{SITE_DIRECTORY}/none", ".jsonl") == {}
    assert "Accepted publickey for jump" in journal.log, "it went round the bastion"


def test_nothing_can_be_written(journal: Machine) -> None:
    with sftp._as_root(journal.way("free")) as files:
        changes: list[Callable[[], Any]] = [
            lambda: files.open(f"{FOLDER}/new.jsonl", "w"),
            lambda: files.open(f"{FOLDER}/c-d.jsonl", "a"),
            lambda: files.remove(f"{FOLDER}/c-d.jsonl"),
            lambda: files.rename(f"{FOLDER}/c-d.jsonl", f"{FOLDER}/x"),
            lambda: files.mkdir(f"{FOLDER}/x"),
        ]
        for change in changes:
            with pytest.raises(OSError, match=r"[Pp]ermission denied"):
                change()
        assert files.listdir(FOLDER) == ["c-d.jsonl"]


def test_a_machine_whose_key_is_not_known_is_not_entered(journal: Machine, tmp_path: Path) -> None:
    way, before = journal.way("asked"), journal.log
    ours = (journal.place / "host.pub").read_text()
    name = f"[127.0.0.1]:{journal.port}"
    other = (journal.place / "key.pub").read_text()
    for text, why in (
        ("", "not found in known_hosts"),
        (f"{name} {other}", "does not match"),
        (f"[127.0.0.1]:1 {ours}", "not found in known_hosts"),
    ):
        with pytest.raises(sftp.NotRead, match=why):
            sftp.read_files(knows(way, tmp_path / "known_hosts", text), FOLDER, ".jsonl")
    assert "Accepted publickey for asked" not in journal.log.removeprefix(before), "nobody has logged in"
    with pytest.raises(sftp.NotRead, match="its key is revoked"):
        sftp.read_files(knows(way, tmp_path / "known_hosts", f"{name} {ours}@revoked * {ours}"), FOLDER, ".jsonl")
    assert sftp.read_files(knows(way, tmp_path / "known_hosts", f"{name} {ours}"), FOLDER, ".jsonl")


@pytest.mark.parametrize(
    ("user", "password", "why"),
    [
        ("asked", "wr0ng", "sudo asked again"),
        ("jump", PASSWORD, "jump is not in the sudoers file|sudo asked again"),
        ("barred", PASSWORD, "you must have a tty"),
        ("free", "", ""),
        ("asked", "", "password is required"),
    ],
)
def test_who_is_not_root_reads_nothing(journal: Machine, user: str, password: str, why: str) -> None:
    way = journal.way(user, password)
    if not why:
        assert sftp.read_files(way, FOLDER, ".jsonl")
        return
    with pytest.raises(sftp.NotRead, match=why) as refused:
        sftp.read_files(way, FOLDER, ".jsonl")
    assert not password or password not in str(refused.value)


def test_what_is_too_much_is_not_read(journal: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sftp, "LARGEST", len(TEXT) - 1)
    with pytest.raises(sftp.NotRead, match="more than"):
        sftp.read_files(journal.way("free"), FOLDER, ".jsonl")
    monkeypatch.setattr(sftp, "LARGEST", len(TEXT))
    assert sftp.read_files(journal.way("free"), FOLDER, ".jsonl")
    monkeypatch.setattr(sftp, "MOST", 0)
    with pytest.raises(sftp.NotRead, match="1 files"):
        sftp.read_files(journal.way("free"), FOLDER, ".jsonl")


def test_a_machine_that_does_not_listen_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        argv = ("ssh", "-F", "none", "-p", str(free.getsockname()[1]), "--", "127.0.0.1")
        with pytest.raises(sftp.NotRead, match="refused"):
            sftp.read_files(Target("db", argv), FOLDER, ".jsonl")


def test_a_machine_without_a_way_is_told() -> None:
    for where, why in ((Target("db", (), obstacle="no user"), "no user"), (Target("db", ("sh", "-c")), "by ssh")):
        with pytest.raises(sftp.NotRead, match=why):
            sftp.read_files(where, FOLDER, ".jsonl")


INVENTORY = """
machines:
  vars:
    ansible_host: 127.0.0.1
    ansible_port: {port}
    ansible_user: asked
    ansible_become: true
    ansible_ssh_private_key_file: {place}/key
    ansible_ssh_common_args: -F {place}/ssh_config -o ProxyJump=bastion -o UserKnownHostsFile={place}/known_hosts
  children:
    site_mtp: {{vars: {{site: mtp}}, hosts: {{a-mtp: {{}}, j-mtp: {{}}}}}}
    site_tls: {{vars: {{site: tls}}, hosts: {{a-tls: {{}}, j-tls: {{}}}}}}
"""


def test_the_command_verifies_what_the_sites_hold(journal: Machine, tmp_path: Path) -> None:
    lay_out(tmp_path, journal)
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "runs/r/journal.jsonl").write_text(TEXT)
    (tmp_path / "runs/latest").symlink_to("r")
    code, said = verified(tmp_path)
    assert code == Status.DONE, said
    assert "all copies agree: 2 sites, 2 machines, all chains hold" in said
    changed = [*ALL[:2], {**ALL[2], "data": {"number": 7}}, ALL[3]]
    for text, why in (
        ("".join(map(chain.line, changed)), "entry 3 was changed after it was written"),
        ("".join(map(chain.line, ALL[:3])), "lacks 1 entries that others hold"),
    ):
        write(journal, "c-d.jsonl", text)
        code, said = verified(tmp_path)
        assert code == Status.PERSON, said
        assert why in said


def test_the_evidence_of_a_run_is_read_at_both_sites_and_packed(journal: Machine, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    here = Journal(runs, "r", identity.controller(), "d")
    here.append("state", data={"event": "start", "plan": "toy", "phase": "verify"})
    for number in range(3):
        here.append("state", phase="verify", component="low", data={"event": "verify", "found": {"number": number}})
    assert signing.seal(here, last=True) == ""
    entries = here.read().entries
    write(journal, "c-d.jsonl", "".join(map(chain.line, entries)))
    guard = """{"side": "a-mtp", "status": "closed"}"""
    script = f"set -e; mkdir -p {GUARD_DIRECTORY}; cat > {GUARD_DIRECTORY}/low.json; touch {GUARD_DIRECTORY}/other.json"
    assert journal.run(journal.way("free"), script, guard).error == ""
    lay_out(tmp_path, journal)
    (runs / "r/plans").mkdir()
    (runs / "r/plans/4711.json").write_text("{}")
    (runs / "r/summary.json").write_text(json.dumps({"journal": chain.heads(entries)}))
    mark = seals.fingerprint(signing.public(runs, identity.controller()))
    # Another component has no guard there.
    code, said = verified(tmp_path, "evidence", "r", "--key", mark)
    assert code == verify.UNPROVED, said
    assert "guard of top at a-mtp: there is none" in said
    assert "plan 4711.json: " in said, "a plan that was changed is told, and keeps nobody from the rest"
    assert f"the list of digests is signed by {mark}" in said
    files = verify.load(str(runs / "r/evidence.tar.gz"))
    assert files["guards/a-mtp/low.json"].decode() == guard == files["guards/a-tls/low.json"].decode()
    assert sorted(name for name in files if name.startswith(("journal/", "guards/"))) == [
        "guards/a-mtp/low.json",
        "guards/a-tls/low.json",
        "journal/here.jsonl",
        "journal/mtp.j-mtp.jsonl",
        "journal/tls.j-tls.jsonl",
    ]
    assert files["journal/tls.j-tls.jsonl"] == files["journal/here.jsonl"]
    assert not [name for name, text in files.items() if SECRET.encode() in text]
    other = f"{PLAN}vault_word: {SECRET}\n".replace("plan_name: toy", "plan_name: another")
    (tmp_path / "inventory/group_vars/all/plan.yml").write_text(other)
    code, said = verified(tmp_path, "evidence", "r")
    assert code == Status.REFUSED, said
    assert "run r to be one of plan another, as this inventory is; found: a run of plan toy" in said
    lay_out(tmp_path, journal)
    # What a secret has got into is not packed; without a name it is the latest run.
    (runs / "r/report.md").write_text(f"x {SECRET}")
    (runs / "latest").symlink_to("r")
    code, said = verified(tmp_path, "evidence")
    assert code == Status.REFUSED, said
    assert "the value of vault_word in report/report.md" in said
    assert SECRET not in said
    assert journal.run(journal.way("free"), f"rm -r {GUARD_DIRECTORY}").error == ""


def lay_out(path: Path, journal: Machine) -> None:
    """Write an inventory whose machines are all this one."""
    for name, text in {
        "inventory/hosts.yml": INVENTORY.format(port=journal.port, place=journal.place),
        "inventory/components.yml": COMPONENTS,
        "inventory/group_vars/all/plan.yml": f"{PLAN}vault_word: {SECRET}\n",
        "roles/toy/tasks/state.yml": "[]\n",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)


def verified(path: Path, *command: str) -> tuple[int, str]:
    """Verify at a terminal, where the password of sudo is typed."""
    environment: dict[str, Any] = {
        key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "BASCULE_"))
    }
    environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": str(path / "roles")}
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "bascule.cli.main", *(command or ("report", "--verify")), "-i", "inventory", "-K"],
        cwd=str(path),
        env=environment,
        timeout=PATIENCE_SECONDS,
        encoding="utf-8",
        dimensions=(50, 400),
    )
    terminal.expect("BECOME password: ")
    terminal.sendline(PASSWORD)
    terminal.expect(pexpect.EOF)
    terminal.close()
    return int(terminal.exitstatus), str(terminal.before)
