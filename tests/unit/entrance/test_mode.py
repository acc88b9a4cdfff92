"""HAProxy's texts are read strictly."""

from __future__ import annotations

import pytest

from bascule.entrance import mode as modes
from bascule.entrance.mode import EntranceError

STAT = (
    "# pxname,svname,qcur,qmax,scur,smax,slim,stot,status,check_status\n"
    "fe_entrance,FRONTEND,,,3,9,2000,77,OPEN,\n"
    "be_courses,courses,0,0,2,4,,60,UP,L7OK\n"
    "be_courses,BACKEND,1,1,2,4,200,60,UP,\n"
    "be_maintenance,BACKEND,0,0,0,1,200,9,UP,\n\n"
)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (None, None),
        ("", None),
        ("# mode open\n", None),
        ("mode open\n", "open"),
        (modes.render_map("mode", "forward"), "forward"),
        ("other open\nmode maintenance\n", "maintenance"),
    ],
)
def test_the_map_file_gives_the_mode(text: str | None, mode: str | None) -> None:
    """Without an entry it gives none."""
    assert modes.parse_map(text, "mode") == mode


def test_two_modes_are_refused() -> None:
    """Which one HAProxy takes is not for us to guess."""
    with pytest.raises(EntranceError, match="maintenance, open"):
        modes.parse_map("mode open\nmode maintenance\n", "mode")


def test_a_mode_that_is_none_is_refused() -> None:
    """Nothing else gets into the map."""
    with pytest.raises(EntranceError, match="a mode out of open, maintenance, forward"):
        modes.render_map("mode", "opened")


def test_the_running_map_is_read() -> None:
    """Its lines begin with an address; a map that is not loaded is an error, not a closed entrance."""
    assert modes.parse_show_map("0x55d0 mode open\n\n", "mode") == "open"
    assert modes.parse_show_map("\n", "mode") is None
    with pytest.raises(EntranceError, match="mode map loaded"):
        modes.parse_show_map("Unknown map identifier. Please use #<id> or <file>.\n", "mode")


def test_requests_in_flight_are_counted() -> None:
    """Those at work and those in the queue."""
    rows = modes.parse_stat(STAT)
    assert modes.in_flight(rows, "be_courses") == 3
    assert modes.backends(rows) == ["be_courses", "be_maintenance"]
    assert [server.to_dict()["status"] for server in modes.servers(rows)] == ["UP"]
    with pytest.raises(EntranceError, match="be_other"):
        modes.in_flight(rows, "be_other")


@pytest.mark.parametrize("answer", ["", "Permission denied\n"])
def test_statistics_that_are_none_are_an_error(answer: str) -> None:
    """An error must not read as "nothing in flight"."""
    with pytest.raises(EntranceError):
        modes.parse_stat(answer)
