"""Safety dumps: which sequences are behind, which dumps go, what is said when one was cut short or changed."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.guard.state import Epoch, GuardState, Receipt
from bascule.postgresql import safety_dump as postgresql_safety_dump
from bascule.postgresql.io.dump import pg_dump, safety_dump, scratch_cluster
from bascule.postgresql.spec import Spec
from bascule.system import safety_dump as dumps
from bascule.system.io import age_keys, dump_notes, sealed
from bascule.system.io.process import Result

from .test_files import make_spec


def sequence(value: int, *, called: bool = True, step: int = 1) -> dict[str, Any]:
    """Make the position of a sequence."""
    return {"value": value, "called": called, "step": step}


@pytest.mark.parametrize(
    ("before", "now", "behind"),
    [
        (sequence(7), sequence(7), False),
        (sequence(7), sequence(9), False),
        (sequence(7), sequence(6), True),
        (sequence(7), sequence(7, called=False), True),
        (sequence(7, called=False), sequence(7), False),
        (sequence(-7, step=-1), sequence(-9, step=-1), False),
        (sequence(-7, step=-1), sequence(-6, step=-1), True),
    ],
)
def test_a_sequence_that_would_give_a_value_again(before: dict[str, Any], now: dict[str, Any], behind: bool) -> None:
    assert postgresql_safety_dump.behind(before, now) is behind


def test_the_newest_dumps_stay() -> None:
    """Epochs are numbers: 10 comes after 9."""
    names = ["a-safety-9.x", "a-safety-10.y", "a-safety-2.z", "b-safety-1.x", "a-db-2026.sql.age", "a-safety-notes"]
    assert dumps.superseded(names, "a", 2) == ["a-safety-2.z"]
    assert dumps.superseded(names, "a", 9) == []


@pytest.mark.parametrize(
    ("notes", "active", "state", "reason"),
    [
        (None, "", "none", None),
        (None, "safety-dump", "none", None),
        (None, "follow", "running", None),
        ({"state": "running", "epoch": "2.a"}, "safety-dump", "running", None),
        ({"state": "running", "epoch": "2.a"}, "follow", "not_proved", "it was cut short"),
        ({"state": "running", "epoch": "2.a"}, "", "not_proved", "it was cut short"),
        ({"state": "proved", "epoch": "2.a", "reason": ""}, "", "proved", ""),
        ({"state": "proved", "epoch": "1.f", "reason": ""}, "", "none", None),
        ({"state": "proved", "epoch": "1.f", "reason": ""}, "follow", "running", None),
    ],
)
def test_what_was_cut_short_is_not_proved_and_an_earlier_switchs_is_none(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    notes: dict[str, Any] | None,
    active: str,
    state: str,
    reason: str | None,
) -> None:
    wanted = Spec.from_dict({**make_spec().to_dict(), "safety_dump": True})
    receipt = Receipt("accounts_db", "source", Epoch(2, "a"), {}, "")
    guard = replace(GuardState("accounts_db", "source"), receipt=receipt)
    monkeypatch.setattr(dump_notes, "HOME", tmp_path)
    there = SimpleNamespace(is_running=lambda name, *_: name == wanted.unit_name(active))
    monkeypatch.setattr(safety_dump, "units", there)
    monkeypatch.setattr(dump_notes, "units", there)
    (tmp_path / "accounts_db").mkdir()
    if notes:
        (tmp_path / "accounts_db" / "safety_dump.json").write_text(json.dumps(notes))
    found = safety_dump.state(wanted, guard)
    assert (found["state"], found.get("reason")) == (state, reason)


def test_without_the_plans_wish_nothing_is_dumped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety_dump, "units", None)
    assert safety_dump.begin(make_spec(), "1.x") == []


def test_a_dump_that_does_not_start_stops_nobody_from_following(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: Any) -> None:
        raise BasculeError(expected="a unit", found="no bus")

    monkeypatch.setattr(dump_notes, "HOME", tmp_path)
    (tmp_path / "accounts_db").mkdir()
    monkeypatch.setattr(dump_notes, "units", SimpleNamespace(stop=refuse, start=refuse))
    wanted = Spec.from_dict({**make_spec().to_dict(), "safety_dump": True})
    assert "no bus" in safety_dump.begin(wanted, "1.x")[0]


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host's own key, in a directory of the test."""
    monkeypatch.setattr(age_keys, "KEY", tmp_path / "age" / "key.txt")
    monkeypatch.setattr(age_keys, "HOME", tmp_path)
    return tmp_path / "age" / "key.txt"


