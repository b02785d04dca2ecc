"""Several models on one upload as one table, with true sources; the files as sent."""

from __future__ import annotations

import asyncio
import io
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile

from divisi.contract.manifest import Manifest, StemScore
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.worker_side import WorkerSide

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff

RATE = 16_000


def wav(num_samples: int = RATE // 2, sample_rate: int = RATE, num_channels: int = 1) -> bytes:
    noise = np.random.default_rng(num_channels).standard_normal((num_samples, num_channels)) * 0.1
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, sample_rate, format="WAV")
    return buffer.getvalue()


def submit(http: httpx.Client, song: bytes, models: str, **references: bytes) -> httpx.Response:
    sources = {f"reference_{name}": (f"{name}.wav", data) for name, data in references.items()}
    return http.post("/v1/jobs", files={"file": ("Ave verum.wav", song), **sources}, data={"model": models})


async def _score(gateway: Gateway, scores: tuple[StemScore, ...]) -> None:
    """A worker's next job, with scores."""
    async with RedisDoor(gateway.redis_url) as door:
        queue = JobQueue(door)
        claim = await WorkerSide(queue.door).claim("worker-1")
        assert claim is not None
        manifest = Manifest(
            attempt=claim.attempt,
            model_id=claim.job.model_id,
            model_version="1.0.0",
            stems=(),
            audio=claim.job.audio,
            conservation_dbfs=None,
            real_time_factor=0.1,
            wall_seconds=1.0,
            engine={},
            scores=scores,
        )
        assert await WorkerSide(queue.door).commit(claim, manifest) == "ok"


def test_a_group_is_a_table_of_voices_by_systems_in_the_order_asked_for(
    http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff
) -> None:
    answer = submit(http, song, "quartet,duo", alto=wav(), upper=wav())
    assert answer.status_code == 202
    url = answer.headers["location"]
    assert url == f"/v1/groups/{answer.json()['group']}"
    assert http.get(url).json()["state"] == "running"

    async def work() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store)

    asyncio.run(work())
    asyncio.run(_score(gateway, (StemScore("upper", 7.5, -1.0, 1.0, (7.5, None)),)))
    body = http.get(url).json()
    assert body["state"] == "ended"
    assert [system["model"] for system in body["systems"]] == ["quartet", "duo"]
    assert body["voices"] == ["soprano", "alto", "tenor", "bass", "upper", "lower"]
    assert [source["name"] for source in body["references"]] == ["alto", "upper"]
    quartet, duo = body["systems"]
    assert quartet["cells"][1]["stem"]["name"] == "alto"
    assert quartet["cells"][4]["stem"] is None
    assert quartet["mean_si_sdr_db"] is None
    assert duo["cells"][4]["si_sdr_db"] == 7.5
    assert duo["mean_si_sdr_db"] == 7.5
    assert duo["job"]["scores"][0]["reference"]["name"] == "upper"
    table = http.get(body["table"]).text.splitlines()
    assert table == ["model,soprano,alto,tenor,bass,upper,lower,mean", "quartet,,,,,,,", "duo,,,,,7.5,,7.5"]


def test_true_sources_and_the_recording_come_back_as_they_were_sent(http: httpx.Client, song: bytes) -> None:
    source = wav()
    job = submit(http, song, "quartet", alto=source).json()
    assert http.get(job["recording"]["href"]).content == song
    answer = http.get(f"/v1/jobs/{job['id']}/references/alto")
    assert answer.content == source
    assert answer.headers["etag"] == f'"{sha256(source).hexdigest()}"'
    assert answer.headers["content-type"] == "audio/wav"
    assert http.get(f"/v1/jobs/{job['id']}/references/bass").json()["code"] == "unknown-reference"


@pytest.mark.parametrize(
    ("references", "code"),
    [
        ({"alto": wav(num_samples=RATE // 2 + 1)}, "reference-mismatch"),
        ({"alto": wav(sample_rate=RATE * 2)}, "reference-mismatch"),
        ({"alto": wav(num_channels=2)}, "reference-mismatch"),
        ({"flute": wav()}, "unknown-reference"),
        ({"..": wav()}, "unknown-reference"),
        ({"alto": b"no audio"}, "not-audio"),
    ],
)
def test_a_true_source_that_does_not_fit_is_refused_and_leaves_nothing(
    references: dict[str, bytes], code: str, http: httpx.Client, song: bytes, gateway: Gateway
) -> None:
    answer = submit(http, song, "quartet", **references)
    assert answer.status_code in (415, 422)
    assert answer.json()["code"] == code
    assert gateway.objects() == []
    assert gateway.uploads() == []


def test_other_true_sources_are_another_upload_to_an_idempotency_key(http: httpx.Client, song: bytes) -> None:
    files = {"file": ("a.wav", song), "reference_alto": ("b.wav", wav())}
    key = {"Idempotency-Key": "once"}
    first = http.post("/v1/jobs", files=files, headers=key)
    assert http.post("/v1/jobs", files=files, headers=key).json()["id"] == first.json()["id"]
    assert (
        http.post("/v1/jobs", files={"file": ("a.wav", song)}, headers=key).json()["code"] == "idempotency-key-reused"
    )


def test_an_unknown_group_is_not_found(http: httpx.Client) -> None:
    assert http.get(f"/v1/groups/{'0' * 26}").json()["code"] == "unknown-group"
