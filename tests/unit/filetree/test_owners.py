"""Owners by name: two name services with other numbers, and whoever does not exist at the other side is refused."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bascule.agent.__main__ import main as agent
from bascule.filetree import acl, transfer
from bascule.filetree.acl import GROUP, NOBODY, USER, Entry
from bascule.filetree.changes import CHANGED, Mark
from bascule.filetree.io import setup
from bascule.filetree.io.fence import side as fence_side
from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.manifest import accounts, take
from bascule.filetree.io.manifest.accounts import Accounts, AccountUnknown
from bascule.filetree.io.transfer import by_name as transfer_by_name
from bascule.filetree.io.transfer import entries as transfer_entries
from bascule.filetree.io.transfer import hard_links, peer, rsync, ssh_key
from bascule.filetree.io.transfer import owners as transfer_owners
from bascule.filetree.io.transfer import push as transfer_push
from bascule.filetree.io.transfer.peer import Talk
from bascule.filetree.io.transfer.ssh_key import Peer
from bascule.filetree.manifest import compare
from bascule.filetree.mounts import TreeError
from bascule.filetree.transfer import NAMES, NUMBERS, Push, TransferError
from bascule.system.io import storage

from .test_by_name import Ends
from .test_take import old
from .test_transfer import KEPT, SERVER, TREE, push
from .world import COMPONENT, Kernel, adopt, fill, host

__all__ = ["ends"]
ACL = "system.posix_acl_access"
HERE = {"amina": 3101, "badis": 3102, "root": 0, 'odd \udcff"name': 3103}
THERE = {"amina": 4202, "badis": 4201, "root": 0, 'odd \udcff"name': 4203, "guest": 3101}


GIVEN = {"component": COMPONENT, "side": "files-mtp", "epoch": "1.a", "issued_at": "2026-11-20T20:00:00+00:00"}
RECEIPT = {**GIVEN, "position": {}}


class Service:
    """A name service, of users and groups alike, that counts who asks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers: dict[str, int] = {}
        self.asked: list[object] = []

        def by_number(number: int) -> str:
            self.asked.append(number)
            return next(name for name, one in [*self.numbers.items(), ("", number)] if one == number) or _none()

        def by_name(name: str) -> int:
            return self.numbers[name]

        monkeypatch.setattr(pwd, "getpwuid", lambda number: _Found(pw_name=by_number(number)))
        monkeypatch.setattr(grp, "getgrgid", lambda number: _Found(gr_name=by_number(number)))
        monkeypatch.setattr(pwd, "getpwnam", lambda name: _Found(pw_uid=by_name(name)))
        monkeypatch.setattr(grp, "getgrnam", lambda name: _Found(gr_gid=by_name(name)))


class _Found:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def _none() -> NoReturn:
    raise KeyError("no such number")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    found = Service(monkeypatch)
    found.numbers = HERE
    return found


def make(root: Path, numbers: dict[str, int]) -> Path:
    """A tree whose owners are these."""
    root.mkdir()
    for name in ("mine", "listed", "theirs", "nobody's"):
        (root / name).write_text(name)
    os.link(root / "mine", root / "linked")
    os.symlink("mine", root / "symbolic")
    os.chown(root / "mine", numbers["amina"], numbers["badis"])
    os.chown(root / "symbolic", numbers["badis"], 0, follow_symlinks=False)
    os.chown(root / "theirs", numbers['odd \udcff"name'], 0)
    os.chown(root / "nobody's", 5005, 5005)
    give(root / "listed", numbers["amina"], numbers["badis"])
    os.chown(root, numbers["badis"], numbers["amina"])
    for path in (*root.iterdir(), root):
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    return root


def give(path: Path, user: int, group: int) -> None:
    plain = [Entry(0x01, NOBODY, 6), Entry(0x04, NOBODY, 4), Entry(0x10, NOBODY, 7), Entry(0x20, NOBODY, 0)]
    # The order among the numbers is another at the other side.
    named = [Entry(USER, user, 7), Entry(USER, group, 1), Entry(GROUP, group, 5)]
    os.setxattr(path, ACL, acl.write([*plain, *named]))


