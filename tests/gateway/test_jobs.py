"""Jobs over HTTP, against a real server, a real Redis and a real folder."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from tests.patience import PATIENCE_SECONDS

from divisi.contract.job import Job, Problem
from divisi.gateway.jobs import RECONNECT_MILLISECONDS
from divisi.queue.job_queue import JobQueue
from divisi.queue.worker_side import WorkerSide
from divisi.storage.names import accepted_key, mixture_key, reference_key, sharer_key

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, WorkOff

pytestmark = pytest.mark.anyio


def submit(http: httpx.Client, song: bytes, **fields: object) -> httpx.Response:
    return http.post("/v1/jobs", files={"file": ("Ave verum.wav", song)}, data=fields)


def test_an_upload_is_accepted_with_its_place_and_its_facts(http: httpx.Client, song: bytes) -> None:
    answer = submit(http, song)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) >= 1
    assert (job["state"], job["progress"], job["position"], job["attempt"]) == ("queued", 0, 0, 0)
    assert (job["model"], job["model_version"], job["stem_format"]) == ("quartet", "1.0.0", "wav")
    assert job["file_name"] == "Ave verum.wav"
    assert job["input"]["sample_rate"] == 16_000
    assert job["input"]["num_samples"] == 8_000
    assert job["input"]["duration_seconds"] == 0.5
    assert job["input"]["exact"] is True
    assert http.get(answer.headers["location"]).json() == job


def test_a_bare_body_with_options_in_the_query_is_the_same(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    query = {"model": "duo", "stem_format": "flac", "stems": "lower", "lane": "batch", "file_name": "Duet.wav"}
    answer = http.post(
        "/v1/jobs", content=song, params={**query, "include_residual": "false"}, headers={"Content-Type": "audio/wav"}
    )
    job = answer.json()
    assert answer.status_code == 202
    assert job["model"] == "duo"
    assert job["stem_format"] == "flac"
    assert job["requested_stems"] == ["lower"]
    assert job["include_residual"] is False
    assert job["lane"] == "batch"
    assert job["file_name"] == "Duet.wav"
    assert (gateway.folder / "store" / mixture_key(job["id"])).read_bytes() == song


def test_the_store_can_rebuild_the_job_and_no_temporary_file_is_left(
    http: httpx.Client, song: bytes, gateway: Gateway
) -> None:
    job_id = submit(http, song).json()["id"]
    assert gateway.objects() == [accepted_key(job_id), mixture_key(job_id)]
    assert (gateway.folder / "store" / mixture_key(job_id)).read_bytes() == song
    accepted = Job.from_json((gateway.folder / "store" / accepted_key(job_id)).read_bytes())
    assert accepted.job_id == job_id
    assert gateway.uploads() == []


def test_stems_are_asked_for_repeated_or_joined_and_kept_in_the_models_order(http: httpx.Client, song: bytes) -> None:
    assert submit(http, song, stems="bass,alto").json()["requested_stems"] == ["alto", "bass"]
    assert submit(http, song, stems=["bass", "alto"]).json()["requested_stems"] == ["alto", "bass"]
    assert submit(http, song).json()["requested_stems"] is None


def test_a_field_of_the_form_goes_before_the_query(http: httpx.Client, song: bytes) -> None:
    answer = http.post("/v1/jobs?lane=batch&model=duo", files={"file": song}, data={"lane": "interactive"})
    assert (answer.json()["lane"], answer.json()["model"]) == ("interactive", "duo")


def test_several_models_give_a_job_each_under_one_group(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    answer = submit(http, song, model=["duo", "quartet", "duo"])
    body = answer.json()
    assert answer.status_code == 202
    assert [job["model"] for job in body["jobs"]] == ["duo", "quartet"]
    assert {job["group"] for job in body["jobs"]} == {body["group"]}
    submit(http, song)
    assert answer.headers["location"] == f"/v1/groups/{body['group']}"
    listed = http.get("/v1/jobs", params={"group": body["group"]}).json()["jobs"]
    assert {job["id"] for job in listed} == {job["id"] for job in body["jobs"]}


def test_models_on_one_upload_share_its_recording_until_the_last_is_erased(
    http: httpx.Client, song: bytes, gateway: Gateway
) -> None:
    files = {"file": ("a.wav", song), "reference_alto": ("b.wav", song), "reference_upper": ("c.wav", song)}
    body = http.post("/v1/jobs", files=files, data={"model": "duo,quartet"}).json()
    ids = [job["id"] for job in body["jobs"]]
    shared = [reference_key(ids[0], stem, body["group"]) for stem in ("alto", "upper")]
    shared.append(mixture_key(ids[0], body["group"]))
    marks = [sharer_key(body["group"], job_id) for job_id in ids]
    assert gateway.objects() == sorted([*map(accepted_key, ids), *shared, *marks])
    assert http.delete(f"/v1/jobs/{ids[0]}").status_code == 204
    assert gateway.objects() == sorted([accepted_key(ids[1]), *shared, marks[1]])
    for path in ("recording", "references/alto"):
        assert http.get(f"/v1/jobs/{ids[1]}/{path}").content == song
        assert http.get(f"/v1/jobs/{ids[0]}/{path}").json()["code"] == "unknown-job"
    assert http.get(f"/v1/jobs/{ids[1]}/references/upper").json()["code"] == "unknown-reference"
    assert http.delete(f"/v1/jobs/{ids[1]}").status_code == 204
    assert gateway.objects() == []


def test_lists_go_from_the_newest_backwards_in_pages(http: httpx.Client, song: bytes) -> None:
    ids = [submit(http, song).json()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = http.get("/v1/jobs", params={"limit": 2, **cursor}).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ids[::-1]


async def test_a_finished_job_lists_its_stems_and_its_report(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    job_id = submit(http, song).json()["id"]
    await work_off(queue, gateway.store)
    job = http.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["progress"], job["attempt"]) == ("succeeded", 1, 1)
    assert [stem["name"] for stem in job["stems"]] == ["soprano", "alto", "tenor", "bass"]
    assert job["stems"][1]["href"] == f"/v1/jobs/{job_id}/stems/alto"
    assert job["report"]["conservation_dbfs"] == -120
    facts = {"clipped_samples": 3}
    warning = {"code": "cut-at-full-scale", "message": "3 samples of alto were cut", "facts": facts}
    assert job["report"]["warnings"] == [warning]
    assert job["expires_at"] > job["ended_at"] > job["submitted_at"]
    assert job["links"]["archive"] == f"/v1/jobs/{job_id}/archive.zip"


async def test_a_failed_job_is_answered_200_with_its_problem_inside(
    http: httpx.Client, song: bytes, queue: JobQueue
) -> None:
    worker_side = WorkerSide(queue.door)
    job_id = submit(http, song).json()["id"]
    claim = await worker_side.claim("worker-1")
    assert claim is not None
    await worker_side.fail(claim, Problem("undecodable", "the file breaks off after 3 s", {"at_seconds": 3}))
    answer = http.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200
    problem = answer.json()["problem"]
    assert (problem["code"], problem["status"], problem["facts"]) == ("undecodable", 422, {"at_seconds": 3})
    assert answer.json()["stems"] == []


def test_waiting_jobs_know_their_position(http: httpx.Client, song: bytes) -> None:
    positions = [submit(http, song).json()["position"] for _ in range(3)]
    assert positions == [0, 1, 2]


async def test_an_estimate_is_given_once_something_is_known(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    assert submit(http, song).json()["eta_seconds"] is None
    await work_off(queue, gateway.store)
    assert submit(http, song).json()["eta_seconds"] == pytest.approx(0.05)


def test_deleting_a_job_leaves_nothing_of_it(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    url = submit(http, song).headers["location"]
    assert http.delete(url).status_code == 204
    assert gateway.objects() == []
    for answer in (http.get(url), http.delete(url), http.get(f"{url}/events"), http.get(f"{url}/stems/alto")):
        assert answer.status_code == 404
        assert answer.json()["code"] == "unknown-job"
    assert http.get("/v1/jobs").json()["jobs"] == []


async def test_deleting_a_finished_job_erases_its_stems(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    url = submit(http, song).headers["location"]
    await work_off(queue, gateway.store)
    assert len(gateway.objects()) == 6
    assert http.delete(url).status_code == 204
    assert gateway.objects() == []
    assert not list((gateway.folder / "store" / "jobs").iterdir())


async def test_a_running_job_that_is_deleted_is_lost_to_its_worker(
    http: httpx.Client, song: bytes, queue: JobQueue
) -> None:
    worker_side = WorkerSide(queue.door)
    url = submit(http, song).headers["location"]
    claim = await worker_side.claim("worker-1")
    assert claim is not None
    assert http.delete(url).status_code == 204
    assert await worker_side.beat(claim) != "ok"


def test_a_cancelled_job_keeps_its_record(http: httpx.Client, song: bytes) -> None:
    url = submit(http, song).headers["location"]
    assert http.post(f"{url}/cancel").json()["state"] == "cancelled"
    assert http.post(f"{url}/cancel").status_code == 200
    assert http.get(url).json()["state"] == "cancelled"
    stem = http.get(f"{url}/stems/alto")
    assert (stem.status_code, stem.json()["code"]) == (409, "job-cancelled")


async def test_a_finished_job_cannot_be_cancelled(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    url = submit(http, song).headers["location"]
    await work_off(queue, gateway.store)
    answer = http.post(f"{url}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "job-ended")


# --- Idempotency-Key ---


def submit_with_key(http: httpx.Client, song: bytes, key: str, **fields: object) -> httpx.Response:
    return http.post("/v1/jobs", files={"file": ("a.wav", song)}, data=fields, headers={"Idempotency-Key": key})


def test_the_same_key_and_content_give_the_same_answer(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    first = submit_with_key(http, song, "k1", stems="alto,bass")
    again = submit_with_key(http, song, "k1", stems=["bass", "alto"])
    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(gateway.objects()) == 2


def test_the_same_key_with_other_content_or_options_is_refused(http: httpx.Client, song: bytes) -> None:
    submit_with_key(http, song, "k1")
    for answer in (submit_with_key(http, song + b"\0\0", "k1"), submit_with_key(http, song, "k1", stem_format="flac")):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")
    assert len(http.get("/v1/jobs").json()["jobs"]) == 1


def test_a_refused_upload_frees_its_key(http: httpx.Client, song: bytes) -> None:
    assert submit_with_key(http, b"not audio at all", "k1").status_code == 415
    assert submit_with_key(http, song, "k1").status_code == 202


def test_a_deleted_job_frees_its_key(http: httpx.Client, song: bytes) -> None:
    first = submit_with_key(http, song, "k1")
    http.delete(first.headers["location"])
    second = submit_with_key(http, song, "k1")
    assert second.status_code == 202
    assert second.json()["id"] != first.json()["id"]


def test_a_key_whose_upload_is_under_way_is_answered_409(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    answers: list[httpx.Response] = []

    def slow_body() -> Iterator[bytes]:
        yield song[:1000]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not gateway.uploads():
            assert time.monotonic() < deadline  # the gateway holds the key before it opens a file
            time.sleep(0.01)
        answers.append(submit_with_key(http, song, "k1"))  # while the first is being sent
        yield song[1000:]

    with httpx.Client(base_url=gateway.url) as other:
        headers = {"Idempotency-Key": "k1", "Content-Type": "audio/wav"}
        first = other.post("/v1/jobs", content=slow_body(), headers=headers)
    assert first.status_code == 202
    assert (answers[0].status_code, answers[0].json()["code"]) == (409, "idempotency-key-in-flight")
    assert answers[0].headers["retry-after"] == "1"


async def test_two_hundred_posts_with_one_key_make_one_job(gateway: Gateway, song: bytes) -> None:
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=gateway.url, limits=limits) as client:
        answers = await asyncio.gather(
            *(
                client.post("/v1/jobs", files={"file": ("a.wav", song)}, headers={"Idempotency-Key": "storm"})
                for _ in range(200)
            )
        )
        jobs = (await client.get("/v1/jobs")).json()["jobs"]
    assert len(jobs) == 1
    assert set(Counter(answer.status_code for answer in answers)) <= {202, 409}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 202} == {jobs[0]["id"]}
    assert gateway.objects() == [accepted_key(jobs[0]["id"]), mixture_key(jobs[0]["id"])]


# --- events ---


async def events_of(
    gateway: Gateway, job_id: str, after: str | None = None, most: int | None = None
) -> list[ServerSentEvent]:
    headers = {"Last-Event-ID": after} if after else {}
    found: list[ServerSentEvent] = []
    async with (
        httpx.AsyncClient(base_url=gateway.url) as client,
        aconnect_sse(client, "GET", f"/v1/jobs/{job_id}/events", headers=headers) as source,
    ):
        async for event in source.aiter_sse():
            found.append(event)
            if len(found) == most:
                break
    return found


async def test_events_tell_the_whole_story_and_end_with_the_job(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    job_id = submit(http, song).json()["id"]
    listening = asyncio.create_task(events_of(gateway, job_id))
    await work_off(queue, gateway.store)
    events = [event for event in await asyncio.wait_for(listening, PATIENCE_SECONDS) if event.data]
    bodies = [json.loads(event.data) for event in events]
    assert bodies[0]["state"] == "queued"
    assert bodies[-1] == {"state": "succeeded", "progress": 1.0, "attempt": 1}
    assert [body["progress"] for body in bodies] == sorted(body["progress"] for body in bodies)
    assert {event.event for event in events} == {"state", "progress"}
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)


async def test_a_listener_that_reconnects_misses_and_repeats_nothing(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    job_id = submit(http, song).json()["id"]
    await work_off(queue, gateway.store)
    whole = [event.id for event in await events_of(gateway, job_id) if event.data]
    pieces: list[str] = []
    while len(pieces) < len(whole):
        found = await events_of(gateway, job_id, after=pieces[-1] if pieces else None, most=2)
        pieces += [event.id for event in found if event.data]
    assert pieces == whole
    assert [event for event in await events_of(gateway, job_id, after=whole[-1]) if event.data] == []


@pytest.mark.slow
async def test_a_hundred_drops_while_the_job_runs_lose_nothing(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue
) -> None:
    worker_side = WorkerSide(queue.door)
    job_id = submit(http, song).json()["id"]

    async def run_slowly() -> None:
        claim = await worker_side.claim("worker-1")
        assert claim is not None
        for percent in range(100):
            await worker_side.report(claim, percent / 100, "separating")
        await worker_side.fail(claim, Problem("undecodable", "at last"))

    async def listen_with_drops() -> list[ServerSentEvent]:
        heard: list[ServerSentEvent] = []
        while not heard or '"failed"' not in heard[-1].data:
            after = heard[-1].id if heard else None
            heard += [event for event in await events_of(gateway, job_id, after, most=2) if event.data]
        return heard

    heard, _ = await asyncio.wait_for(asyncio.gather(listen_with_drops(), run_slowly()), PATIENCE_SECONDS)
    assert len(heard) > 100
    assert [event.id for event in heard] == [event.id for event in await events_of(gateway, job_id) if event.data]
    progress = [json.loads(event.data)["progress"] for event in heard]
    assert progress == sorted(progress)


async def test_listeners_are_told_how_soon_to_reconnect(http: httpx.Client, song: bytes, gateway: Gateway) -> None:
    job_id = submit(http, song).json()["id"]
    with http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.iter_lines()
        head = [next(lines) for _ in range(2)]
    assert f"retry: {RECONNECT_MILLISECONDS}" in head


@pytest.mark.parametrize("event_id", ["x", "1", "1-", "-1", "1-1-1", "99999999999999999-0"])
def test_a_nonsense_last_event_id_is_refused(http: httpx.Client, song: bytes, event_id: str) -> None:
    url = submit(http, song).headers["location"]
    answer = http.get(f"{url}/events", headers={"Last-Event-ID": event_id})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
