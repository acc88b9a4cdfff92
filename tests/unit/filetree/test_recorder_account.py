"""The account of the recorders is made once and taken away with the last of them, whoever works beside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bascule.filetree.io.fence.side import Side
from bascule.filetree.io.recorder import client
from bascule.system.io.process import Result


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The accounts of a host, and systemd's folder."""
    found: list[str] = []
    (tmp_path / "units").mkdir()
    monkeypatch.setattr(client, "UNITS", tmp_path / "units")
    monkeypatch.setattr(client, "STATE", tmp_path / "state")
    monkeypatch.setattr(client, "_account_exists", lambda: bool(found))
    return found


def test_trees_that_are_prepared_side_by_side_make_one_account(accounts: list[str]) -> None:
    def runner(argv: Sequence[str], **_: Any) -> Result:
        if argv[0] == "useradd":
            time.sleep(0.1)
            # As useradd does, which takes its time.
            assert accounts == [], "user 'bascule-recorder' already exists"
            accounts.append(argv[-1])
        elif argv[0] == "userdel":
            accounts.remove(argv[-1])
        return Result(tuple(argv), 0, "", "")

    sides = [Side(f"files_{number}", "a", f"/srv/{number}", ".s") for number in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: client.install(one, recording=False, runner=runner), sides))
    assert accounts == [client.ACCOUNT]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda one: client.remove(one.component, runner=runner), sides))
    assert sum(f"remove the account {client.ACCOUNT}" in one for one in done) == 1
    assert accounts == []
