"""Who sings: named or heard, asked for at the upload, told in the job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from divisi.contract.job import Job
from divisi.queue.job_queue import JobQueue
from divisi.queue.worker_side import WorkerSide
from divisi.storage.names import accepted_key

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff

pytestmark = pytest.mark.anyio


def submit(http: httpx.Client, song: bytes, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return http.post("/v1/jobs", files={"file": ("Duet.wav", song)}, data=fields, headers=headers)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, None),
        ({"voices": "auto"}, "auto"),
        ({"voices": "bass,soprano"}, ["soprano", "bass"]),
        ({"voices": ["bass", "soprano"]}, ["soprano", "bass"]),
        ({"voices": "alto"}, ["alto"]),
    ],
)
async def test_the_worker_is_told_who_may_sing(
    given: dict[str, Any], kept: Any, http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue
) -> None:
    job = submit(http, song, **given).json()
    assert job["requested_voices"] == kept
    assert http.get(f"/v1/jobs/{job['id']}").json()["requested_voices"] == kept
    expected = tuple(kept) if isinstance(kept, list) else kept
    claim = await WorkerSide(queue.door).claim("worker-1")
    assert claim is not None
    assert claim.job.voices == expected
    accepted = Job.from_json((gateway.folder / "store" / accepted_key(job["id"])).read_bytes())
    assert accepted.voices == expected


def test_voices_are_taken_from_the_query_of_a_bare_body(http: httpx.Client, song: bytes) -> None:
    headers = {"Content-Type": "audio/wav"}
    answer = http.post("/v1/jobs?voices=tenor,alto", content=song, headers=headers)
    assert answer.json()["requested_voices"] == ["alto", "tenor"]


def test_a_refusal_says_whom_one_may_name(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    answer = submit(http, song, voices="soprano,countertenor")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "unknown-voice"
    assert "'countertenor'" in problem["detail"]
    assert problem["facts"]["known"] == ["soprano", "alto", "tenor", "bass", "auto"]
    refused = submit(http, song, voices="upper", model="duo").json()
    assert refused["code"] == "voices-not-supported"
    assert "duo takes no list of who sings" in refused["detail"]
    assert gateway.objects() == []


def test_other_voices_under_the_same_key_are_another_request(http: httpx.Client, song: bytes) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = submit(http, song, headers, voices="alto,bass")
    again = submit(http, song, headers, voices=["bass", "alto"])
    assert again.json()["id"] == first.json()["id"]
    for other in ({}, {"voices": "alto"}, {"voices": "auto"}):
        assert submit(http, song, headers, **other).json()["code"] == "idempotency-key-reused"


async def test_a_finished_job_tells_who_was_taken_to_sing(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    url = submit(http, song).headers["location"]
    await work_off(queue, gateway.store)
    report = http.get(url).json()["report"]
    assert (report["voices"], report["are_voices_detected"]) == (["soprano", "alto", "tenor", "bass"], False)
