"""A cut link is seen from the machine that would use it."""

from __future__ import annotations

import socket

from bascule.system.io import reach


def test_a_port_that_answers_and_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reach.why_not("127.0.0.1", port) == ""
    said = reach.why_not("127.0.0.1", port, 1.0)
    assert said == f"no connection to 127.0.0.1, port {port}: Connection refused"


def test_one_that_keeps_silent_is_given_up_in_time() -> None:
    with socket.socket() as full:
        # Nobody takes what has come in, and no more fits.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address, port = full.getsockname()
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)
            one.connect_ex((address, port))
        assert reach.why_not(address, port, 0.3).startswith(f"no connection to {address}, port {port}: ")
        for one in held:
            one.close()
