from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from divisi.stage_clock import StageClock


@pytest.fixture
def passing() -> tuple[StageClock, Callable[[float], None]]:
    """A clock, and what makes time pass."""
    now = [100.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    return StageClock(lambda: now[0]), wait


def test_a_stage_does_not_count_the_stages_within_it(passing: tuple[StageClock, Callable[[float], None]]) -> None:
    clock, wait = passing
    with clock.stage("encode"):
        wait(1)
        with clock.stage("separate"):
            wait(10)
            with clock.stage("decode"):
                wait(100)
        wait(1)
    assert clock.seconds == {"encode": 2, "separate": 10, "decode": 100}


def test_visits_of_a_stage_add_up_and_the_time_between_counts_for_none(
    passing: tuple[StageClock, Callable[[float], None]],
) -> None:
    clock, wait = passing
    for _ in range(3):
        with clock.stage("upload"):
            wait(2)
        wait(50)
    assert clock.seconds == {"upload": 6}


def test_an_error_ends_its_stage(passing: tuple[StageClock, Callable[[float], None]]) -> None:
    clock, wait = passing

    def fail() -> None:
        with clock.stage("separate"), clock.stage("decode"):
            wait(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with clock.stage("upload"):
        wait(1)
    assert clock.seconds == {"decode": 3, "separate": 0, "upload": 1}


def test_the_waiting_for_each_item_counts_and_the_use_of_it_does_not(
    passing: tuple[StageClock, Callable[[float], None]],
) -> None:
    clock, wait = passing

    def blocks() -> Iterator[int]:
        for number in range(3):
            wait(5)
            yield number
        wait(1)

    for number in clock.each("decode", blocks()):
        wait(100 * number)
    assert clock.seconds == {"decode": 16}
