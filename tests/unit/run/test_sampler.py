"""The sampler as it is sent, run by this machine's own Python; where it says so, programs of systemd are stand-ins."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bascule.run.io import monitor as machines
from bascule.run.io import sampler
from bascule.run.monitor import Sample, Series
from bascule.system.ssh import Target

UNITS = "postgresql@15-main.service loaded active running PostgreSQL\ncron.service loaded active running Cron\n"
LINES = [
    {"_SYSTEMD_UNIT": "postgresql@15-main.service", "PRIORITY": "3"},
    {"_SYSTEMD_UNIT": "init.scope", "UNIT": "postgresql@15-main.service"},
    {"_SYSTEMD_UNIT": "cron.service"},
    {},
]


def program(folder: Path, name: str, text: str) -> None:
    """Put a stand-in of a program into a folder."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def sampled(monkeypatch: pytest.MonkeyPatch, capsys: Any, folder: Path, units: dict[str, list[str]]) -> machines.Answer:
    """Take samples with these programs alone."""
    monkeypatch.setenv("PATH", str(folder))
    sampler.main(units, dict.fromkeys(units, 1000.0))
    return machines.parsed(capsys.readouterr().out)


def standing_in(folder: Path, journal: str) -> None:
    program(folder, "systemctl", f"echo '{UNITS}'")
    program(folder, "journalctl", journal)


def test_errors_are_counted_for_the_units_that_are_asked_about(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    lines = "\n".join(map(json.dumps, LINES))
    standing_in(tmp_path, f"echo \"$*\" > {tmp_path}/asked\n/bin/cat <<'END'\n{lines}\nEND")
    found = sampled(monkeypatch, capsys, tmp_path, {"db": ["postgresql*"], "jobs": ["cron*"], "all": ["*"]})
    errors = {name: value for name, value in found.values.items() if name.startswith("journal_errors")}
    assert errors == {"journal_errors db": 2, "journal_errors jobs": 1, "journal_errors all": 4}
    assert found.reasons == {}
    assert "--since=@1000" in (tmp_path / "asked").read_text()
    assert 0 < found.values["disk_used"] <= 100
    assert found.values["load"] >= 0
    assert len(found.machine) == 12


@pytest.mark.parametrize(
    ("journal", "units", "why"),
    [
        ("exit 1", ["postgresql*"], "OSError: journalctl has ended with 1"),
        ("echo 'insufficient permissions' >&2; exit 1", ["postgresql*"], "with 1: insufficient permissions"),
        ("echo no json", ["postgresql*"], "JSONDecodeError"),
        ("exit 0", ["mariadb*"], "systemd knows no unit like mariadb* here"),
        (None, ["postgresql*"], "journalctl is missing on this machine"),
    ],
)
def test_what_cannot_be_counted_is_said_and_is_no_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path, journal: str | None, units: list[str], why: str
) -> None:
    standing_in(tmp_path, journal or "")
    if journal is None:
        (tmp_path / "journalctl").unlink()
    found = sampled(monkeypatch, capsys, tmp_path, {"db": units})
    assert why in found.reasons["journal_errors db"]
    assert "journal_errors db" not in found.values
    assert set(found.values) == {"disk_used", "load"}, "the others are told all the same"


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(sampler, "_PATIENCE_SECONDS", 0.2)
    standing_in(tmp_path, "exec /bin/sleep 60")
    found = sampled(monkeypatch, capsys, tmp_path, {"db": ["postgresql*"]})
    assert found.reasons == {"journal_errors db": "journalctl has not ended within 0.2 s"}


def test_room_is_what_df_says(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    real = [
        int(words[0].rstrip("%"))
        for flag in ("pcent", "ipcent")
        for line in subprocess.run(
            ["df", f"--output={flag}", "/"], capture_output=True, text=True, check=True
        ).stdout.splitlines()[1:]
        if (words := line.split()) and words[0] != "-"
    ]
    found = sampled(monkeypatch, capsys, tmp_path, {})
    # `df` rounds up, and another file system may be fuller.
    assert found.values["disk_used"] >= max(real) - 1.5


@pytest.mark.parametrize(
    "text", ["", "no json", "[1]", '{"at": 1}', '{"at": "x", "machine": "", "values": {}, "why": {}}']
)
def test_an_answer_that_cannot_be_read_says_so(text: str) -> None:
    found = machines.parsed(text)
    assert found.why.startswith("the answer cannot be read")
    assert found.values == {}


def test_a_machine_is_asked_over_its_own_way_and_one_that_is_silent_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "ssh", '[ "$1" = b ] && exit 255; exec sh -c "$2"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = machines.ask({name: Target(name, ("ssh", name)) for name in "ab"}, {"a": {"db": ["no-such*"]}}, {})
    assert found["a"].why == ""
    assert set(found["a"].reasons) == {"journal_errors db"}
    assert "255" in found["b"].why


def test_samples_of_a_day_are_appended_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    sample = Sample(Series("db", "load", "a"), 0.5, "", 7.0)
    path = machines.keep(tmp_path, "2027-01-15", [sample])
    with path.open("a") as file:
        file.write('{"series": {"compo')
    machines.keep(tmp_path, "2027-01-15", [sample, sample])
    assert machines.read(tmp_path, "2027-01-15") == [sample] * 3
    assert machines.read(tmp_path, "2027-01-14") == []
