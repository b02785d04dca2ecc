"""How long Redis or the object store may take for one answer; past it, the adapter counts it as away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

# Whoever asks learns within this time that an adapter is away, even when it hangs instead of refusing.
ANSWER_SECONDS = 2.0
# It is waited in so many turns, so that a process whose own loop is late does not take a healthy Redis for a silent
# one: what has come meanwhile is read before the next turn begins, and a late turn counts no more than one on time.
# A first question on a new connection takes some twenty steps, each of which may need a turn of its own.
_TURNS = 100

T = TypeVar("T")


async def in_time(answer: Awaitable[T], blocking_seconds: float = 0.0) -> T:
    """What is answered within `ANSWER_SECONDS`, and the seconds that the question itself asks to wait.

    Raises:
        TimeoutError: there was no answer; the question is withdrawn.
    """
    asked = asyncio.ensure_future(answer)
    try:
        # A blocking question is left alone for as long as it asks for: thousands of them may wait.
        for seconds in (blocking_seconds, *(_TURNS * (ANSWER_SECONDS / _TURNS,))):
            done, _pending = await asyncio.wait([asked], timeout=seconds)
            if done:
                return asked.result()
    finally:
        if not asked.done():
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
    raise TimeoutError(f"no answer within {blocking_seconds + ANSWER_SECONDS:g} s")
