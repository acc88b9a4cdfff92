"""What systemd says of units, as systemctl prints it."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.system.io import units
from bascule.system.io.process import Result


class Systemctl:
    """A stand-in for systemctl, with one answer."""

    def __init__(self, answer: str = "") -> None:
        self.answer = answer
        self.asked: list[list[str]] = []

    def __call__(self, argv: Any, **_: Any) -> Result:
        self.asked.append(list(argv))
        return Result(tuple(argv), 0, self.answer, "")


def test_properties_are_read_by_their_names() -> None:
    systemctl = Systemctl("LoadState=loaded\nRestart=no\nUnitFileState=\n\n")
    found = units.shown("pg.service", "LoadState", "Restart", runner=systemctl)
    assert found == {"LoadState": "loaded", "Restart": "no", "UnitFileState": ""}
    assert systemctl.asked == [["systemctl", "show", "--property=LoadState,Restart", "pg.service"]]


@pytest.mark.parametrize(
    ("answer", "enabled"),
    [("enabled\n", True), ("enabled-runtime\n", True), ("disabled\n", False), ("static\n", False), ("", False)],
)
def test_only_what_is_enabled_starts_at_boot(answer: str, enabled: bool) -> None:
    assert units.is_enabled("pg.service", Systemctl(answer)) is enabled


def test_a_unit_is_enabled_and_disabled_by_its_whole_name() -> None:
    systemctl = Systemctl()
    units.set_enabled("pg.service", enabled=True, runner=systemctl)
    units.set_enabled("pg.service", enabled=False, runner=systemctl)
    assert systemctl.asked == [["systemctl", "enable", "pg.service"], ["systemctl", "disable", "pg.service"]]


def test_the_services_that_run_are_the_first_words() -> None:
    lines = "keepalived.service loaded active running Keepalive\npg@1.service loaded activating start x\n\n"
    assert units.active(Systemctl(lines)) == ["keepalived.service", "pg@1.service"]
