"""A tree of all that a file system can hold goes there and back whole; what cannot go is named before it begins."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import SIDES, Pair

pytestmark = pytest.mark.long

ROOT = "/srv/courses"
PRIVATE = "/var/lib/bascule/course_files/tree"
# Names, kinds, times and rights at the ends of what there may be.
MAKE = f"""
import os, socket, stat
os.chdir("{ROOT}")
os.makedirs("ends/names")
os.chdir("ends")
names = [b"x" * 255, "é".encode() * 127 + b"z", b"\\xff\\xfe invalid", b"new\\nline", b"cr\\r", b" ", b"\\\\#012",
    b"\\\\#101", b"-rf", b"*",
    b"[a-z]?", b"~", b"\\x01\\x7f", b"Case", b"case", b"e\\xcc\\x81", b"\\xc3\\xa9", b".f.AbCdEf"]
for name in names:
    open(b"names/" + name, "wb").write(name)
for name in (".~tmp~", ".rsync-partial", ".rsync-tmp"):
    os.makedirs("names/" + name)
    open("names/" + name + "/f", "w").write(name)
os.mkfifo("fifo", 0o640)
os.mknod("chr", 0o640 | stat.S_IFCHR, os.makedev(1, 3))
os.mknod("blk", 0o640 | stat.S_IFBLK, os.makedev(7, 9))
socket.socket(socket.AF_UNIX).bind("sock")
for name, second in (("1901", -2147483648), ("2038", 2147483648), ("2107", 4323456000), ("2446", 15032385535)):
    open("t" + name, "w").write(name)
    os.utime("t" + name, ns=(second * 10**9, second * 10**9 + 999999999))
os.utime("names/case", ns=(-1500000001, -1500000001))
open("suid", "w").write("s"); os.chown("suid", 33, 33); os.chmod("suid", 0o6755)
open("mode0", "w").write("s"); os.chmod("mode0", 0)
os.makedirs("one/two")
open("one/a", "w").write("hard"); os.link("one/a", "one/two/b"); os.makedirs("three"); os.link("one/a", "three/c")
os.symlink("x" * 4000, "long"); os.link("long", "long2"); os.link("fifo", "fifo2")
with open("holes", "wb") as out:
    out.truncate(64 << 20); out.seek(20 << 20); out.write(b"mid")
os.makedirs("given"); os.chmod("given", 0o3777)
"""
RIGHTS = f"""set -e
cd {ROOT}/ends
setfacl -d -m u:33:rwx,g:1234:r-x,m::rx given; setfacl -m u:77:rw-,u:78:---,g:99:rwx suid; setfacl -m u:5:rwx one
mkdir -p given/below; touch given/below/f
setfattr -n user.big -v "$(head -c 3000 /dev/zero | tr '\\0' a)" mode0; setfattr -n trusted.x -v y mode0
setfattr -n user.empty mode0; setfattr -n user.binary -v 0x00ff00 mode0
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 t2107
# As rsync --fake-super leaves it.
setfattr -n user.rsync.%stat -v '100644 0,0 33:33' t2446
chattr +d t2038
mkdir many; cd many; seq -f 'e%06g' 1 100000 | xargs -n 5000 touch
"""
# A sparse file that grows, is punched and is written through a mapping; its times are set back again and again.
GROW = f"""
import ctypes, mmap, os, random, time
random.seed(1)
libc = ctypes.CDLL(None, use_errno=True)
path = "{ROOT}/ends/grow"
grown = os.open(path, os.O_RDWR | os.O_CREAT)
size = 16 << 20
os.ftruncate(grown, size)
end, number = time.time() + 25, 0
while time.time() < end:
    number += 1
    at = random.randrange(0, size - 70000)
    if number % 4 == 0:
        os.pwrite(grown, os.urandom(65536), at)
    elif number % 4 == 1:
        libc.fallocate(grown, 3, ctypes.c_long(at & ~4095), ctypes.c_long(1 << 20))
    elif number % 4 == 2 and size < 60 << 20:
        size += 1 << 20
        os.ftruncate(grown, size)
    else:
        with mmap.mmap(grown, size) as shared:
            shared[at : at + 100] = os.urandom(100)
    if number % 7 == 0:
        os.utime(path, ns=(10**18, 10**18))
    time.sleep(0.02)
