"""Files and processes, the parts of the world everything else stands on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bascule.agent.io.build import build
from bascule.errors import CommandFailed, StoreError
from bascule.run.io import identity
from bascule.run.io.journal import Journal
from bascule.system.io import process, storage


def test_a_durable_write_replaces_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f"
    storage.write_durably(path, "one", 0o600)
    storage.write_durably(path, b"\xff", 0o644)
    assert path.read_bytes() == b"\xff"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["f"]
    assert storage.read_text(path) == "\udcff"


def test_appending_and_removing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    storage.append_durably(path, "a\n")
    storage.append(path, "b")
    assert (storage.read_text(path), storage.size(path), storage.ends_with_newline(path)) == ("a\nb", 3, False)
    assert (storage.remove(path), storage.remove(path), storage.size(path)) == (True, False, 0)


def test_a_private_directory_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory below /tmp can be made first by anybody who knows its name."""
    home = tmp_path / "home"
    home.mkdir(0o755)
    storage.private_directory(home / "a" / "cp")
    storage.private_directory(home / "a" / "cp")
    assert (home / "a" / "cp").stat().st_mode & 0o777 == 0o700
    (home / "link").symlink_to(home / "a" / "cp")
    with pytest.raises(StoreError, match="link is a symbolic link"):
        storage.private_directory(home / "link")
    (home / "a" / "cp").chmod(0o770)
    with pytest.raises(StoreError, match=r"cp is writable for others \(mode 0770\)"):
        storage.private_directory(home / "a" / "cp")
    (home / "a" / "cp").chmod(0o700)
    (home / "a").chmod(0o777)
    with pytest.raises(StoreError, match=r"a is writable for others \(mode 0777\)"):
        storage.private_directory(home / "a" / "cp")
    # As /tmp is: nobody renames or removes what is another's.
    (home / "a").chmod(0o1777)
    storage.private_directory(home / "a" / "cp")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(StoreError, match="cp is owned by user"):
        storage.private_directory(home / "a" / "cp")


def test_json_that_does_not_parse_is_an_error(tmp_path: Path) -> None:
    assert storage.read_json(tmp_path / "none") is None
    (tmp_path / "f").write_text("{")
    with pytest.raises(StoreError, match="never guesses"):
        storage.read_json(tmp_path / "f")


def test_a_command_says_what_it_was_and_how_it_ended() -> None:
    assert process.run(["cat"], stdin="é\udcff").stdout == "é\udcff"
    assert process.run(["sh", "-c", "exit 3"], check=False).rc == 3
    with pytest.raises(CommandFailed, match=r"exit status 3: why"):
        process.run(["sh", "-c", "echo why >&2; exit 3"])
    with pytest.raises(CommandFailed, match="still running"):
        process.run(["sleep", "9"], timeout=0.1)
    with pytest.raises(CommandFailed, match="to start"):
        process.run(["/no/such/program"])


def test_the_run_is_the_named_one_else_the_latest_else_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(identity.RUNS, str(tmp_path))
    monkeypatch.delenv(identity.RUN, raising=False)
    assert identity.choose_run("my plan")[0].endswith("-my-plan")
    monkeypatch.delenv(identity.RUN)
    Journal(tmp_path, "r7", "ctl", "d").start({}, {"plan": "x"})
    assert identity.choose_run("x") == ("r7", "")
    monkeypatch.setenv(identity.RUN, "r8")
    assert (identity.choose_run("x"), identity.current_run()) == (("r8", ""), "r8")
    monkeypatch.setenv(identity.RUN, "../r9")
    with pytest.raises(Exception, match="a run id of letters"):
        identity.choose_run("x")


def test_the_latest_run_of_another_plan_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(identity.RUNS, str(tmp_path))
    monkeypatch.delenv(identity.RUN, raising=False)
    lab = Journal(tmp_path, "20261120-200000-lab", "ctl", "d")
    lab.start({}, {"plan": "lab"})
    new, _ = identity.choose_run("techcorp")
    assert new.endswith("-techcorp")
    assert (tmp_path / "latest").resolve() == lab.directory.resolve(), "choosing changes nothing"
    monkeypatch.delenv(identity.RUN)
    assert identity.choose_run("lab") == (lab.run, "")
    lab.path.unlink()
    for plan, name in (("lab", lab.run), ("techcorp", new)):
        monkeypatch.delenv(identity.RUN)
        assert identity.choose_run(plan)[0][-4:] == name[-4:], "a run of an earlier version has it in its name"


def test_the_host_agent_is_the_same_bytes_every_time_and_runs(tmp_path: Path) -> None:
    assert build() == build()
    agent = tmp_path / "bascule.pyz"
    agent.write_bytes(build())
    done = process.run(["python3", "-I", str(agent), "nonsense"], check=False, cwd=str(tmp_path))
    assert (done.rc, "files_receive" in done.stderr and done.stderr.endswith("found: nonsense\n")) == (2, True)
    assert process.run(["python3", "-I", str(agent)], check=False).rc == 2
