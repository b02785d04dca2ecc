"""Listeners whose connection breaks again and again: each resumes with Last-Event-ID and misses nothing.

    python tests/chaos/drop_events.py [--drops 100] [--listeners 10]

The listeners follow one job at a time, over two gateways in turn, and are cut off at any moment, in the middle of an
event too. The worker is killed in the middle of the first job, so that an attempt is lost and done again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
from dataclasses import dataclass, field

import httpx
from bars import Row, exactly, noted, report
from deployment import Deployment, deployment, noise_wav

from divisi.queue.watching import EventReader

AUDIO_SECONDS = 120.0  # 12 s of work, a few events a second
LONGEST_CONNECTION_SECONDS = 1.5
LAST_STATES = {"succeeded", "failed", "cancelled"}


@dataclass
class Listener:
    """What one listener saw of one job."""

    ids: list[str] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    drops: int = 0
    is_over: bool = False

    async def listen(self, http: httpx.AsyncClient, urls: list[str], job_id: str, most_drops: int) -> None:
        """Listens until the job's last event; its connection breaks up to `most_drops` times."""
        while not self.is_over:
            headers = {"Last-Event-ID": self.ids[-1]} if self.ids else {}
            url = f"{random.choice(urls)}/v1/jobs/{job_id}/events"
            life = random.uniform(0.02, LONGEST_CONNECTION_SECONDS) if self.drops < most_drops else None
            try:
                async with asyncio.timeout(life), http.stream("GET", url, headers=headers) as answer:
                    answer.raise_for_status()
                    await self._read(answer)
            except TimeoutError:
                self.drops += 1

    async def _read(self, answer: httpx.Response) -> None:
        """Takes whole events only, as a browser does: what was cut off in the middle comes again."""
        seen: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line == "" and "data" in seen:
                body = json.loads(seen["data"])
                self.ids.append(seen["id"])
                self.progress.append(body["progress"])
                self.is_over = body["state"] in LAST_STATES
                if self.is_over:
                    return
            seen = {} if line == "" else {**seen, name: value}


async def drop_events(num_drops: int, num_listeners: int) -> list[Row]:
    heard: list[tuple[list[str], Listener]] = []
    async with deployment(lease_seconds=2.0) as cruel, httpx.AsyncClient(timeout=60) as http:
        cruel.start_worker()
        urls = [await cruel.start_gateway() for _ in range(2)]
        await cruel.wait_for_workers(1)
        attempts = []
        while (dropped := sum(listener.drops for _, listener in heard)) < num_drops:
            most_drops = -(-(num_drops - dropped) // num_listeners)
            answer = await http.post(f"{urls[0]}/v1/jobs", content=noise_wav(AUDIO_SECONDS))
            job_id = answer.json()["id"]
            cruel.accepted.append(job_id)
            listeners = [Listener() for _ in range(num_listeners)]
            killing = asyncio.create_task(_kill_worker(cruel)) if not heard else None
            await asyncio.gather(*(listener.listen(http, urls, job_id, most_drops) for listener in listeners))
            if killing is not None:
                await killing
            events = EventReader(cruel.queue.door).events(job_id)
            told_by_queue = [event.event_id async for event in events if event is not None]
            heard += [(told_by_queue, listener) for listener in listeners]
            attempts.append((await cruel.queue.get(job_id)).attempt)
    return [
        noted("jobs listened to", len(attempts)),
        noted("attempts at the first, whose worker was killed", attempts[0]),
        noted("events of all listeners", sum(len(events) for events, _ in heard)),
        Row("connections dropped", str(dropped), f"≥ {num_drops}", dropped >= num_drops),
        exactly("events missed", sum(len(set(events) - set(one.ids)) for events, one in heard), 0),
        exactly("events seen twice", sum(len(one.ids) - len(set(one.ids)) for _, one in heard), 0),
        exactly("listeners that saw another order", sum(events != one.ids for events, one in heard), 0),
        exactly("times the progress fell", sum(_falls(one.progress) for _, one in heard), 0),
    ]


async def _kill_worker(cruel: Deployment) -> None:
    worker, _ = await cruel.wait_for_busy_worker()
    await asyncio.sleep(1.0)
    cruel.replace_worker(worker)


def _falls(progress: list[float]) -> int:
    return sum(after < before for before, after in itertools.pairwise(progress))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drops", type=int, default=100)
    parser.add_argument("--listeners", type=int, default=10)
    options = parser.parse_args()
    rows = asyncio.run(drop_events(options.drops, options.listeners))
    return report(f"{options.listeners} listeners whose connections break", rows)


if __name__ == "__main__":
    sys.exit(main())
