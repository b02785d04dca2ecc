"""Two hosts' worth of network: the link of a worker is cut in the middle of its job, for two leases, again and again.

    python tests/chaos/cut_link.py [--cuts 6] [--jobs 24]

Gateway, Redis and an S3-speaking store live in one network namespace, two workers in one each, joined by virtual
cables; nothing tells a worker that its cable was pulled. Jobs go through the gateway's API. Needs root and `ip`
(Debian: iproute2).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import boto3
import httpx
import numpy as np
import soundfile
from bars import Row, exactly, noted, report, rows_of
from botocore.exceptions import BotoCoreError, ClientError
from deployment import SAMPLE_RATE, Deployment, deployment

from divisi.contract.job import JobState
from divisi.queue.watching import Figures
from divisi.settings import child_environment

LEASE_SECONDS = 2.0
CUT_SECONDS = 2 * LEASE_SECONDS
# Thirty segments of a tenth of a second: the link comes back while another worker is still at the job.
AUDIO_SECONDS = 30.0
WORKERS = 2
CORE_ADDRESS = "10.213.7.1"
GATEWAY_PORT, REDIS_PORT, STORE_PORT = 8000, 6379, 8333
BUCKET = "recordings"
START_SECONDS = 300.0


def ip(*arguments: str) -> None:
    """Runs iproute2."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def namespace(number: int) -> str:
    """Name of the namespace of one worker; 0 is the core's. Inside the core, the core's process id is not known."""
    return f"divisi-cut-{os.environ.get('DIVISI_CUT_RUN', os.getpid())}-{number}"


@contextlib.contextmanager
def network() -> Iterator[None]:
    """A bridge in the core's namespace, and for each worker a cable to it: `cable1`, `cable2` at the core's end."""
    core = namespace(0)
    names = [namespace(number) for number in range(WORKERS + 1)]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", core, "link", "add", "bridge", "type", "bridge")
        ip("-n", core, "address", "add", f"{CORE_ADDRESS}/24", "dev", "bridge")
        ip("-n", core, "link", "set", "bridge", "up")
        for number, name in enumerate(names[1:], start=1):
            ip("-n", core, "link", "add", f"cable{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", core, "link", "set", f"cable{number}", "master", "bridge", "up")
            ip("-n", name, "address", "add", f"{CORE_ADDRESS[:-1]}{10 + number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextlib.contextmanager
def running_store() -> Iterator[None]:
    """An S3-speaking server on the core's address, with the bucket."""
    command = [sys.executable, "-m", "moto.server", "--host", CORE_ADDRESS, "--port", str(STORE_PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
            s3 = boto3.client("s3", endpoint_url=f"http://{CORE_ADDRESS}:{STORE_PORT}", **keys)
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    s3.create_bucket(Bucket=BUCKET)
                    break
                except (BotoCoreError, ClientError):
                    if time.monotonic() > deadline:
                        raise
                time.sleep(0.2)
            yield
        finally:
            server.terminate()


@contextlib.asynccontextmanager
async def running_gateway(cruel: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway, and a client of it, once it is ready."""
    with (cruel.folder / "gateway.log").open("wb") as log:
        command = [sys.executable, "-m", "divisi.cli", "gateway"]
        gateway = subprocess.Popen(command, env=child_environment(cruel.settings), stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{GATEWAY_PORT}", timeout=30) as client:
            deadline = time.monotonic() + START_SECONDS
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get("/readyz")).status_code == httpx.codes.OK:
                        break
                if time.monotonic() > deadline:
                    raise TimeoutError((cruel.folder / "gateway.log").read_text())
                await asyncio.sleep(0.1)
            yield client
    finally:
        gateway.terminate()
        gateway.wait()


def recording() -> bytes:
    """Soft noise as a wav file."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(int(AUDIO_SECONDS * SAMPLE_RATE))
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), SAMPLE_RATE, subtype="FLOAT", format="WAV")
    return file.getvalue()


async def upload(cruel: Deployment, client: httpx.AsyncClient, audio: bytes) -> None:
    """One job through the API."""
    answer = await client.post(
        "/v1/jobs", files={"file": ("noise.wav", audio, "audio/wav")}, data={"stem_format": "wav32f"}
    )
    cruel.accepted.append(answer.raise_for_status().json()["id"])


async def has_backlog(cruel: Deployment) -> bool:
    """Whether there is a job for a worker that has none."""
    return any(lane.waiting for lane in (await Figures(cruel.queue.door).depth()).values())


async def cut_links(num_cuts: int, num_jobs: int) -> list[Row]:
    """Inside the core's namespace."""
    places = {
        "redis_url": f"redis://{CORE_ADDRESS}:{REDIS_PORT}/0",
        "store_url": f"s3://{BUCKET}",
        "s3_endpoint": f"http://{CORE_ADDRESS}:{STORE_PORT}",
        "s3_access_key_id": "test",
        "s3_secret_access_key": "test",
        "port": GATEWAY_PORT,
    }
    # More attempts than cuts: one unlucky job may be hit each time, and giving it up is poison.py's subject.
    with running_store():
        async with deployment(lease_seconds=LEASE_SECONDS, max_attempts=num_cuts + 1, **places) as cruel:
            cables = {}
            for number in range(1, WORKERS + 1):
                worker = cruel.start_worker("ip", "netns", "exec", namespace(number))
                cables[worker.pid] = f"cable{number}"
            await cruel.wait_for_workers(WORKERS)
            async with running_gateway(cruel) as client:
                audio = recording()
                for _ in range(num_jobs):
                    await upload(cruel, client, audio)
                hit: list[tuple[str, float]] = []
                again: list[float] = []
                for _ in range(num_cuts):
                    worker, job = await cruel.wait_for_busy_worker()
                    cut_at = time.time()
                    claims = cruel.claims_of(worker)
                    ip("link", "set", cables[worker.pid], "down")
                    if (await cruel.queue.get(job.job_id)).state is JobState.RUNNING:
                        hit.append((job.job_id, cut_at))
                    await asyncio.sleep(CUT_SECONDS)
                    ip("link", "set", cables[worker.pid], "up")
                    back = time.monotonic()
                    while cruel.claims_of(worker) == claims and await has_backlog(cruel):
                        await asyncio.sleep(0.05)
                    again.append(time.monotonic() - back)
                await cruel.wait_for_ends(180)
                audit = await cruel.audit()
                waits = [await cruel.seconds_until_next_run(job_id, at) for job_id, at in hit]
            same = sum(worker.poll() is None for worker in cruel.workers)

    return [
        *rows_of(audit),
        noted("cuts", num_cuts),
        noted("of them in the middle of a job", len(hit)),
        noted("leases lost and taken back", audit.counters.get("lost_leases", 0)),
        noted("job of a cut worker runs elsewhere after, worst s", max(waits, default=0.0)),
        noted("cut worker claims again after its link is back, worst s", max(again)),
        exactly("the same worker processes throughout", same, WORKERS),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=6)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        rows = asyncio.run(cut_links(options.cuts, options.jobs))
        return report(f"links cut for {CUT_SECONDS:g} s, {WORKERS} workers, lease {LEASE_SECONDS:g} s", rows)
    if os.geteuid() != 0:
        sys.exit("needs root: it makes network namespaces")
    with network():
        inside = ["ip", "netns", "exec", namespace(0), sys.executable, *sys.argv, "--inside"]
        environment = {**os.environ, "DIVISI_CUT_RUN": str(os.getpid())}
        return subprocess.run(inside, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