def keygen(argv: list[str], **_: Any) -> Result:
    """Stand in for age-keygen."""
    if argv[1] == "-o":
        Path(argv[2]).write_text("AGE-SECRET-KEY-1\n")
    return Result(tuple(argv), 0, "age1own\n", "")


def test_a_key_is_made_once_and_its_private_part_is_never_told(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age_keys, "run", keygen)
    assert age_keys.ensure("accounts_db", ["age1other", ""], check=True)["changed"] is True
    assert not key.exists()
    first = age_keys.ensure("accounts_db", ["age1other", ""])
    assert first["changed"] is True
    assert "SECRET" not in json.dumps(first)
    assert age_keys.recipients("accounts_db") == ["age1other", "age1own"]
    assert age_keys.ensure("accounts_db", ["age1other", ""])["changed"] is False


def test_what_is_no_recipient_is_refused(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(age_keys, "run", keygen)
    with pytest.raises(BasculeError, match="age recipients"):
        age_keys.ensure("accounts_db", ["ssh-ed25519 AAAA"])


def test_without_recipients_nothing_is_dumped(key: Path) -> None:
    with pytest.raises(BasculeError, match="nothing was dumped"):
        age_keys.recipients("accounts_db")


def test_a_flipped_bit_is_found_before_anything_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "0.dump.age"
    path.write_bytes(b"age-encryption.org/v1 and more")
    dump = {"path": str(path), "sha256": sealed.digest(path)}
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(data)
    with pytest.raises(BasculeError, match="changed or damaged"):
        sealed.unseal(dump, tmp_path / "plain", owner="root")
    assert not (tmp_path / "plain").exists()


def test_the_owner_who_is_there_already_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = tmp_path / "globals.sql"
    plain.write_text("CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER;\nCREATE ROLE courses;\n")
    given: list[str] = []
    monkeypatch.setattr(pg_dump, "run", lambda argv, stdin, **_: given.append(stdin))
    pg_dump.restore_globals(make_spec(), plain, 25432)
    assert given == ["ALTER ROLE postgres WITH SUPERUSER;\nCREATE ROLE courses;\n"]


def test_a_dump_that_fails_leaves_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Failed:
        """A pg_dump that complains and ends."""

        stdout = stderr = None
        returncode = 1

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __enter__(self) -> Failed:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("subprocess.Popen", Failed)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 0, b"", b"no such table"))
    with pytest.raises(BasculeError, match="no such table"):
        sealed.seal(["pg_dump"], tmp_path / "x.age", ["age1own"])
    assert list(tmp_path.iterdir()) == []


