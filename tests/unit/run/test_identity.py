"""Which runs of this controller were audits only; what else lies beside them is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bascule.run.io import identity


def test_what_is_no_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "runs_directory", lambda: tmp_path)
    (tmp_path / "cutover.out").write_text("what somebody has kept of a playbook\n")
    (tmp_path / ".commands").mkdir()
    (tmp_path / "latest").symlink_to("cutover.out")
    assert identity.audited_here([]) == []
