"""Gateway and worker as separate processes over a real Redis and an S3-speaking server: the production shape, once."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import httpx
import pytest
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.client import Client
from divisi.sample import mixture_path
from divisi.settings import Settings, child_environment

PREFIX = "choirs"


@pytest.fixture
def settings(redis_url: str, s3_endpoint: str) -> Settings:
    return Settings(
        redis_url=redis_url,
        store_url=f"s3://recordings/{PREFIX}",
        s3_endpoint=s3_endpoint,
        s3_access_key_id="test",
        s3_secret_access_key="test",
        target_buckets="s3://recordings/results",
        port=free_port(),
    )


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    """Address of a gateway that is ready, with one worker behind it."""
    url = f"http://127.0.0.1:{settings.port}"
    with ExitStack() as stack:
        for process in ("worker", "gateway"):
            command = [sys.executable, "-m", "divisi.cli", process]
            running = stack.enter_context(subprocess.Popen(command, env=child_environment(settings)))
            stack.callback(running.terminate)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_ready(url):
            assert time.monotonic() < deadline, "the gateway was not ready in time"
            time.sleep(0.1)
        yield url


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_stems_come_from_the_bucket_and_are_erased_with_the_job(
    server: str, settings: Settings, tmp_path: Path
) -> None:
    bucket = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    with Client(server) as client:
        job = client.submit(mixture_path(), stem_format="flac", target="s3://recordings/results/choir")
        job = client.wait(job["id"])
        answer = httpx.get(f"{server}{job['stems'][0]['href']}")
        assert answer.status_code == httpx.codes.FOUND
        assert answer.headers["location"].startswith(settings.s3_endpoint)
        paths = client.download_stems(job, tmp_path)  # checks every SHA-256
        assert {path.name for path in paths} == {
            f"{name}.flac" for name in ("soprano", "alto", "tenor", "bass", "residual")
        }
        client.delete(job["id"])
    # The results in the caller's bucket are the caller's: erasing the job leaves them.
    written = bucket.list_objects_v2(Bucket="recordings", Prefix="results/")["Contents"]
    names = {one["Key"].removeprefix(f"results/choir/{job['id']}/"): one for one in written}
    assert {*(path.name for path in paths), "report.png", "notes.mid", "manifest.json"} <= set(names)
    manifest = json.loads(bucket.get_object(Bucket="recordings", Key=names["manifest.json"]["Key"])["Body"].read())
    for stem in manifest["stems"]:
        content = bucket.get_object(Bucket="recordings", Key=names[stem["file_name"]]["Key"])["Body"].read()
        assert hashlib.sha256(content).hexdigest() == stem["sha256"]
    # What is left is the empty object by which the gateway finds out that the bucket takes writes.
    left = bucket.list_objects_v2(Bucket="recordings", Prefix=PREFIX).get("Contents", [])
    assert [(one["Key"], one["Size"]) for one in left] == [(f"{PREFIX}/ping", 0)]
