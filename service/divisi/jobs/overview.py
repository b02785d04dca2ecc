"""The queue at one glance, for `/metrics` and `divisi top`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from divisi.contract.request import Lane
from divisi.door.redis_door import RedisDoor
from divisi.jobs.figures import Figures, LaneDepth
from divisi.jobs.roll_call import RollCall, WorkerStatus


@dataclass(frozen=True)
class Overview:
    """What stands in the queue and who works on it. `counters` as in `jobs.figures.COUNTERS`."""

    lanes: dict[Lane, LaneDepth]
    counters: dict[str, int]
    dead_letters: int
    workers: tuple[WorkerStatus, ...]


async def overview(door: RedisDoor) -> Overview:
    """Asks for all of it at once.

    Raises:
        UnavailableError: Redis is away.
    """
    figures = Figures(door)
    lanes, counters, dead_letters, workers = await asyncio.gather(
        figures.depth(), figures.counters(), figures.dead_count(), RollCall(door).workers()
    )
    return Overview(lanes, counters, dead_letters, workers)
