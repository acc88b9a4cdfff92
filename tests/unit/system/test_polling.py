"""What is waited for a moment is looked at at once; what takes long, less often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bascule.system.polling import SHARE, SHORTEST, pause


def test_a_short_wait_loses_next_to_nothing() -> None:
    assert pause(0, 2) == SHORTEST <= 0.05
    assert pause(4, 2) == 0.2
    assert pause(3600, 2) == 2


@given(st.floats(0, 1e6), st.floats(0.05, 10))
def test_a_pause_is_a_small_part_of_what_was_waited(waited: float, longest: float) -> None:
    assert 0 < pause(waited, longest) <= longest
    assert pause(waited, longest) <= max(SHORTEST, SHARE * waited)
    assert pause(waited, longest) <= pause(waited + 1, longest)
