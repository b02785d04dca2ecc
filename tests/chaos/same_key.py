"""Many uploads at once with one Idempotency-Key, through two gateways: one job must come of them.

    python tests/chaos/same_key.py [--posts 200] [--gateways 2]

Those that are asked to come again (409, the key is in flight; 503, the machine is overrun) do so until they are
answered.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections import Counter

import httpx
from bars import Row, exactly, noted, report
from deployment import deployment, noise_wav

from divisi.queue.watching import Figures

AUDIO_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
BROKEN_OFF = 0


async def same_key(num_posts: int, num_gateways: int) -> list[Row]:
    recording, headers = noise_wav(AUDIO_SECONDS), {"Idempotency-Key": secrets.token_hex(8)}
    statuses: Counter[int] = Counter()
    async with deployment() as cruel:
        urls = [await cruel.start_gateway() for _ in range(num_gateways)]

        async def post(http: httpx.AsyncClient, url: str) -> str:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline:
                try:
                    answer = await http.post(f"{url}/v1/jobs", content=recording, headers=headers)
                except httpx.TransportError:  # the same again: that is what the key is for
                    statuses[BROKEN_OFF] += 1
                    continue
                statuses[answer.status_code] += 1
                if answer.status_code == httpx.codes.ACCEPTED:
                    return str(answer.json()["id"])
                await asyncio.sleep(0.2)
            return "never answered"

        limits = httpx.Limits(max_connections=num_posts)
        began = time.monotonic()
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS, limits=limits) as http:
            job_ids = await asyncio.gather(*(post(http, urls[number % num_gateways]) for number in range(num_posts)))
        seconds = time.monotonic() - began
        in_queue = len((await cruel.queue.list(limit=num_posts)).jobs)
        stored = len(await cruel.store.list_folders("jobs"))
        left = len(list((cruel.folder / "work").rglob("divisi-upload-*")))
        counted = (await Figures(cruel.queue.door).counters()).get("accepted", 0)
    others = statuses.total() - sum(statuses[status] for status in (202, 409, 503, BROKEN_OFF))
    return [
        noted("uploads with one key, at once", num_posts),
        noted("answered 202 / asked to come again (409)", f"{statuses[202]} / {statuses[409]}"),
        noted("answered that the service is busy (503)", statuses[503]),
        noted("connections that broke off, upload sent again", statuses[BROKEN_OFF]),
        exactly("answered otherwise", others, 0),
        exactly("different job ids among the answers", len(set(job_ids)), 1),
        exactly("jobs in the queue", in_queue, 1),
        exactly("jobs ever accepted", counted, 1),
        exactly("recordings in the store", stored, 1),
        exactly("temporary files left", left, 0),
        noted("all answered after, s", seconds),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=200)
    parser.add_argument("--gateways", type=int, default=2)
    options = parser.parse_args()
    rows = asyncio.run(same_key(options.posts, options.gateways))
    return report(f"one Idempotency-Key, {options.gateways} gateways", rows)


if __name__ == "__main__":
    sys.exit(main())
