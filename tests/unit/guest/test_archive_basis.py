"""An archive that is not compressed, and the one restored before it as the basis of its transfer: on real files."""

from __future__ import annotations

import importlib
import json
import math
import os
import random
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.agent.__main__ import main as agent
from bascule.guest import audit, decisions, forecast, observed, prepare
from bascule.guest.errors import ProxmoxError
from bascule.guest.forecast import Measured
from bascule.guest.io import archive_basis
from bascule.guest.io import pull as guest_pull
from bascule.system import rsync
from bascule.system.io.process import Result

NAMES = [f"vzdump-qemu-100-2026_11_20-08_46_0{number}.vma" for number in range(4)]
OLD, NEW, LATER, _ = NAMES


@pytest.fixture
def nodes_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two folders of archives, and an ssh that notes what is asked and runs it here as far as it is permitted."""
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    shell = tmp_path / "ssh"
    shell.write_text(f'#!/bin/sh\nshift 3\necho "$*" > {tmp_path}/said\nexec "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setattr(rsync, "ssh_command", lambda component, port: [str(shell)])
    return tmp_path


def _job(place: Path, name: str, **values: Any) -> dict[str, Any]:
    return {
        "component": "c",
        "name": "archive",
        "address": "198.18.1.30",
        "port": 22,
        "user": "root",
        "pairs": [{"source": str(place / "from" / name), "target": str(place / "to" / name)}],
        "compress": True,
        "block_size": 16384,
        "bwlimit": 0,
        "disks": False,
        "basis": str(place / "to/.bascule-c"),
        **values,
    }


def _carry(place: Path, name: str, **values: Any) -> Mapping[str, Any]:
    path = place / "pull.job.json"
    path.write_text(json.dumps({"job_id": "x", "job": _job(place, name, **values)}))
    assert agent(["guest_pull", str(path)]) == 0, (place / "pull.status.json").read_text()
    found: Mapping[str, Any] = json.loads((place / "pull.status.json").read_text())
    rsync.permitted((place / "said").read_text().strip(), [str(place / "from")])
    assert (place / "to" / name).read_bytes() == (place / "from" / name).read_bytes()
    return found


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _kept(place: Path, content: bytes, name: str = OLD) -> Path:
    (place / "to" / name).write_bytes(content)
    assert archive_basis.keep(str(place / "to" / name), "c")
    return place / "to/.bascule-c"


def _moved(content: bytes, seed: int = 3) -> bytes:
    """The content with other bytes here and there, some in front of it, and two stretches that have changed places."""
    made = bytearray(b"in front" + content[2 << 20 : 3 << 20] + content[: 2 << 20] + content[3 << 20 :])
    for at in random.Random(seed).sample(range(len(made) - 600), 4):
        made[at : at + 512] = os.urandom(512)
    return bytes(made)


def test_only_what_changed_comes_and_what_is_permitted_is_enough(nodes_: Path) -> None:
    content = os.urandom(8 << 20)
    folder = _kept(nodes_, content)
    (nodes_ / "from" / NEW).write_bytes(_moved(content))
    found = _carry(nodes_, NEW)
    assert found["based"] is True
    assert found["received"] < len(content) / 20
    assert stat.S_IMODE((nodes_ / "to" / NEW).stat().st_mode) == 0o600
    # The basis was only read, and lies under the name that rsync looks for.
    assert (folder / NEW).read_bytes() == content
    assert archive_basis.keep(str(nodes_ / "to" / NEW), "c") is True
    assert _names(nodes_ / "to") == [".bascule-c"]
    assert _names(folder) == [NEW]
    assert (folder / NEW).read_bytes() == (nodes_ / "from" / NEW).read_bytes()


@pytest.mark.parametrize("basis", [None, b"", b"x" * 100_000, os.urandom(1 << 20)])
def test_a_basis_that_is_missing_or_damaged_costs_bytes_only(nodes_: Path, basis: bytes | None) -> None:
    if basis is not None:
        _kept(nodes_, basis)
    content = os.urandom(1 << 20)
    (nodes_ / "from" / NEW).write_bytes(content)
    found = _carry(nodes_, NEW)
    assert found["based"] is (basis is not None)
    assert found["literal"] == len(content)


def test_the_first_copy_goes_on_where_it_stood(nodes_: Path) -> None:
    content = os.urandom(4 << 20)
    (nodes_ / "from" / OLD).write_bytes(content)
    (nodes_ / "to" / OLD).write_bytes(content[: 3 << 20])
    found = _carry(nodes_, OLD)
    assert found["based"] is False
    assert found["literal"] == 1 << 20


def test_what_arrived_whole_is_not_carried_again(nodes_: Path) -> None:
    content = os.urandom(1 << 20)
    _kept(nodes_, os.urandom(1 << 20))
    for side in ("from", "to"):
        (nodes_ / side / NEW).write_bytes(content)
    assert _carry(nodes_, NEW)["literal"] == 0


def test_a_transfer_that_is_killed_leaves_no_half_file_under_the_final_name(nodes_: Path) -> None:
    folder = _kept(nodes_, os.urandom(1 << 20))
    (nodes_ / "from" / NEW).write_bytes(os.urandom(8 << 20))
    job = rsync.Job.from_dict(_job(nodes_, NEW, bwlimit=500, compress=False))
    basis = archive_basis.offer(job, job.pairs[0][1])
    assert basis == 1 << 20
    with subprocess.Popen(rsync.rsync_command(job, *job.pairs[0], basis), stdout=subprocess.DEVNULL) as running:
        while not _names(folder / "arriving"):
            assert running.poll() is None
        running.kill()
    assert _names(nodes_ / "to") == [".bascule-c"]
    assert _names(folder / "arriving") != []
    assert _carry(nodes_, NEW)["based"] is True
    assert _names(folder / "arriving") == []


def test_what_rsync_is_told() -> None:
    job = rsync.Job.from_dict(_job(Path("/d"), NEW))
    plain, based = (rsync.rsync_command(job, "/a", "/b", which) for which in (None, 7))
    assert {"--inplace", "--partial"} <= set(plain)
    assert not {"--inplace", "--partial"} & set(based)
    assert {"--copy-dest=/d/to/.bascule-c", "--temp-dir=/d/to/.bascule-c/arriving"} <= set(based)
    for command in (plain, based):
        assert {"--ignore-times", "--no-whole-file", "--compress-choice=zstd", "--compress-level=1"} <= set(command)


@given(st.integers(0, 1 << 45), st.sampled_from([1024, 4096, 16384, 131072]))
def test_an_archive_is_compared_in_small_blocks_but_not_in_too_many(size: int, most: int) -> None:
    block = rsync.archive_block_size(size, most)
    assert min(4096, most) <= block <= most
    assert block == most or size / block < (4 << 20) + 1
    assert block == min(4096, most) or size / (block // 2) > 4 << 20


def test_clusters_that_have_changed_places_are_found(nodes_: Path) -> None:
    """Proxmox copies several clusters at once: which one comes first is another one each time."""
    dice = random.Random(7)
    clusters = [dice.randbytes(65536) for _ in range(236)]
    moved = [
        cluster
        for at in range(0, 236, 16)
        for cluster in dice.sample(clusters[at : at + 16], len(clusters[at : at + 16]))
    ]

    def archive(order: list[bytes]) -> bytes:
        extents = [os.urandom(512) + b"".join(order[at : at + 59]) for at in range(0, len(order), 59)]
        return b"".join(extents)

    _kept(nodes_, archive(clusters))
    (nodes_ / "from" / NEW).write_bytes(archive(moved))
    assert _carry(nodes_, NEW)["literal"] < 236 * 65536 / 10


@pytest.mark.parametrize("option", ["--copy-dest=/etc", "--temp-dir=/etc", "--compare-dest=/etc", "--link-dest=/etc"])
def test_the_basis_is_no_business_of_the_other_side(option: str) -> None:
    with pytest.raises(Exception, match="options that only read"):
        rsync.permitted(f"rsync --server --sender -Ie.LsfxCIvu {option} . /var/lib/vz/a", ["/var/lib/vz"])


def test_what_proxmox_keeps_beside_an_archive_goes_with_it(nodes_: Path) -> None:
    dump = nodes_ / "to"
    for name in (f"{OLD}.notes", OLD.replace(".vma", ".log"), "vzdump-qemu-100-2026_11_20-08_00_00.vma.zst"):
        (dump / name).write_text("x")
    (dump / OLD).write_bytes(b"archive")
    assert archive_basis.keep(str(dump / OLD), "c", check=True) is True
    assert len(_names(dump)) == 4
    assert archive_basis.keep(str(dump / OLD), "c") is True
    assert archive_basis.keep(str(dump / OLD), "c") is False
    assert _names(dump) == [".bascule-c", "vzdump-qemu-100-2026_11_20-08_00_00.vma.zst"]
    assert stat.S_IMODE((dump / ".bascule-c").stat().st_mode) == 0o700


def test_an_archive_that_was_never_restored_is_a_basis_or_goes(nodes_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = nodes_ / "agent"
    agent.write_text("")
    monkeypatch.setattr(guest_pull, "AGENT", str(agent))
    monkeypatch.setattr(guest_pull, "directory", lambda component: str(nodes_ / component))

    def unit(argv: Any, **options: Any) -> Result:
        return Result(tuple(argv), 0, "inactive\n", "")

    target = nodes_ / "to"
    guest_pull.begin(_job(nodes_, OLD), unit)
    (target / OLD).write_bytes(b"half of it")
    guest_pull.begin(_job(nodes_, OLD), unit)
    assert _names(target) == [OLD]
    guest_pull.begin(_job(nodes_, NEW), unit)
    assert _names(target) == [".bascule-c"]
    assert (target / ".bascule-c" / OLD).read_bytes() == b"half of it"
    (target / NEW).write_bytes(b"another half")
    guest_pull.begin(_job(nodes_, LATER), unit)
    assert _names(target) == [".bascule-c"]
    assert _names(target / ".bascule-c") == [OLD]
    # One that came without a basis is nobody's to take away.
    guest_pull.begin(_job(nodes_, NEW, basis=""), unit)
    (target / NEW).write_bytes(b"kept")
    guest_pull.begin(_job(nodes_, LATER), unit)
    assert (target / NEW).exists()


def test_the_module_keeps_and_removes(nodes_: Path) -> None:
    main = importlib.import_module("bascule_guest_archive_basis").main

    def call(check: bool = False, **params: Any) -> bool:
        given = {"component": "c", "folder": str(nodes_ / "to"), "archive": None, "state": "kept", **params}
        return bool(main(SimpleNamespace(params=given, check_mode=check))["changed"])

    assert call(archive=OLD) is False
    (nodes_ / "to" / OLD).write_bytes(b"archive")
    assert call(check=True, archive=OLD) is True
    assert call(archive=OLD) is True
    assert call(check=True, state="absent") is True
    assert _names(nodes_ / "to/.bascule-c") == [OLD]
    assert call(state="absent") is True
    assert call(state="absent") is False
    assert _names(nodes_ / "to") == []


def test_a_plain_archive_is_asked_for_and_found_beside_a_compressed_one(nodes: Any) -> None:
    here, _, source, _ = nodes
    prepare.adopt(source)
    compressed = prepare.back_up(source)["archive"]["name"]
    made = prepare.back_up(source, plain=True)
    assert made["changed"] is True
    asked = [values for _, path, values in here.written() if path.endswith("/vzdump")]
    assert [values["compress"] for values in asked] == ["zstd", "0"]
    assert made["archive"]["name"].endswith(".vma")
    assert prepare.back_up(source, plain=True)["archive"]["name"] == made["archive"]["name"]
    assert prepare.back_up(source)["archive"]["name"] == compressed


def test_an_old_plain_archive_makes_room_for_the_next_and_a_compressed_one_stays(nodes: Any) -> None:
    here, _, source, _ = nodes
    prepare.adopt(source)
    first = prepare.back_up(source, plain=True)["archive"]
    prepare.back_up(source)
    assert prepare.back_up(source, since=first["ctime"], plain=True)["archive"] == first
    second = prepare.back_up(source, since=first["ctime"] + 1, plain=True)["archive"]
    prepare.back_up(source, since=math.inf)
    names = [row["volid"].rpartition(":")[2] for row in here.archives]
    assert len([name for name in names if name.endswith(".zst")]) == 2
    assert [name for name in names if name.endswith(".vma")] == [f"backup/{second['name']}"]


def test_a_backup_that_fails_after_room_was_made_speaks(nodes: Any) -> None:
    here, _, source, _ = nodes
    prepare.adopt(source)
    prepare.back_up(source, plain=True)
    here.task_results["vzdump"] = ("job errors", ["ERROR: No space left on device", "TASK ERROR: job errors"])
    with pytest.raises(ProxmoxError, match="No space left on device"):
        prepare.back_up(source, since=math.inf, plain=True)
    assert here.archives == []


def test_room_for_plain_archives_is_asked_for_at_both_sides(nodes: Any) -> None:
    here, there, source, target = nodes
    views = observed.look_at_both(source, target)
    size = 1 << 30
    here.storage = there.storage = {"avail": 2 * size}

    def short(way: str) -> list[str]:
        found = audit.audit(source, target, *views, way, True)
        return [line for line in found["refusals"] if "may be needed" in line]

    assert short(decisions.DELTA) == []
    assert [line.split()[3] for line in short(decisions.WARM)] == ["pve-tls", "pve-mtp"]
    here.storage = there.storage = {"avail": 3 * size + (8 << 20)}
    assert short(decisions.WARM) == []


def test_an_archive_that_will_be_replaced_is_room(nodes: Any) -> None:
    here, _, source, target = nodes
    prepare.adopt(source)
    prepare.back_up(source, plain=True)
    here.archives[-1]["size"] = 900 << 20
    here.storage = {"avail": (1 << 30) + (300 << 20)}
    views = observed.look_at_both(source, target)
    found = audit.audit(source, target, *views, decisions.WARM, True)["refusals"]
    assert [line for line in found if "pve-mtp" in line and "may be needed" in line] == []


SIZES = st.integers(1 << 20, 1 << 42)


@given(SIZES, SIZES, st.floats(1e5, 1e10))
def test_a_refresh_carries_less_than_the_archive(one: int, other: int, rate: float) -> None:
    known = Measured(max(one, other), min(one, other), rate)
    cost = forecast.refresh(known)
    assert cost["bytes"] < known.used / 5
    assert known.size < forecast.plain_archive(known.size) < known.size * 1.01 + (2 << 20)


def test_a_refresh_that_was_measured_is_what_is_expected(nodes: Any) -> None:
    _, _, source, target = nodes
    views = observed.look_at_both(source, target)
    found = audit.audit(source, target, *views, decisions.WARM, True, {"rate": 25e6, "refreshed": 5_000_000})
    assert found["forecast"]["refresh"]["bytes"] == 5_000_000
    assert [line for line in found["summary"] if "5.0 MB over the link, before the window" in line]
    assert "refresh" not in audit.audit(source, target, *views)["forecast"]
