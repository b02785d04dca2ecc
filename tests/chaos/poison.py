"""Jobs that crash the process that works on them: each becomes a dead letter after its attempts, all else goes on.

In turn they read from address 0, ask for more memory than there is, and are killed as the kernel kills what takes too
much.

python tests/chaos/poison.py [--poisoned 3] [--jobs 12] [--workers 2]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys

from bars import Row, exactly, noted, report, rows_of
from deployment import deployment
from engines import HUNGRY_LEVEL, KILLED_LEVEL, POISON_LEVEL

from divisi.contract.job import JobState

AUDIO_SECONDS = 2.0
MAX_ATTEMPTS = 3
POISONS = (POISON_LEVEL, HUNGRY_LEVEL, KILLED_LEVEL)


async def poison(num_poisoned: int, num_jobs: int, num_workers: int) -> list[Row]:
    async with deployment("engines:PoisonableEngine", lease_seconds=5.0, max_attempts=MAX_ATTEMPTS) as cruel:
        workers = [cruel.start_worker() for _ in range(num_workers)]
        await cruel.wait_for_workers(num_workers)
        poisons = itertools.islice(itertools.cycle(POISONS), num_poisoned)
        poisoned = [await cruel.accept(AUDIO_SECONDS, level=level) for level in poisons]
        for _ in range(num_jobs):
            await cruel.accept(AUDIO_SECONDS)
        seconds = await cruel.wait_for_ends(120)
        audit = await cruel.audit()
        failed = [await cruel.queue.get(job_id) for job_id in poisoned]
        letters = await cruel.queue.dead_letters()
        survivors = sum(worker.poll() is None for worker in workers)
    causes = sorted({str(letter.problem.facts.get("cause", letter.problem.code)) for letter in letters})
    return [
        *rows_of(audit, num_failed=num_poisoned),
        exactly("poisoned jobs failed", sum(job.state is JobState.FAILED for job in failed), num_poisoned),
        exactly("dead letters", len({letter.job_id for letter in letters} & set(poisoned)), num_poisoned),
        exactly("attempts at each", max(letter.attempts for letter in letters), MAX_ATTEMPTS),
        noted("cause", ", ".join(causes)),
        exactly("workers that are still the same", survivors, num_workers),
        exactly("leases lost", audit.counters.get("lost_leases", 0), 0),
        noted("all ended after, s", seconds),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poisoned", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = asyncio.run(poison(options.poisoned, options.jobs, options.workers))
    return report(f"{options.poisoned} poisoned among {options.jobs} good jobs, {options.workers} workers", rows)


if __name__ == "__main__":
    sys.exit(main())
