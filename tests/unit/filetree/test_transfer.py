"""The command of a transfer, what its output means, and what the receiving side lets in."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bascule.filetree import transfer
from bascule.filetree.transfer import Push, TransferError, parse_request

TREE, KEPT = "/var/lib/bascule/c/tree", "/var/lib/bascule/c/kept"
SERVER = (
    "--server -blHogDtpAXrcxSe.iLsfxCIvu --log-format=%i --timeout=60 --bwlimit=20480 --backup-dir "
    f"{KEPT}/1.a/0001 --max-delete=100 --delete-delay --partial-dir .bascule-partial --numeric-ids --info=NAME0,STATS2"
)


def push(**changes: Any) -> Push:
    values: dict[str, Any] = {
        "component": "c", "source": TREE, "target": TREE, "address": "192.0.2.1", "identity": "/k/id",
        "known_hosts": "/k/hosts", "opened": "1.a",
    }  # fmt: skip
    return Push(**{**values, **changes})


def test_the_command_keeps_everything_and_pins_the_host() -> None:
    command = transfer.rsync_command(push(bwlimit="10m", backup_dir=f"{KEPT}/1.a/0001", checksum=True, dry_run=True))
    assert {"--archive", "--hard-links", "--acls", "--xattrs", "--numeric-ids", "--sparse"} <= set(command)
    assert {"--partial-dir=.bascule-partial", "--delete-delay", "--max-delete=1000", "--bwlimit=10m"} <= set(command)
    assert {"--checksum", "--dry-run", "--backup", f"--backup-dir={KEPT}/1.a/0001"} <= set(command)
    assert command[-2:] == [f"{TREE}/", f"root@192.0.2.1:{TREE}/"]
    shell = next(word for word in command if word.startswith("--rsh="))
    assert {"-oStrictHostKeyChecking=yes", "-oHostKeyAlias=c", "-F/dev/null", "-i/k/id"} <= set(shlex.split(shell))


def test_an_ipv6_address_is_bracketed() -> None:
    assert transfer.rsync_command(push(address="2001:db8::1"))[-1] == f"root@[2001:db8::1]:{TREE}/"


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(TransferError, match="surprise"):
        transfer.push_from({**vars(push()), "surprise": 1})
    assert transfer.push_from(vars(push())) == push()


def test_a_real_rsync_asks_for_what_is_let_in(tmp_path: Path) -> None:
    """The rsync of this machine, with the command above, up to the words the other side would get."""
    assert shutil.which("rsync"), "rsync is not installed: make packages"
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$@" >{tmp_path}/words\nexit 1\n')
    spy.chmod(0o755)
    (tmp_path / "tree").mkdir()
    asked = push(source=str(tmp_path / "tree"), backup_dir=f"{KEPT}/1.a/0002", bwlimit="5m")
    for dry_run in (False, True):
        command = transfer.rsync_command(Push(**{**vars(asked), "dry_run": dry_run}))
        command = [f"--rsh={spy}" if word.startswith("--rsh=") else word for word in command]
        subprocess.run(command, check=False, capture_output=True, timeout=30, env={**os.environ, "LC_ALL": "C"})
        words = (tmp_path / "words").read_text()
        request = parse_request(words[words.index(transfer.RECEIVE) :], TREE, KEPT)
        assert (request.opened, request.dry_run, request.backup_dir) == ("1.a", dry_run, f"{KEPT}/1.a/0002")
        assert request.argv[0] == "rsync"


def test_a_transfer_into_the_private_tree_is_let_in() -> None:
    request = parse_request(f"bascule-receive 1.a {SERVER} . {TREE}/", TREE, KEPT)
    assert (request.opened, request.dry_run, request.backup_dir) == ("1.a", False, f"{KEPT}/1.a/0001")
    dry = parse_request(f"bascule-receive 1.a --server -nlogDtpre.iLsfxCIvu --numeric-ids . {TREE}/", TREE, KEPT)
    assert dry.dry_run


@pytest.mark.parametrize(
    "command",
    [
        "",
        "id",
        "rsync --server -r . /",
        f"bascule-receive 1.a --server --sender -logDtpre.iLsfxCIvu --numeric-ids . {TREE}/",
        "bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids . /etc/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids . {TREE}/../../x/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids / {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --backup-dir=/etc/1.a/0001 . {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --backup-dir {KEPT}/../x/0001 . {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --backup-dir={KEPT}/../0001 . {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --partial-dir=/etc . {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --log-file=/etc/cron.d/x . {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --temp-dir=/etc . {TREE}/",
        f"bascule-receive 1.a --server -logDtpre.iLsfxCIvu --numeric-ids --remove-source-files . {TREE}/",
        f"bascule-receive 1.a --server 'x;id' . {TREE}/",
        f"bascule-receive 1.a --server -logDtprKe.iLsfxCIvu --numeric-ids . {TREE}/",
        f"bascule-receive 1.a --server 'unclosed . {TREE}/",
    ],
)
def test_anything_else_is_refused(command: str) -> None:
    with pytest.raises(TransferError, match="a transfer into"):
        parse_request(command, TREE, KEPT)


def test_progress_is_read_as_rsync_prints_it() -> None:
    line = "    588,895  49%  530.36MB/s    0:00:07 (xfr#1, to-chk=2/5)"
    assert transfer.parse_progress(line) == {
        "bytes": 588895, "percent": 49, "rate_bytes": int(530.36 * 2**20), "remaining": "0:00:07",
    }  # fmt: skip
    assert transfer.parse_progress("<f+++++++++ 100% of it") is None


def test_figures_that_are_missing_are_missing() -> None:
    text = "Number of files: 1,204 (reg: 3)\nNumber of deleted files: 0\nTotal transferred file size: 5 bytes\n"
    assert transfer.parse_stats(text) == {"files_seen": 1204, "files_deleted": 0, "bytes_changed": 5}


@pytest.mark.parametrize(
    "line", ["<f+++++++++ new", "*deleting   gone", ".d..t...... ./", "hf+++++++++ b => a", ".f....og..x x"]
)
def test_changes_are_told_from_other_lines(line: str) -> None:
    assert transfer.is_change(line)


@pytest.mark.parametrize("line", ["", "Number of files: 3", "sent 3 bytes", "  1  0%", "deleting in ."])
def test_other_lines_are_no_changes(line: str) -> None:
    assert not transfer.is_change(line)


def test_vanished_files_are_normal_until_the_tree_must_stand_still() -> None:
    transfer.judge(24, "", final=False, max_delete=1)
    with pytest.raises(TransferError, match="should stand still"):
        transfer.judge(24, "file has vanished: x", final=True, max_delete=1)


@pytest.mark.parametrize(
    ("rc", "text"), [(25, "max_delete 7"), (23, "could not be transferred"), (255, "the link failed")]
)
def test_failures_say_what_they_mean(rc: int, text: str) -> None:
    with pytest.raises(TransferError, match=text) as caught:
        transfer.judge(rc, "rsync error: some", final=False, max_delete=7)
    assert "rsync error: some" in caught.value.found
    assert caught.value.next_command


def test_progress_for_people() -> None:
    describe = transfer.describe_progress
    assert describe(
        {"stage": "transfer", "bytes": 2_000_000, "percent": 4, "rate_bytes": 10**6, "remaining": "0:01:00"}
    ) == ("2 MB, 4 %, 1.0 MB/s, 0:01:00 left")
    assert describe({"stage": "reading", "files": 5, "bytes": 3_000_000}) == "reading: 5 entries, 3 MB"
    assert describe({"stage": "waiting for the link", "message": "refused"}) == "waiting for the link: refused"
    assert describe({}) == ""


def test_the_transfer_that_a_window_begins_with_knows_the_other_side_as_well() -> None:
    """The sync after the freeze takes its outcome: without the link it must be able to end as that sync would."""
    tasks = Path(__file__).parents[3] / "roles/rsync_delta_sync/tasks"
    asked = [
        task["bascule_filetree_job"]["stands_at"]
        for name in ("capture", "push")
        for task in yaml.safe_load((tasks / f"{name}.yml").read_text())
        if (task.get("bascule_filetree_job") or {}).get("operation") == "push"
    ]
    assert asked == ["{{ __rsync_delta_sync_stands_at }}"] * 2
