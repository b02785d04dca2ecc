"""Rolling restarts under load: SIGTERM, drain, hand back. No job may fail, and none may wait long for another worker.

    python tests/chaos/drain_workers.py [--restarts 20] [--workers 2]

The time to drain is shorter than a job, so most jobs are handed back in the middle. As in a rolling update, a new
worker is warm before an old one is asked to stop.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time

from bars import Row, at_most, exactly, noted, report, rows_of
from deployment import Deployment, deployment, event_time

from divisi.contract.job import JobState
from divisi.queue.watching import EventReader

LEASE_SECONDS = 15.0  # the default: nothing here may wait for a lease to run out
DRAIN_SECONDS = 0.2
AUDIO_SECONDS = 12.0  # 1.2 s of work
ELSEWHERE_SECONDS = 2.0
EXIT_SECONDS = DRAIN_SECONDS + 2.0


async def drain_workers(num_restarts: int, num_workers: int) -> list[Row]:
    async with deployment(lease_seconds=LEASE_SECONDS, drain_seconds=DRAIN_SECONDS, max_attempts=1) as cruel:
        started = num_workers
        for _ in range(num_workers):
            cruel.start_worker()
        await cruel.wait_for_workers(started)
        exits, slowest_exit = [], 0.0
        for _ in range(num_restarts):
            cruel.start_worker()
            started += 1
            await cruel.wait_for_workers(started)
            for _ in range(2 * num_workers):
                await cruel.accept(AUDIO_SECONDS)
            old, _ = await cruel.wait_for_busy_worker()
            await asyncio.sleep(random.uniform(0, 0.8))
            began = time.monotonic()
            old.send_signal(signal.SIGTERM)
            exits.append(await asyncio.to_thread(old.wait, 30))
            slowest_exit = max(slowest_exit, time.monotonic() - began)
            cruel.workers.remove(old)
        await cruel.wait_for_ends(120)
        audit = await cruel.audit()
        waits = await _waits_after_hand_back(cruel)
    return [
        *rows_of(audit),
        noted("rolling restarts", num_restarts),
        exactly("workers that ended with exit code 0", exits.count(0), num_restarts),
        at_most("from SIGTERM to exit, worst", slowest_exit, EXIT_SECONDS),
        noted("jobs handed back", len(waits)),
        exactly("leases lost", audit.counters.get("lost_leases", 0), 0),
        at_most("handed-back job runs again after, worst", max(waits, default=0.0), ELSEWHERE_SECONDS),
    ]


async def _waits_after_hand_back(cruel: Deployment) -> list[float]:
    """Seconds from each hand-back to the beginning of the next attempt."""
    waits = []
    for job_id in cruel.accepted:
        handed_back_at = None
        async for event in EventReader(cruel.queue.door).events(job_id):
            if event is None:
                continue
            if event.kind is JobState.QUEUED and event.problem is not None:
                handed_back_at = event_time(event)
            elif event.kind is JobState.RUNNING and handed_back_at is not None:
                waits.append(event_time(event) - handed_back_at)
                handed_back_at = None
    return waits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = asyncio.run(drain_workers(options.restarts, options.workers))
    return report(f"rolling restarts, {options.workers} workers, {DRAIN_SECONDS:g} s to drain", rows)


if __name__ == "__main__":
    sys.exit(main())
