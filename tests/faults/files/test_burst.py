"""A source on which thousands of names come and go within seconds: the next transfer knows all of it, by names."""

from __future__ import annotations

import json
import threading
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair

pytestmark = pytest.mark.long


HOME = "/var/lib/bascule/course_files"
RECORDER = "bascule-course_files-recorder"
MANIFEST = f"cd /; python3 /usr/local/lib/bascule/bascule.pyz manifest {HOME}/tree /root/whole.jsonl --all"
# Inode numbers are given out again and again: the handle of a name that is gone is that of a file being made. One name
# in eight stays, as an upload does: written under one name, and renamed over another.
BURST = """
import os, sys
root, names = "/srv/courses/uploads/" + sys.argv[1], int(sys.argv[2])
os.makedirs(root)
for number in range(names):
    name = f"{root}/.upload-{number:08x}"
    with open(name, "wb") as out:
        out.write(b"%d" % number)
    if number % 8:
        os.unlink(name)
    else:
        os.rename(name, f"{root}/file-{number % 400}")
    if number % 500 == 0:
        os.makedirs(f"{root}/made-{number}/below")
        with open(f"{root}/made-{number}/below/inside", "wb") as out:
            out.write(b"inside %d" % number)
        os.rename(f"{root}/made-{number}", f"{root}/moved-{number}")
        os.makedirs(f"{root}/short")
        os.rmdir(f"{root}/short")
        os.link(f"{root}/file-{number % 400 // 8 * 8}", f"{root}/linked-{number}")
        with open(f"{root}/linked-{number}", "ab") as out:
            out.write(b" more")
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    pair = start_pair("files", "burst")
    pair.must("prepare", "sync")
    assert pair.fact("transfer")["found_by"] == "names"
    return pair


def burst(pair: Pair, names: int, *where: str) -> None:
    """Have names come and go in several directories at once."""
    failures: list[BaseException] = []

    def one(directory: str) -> None:
        try:
            pair.must_run("source", ["python3", "-c", BURST, directory, str(names)], timeout=300)
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=one, args=(directory,)) for directory in where]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failures, failures


def assert_by_names_and_same(pair: Pair) -> None:
    pair.must("sync")
    found = pair.fact("transfer")
    assert (found["found_by"], found["scan_because"], found["proved_equal"]) == ("names", "", True)
    digests = [json.loads(pair.must_run(side, ["bash", "-c", MANIFEST], timeout=300)) for side in ("source", "target")]
    assert digests[0]["manifest"] == digests[1]["manifest"]


def status(pair: Pair) -> dict[str, Any]:
    """What the recorder says of itself, asked as a transfer asks."""
    ask = (
        "import socket; s = socket.socket(socket.AF_UNIX); "
        "s.connect('/run/bascule-recorder-course_files/socket'); s.sendall(b'{}'); "
        "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
    )
    found: dict[str, Any] = json.loads(pair.must_run("source", ["python3", "-c", ask]))
    return found


def test_thousands_of_names_that_come_and_go_do_not_end_a_generation(pair: Pair) -> None:
    before = status(pair)
    burst(pair, 6000, "one", "two")
    after = status(pair)
    assert (after["generation"], after["ended"], after["recording"]) == (before["generation"], before["ended"], True)
    journals = pair.must_run("source", ["find", "/var/lib/bascule-recorder", "-name", "journal.*", "-printf", "%s\n"])
    assert 0 < sum(map(int, journals.split())) < 16 << 20
    assert_by_names_and_same(pair)
    assert status(pair)["generation"] == before["generation"]


def test_a_recorder_that_comes_late_to_a_burst_still_knows_all_of_it(pair: Pair) -> None:
    before = status(pair)
    pair.must_run("source", ["systemctl", "kill", "-s", "STOP", RECORDER])
    try:
        burst(pair, 4000, "three", "four")
    finally:
        pair.must_run("source", ["systemctl", "kill", "-s", "CONT", RECORDER])
    assert status(pair)["generation"] == before["generation"]
    assert_by_names_and_same(pair)
    kept = pair.must_run("target", ["find", f"{HOME}/tree/uploads/four", "-name", "inside"]).split()
    assert {PurePosixPath(path).parts[-3] for path in kept} == {f"moved-{number}" for number in range(0, 4000, 500)}
