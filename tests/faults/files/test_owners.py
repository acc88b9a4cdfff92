"""Owners that travel by name: the same names have other numbers at the other side, and some numbers other names."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair

pytestmark = pytest.mark.long


TREE = "/srv/courses"
PRIVATE = "/var/lib/bascule/course_files/tree"
# What each side calls 3101 is somebody else at the other.
ACCOUNTS = {
    "source": "useradd -u 3101 teacher; useradd -u 3102 pupil; groupadd -g 3301 staffroom; useradd -u 3103 late",
    "target": "useradd -u 4202 teacher; useradd -u 4201 pupil; groupadd -g 4402 staffroom; useradd -u 3101 guest",
}
FILL = f"""set -e
mkdir -p {TREE}/owners/inner && cd {TREE}/owners
for name in owned listed changed plain late; do echo $name >$name; done
ln owned linked && ln -s owned symbolic
setfacl -m u:teacher:rw,u:pupil:r,g:staffroom:rx listed
setfacl -d -m u:pupil:rx,g:staffroom:rx inner
setfacl -m u:pupil:rx {TREE}
chown teacher:staffroom owned changed inner && chown -h pupil:staffroom symbolic && chown late late
chown 5005:5005 plain && chgrp staffroom {TREE}
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    pair = start_pair("files", "owners", variables={"rsync_delta_sync_owners": "names"})
    for side, accounts in ACCOUNTS.items():
        pair.must_run(side, ["bash", "-ec", accounts])
    pair.must_run("source", ["bash", "-c", FILL])
    return pair


def shell(pair: Pair, side: str, text: str) -> str:
    return pair.must_run(side, ["bash", "-ec", f"cd {PRIVATE}\n{text}"])


def numbers(pair: Pair, side: str, *names: str) -> list[str]:
    return shell(pair, side, f"stat -c %u:%g {' '.join(names)}").split()


def by_name(pair: Pair, side: str) -> str:
    """All owners and ACLs as a person reads them, whatever their numbers are and in which order they stand."""
    look = "find . -path ./lost+found -prune -o -printf '%P %y %m %u %g\\n'; getfacl -R -p -P ."
    return "\n".join(sorted(shell(pair, side, look).splitlines()))


def test_a_name_that_does_not_exist_at_the_target_is_refused_before_anything_is_carried(pair: Pair) -> None:
    named = f"user late does not exist at {pair.host('target')}"
    audited = pair.verb("audit")
    assert not audited.ok
    assert named in " ".join(audited.stdout.split())
    refused = pair.verb("prepare")
    assert not refused.ok
    assert f"to have the same name at the other side; found: {named}" in " ".join(refused.stdout.split())
    assert shell(pair, "target", "find . -mindepth 1 -not -name lost+found") == ""
    pair.must_run("target", ["useradd", "-u", "4203", "late"])
    pair.must("audit", "prepare", "verify")
    assert pair.fact("verify")["files_different"] == 0


def test_owners_have_the_numbers_of_their_side(pair: Pair) -> None:
    paths = ("owners/owned", "owners/linked", "owners/symbolic", "owners/late", "owners/plain", ".")
    assert numbers(pair, "source", *paths) == [
        "3101:3301", "3101:3301", "3102:3301", "3103:0", "5005:5005", "2000:3301",
    ]  # fmt: skip
    assert numbers(pair, "target", *paths) == [
        "4202:4402", "4202:4402", "4201:4402", "4203:0", "5005:5005", "2000:4402",
    ]  # fmt: skip
    lists = shell(pair, "target", "getfacl -n owners/listed; getfacl -n -d owners/inner; getfacl -n .")
    for entry in ("user:4202:rw-", "user:4201:r--", "group:4402:r-x", "user:4201:r-x"):
        assert entry in lists
    assert by_name(pair, "target") == by_name(pair, "source")