def test_names_are_equal_whatever_their_numbers_are(service: Service, tmp_path: Path) -> None:
    paths = [tmp_path / "here.jsonl", tmp_path / "there.jsonl"]
    digests = {}
    for owners in (NUMBERS, NAMES):
        taken = []
        for path, numbers in zip(paths, (HERE, THERE)):
            service.numbers = numbers
            root = tmp_path / path.stem
            if not root.exists():
                make(root, numbers)
            taken.append(take.take_manifest(str(root), path, owners=owners, cached=False)[0])
        digests[owners] = taken
    assert digests[NAMES][0] == digests[NAMES][1]
    assert len({*digests[NAMES], *digests[NUMBERS]}) == 3
    own = {one.path: one for one in take.read_manifest(paths[0])}
    assert (own[b"mine"].uid, own[b"mine"].gid, own[b"symbolic"].gid) == ("amina", "badis", 0)
    assert (own[b"nobody's"].uid, own[b"theirs"].uid) == (5005, 'odd \\xff"name')

    # The number that amina has here is somebody else's there.
    os.chown(tmp_path / "there" / "mine", HERE["amina"], THERE["badis"])
    give(tmp_path / "there" / "listed", HERE["amina"], THERE["badis"])
    take.take_manifest(str(tmp_path / "there"), paths[1], owners=NAMES)
    found = compare(take.read_manifest(paths[0]), take.read_manifest(paths[1]))
    assert [one.describe() for one in found.differences] == ["linked: uid", "listed: acl", "mine: uid"]


def test_a_number_is_looked_up_once(service: Service) -> None:
    told = Accounts(NAMES)
    assert [told.users[number] for number in (3101, 3101, 0, 7, 7)] == ['"amina"', '"amina"', "0", "7", "7"]
    assert service.asked == [3101, 7]
    assert [Accounts().users[number] for number in (3101, 0)] == ["3101", "0"]
    assert service.asked == [3101, 7]


def test_a_kept_digest_does_not_keep_what_somebody_was_called(service: Service, tmp_path: Path) -> None:
    root, target = make(tmp_path / "tree", HERE), tmp_path / "m.jsonl"
    before, _ = take.take_manifest(str(root), target, owners=NAMES)
    old(target)
    again, count = take.take_manifest(str(root), target, owners=NAMES)
    assert (again, count.read_files) == (before, 0)
    old(target)
    # Renamed at the name service: nothing in the tree has changed.
    service.numbers = {**{name: number for name, number in HERE.items() if name != "amina"}, "amina.b": 3101}
    after, _ = take.take_manifest(str(root), target, owners=NAMES)
    fresh, _ = take.take_manifest(str(root), tmp_path / "fresh.jsonl", owners=NAMES)
    assert after == fresh != before
    acls = [one.acl for one in take.read_manifest(target) if one.path == b"listed"]
    assert b"amina.b" in bytes.fromhex(acls[0].partition("2.")[2].partition(".")[0])


def test_fingerprints_are_equal_by_name(service: Service, tmp_path: Path) -> None:
    names = [b"mine", b"linked", b"listed", b"nobody's", b"symbolic", b"theirs"]
    found = {}
    for side, numbers in (("here", HERE), ("there", THERE)):
        service.numbers = numbers
        root = make(tmp_path / side, numbers)
        found[side] = [transfer_entries.Tree(str(root), owners).fingerprints(names) for owners in (NUMBERS, NAMES)]
    assert found["here"][1] == found["there"][1]
    same = [one == other for one, other in zip(found["here"][0], found["there"][0])]
    assert same == [False, False, False, True, False, False]


def test_the_root_gets_the_numbers_of_its_side(service: Service, tmp_path: Path) -> None:
    root, other = make(tmp_path / "here", HERE), tmp_path / "there"
    give(root, HERE["amina"], HERE["badis"])
    told = transfer_entries.attributes(str(root), NAMES)
    other.mkdir()
    service.numbers = THERE
    transfer_entries.give_attributes(str(other), told)
    info = other.stat()
    assert (info.st_uid, info.st_gid) == (THERE["badis"], THERE["amina"])
    entries = acl.read(os.getxattr(other, ACL)) or []
    assert [(one.tag, one.number) for one in entries if one.number != NOBODY] == [
        (USER, THERE["badis"]), (USER, THERE["amina"]), (GROUP, THERE["badis"]),
    ]  # fmt: skip
    assert transfer_entries.attributes(str(other), NAMES) == told
    service.numbers = {"badis": 4201}
    with pytest.raises(AccountUnknown, match="the user amina at this side"):
        transfer_entries.give_attributes(str(other), told)


def test_everybody_who_is_not_the_same_at_the_other_side_is_named(service: Service) -> None:
    service.numbers = {"amina": 4202, "alias": 4202, "toor": 0, "root": 0, "guest": 5005, 'odd"': 1}
    users = ['"amina"', '"alias"', '"toor"', '"badis"', "5005", "5006", "0", '"odd\\""']
    assert accounts.unmatched(users, ["0", '"badis"'], "tls") == [
        "user alias has the number 4202 at tls, that of amina",
        "user badis does not exist at tls",
        "user toor has the number 0 at tls, that of toor",
        "user 5005 is called guest at tls, but nothing at the other side",
        "group badis does not exist at tls",
    ]


