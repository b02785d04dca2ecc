"""The queue at one glance, for `/metrics` and `divisi top`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from divisi.jobs.figures import LaneDepth
from divisi.jobs.job import Lane
from divisi.jobs.queue import JobQueue
from divisi.jobs.roll_call import WorkerStatus


@dataclass(frozen=True)
class Overview:
    """What stands in the queue and who works on it. `counters` as in `jobs.figures.COUNTERS`."""

    lanes: dict[Lane, LaneDepth]
    counters: dict[str, int]
    dead_letters: int
    workers: tuple[WorkerStatus, ...]


async def overview(queue: JobQueue) -> Overview:
    """Asks for all of it at once.

    Raises:
        UnavailableError: Redis is away.
    """
    lanes, counters, dead_letters, workers = await asyncio.gather(
        queue.depth(), queue.counters(), queue.dead_count(), queue.workers()
    )
    return Overview(lanes, counters, dead_letters, workers)
