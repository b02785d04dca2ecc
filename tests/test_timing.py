from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

from divisi.contract.errors import UnavailableError
from divisi.timing import ANSWER_SECONDS, StageClock, in_time


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


@pytest.fixture
async def late_loop(monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> None:
    """Every round of the event loop takes longer than an adapter may take to answer."""
    clock = itertools.count(0, 2 * ANSWER_SECONDS)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: next(clock))


async def answer_after(rounds: int) -> str:
    for _ in range(rounds):
        await asyncio.sleep(0)
    return "PONG"


@pytest.mark.usefixtures("late_loop")
@pytest.mark.anyio
async def test_an_answer_that_comes_while_the_process_itself_is_late_is_taken() -> None:
    # As many steps as a first question on a new connection takes, and more.
    assert await in_time(answer_after(60)) == "PONG"


@pytest.mark.usefixtures("late_loop")
@pytest.mark.anyio
async def test_silence_is_an_error_and_the_question_is_withdrawn() -> None:
    asked = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(TimeoutError, match=f"no answer within {ANSWER_SECONDS:g} s"):
        await in_time(asked)
    assert asked.cancelled()


@pytest.mark.anyio
async def test_what_the_adapter_raises_is_raised() -> None:
    async def fail() -> None:
        raise UnavailableError("gone", code="redis-unavailable")

    with pytest.raises(UnavailableError, match="gone"):
        await in_time(fail())


@pytest.mark.anyio
async def test_a_caller_that_leaves_takes_its_question_along() -> None:
    asked = asyncio.ensure_future(asyncio.Event().wait())
    caller = asyncio.create_task(in_time(asked))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert asked.cancelled()
