"""Freeze a worker beyond its lease, let another take the job, thaw it: its late commit must be refused.

    python tests/chaos/freeze_workers.py [--freezes 5] [--whole-trees 2]

Freezes the supervisor alone: its child goes on and finishes, so that on thawing a complete result waits to be
committed, the worst case. Then freezes whole trees, as a stopped machine does: there the next beat must be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys

import psutil
from bars import Row, at_most, exactly, noted, report, rows_of
from deployment import LONGEST_SECONDS, Deployment, deployment

from divisi.queue.watching import Figures

LEASE_SECONDS = 1.5
AUDIO_SECONDS = 6.0  # 0.6 s: done well within a freeze
# A thawed worker acts within a beat and a round trip.
VERDICT_SECONDS = 3.0


async def freeze_workers(num_freezes: int, num_trees: int, num_workers: int) -> list[Row]:
    async with deployment(lease_seconds=LEASE_SECONDS, max_attempts=100) as cruel:
        for _ in range(num_workers):
            cruel.start_worker()
        await cruel.wait_for_workers(num_workers)
        commits = [await _freeze_once(cruel, "stale_commits") for _ in range(num_freezes)]
        beats = [await _freeze_once(cruel, "stale_beats") for _ in range(num_trees)]
        await cruel.wait_for_ends(LONGEST_SECONDS)
        audit = await cruel.audit()
        published = [job for job in [await cruel.queue.get(job_id) for job_id in cruel.accepted] if job.manifest]
    late = sum(job.manifest is not None and job.manifest.attempt != job.attempt for job in published)
    return [
        *rows_of(audit),
        noted("freezes of a supervisor", num_freezes),
        exactly("of these, stale commit refused", sum(seconds is not None for seconds in commits), num_freezes),
        noted("freezes of a whole tree", num_trees),
        exactly("of these, stale beat refused", sum(seconds is not None for seconds in beats), num_trees),
        exactly("stale commits accepted", late, 0),
        at_most("from thaw to refusal, worst", max([*filter(None, commits), *filter(None, beats)]), VERDICT_SECONDS),
    ]


async def _freeze_once(cruel: Deployment, refusal: str) -> float | None:
    """Freezes a worker in the middle of a job until another has finished it.

    Args:
        refusal: the counter that must rise: `stale_commits` freezes the supervisor alone, `stale_beats` the whole tree.

    Returns:
        Seconds from thaw to refusal, None when there was none.
    """
    job_id = await cruel.accept(AUDIO_SECONDS)
    worker, job = await cruel.wait_for_busy_worker()
    while (await cruel.queue.get(job_id)).stage is None:  # frozen earlier, its child might not have the job yet
        await asyncio.sleep(0.01)
    frozen = _family(worker) if refusal == "stale_beats" else [psutil.Process(worker.pid)]
    for process in frozen:
        os.kill(process.pid, signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    frozen_at = loop.time()
    refused = (await Figures(cruel.queue.door).counters()).get(refusal, 0)
    # One lease until the job is taken back, then the other worker's attempt.
    await cruel.wait_for_ends(LONGEST_SECONDS)
    await asyncio.sleep(max(0.0, frozen_at + 2 * LEASE_SECONDS - loop.time()))
    assert (await cruel.queue.get(job_id)).attempt > job.attempt
    for process in frozen:
        os.kill(process.pid, signal.SIGCONT)
    thawed_at = loop.time()
    while (await Figures(cruel.queue.door).counters()).get(refusal, 0) == refused:
        if loop.time() - thawed_at > LONGEST_SECONDS:
            return None
        await asyncio.sleep(0.02)
    return loop.time() - thawed_at


def _family(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    supervisor = psutil.Process(worker.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freezes", type=int, default=5)
    parser.add_argument("--whole-trees", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--busy", action="store_true", help="the machine is busy: do not judge how long things took")
    options = parser.parse_args()
    rows = asyncio.run(freeze_workers(options.freezes, options.whole_trees, options.workers))
    return report(f"freeze and thaw, {options.workers} workers, lease {LEASE_SECONDS:g} s", rows, is_busy=options.busy)


if __name__ == "__main__":
    sys.exit(main())