def test_all_who_own_something_are_found(service: Service, tmp_path: Path) -> None:
    root = make(tmp_path / "tree", HERE)
    odd = '"odd \\\\xff\\"name"'
    assert transfer_owners.of_tree(str(root)) == {
        "users": sorted(["0", '"amina"', '"badis"', "5005", odd]),
        "groups": sorted(["0", '"amina"', '"badis"', "5005"]),
    }
    gone = [b"listed", b"gone", b"mine/below"]
    assert transfer_owners.of_paths(os.fsencode(root), gone) == {
        "users": ['"amina"', '"badis"', "0"], "groups": ['"badis"', "0"],
    }  # fmt: skip


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Service) -> Iterator[Ends]:
    """Two equal trees that share a state; at the other side nobody but root exists."""
    passive = host(tmp_path, monkeypatch, "files-tls")
    active = host(tmp_path, monkeypatch)
    fill(active.side, a="one")
    for kernel in (active, passive):
        storage.make_directory(kernel.side.home / "jobs")
        Path(kernel.side.tree).symlink_to(kernel.side.path)
    subprocess.run(["rsync", "-a", f"{active.side.path}/", f"{passive.side.path}/"], check=True)
    adopt(active.side, "open")
    active.recording = True
    monkeypatch.setattr(peer, "_check_passive", lambda side: None)
    monkeypatch.setattr("bascule.filetree.io.fence.mounts.open_for_writing", lambda path: [])
    monkeypatch.setattr(transfer_owners, "unmatched", lambda side, told: _unknown(side, told))
    found = Ends(active, passive.side)
    hard_links.index_links(active.side)
    assert transfer_by_name.settle(active.side, found.talk, Mark("g1", 0), [])
    yield found
    found.close()


def _unknown(side: Side, told: dict[str, list[str]]) -> list[str]:
    return [f"user {one} does not exist at {side.name}" for one in told["users"] if one != "0"]


def by_names(ends: Ends) -> Push:
    return Push(COMPONENT, ends.active.tree, ends.passive.tree, "192.0.2.2", "/k", "/h", owners=NAMES)


def test_a_delta_with_an_owner_that_the_other_side_lacks_carries_nothing(ends: Ends) -> None:
    os.chown(Path(ends.active.path) / "a", HERE["amina"], 0)
    ends.tell((CHANGED, b"a"))
    known, now = ends.kernel.since(COMPONENT, Mark("g1", 0))
    assert now is not None
    with pytest.raises(TransferError, match='user "amina" does not exist at files-tls') as caught:
        transfer_by_name.carry(ends.active, by_names(ends), ends.talk, known, now, True, ends.run)
    assert (caught.value.state, ends.ran) == ("nothing was carried over", [])
    assert (Path(ends.passive.path) / "a").stat().st_uid == 0


