from __future__ import annotations

import asyncio
import itertools

import pytest

from divisi.contract.errors import UnavailableError
from divisi.time_limit import ANSWER_SECONDS, in_time

pytestmark = pytest.mark.anyio


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
async def test_an_answer_that_comes_while_the_process_itself_is_late_is_taken() -> None:
    # As many steps as a first question on a new connection takes, and more.
    assert await in_time(answer_after(60)) == "PONG"


@pytest.mark.usefixtures("late_loop")
async def test_silence_is_an_error_and_the_question_is_withdrawn() -> None:
    asked = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(TimeoutError, match=f"no answer within {ANSWER_SECONDS:g} s"):
        await in_time(asked)
    assert asked.cancelled()


async def test_what_the_adapter_raises_is_raised() -> None:
    async def fail() -> None:
        raise UnavailableError("gone", code="redis-unavailable")

    with pytest.raises(UnavailableError, match="gone"):
        await in_time(fail())


async def test_a_caller_that_leaves_takes_its_question_along() -> None:
    asked = asyncio.ensure_future(asyncio.Event().wait())
    caller = asyncio.create_task(in_time(asked))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert asked.cancelled()
