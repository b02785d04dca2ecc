"""kill -9 of Redis under load and its restart: no accepted job may be lost, and workers go on by themselves.

    python tests/chaos/restart_redis.py [--restarts 10] [--workers 2]

Redis writes each change to its append-only file before it answers (appendfsync always).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import time

from bars import Row, at_most, exactly, noted, report, rows_of
from deployment import LONGEST_SECONDS, Deployment, deployment

from divisi.contract.errors import UnavailableError
from divisi.queue.watching import Figures

LEASE_SECONDS = 5.0
AUDIO_SECONDS = 3.0  # 0.3 s of work
CONSUMING_AGAIN_SECONDS = 5.0


async def restart_redis(num_restarts: int, num_workers: int) -> list[Row]:
    async with deployment(lease_seconds=LEASE_SECONDS, max_attempts=100) as cruel:
        workers = [cruel.start_worker() for _ in range(num_workers)]
        await cruel.wait_for_workers(num_workers)
        enough = asyncio.Event()
        submitting = asyncio.create_task(_keep_submitting(cruel, enough))
        waits: list[float] = []
        for _ in range(num_restarts):
            await cruel.wait_for_busy_worker()
            await asyncio.sleep(random.uniform(0, 0.5))
            cruel.kill_redis()
            await asyncio.sleep(random.uniform(0.2, 1.0))
            cruel.start_redis()
            waits.append(await _seconds_until_all_consume(cruel))
        # Not cancelled: a submit that broke off would leave a job behind that the audit does not know.
        enough.set()
        await submitting
        await cruel.wait_for_ends(LONGEST_SECONDS)
        audit = await cruel.audit()
        survivors = sum(worker.poll() is None for worker in workers)
    return [
        *rows_of(audit),
        noted("kills of Redis", num_restarts),
        noted("submits refused meanwhile, then repeated", cruel.refused_submits),
        exactly("workers that are still the same", survivors, num_workers),
        noted("all workers consume again after, median s", sorted(waits)[len(waits) // 2]),
        at_most("all workers consume again after, worst", max(waits), CONSUMING_AGAIN_SECONDS),
    ]


async def _keep_submitting(cruel: Deployment, enough: asyncio.Event) -> None:
    """Keeps a few jobs waiting."""
    while not enough.is_set():
        with contextlib.suppress(UnavailableError):
            if sum(lane.waiting for lane in (await Figures(cruel.queue.door).depth()).values()) < 6:
                await cruel.accept(AUDIO_SECONDS)
        await asyncio.sleep(0.05)


async def _seconds_until_all_consume(cruel: Deployment) -> float:
    """From Redis being back until every worker has claimed a job."""
    began, before = time.monotonic(), [cruel.claims_of(worker) for worker in cruel.workers]
    while not all(cruel.claims_of(worker) > claims for worker, claims in zip(cruel.workers, before, strict=True)):
        if time.monotonic() - began > LONGEST_SECONDS:
            raise TimeoutError(f"a worker claims nothing any more; see {cruel.folder}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--busy", action="store_true", help="the machine is busy: do not judge how long things took")
    options = parser.parse_args()
    rows = asyncio.run(restart_redis(options.restarts, options.workers))
    return report(f"kill -9 of Redis, {options.workers} workers", rows, is_busy=options.busy)


if __name__ == "__main__":
    sys.exit(main())