os.utime(path, ns=(10**18, 10**18))
"""
DEEP = f"""
import os
os.makedirs("{ROOT}/deep")
os.chdir("{ROOT}/deep")
for number in range(40):
    name = chr(97 + number % 26) * 200
    os.mkdir(name)
    os.chdir(name)
"""
LOOK = f"""cd {PRIVATE}/ends
find . -type d -printf '%P|%y|%m|%U|%G|%T@|%n\\0' -o -printf '%P|%y|%m|%U|%G|%s|%T@|%n|%l\\0' | sort -z | tr '\\0' '\\n'
getfacl -RPn . | grep -v '^# file: many/'
find . -path ./many -prune -o -print0 | sort -z | xargs -0 getfattr -dhm - -- 2>&1
find . -type f -print0 | sort -z | xargs -0 sha256sum -z | sha256sum
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    # The source keeps large attributes in files of their own, the target cannot.
    room = ["-N", "140000"]
    pair = start_pair("files", "odd", tree_options={"source": [*room, "-O", "ea_inode"], "target": room})
    pair.must_run("source", ["python3", "-c", MAKE])
    pair.must_run("source", ["bash", "-c", RIGHTS])
    return pair


def test_what_cannot_be_carried_is_named_by_the_audit(pair: Pair) -> None:
    pair.must_run("source", ["python3", "-c", DEEP])
    pair.must_run("source", ["mkdir", f"{ROOT}/ends/.bascule-partial"])
    try:
        refused = pair.verb("audit")
    finally:
        pair.must_run("source", ["rm", "-rf", f"{ROOT}/deep", f"{ROOT}/ends/.bascule-partial"])
    assert not refused.ok
    told = refused.stdout.replace("\n", " ")
    assert "paths too long to be carried or kept" in told
    assert "directories with the name that transfers give to their parts" in told
    assert "ends/.bascule-partial" in told
    assert "nothing was changed" in told
    assert pair.must("audit").ok
    survey = pair.fact("audit")["sides"][pair.host("source")]["survey"]
    assert survey["not_carried"]["flag nodump"] == 1


@pytest.mark.parametrize("size", [65000, 5000])
def test_attributes_that_the_other_side_cannot_hold_are_named_by_the_audit(pair: Pair, size: int) -> None:
    pair.must_run("source", ["touch", f"{ROOT}/ends/large"])
    script = f"import os; os.setxattr('{ROOT}/ends/large', 'user.large', os.urandom({size}))"
    pair.must_run("source", ["python3", "-c", script])
    try:
        refused = pair.verb("audit")
    finally:
        pair.must_run("source", ["rm", f"{ROOT}/ends/large"])
    assert not refused.ok
    told = " ".join(refused.stdout.split())
    assert "extended attributes" in told, refused.stdout[-3000:]
    assert f"{size} of {size} bytes: ENOSPC" in told, refused.stdout[-3000:]
    assert "nothing was changed" in told


def test_it_goes_there_and_back_whole(pair: Pair) -> None:
    pair.must("prepare")
    argv = ["systemd-run", "--quiet", "--collect", "--unit=growing", "python3", "-c", GROW]
    pair.must_run("source", argv)
    pair.must("sync", "sync")
    pair.until("source", "! systemctl is-active --quiet growing", seconds=60)
    for direction in ("forward", "back"):
        pair.must("sync", "freeze", "sync", "switch", "thaw", "verify", direction=direction)
        found = pair.fact("verify")
        assert (found["files_different"], found["files_not_proved"], found["not_proved"]) == (0, 0, []), found
        assert found["files_compared"] > 100_000
        assert found["not_compared"]["time of birth"].startswith(tuple("123456789"))
        looks = [pair.must_run(side, ["bash", "-c", LOOK]) for side in SIDES]
        # As sets: a file system lists the attributes of an entry in an order of its own.
        one, other = (set(look.splitlines()) for look in looks)
        assert sorted(one ^ other) == [], (sorted(one - other)[:9], sorted(other - one)[:9])
        assert "user.rsync.%stat" in looks[0]
        assert "0xff" in looks[0] or "AP8A" in looks[0]
