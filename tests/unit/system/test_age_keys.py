"""A host has one age key, however many databases are prepared there at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bascule.system.io import age_keys
from bascule.system.io.process import Result


def test_databases_that_are_prepared_side_by_side_share_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def run(argv: Sequence[str], **_: Any) -> Result:
        if argv[1] == "-o":
            time.sleep(0.1)
            # As age-keygen does, which takes its time and writes over nothing.
            assert not Path(argv[2]).exists(), "file exists"
            Path(argv[2]).write_text("key")
            made.append(argv[2])
        return Result(tuple(argv), 0, "age1own", "")

    monkeypatch.setattr(age_keys, "HOME", tmp_path)
    monkeypatch.setattr(age_keys, "KEY", tmp_path / "age" / "key.txt")
    monkeypatch.setattr(age_keys, "run", run)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda name: age_keys.ensure(name, ["age1other"]), ["a", "b", "c"]))
    assert len(made) == 1
    assert {one["recipient"] for one in found} == {"age1own"}
    assert age_keys.recipients("b") == ["age1other", "age1own"]
