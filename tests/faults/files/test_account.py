"""Transfers by an account that is not root, between servers that let root in by no key of the other side."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair

pytestmark = pytest.mark.long

TREE = "/srv/courses"
HOME = "/var/lib/bascule/course_files"
KEYS = "/var/mover/.ssh/authorized_keys"
RULE = "/etc/sudoers.d/bascule-course_files"
AGENT = "/usr/local/lib/bascule/bascule.pyz"


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    pair = start_pair("files", "account", variables={"rsync_delta_sync_account": "mover"})
    for side, other in (SIDES, SIDES[::-1]):
        # The controller goes on as it does; the other side comes in as root by no key.
        match = f"\nMatch Address {pair.addresses[other]}\n  PermitRootLogin no\n"
        pair.must_run(side, ["bash", "-c", "cat >>/etc/ssh/sshd_config; systemctl reload ssh"], match)
    return pair


def request(pair: Pair, asked: str) -> tuple[int, str]:
    """Ask the target by its real SSH server, as the source does: with its key, and the host keys it has pinned."""
    ssh = f"ssh -F/dev/null -i{HOME}/ssh/id_ed25519 -oIdentitiesOnly=yes -oBatchMode=yes -oStrictHostKeyChecking=yes"
    ssh += f" -oUserKnownHostsFile={HOME}/ssh/known_hosts -oHostKeyAlias=course_files"
    where = f"mover@{pair.addresses['target']}"
    done = pair.run("source", [*ssh.split(), where, asked], stdin="")
    return done.rc, done.out + done.err


def as_mover(pair: Pair, side: str, command: str) -> tuple[int, str]:
    done = pair.run(side, ["runuser", "-u", "mover", "--", "bash", "-c", command])
    return done.rc, done.out + done.err


def test_an_account_that_cannot_come_in_is_named_by_the_audit(pair: Pair) -> None:
    told = " ".join(pair.verb("audit").stdout.split())
    for side in SIDES:
        assert f"on {pair.host(side)}, there is no account mover (useradd" in told, told[-3000:]
    for side in SIDES:
        pair.must_run(
            side,
            ["useradd", "-rmb", "/var", "-s", "/usr/sbin/nologin", "mover"],
        )
    told = " ".join(pair.verb("audit").stdout.split())
    assert "the shell of mover is /usr/sbin/nologin, which runs no command" in told, told[-3000:]
    refused = pair.verb("prepare")
    assert not refused.ok
    assert "nobody was let in" in refused.stdout
    for side in SIDES:
        assert pair.run(side, ["test", "-e", RULE]).rc == 1
        pair.must_run(side, ["usermod", "--shell", "/bin/sh", "mover"])
    # By root, as before, nobody would come in; that is told as well.
    told = " ".join(pair.verb("audit", extra={"rsync_delta_sync_account": "root"}).stdout.split())
    assert "PermitRootLogin no" in told, told[-3000:]
    pair.must("audit")


def test_the_tree_goes_there_and_back_with_all_that_only_root_may_give(pair: Pair) -> None:
    pair.must_run(
        "source",
        [
            "bash",
            "-c",
            f"set -e; cd {TREE}/uploads; echo x >given; chown 4321:1234 given; chmod 4750 given; "
            "setfacl -m u:77:rw given; setfattr -n trusted.seen -v y given; mknod null c 1 3",
        ],
    )
    look = f"cd {TREE}/uploads; stat -c %n:%u:%g:%a:%F given null; getfacl -n given; getfattr -dm - given"
    before = pair.must_run("source", ["bash", "-c", look])
    pair.must("prepare", "sync")
    assert "changed=0" in pair.must("prepare").stdout
    for direction, there in (("forward", "target"), ("back", "source")):
        pair.must("sync", "freeze", "sync", "switch", "thaw", "verify", direction=direction)
        found = pair.fact("verify")
        assert (found["files_different"], found["files_not_proved"]) == (0, 0), found
        assert pair.must_run(there, ["bash", "-c", look]) == before


def test_the_account_may_do_nothing_but_what_the_other_side_may_ask(pair: Pair) -> None:
    for side in SIDES:
        key = pair.run(side, ["cat", "/root/.ssh/authorized_keys"]).out
        assert "bascule-course_files-peer" not in key
        line = pair.must_run(side, ["cat", KEYS]).strip()
        assert line.startswith('from="')
        assert f',restrict,command="sudo -n -- /usr/bin/python3 -I {AGENT} files_receive course_files" ' in line
        assert pair.must_run(side, ["stat", "-c", "%U:%a", KEYS, RULE]).split() == ["mover:600", "root:440"]
        for command in (
            f"cat {HOME}/ssh/id_ed25519",
            f"ls {HOME}",
            "sudo -n id",
            f"sudo -n /usr/bin/python3 -I {AGENT} boot",
            f"sudo -n /usr/bin/python3 -I {AGENT} files_receive course_files more",
            f"sudo -n PYTHONPATH=/tmp /usr/bin/python3 -I {AGENT} files_receive course_files",
            f"touch {TREE}/uploads/mine",
        ):
            code, said = as_mover(pair, side, command)
            assert code != 0, (command, said)
    # What the agent is asked is judged as ever: nothing but a request of the other side's.
    assert '"side": "' in request(pair, "bascule-receive none hello")[1]
    for asked in ("id", "bascule-receive none --server -vlogDtpre.iLsfxC . /etc/", "bascule-receive none; id"):
        code, said = request(pair, asked)
        assert code == 1, said
        assert "expected:" in said
        assert "uid=" not in said
        assert "a request that the SSH server" not in said


def test_a_program_of_the_accounts_own_is_refused_what_the_other_side_may_ask(pair: Pair) -> None:
    """By itself, or below an SSH server that it has started with a key of its own."""
    hello = "bascule-receive none hello"
    command = f"sudo -n -- /usr/bin/python3 -I {AGENT} files_receive course_files"
    own = (
        "cd /tmp && rm -rf own && mkdir -m 700 own && cd own && ssh-keygen -qt ed25519 -N '' -f key && "
        f'printf \'command="{command}" %s\\n\' "$(cat key.pub)" >let_in && '
        "/usr/sbin/sshd -f /dev/null -h /tmp/own/key -p 2222 -oListenAddress=127.0.0.1 -oPidFile=/tmp/own/pid "
        "-oAuthorizedKeysFile=/tmp/own/let_in -oStrictModes=no -oUsePAM=no && "
        "ssh -F/dev/null -i key -p 2222 -oBatchMode=yes -oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null "
        f"127.0.0.1 '{hello}'; code=$?; kill $(cat pid); exit $code"
    )
    for way, above in ((f"SSH_ORIGINAL_COMMAND='{hello}' {command} </dev/null", "runuser"), (own, "sshd")):
        code, said = as_mover(pair, "target", way)
        assert code == 1, said
        assert "expected: a request that the SSH server of " in said, said
        assert f"by {above}" in said, said
        assert "ps -u mover" in said
        assert '"side"' not in said


def test_an_account_that_is_there_for_more_than_transfers_is_named_and_let_in_nowhere(pair: Pair) -> None:
    pair.must_run("target", ["bash", "-c", f"echo 'ssh-ed25519 AAAA somebody' >>{KEYS}"])
    pair.must_run("target", ["systemd-run", "-q", "--unit=moves", "--uid=mover", "sleep", "infinity"])
    try:
        for verb in ("audit", "prepare"):
            done = pair.verb(verb)
            told = " ".join(done.stdout.split())
            assert not done.ok
            assert f"line 2 of {KEYS} lets somebody in for more than the one command" in told, told[-3000:]
            assert "programs of mover run, each of which could ask" in told, told[-3000:]
    finally:
        pair.must_run("target", ["bash", "-c", f"systemctl stop moves; sed -i 2d {KEYS}"])
    pair.must("audit", "prepare")


def test_what_lies_in_the_accounts_way_is_never_followed_by_root(pair: Pair) -> None:
    """A link of the account's to a file of root's: the key is written with the account's own rights, or not at all."""
    pair.must_run("target", ["bash", "-c", f"rm {KEYS}; ln -s /etc/shadow {KEYS}; sha256sum /etc/shadow >/root/shadow"])
    refused = pair.verb("prepare")
    assert not refused.ok
    assert "as mover" in refused.stdout
    pair.must_run("target", ["sha256sum", "--quiet", "-c", "/root/shadow"])
    pair.must_run("target", ["rm", KEYS])
    pair.must("prepare", "sync")


def test_the_right_goes_when_another_account_is_named_and_in_the_end(pair: Pair) -> None:
    for side in SIDES:
        pair.must_run(side, ["useradd", "-rmb", "/var", "-s", "/bin/sh", "carrier"])
    pair.must("prepare", "sync", extra={"rsync_delta_sync_account": "carrier"})
    for side in SIDES:
        assert pair.must_run(side, ["cat", KEYS]) == ""
        assert "\ncarrier ALL = (root) NOPASSWD: BASCULE_" in pair.must_run(side, ["cat", RULE])
    pair.must("retire", direction="back", extra={"scenario_phase": "decommission"})
    for side in SIDES:
        assert pair.run(side, ["test", "-e", RULE]).rc == 1
        assert pair.must_run(side, ["cat", "/var/carrier/.ssh/authorized_keys"]) == ""
