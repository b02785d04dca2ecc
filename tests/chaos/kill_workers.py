"""kill -9 of whole worker trees in the middle of jobs: nothing may be lost, nothing committed twice.

python tests/chaos/kill_workers.py [--kills 10] [--jobs 40] [--workers 2]
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import time

from bars import Row, noted, report, rows_of
from deployment import LONGEST_SECONDS, deployment

from divisi.contract.job import JobState

LEASE_SECONDS = 2.0
# Six segments of a tenth of a second: long enough to be hit in the middle.
AUDIO_SECONDS = 6.0
ATTEMPT_SECONDS = 0.6


async def kill_workers(num_kills: int, num_jobs: int, num_workers: int) -> list[Row]:
    # More attempts than kills: one unlucky job may be hit each time, and giving it up is poison.py's subject.
    async with deployment(lease_seconds=LEASE_SECONDS, max_attempts=100) as cruel:
        for _ in range(num_workers):
            cruel.start_worker()
        await cruel.wait_for_workers(num_workers)
        for _ in range(num_jobs):
            await cruel.accept(AUDIO_SECONDS)

        hit: list[tuple[str, float]] = []
        for _ in range(num_kills):
            worker, job = await cruel.wait_for_busy_worker()
            await asyncio.sleep(random.uniform(0, ATTEMPT_SECONDS / 2))
            still_running = (await cruel.queue.get(job.job_id)).state is JobState.RUNNING
            cruel.replace_worker(worker)
            if still_running:
                hit.append((job.job_id, time.time()))
        last_kill = time.monotonic()
        await cruel.wait_for_ends(LONGEST_SECONDS)
        drained = time.monotonic() - last_kill
        audit = await cruel.audit()
        last_job = await cruel.queue.get(hit[-1][0])
        last_ended = (last_job.ended_at or math.inf) - hit[-1][1]
        waits = [await cruel.seconds_until_next_run(job_id, at) for job_id, at in hit]

    return [
        *rows_of(audit),
        noted("kills", num_kills),
        noted("of them in the middle of a job", len(hit)),
        noted("leases lost and taken back", audit.counters.get("lost_leases", 0)),
        noted("killed job runs again after, median s", sorted(waits)[len(waits) // 2]),
        noted("killed job runs again after, worst s", max(waits)),
        noted("job of the last kill ended after, s", last_ended),
        noted("all of the backlog ended after the last kill, s", drained),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = asyncio.run(kill_workers(options.kills, options.jobs, options.workers))
    return report(f"kill -9, {options.workers} workers, lease {LEASE_SECONDS:g} s", rows)


if __name__ == "__main__":
    sys.exit(main())