def test_a_dump_leaves_the_guard_room_on_its_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tenth of what is free, at most 1 GiB; what does not fit is no dump."""
    seen: list[list[str]] = []

    def sealing(argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        seen.append(argv)
        return subprocess.CompletedProcess(argv, 1, b"", b"file too large")

    monkeypatch.setattr(
        "subprocess.Popen",
        lambda *_, **__: contextlib.nullcontext(SimpleNamespace(stdout=None, stderr=None, returncode=0)),
    )
    monkeypatch.setattr("subprocess.run", sealing)
    for free in (1000, 100 << 30):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        with pytest.raises(BasculeError, match="file too large"):
            sealed.seal(["pg_dump"], tmp_path / "x.age", ["age1own"])
    assert [argv[:3] for argv in seen] == [
        ["prlimit", "--fsize=900:", "age"],
        ["prlimit", f"--fsize={99 << 30}:", "age"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_cluster_sorts_as_the_server_does() -> None:
    row = {"encoding": "UTF8", "collate": "C.UTF-8", "ctype": "C.UTF-8", "provider": "i", "locale": "fr"}
    session: Any = SimpleNamespace(query=lambda sql: [row])
    assert scratch_cluster.like(session) == [
        "--encoding=UTF8",
        "--lc-collate=C.UTF-8",
        "--lc-ctype=C.UTF-8",
        "--locale-provider=icu",
        "--icu-locale=fr",
    ]
    row["provider"] = "c"
    assert "--locale-provider=icu" not in scratch_cluster.like(session)


@pytest.fixture
def dump(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> safety_dump.SafetyDump:
    """A safety dump of epoch 3, with its files in a directory of the test."""
    monkeypatch.setattr(dump_notes, "HOME", tmp_path)
    monkeypatch.setattr(dump_notes, "DIRECTORY", tmp_path / "backups")
    monkeypatch.setattr(safety_dump, "load_spec", lambda component: make_spec())
    monkeypatch.setattr(safety_dump, "equality_file", lambda spec, epoch, name: str(tmp_path / f"{epoch}.{name}"))
    (tmp_path / "accounts_db").mkdir()
    return safety_dump.SafetyDump("accounts_db", "3.x")


def noted(tmp_path: Path) -> dict[str, Any]:
    """What it has written down."""
    found: dict[str, Any] = json.loads((tmp_path / "accounts_db" / "safety_dump.json").read_text())
    return found


def digested(rows: int, total: str) -> dict[str, Any]:
    """The digest of one table."""
    table = {"status": "done", "how": "binary", "rows": rows, "digest": total}
    database = {"tables": {"app.logins": table}, "schema": {"kinds": {}}, "sequences": {}}
    return {
        "epoch": "3.x",
        "mode": "fast",
        "layout": "logical",
        "cluster": {"kinds": {}},
        "databases": {"courses": database},
    }


@pytest.mark.parametrize(
    ("notes", "runs", "why"),
    [
        ({"epoch": "3.x", "state": "running", "held": True}, True, ""),
        ({"epoch": "3.x", "state": "running"}, True, "not within 0 s"),
        ({"epoch": "2.x", "state": "running", "held": True}, True, "not within 0 s"),
        ({"epoch": "3.x", "state": "not_proved", "reason": "no key"}, False, "no key"),
        ({}, False, "its unit has ended"),
    ],
)
def test_whether_the_dump_holds_the_state_is_its_own_word_for_this_switch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: dict[str, Any], runs: bool, why: str
) -> None:
    monkeypatch.setattr(dump_notes, "HOME", tmp_path)
    monkeypatch.setattr(dump_notes, "units", SimpleNamespace(is_running=lambda name, *_: runs))
    (tmp_path / "accounts_db").mkdir()
    (tmp_path / "accounts_db" / "safety_dump.json").write_text(json.dumps(notes))
    found = safety_dump.not_held(make_spec(), "3.x", 0)
    assert (why in found) if why else not found


def test_without_the_snapshot_of_the_switch_nothing_is_proved(dump: safety_dump.SafetyDump, tmp_path: Path) -> None:
    assert dump.run() == 1
    found = noted(tmp_path)
    assert found["state"] == "not_proved"
    assert "a snapshot for epoch 3.x" in found["reason"]


@pytest.mark.parametrize(
    ("restored", "sequences", "state", "reason"),
    [
        (digested(5, "7"), [], "proved", ""),
        (digested(4, "7"), [], "not_proved", "courses.app.logins"),
        (digested(5, "8"), [], "not_proved", "courses.app.logins"),
        (digested(5, "7"), ["sequence courses.app.ids is behind"], "not_proved", "app.ids is behind"),
    ],
)
def test_only_what_equals_the_snapshot_is_proved(
    dump: safety_dump.SafetyDump,
    tmp_path: Path,
    restored: dict[str, Any],
    sequences: list[str],
    state: str,
    reason: str,
) -> None:
    dump._judge(digested(5, "7"), restored, sequences)
    found = noted(tmp_path)
    assert found["state"] == state
    assert reason in found["reason"]


def test_a_full_disk_is_said_before_anything_is_restored(
    dump: safety_dump.SafetyDump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5))
    session: Any = SimpleNamespace(value=lambda sql: 100)
    # The restored copy with a tenth more, and the decrypted dump.
    dump.notes.tell(bytes=30)
    with pytest.raises(BasculeError, match="140 bytes free"):
        dump._room(session)
