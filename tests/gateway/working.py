"""A worker beside the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.watching import Figures

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff


@contextmanager
def worker(gateway: Gateway, work_off: WorkOff, num_jobs: int, *, sings_again: bool = False) -> Iterator[None]:
    """Works off so many jobs beside the test, as soon as they come."""

    async def work() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            done = 0
            while done < num_jobs:
                if (await Figures(queue.door).depth())["interactive"].waiting:
                    await work_off(queue, gateway.store, sings_again=sings_again)
                    done += 1
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield
    finally:
        thread.join()
