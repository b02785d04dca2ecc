"""How long each stage of a job takes, where stages interleave: a stage's time excludes the stages within it.

Ground floor: `separation` decodes, separates and encodes block by block, `worker` downloads and uploads; both keep one
clock for each attempt.

    clock = StageClock()
    with clock.stage("separate"):
        ...
        with clock.stage("encode"):  # not counted as separating
            ...
    clock.seconds  # {"separate": 2.1, "encode": 0.3}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Seconds by stage, added up over all visits. For one thread."""

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
