"""How long each stage of a job takes, and how long Redis or the object store may take for one answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

# Whoever asks learns within this time that an adapter is away, even when it hangs instead of refusing.
ANSWER_SECONDS = 2.0
# It is waited in so many turns, so that a process whose own loop is late does not take a healthy Redis for a silent
# one: what has come meanwhile is read before the next turn begins, and a late turn counts no more than one on time.
# A first question on a new connection takes some twenty steps, each of which may need a turn of its own.
_TURNS = 100


class StageClock:
    """Seconds by stage, added up over all visits; a stage's time excludes the stages within it. For one thread.

    `separation` decodes, separates and encodes block by block, `worker` downloads and uploads; both keep one clock for
    each attempt.

        clock = StageClock()
        with clock.stage("separate"):
            ...
            with clock.stage("encode"):  # not counted as separating
                ...
        clock.seconds  # {"separate": 2.1, "encode": 0.3}
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._now = now
        self._within = [0.0]  # seconds spent in inner stages, for each stage that is open

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time spent inside, less that of stages opened within."""
        self._within.append(0.0)
        began = self._now()
        try:
            yield
        finally:
            took = self._now() - began
            self.seconds[name] = self.seconds.get(name, 0.0) + took - self._within.pop()
            self._within[-1] += took

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items as they come; the waiting for each counts as this stage."""
        source = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item


@dataclass(frozen=True)
class WorkFigures:
    """What the work on one assignment took, for the worker's metrics.

    Args:
        stage_seconds: by stage: download, inspect, decode, separate, encode, upload.
        batches: how often the engine was given how many segments at a time.
        store_failures: how often the store was away, by what was asked of it.
    """

    stage_seconds: dict[str, float] = field(default_factory=dict)
    batches: dict[int, int] = field(default_factory=dict)
    store_failures: dict[str, int] = field(default_factory=dict)


async def in_time(answer: Awaitable[T], blocking_seconds: float = 0.0) -> T:
    """What is answered within `ANSWER_SECONDS` and the seconds that the question itself asks to wait.

    Past them an adapter counts as away.

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