def test_what_has_changed_goes_by_names_as_well(pair: Pair) -> None:
    shell(
        pair,
        "source",
        "chown pupil owners/changed; setfacl -m u:teacher:r owners/changed; setfacl -m g:staffroom:rwx .; "
        "chown teacher .; echo new >owners/new; chown teacher:staffroom owners/new",
    )
    pair.must("sync")
    found = pair.fact("transfer")
    assert (found["found_by"], found["scan_because"], found["proved_equal"]) == ("names", "", True)
    assert numbers(pair, "target", "owners/changed", "owners/new", ".") == ["4201:4402", "4202:4402", "4202:4402"]
    assert by_name(pair, "target") == by_name(pair, "source")


def test_another_name_is_a_difference_although_the_number_is_the_same(pair: Pair) -> None:
    shell(pair, "target", "chown -h 3101 owners/owned; setfacl -x u:4201 -m u:3102:r owners/listed")
    assert numbers(pair, "target", "owners/owned") == ["3101:4402"]
    refused = pair.verb("verify")
    assert not refused.ok
    details = pair.fact("verify")["details"]
    assert sorted(details) == ["owners/linked: uid", "owners/listed: acl", "owners/owned: uid"]
    pair.must("verify", extra={"rsync_delta_sync_repair": True})
    assert pair.fact("verify")["files_different"] == 0
    assert numbers(pair, "target", "owners/owned") == ["4202:4402"]
    assert by_name(pair, "target") == by_name(pair, "source")


def test_a_new_name_that_only_one_side_has_is_refused_before_it_is_carried(pair: Pair) -> None:
    pair.must_run("source", ["useradd", "-u", "3104", "newcomer"])
    shell(pair, "source", "echo x >owners/newcomers; chown newcomer:staffroom owners/newcomers")
    refused = pair.verb("sync")
    assert not refused.ok
    assert f"user newcomer does not exist at {pair.host('target')}" in " ".join(refused.stdout.split())
    assert "nothing was carried over" in refused.stdout
    assert pair.run("target", ["test", "-e", f"{PRIVATE}/owners/newcomers"]).rc == 1
    pair.must_run("target", ["useradd", "-u", "4204", "newcomer"])
    pair.must("sync")
    assert numbers(pair, "target", "owners/newcomers") == ["4204:4402"]


def test_the_other_choice_begins_with_a_look_at_everything(pair: Pair) -> None:
    refused = pair.verb("sync", extra={"rsync_delta_sync_owners": "numbers"})
    assert not refused.ok
    assert "set up for names" in refused.stdout
    for owners, number in (("numbers", "3101:3301"), ("names", "4202:4402")):
        pair.must("prepare", extra={"rsync_delta_sync_owners": owners})
        found = pair.fact("transfer")
        assert (found["found_by"], found["proved_equal"]) == ("scan", True)
        assert numbers(pair, "target", "owners/owned") == [number]


def test_there_and_back_with_the_numbers_of_each_side(pair: Pair) -> None:
    pair.must("sync", "freeze", "sync", "switch", "thaw", "verify")
    assert pair.fact("transfer")["found_by"] == "names"
    assert pair.fact("verify")["files_different"] == 0
    refused = pair.verb("prepare", extra={"rsync_delta_sync_owners": "numbers"})
    assert not refused.ok
    assert "owners by names, as when course_files was switched" in " ".join(refused.stdout.split())
    shell(
        pair, "target", "echo back >owners/back; chown teacher:staffroom owners/back; setfacl -m u:pupil:rw owners/back"
    )
    pair.must("freeze", "sync", "switch", "thaw", direction="back")
    assert pair.fact("transfer")["found_by"] == "names"
    assert numbers(pair, "source", "owners/back", "owners/owned") == ["3101:3301", "3101:3301"]
    assert "user:3102:rw-" in shell(pair, "source", "getfacl -n owners/back")
    pair.must("verify")
    assert pair.fact("verify")["files_different"] == 0
    assert by_name(pair, "target") == by_name(pair, "source")
