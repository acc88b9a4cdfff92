"""The measurement of the link on this machine's loopback: it measures, admits one, and is gone afterwards."""

from __future__ import annotations

import socket
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.system import link_rate
from bascule.system.io import throughput
from bascule.system.link_rate import RateError


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_stream_is_measured_and_the_listener_is_gone() -> None:
    began = time.monotonic()
    port, token = throughput.listen("127.0.0.1", 2)
    intervals, ahead = throughput.send("127.0.0.1", port, token, 2)
    assert link_rate.judge(intervals)["mbit"] > 0
    # Both read one clock, at most so far apart.
    assert abs(ahead) < time.monotonic() - began
    deadline = time.monotonic() + 60
    while not free(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert free(port)


def test_a_wrong_token_is_not_admitted_and_the_right_one_still_is() -> None:
    port, token = throughput.listen("127.0.0.1", 1)
    with pytest.raises(RateError, match=r"a stream to 127\.0\.0\.1"):
        throughput.send("127.0.0.1", port, "0" * len(token), 0.2)
    assert throughput.send("127.0.0.1", port, token, 1)[0]


def test_an_address_that_is_not_here_is_refused() -> None:
    with pytest.raises(RateError, match=r"to listen at 192\.0\.2\.7"):
        throughput.listen("192.0.2.7", 1)


def test_nobody_listening_is_an_error_and_not_a_rate() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(RateError, match="not measured"):
        throughput.send("127.0.0.1", port, "x", 1)


COLLECTS = """
import os, sys, time
from bascule.system.io import throughput
print(throughput.collect(lambda into: os.readv(0, [into]), time.monotonic() + 60).decode())
"""


def test_a_stream_into_a_program_is_measured_where_no_port_is_free() -> None:
    began = time.monotonic()
    intervals, ahead = throughput.pour([sys.executable, "-c", COLLECTS], 1)
    assert link_rate.judge(intervals)["mbit"] > 0
    assert abs(ahead) < time.monotonic() - began


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('Permission denied (publickey)')", "exit status 1: Permission denied"),
        ("import sys; sys.stdin.buffer.read(); print('{}')", "exit status 0: no answer from the receiver"),
        ("import sys; sys.stdin.buffer.read(); print('[1]')", "exit status 0: no answer"),
        ("", "no answer"),
    ],
)
def test_a_program_that_does_not_take_the_stream_is_an_error_and_not_a_rate(program: str, words: str) -> None:
    with pytest.raises(RateError) as caught:
        throughput.pour([sys.executable, "-c", program], 0.2)
    assert words in caught.value.found


def test_a_stream_that_stands_still_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "_GRACE", 1.0)
    began = time.monotonic()
    with pytest.raises(RateError, match="not measured"):
        throughput.pour([sys.executable, "-c", "import time; time.sleep(600)"], 0.2)
    assert time.monotonic() - began < 60


@given(st.floats(0.1, 100_000), st.floats(1, 99))
def test_a_share_leaves_the_rest_of_the_link_to_others(mbit: float, percent: float) -> None:
    limit = link_rate.share(mbit, percent)
    assert limit.endswith("k")
    kib = int(limit[:-1])
    assert kib == 1 or kib * 1024 * 8 / 1e6 <= mbit * percent / 100 + 1e-6
    assert (kib + 1) * 1024 * 8 / 1e6 > mbit * percent / 100


@pytest.mark.parametrize(("mbit", "percent"), [(0, 70), (200, 100), (200, 0)])
def test_a_link_that_is_not_known_or_wholly_ours_has_no_limit(mbit: float, percent: float) -> None:
    assert link_rate.share(mbit, percent) == "0"
