"""An object store that refuses a fifth of what is written, tears uploads, loses answers and stalls for half a minute.

    python tests/chaos/broken_store.py [--jobs 60] [--stall-seconds 30] [--workers 2]

Uploads come through a real gateway and may be refused; what was answered 202 must be done in the end, and no manifest
may name an object that is missing or other than it says. The audit looks past the broken proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter

import boto3
import httpx
from bars import Row, exactly, noted, report
from deployment import LONGEST_SECONDS, Deployment, deployment, noise_wav
from moto.server import ThreadedMotoServer
from store_proxy import StoreProxy

from divisi.bootstrap import open_store

BUCKET = "recordings"
KEYS = {"s3_access_key_id": "test", "s3_secret_access_key": "test"}
# Every eighth recording and its stems are large enough to be written in parts.
SHORT_SECONDS, LONG_SECONDS = 3.0, 150.0
UPLOADS_AT_ONCE = 4
REFUSED, TORN, UNANSWERED = 0.2, 0.05, 0.05


async def broken_store(num_jobs: int, stall_seconds: float, num_workers: int) -> list[Row]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    bucket = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    bucket.create_bucket(Bucket=BUCKET)
    try:
        async with StoreProxy(endpoint) as proxy:
            place = {"store_url": f"s3://{BUCKET}", "s3_endpoint": proxy.url, **KEYS}
            async with deployment("passthrough", lease_seconds=5.0, **place) as cruel:
                cruel.store = open_store(cruel.settings.model_copy(update={"s3_endpoint": endpoint}))
                return await _break(cruel, proxy, bucket, num_jobs, stall_seconds, num_workers)
    finally:
        server.stop()


async def _break(
    cruel: Deployment, proxy: StoreProxy, bucket: object, num_jobs: int, stall_seconds: float, num_workers: int
) -> list[Row]:
    for _ in range(num_workers):
        cruel.start_worker()
    url = await cruel.start_gateway()
    await cruel.wait_for_workers(num_workers)
    faults = proxy.faults
    faults.refused, faults.torn, faults.unanswered = REFUSED, TORN, UNANSWERED
    answers: Counter[int] = Counter()
    await _upload(cruel, url, num_jobs // 2, answers)
    # Everything stands still, whatever is under way just then, and goes on where it stood.
    faults.flowing.clear()
    stalled = asyncio.create_task(_upload(cruel, url, UPLOADS_AT_ONCE, answers))
    await asyncio.sleep(stall_seconds)
    faults.flowing.set()
    await stalled
    await _upload(cruel, url, num_jobs - num_jobs // 2, answers)
    faults.heal()
    began = time.monotonic()
    await cruel.wait_for_ends(LONGEST_SECONDS)
    seconds = time.monotonic() - began
    audit = await cruel.audit()
    unfinished = bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])  # type: ignore[attr-defined]
    deferred = sum([(await cruel.queue.get(job_id)).attempt > 1 for job_id in cruel.accepted])
    orphans = set(await cruel.store.list_folders("jobs")) - set(cruel.accepted)
    return [
        noted("writes refused / torn / unanswered", "{refused} / {torn} / {unanswered}".format_map(faults.counts)),
        noted(f"requests held up by the {stall_seconds:g} s stall", faults.counts["stalled"]),
        noted("uploads answered 202 / 503", f"{answers[202]} / {answers[503]}"),
        exactly("uploads answered otherwise", answers.total() - answers[202] - answers[503], 0),
        noted("accepted jobs that took more than one attempt", deferred),
        exactly("accepted jobs succeeded", audit.states["succeeded"], audit.accepted),
        exactly("lost", audit.lost, 0),
        exactly("committed twice", audit.committed_twice, 0),
        exactly("objects named by a manifest that are missing, short or other", audit.broken_stems, 0),
        exactly("entries left in the streams", audit.stream_length, 0),
        noted("objects of failed attempts, erased with their job", audit.leftovers),
        noted("refused uploads not erased yet", len(orphans)),
        noted("uploads in parts left unfinished in the bucket", len(unfinished)),
        noted("all ended after the store was well again, s", seconds),
    ]


async def _upload(cruel: Deployment, url: str, number: int, answers: Counter[int]) -> None:
    """Uploads recordings, a few at a time; notes what was answered and which jobs were accepted."""
    short, long = noise_wav(SHORT_SECONDS), noise_wav(LONG_SECONDS)
    places = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def upload_one(is_long: bool) -> None:
        async with places, httpx.AsyncClient(timeout=LONGEST_SECONDS) as http:
            # The store's own retries are what is tested; the caller sends each recording once.
            answer = await http.post(f"{url}/v1/jobs?stem_format=wav32f", content=long if is_long else short)
            answers[answer.status_code] += 1
            if answer.status_code == httpx.codes.ACCEPTED:
                cruel.accepted.append(answer.json()["id"])
            await asyncio.sleep(random.uniform(0, 0.5))

    await asyncio.gather(*(upload_one(place % 8 == 7) for place in range(number)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--stall-seconds", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rows = asyncio.run(broken_store(options.jobs, options.stall_seconds, options.workers))
    return report(f"a broken object store, {options.workers} workers", rows)


if __name__ == "__main__":
    sys.exit(main())
