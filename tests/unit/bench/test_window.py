"""How the benchmark of the window tells an idle machine from a busy one."""

from benchmarks.bench_window import idle_share


def test_idle_is_what_no_processor_worked() -> None:
    assert idle_share([10, 0, 5, 100, 3, 0, 0], [20, 0, 15, 160, 23, 0, 0]) == 0.8
    assert idle_share([10, 0, 5, 100, 3], [20, 0, 15, 100, 3]) == 0


def test_two_readings_at_the_same_moment_are_no_division_by_zero() -> None:
    assert idle_share([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) == 0