def test_a_scan_that_finds_such_an_owner_carries_nothing(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(Path(ends.active.path) / "a", HERE["amina"], 0)

    @contextlib.contextmanager
    def talk(asked: Push) -> Iterator[Talk]:
        yield ends.talk

    monkeypatch.setattr(peer, "talk", talk)
    monkeypatch.setattr(rsync, "with_retries", lambda *_: pytest.fail("something was carried"))
    with pytest.raises(TransferError, match="to have the same name at the other side"):
        transfer_push._by_scan(ends.active, by_names(ends), True, 0, lambda progress: None)


def test_rsync_is_asked_for_names_and_the_other_side_lets_in_what_both_were_set_up_for(tmp_path: Path) -> None:
    asked = push(owners=NAMES)
    assert "--numeric-ids" not in transfer.rsync_command(asked)
    assert "--rsync-path=bascule-receive-names 1.a" in transfer.rsync_command(asked)
    assert transfer_push._remote(asked, "manifest")[-1] == "bascule-receive-names 1.a manifest"
    named = SERVER.replace(" --numeric-ids", "")
    assert transfer.parse_request(f"bascule-receive-names 1.a {named} . {TREE}/", TREE, KEPT, NAMES).opened == "1.a"
    for command, owners in (
        (f"bascule-receive-names 1.a {SERVER} . {TREE}/", NAMES),
        (f"bascule-receive 1.a {named} . {TREE}/", NAMES),
        (f"bascule-receive 1.a {named} . {TREE}/", NUMBERS),
        (f"bascule-receive-names 1.a {named} . {TREE}/", NUMBERS),
    ):
        with pytest.raises(TransferError, match="a transfer into"):
            transfer.parse_request(command, TREE, KEPT, owners)
    assert shutil.which("rsync"), "rsync is not installed: make packages"
    spy = tmp_path / "spy"
    spy.write_text(f'#!/bin/sh\nfor last; do :; done\necho "$@" >{tmp_path}/words\nexit 1\n')
    spy.chmod(0o755)
    words = transfer.rsync_command(push(owners=NAMES, source=str(tmp_path)))
    spied = [f"--rsh={spy}" if word.startswith("--rsh=") else word for word in words]
    subprocess.run(spied, check=False, capture_output=True, timeout=30, env={**os.environ, "LC_ALL": "C"})
    got = (tmp_path / "words").read_text()
    assert transfer.parse_request(got[got.index(transfer.RECEIVE) :], TREE, KEPT, NAMES).argv[0] == "rsync"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = host(tmp_path, monkeypatch)
    assert ssh_key.admit.__kwdefaults__ is not None
    monkeypatch.setitem(ssh_key.admit.__kwdefaults__, "target", tmp_path / "authorized_keys")
    return found


def set_up(kernel: Kernel, adopted: str, owners: str, **more: Any) -> list[str]:
    side = kernel.side
    asked = Side(side.component, side.name, side.path, side.sentinel, side.base, owners=owners)
    return setup.set_up(asked, Peer("ssh-ed25519 AAAApeer", [], "192.0.2.2"), adopted, **more)


def test_a_side_that_was_set_up_otherwise_gives_no_answer(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(kernel, "closed", NAMES)
    for what in ("hello", "manifest", "talk", "fetch own", f"{SERVER} . {kernel.side.tree}/"):
        monkeypatch.setenv("SSH_ORIGINAL_COMMAND", f"bascule-receive 0.adopted {what}")
        assert agent(["files_receive", COMPONENT]) == 1
        assert "expected: owners by names, as prepare has set up files-mtp" in capsys.readouterr().err
    monkeypatch.setenv("SSH_ORIGINAL_COMMAND", "bascule-receive-names 0.adopted manifest")
    assert agent(["files_receive", COMPONENT]) == 0


def filled(kernel: Kernel) -> tuple[Path, ...]:
    """Leave what a side keeps of comparisons."""
    jobs = kernel.side.home / "jobs"
    kept = (kernel.side.manifest, *(jobs / name for name in ("reread.json", "verify.state.json", "verify.different")))
    for path in kept:
        storage.make_directory(path.parent)
        path.write_text("{}")
    fence_side.note(kernel.side, reference={"agreed": "x"}, agreed="x", touched=False)
    return kept


def test_another_choice_forgets_what_was_compared_before(kernel: Kernel) -> None:
    set_up(kernel, "closed", NUMBERS)
    kept = filled(kernel)
    assert set_up(kernel, "closed", NUMBERS) == []
    assert set_up(kernel, "closed", NAMES, check=True)
    assert all(path.exists() for path in kept)
    assert any("owners are told by names" in one for one in set_up(kernel, "closed", NAMES))
    assert not any(path.exists() for path in kept)
    known = fence_side.facts(kernel.side)
    assert (known["reference"], known["agreed"], known["touched"]) == ({}, "", True)
    assert (fence_side.load(COMPONENT).owners, fence_side.owners_set(kernel.side)) == (NAMES, NAMES)
    assert set_up(kernel, "closed", NAMES) == []


@pytest.mark.parametrize("change", [{"opened": "1.a"}, {"receipt": RECEIPT}])
def test_after_a_switch_the_choice_stands(kernel: Kernel, change: dict[str, Any]) -> None:
    set_up(kernel, "closed", NAMES)
    kept = filled(kernel)
    path = kernel.side.base / "guard" / f"{COMPONENT}.json"
    storage.write_json(path, {**kernel.side.guard().to_dict(), "promised": "1.a", **change})
    known = (fence_side.facts(kernel.side), fence_side.owners_set(kernel.side))
    with pytest.raises(TreeError, match="owners by names, as when course_files was switched") as caught:
        set_up(kernel, "closed", NUMBERS)
    assert "-e rsync_delta_sync_owners=names" in caught.value.next_command
    assert (fence_side.facts(kernel.side), fence_side.owners_set(kernel.side)) == known
    assert all(path.exists() for path in kept)
