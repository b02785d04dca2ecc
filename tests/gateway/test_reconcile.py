"""What Redis lost is rebuilt from the store; what never became a job is swept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import obstore
import pytest
import redis
from obstore.store import LocalStore

from divisi.contract.errors import UnavailableError
from divisi.contract.job import new_job_id
from divisi.gateway.app import create_app
from divisi.life import ORPHAN_AGE, mark_sharers, reconcile, sharers_of
from divisi.models.bundle import BundleStore
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.worker_side import WorkerSide
from divisi.storage.names import accepted_key, mixture_key
from divisi.storage.object_store import ObjectStore

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, Serve, WorkOff

pytestmark = pytest.mark.anyio


def lose_all(gateway: Gateway) -> None:
    with redis.Redis.from_url(gateway.redis_url) as client:
        client.flushall()


async def test_lost_jobs_are_queued_again_as_they_were(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    posted = http.post("/v1/jobs", files={"file": ("a.wav", song)}, data={"stems": "alto", "lane": "batch"}).json()
    lose_all(gateway)
    assert http.get(f"/v1/jobs/{posted['id']}").status_code == 404
    assert await reconcile(queue, gateway.store) == [posted["id"]]
    assert http.get(f"/v1/jobs/{posted['id']}").json() == posted
    assert (await work_off(queue, gateway.store)).job_id == posted["id"]


async def test_what_redis_knows_is_left_alone(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue, work_off: WorkOff
) -> None:
    http.post("/v1/jobs", files={"file": song})
    await work_off(queue, gateway.store)
    http.post("/v1/jobs", files={"file": song})
    before = gateway.redis_keys()
    assert await reconcile(queue, gateway.store) == []
    assert gateway.redis_keys() == before


async def test_a_deleted_job_never_comes_back(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue
) -> None:
    url = http.post("/v1/jobs", files={"file": song}).headers["location"]
    http.delete(url)
    assert await reconcile(queue, gateway.store) == []
    assert http.get(url).status_code == 404
    assert await WorkerSide(queue.door).claim("worker-1") is None


async def test_all_jobs_of_a_group_come_back_with_their_key(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue
) -> None:
    def post() -> httpx.Response:
        return http.post(
            "/v1/jobs", files={"file": song}, data={"model": ["duo", "quartet"]}, headers={"Idempotency-Key": "k"}
        )

    ids = {job["id"] for job in post().json()["jobs"]}
    lose_all(gateway)
    before = gateway.objects()
    later = datetime.now(UTC) + ORPHAN_AGE + timedelta(minutes=1)
    assert set(await reconcile(queue, gateway.store, later)) == ids
    assert gateway.objects() == before
    again = post()
    assert again.headers["idempotency-replayed"] == "true"
    assert {job["id"] for job in again.json()["jobs"]} == ids


async def test_a_lost_job_whose_caller_has_sent_it_again_is_dropped(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue
) -> None:
    def post() -> str:
        return str(http.post("/v1/jobs", files={"file": song}, headers={"Idempotency-Key": "k"}).json()["id"])

    first = post()
    lose_all(gateway)
    second = post()
    assert second != first
    assert await reconcile(queue, gateway.store) == []
    assert gateway.objects() == [f"jobs/{second}/accepted.json", f"jobs/{second}/mixture"]


async def test_an_upload_that_was_broken_off_is_swept_when_it_is_old(gateway: Gateway, queue: JobQueue) -> None:
    key = mixture_key(new_job_id())
    await gateway.store.put_bytes(key, b"half a story")
    now = datetime.now(UTC)
    await reconcile(queue, gateway.store, now)
    assert gateway.objects() == [key]
    await reconcile(queue, gateway.store, now + ORPHAN_AGE + timedelta(minutes=1))
    assert gateway.objects() == []


async def test_a_shared_recording_is_swept_when_it_is_old_and_no_job_needs_it(
    gateway: Gateway, queue: JobQueue
) -> None:
    broken_off, left_over = new_job_id(), new_job_id()
    await gateway.store.put_bytes(mixture_key("", broken_off), b"half a story")
    await gateway.store.put_bytes(mixture_key("", left_over), b"erased but for this")
    await mark_sharers(gateway.store, left_over, [new_job_id()])
    before = gateway.objects()
    now = datetime.now(UTC)
    await reconcile(queue, gateway.store, now)
    assert gateway.objects() == before
    await reconcile(queue, gateway.store, now + ORPHAN_AGE + timedelta(minutes=1))
    assert gateway.objects() == []


async def test_a_shared_recording_is_kept_for_a_job_that_only_redis_or_only_the_store_knows(
    http: httpx.Client, song: bytes, gateway: Gateway, queue: JobQueue
) -> None:
    body = http.post("/v1/jobs", files={"file": song}, data={"model": "duo,quartet"}).json()
    first, second = (job["id"] for job in body["jobs"])
    recording = mixture_key(first, body["group"])
    later = datetime.now(UTC) + ORPHAN_AGE + timedelta(minutes=1)
    await gateway.store.delete(accepted_key(first))
    await gateway.store.put_bytes(accepted_key(second), b"not readable")
    lose = [key for key in gateway.redis_keys() if key.endswith(f"job:{second}")]
    with redis.Redis.from_url(gateway.redis_url) as client:
        assert client.delete(*lose) == 1
    await reconcile(queue, gateway.store, later)
    assert recording in gateway.objects()
    assert sorted(await sharers_of(gateway.store, body["group"])) == sorted([first, second])


async def test_a_recording_that_is_being_stored_is_left_alone(gateway: Gateway, queue: JobQueue) -> None:
    key = mixture_key(new_job_id())
    # As a local folder has it until the last byte: a file that is no object yet.
    with obstore.open_writer(LocalStore(gateway.folder / "store"), key, buffer_size=1) as storing:
        storing.write(b"half of it")
        storing.flush()
        assert await reconcile(queue, gateway.store) == []
    assert gateway.objects() == [key]


async def test_nothing_of_a_group_is_queued_before_all_of_it_is_stored(
    http: httpx.Client, song: bytes, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[str] = []
    put_file = ObjectStore.put_file

    async def reconcile_before_the_second(store: ObjectStore, key: str, path: Path, **about: str) -> None:
        if stored:
            async with RedisDoor(gateway.redis_url) as door:
                queue = JobQueue(door)
                assert await reconcile(queue, store) == []
            raise UnavailableError("the object store is away", code="store-unavailable")
        await put_file(store, key, path, **about)
        stored.append(key)

    monkeypatch.setattr(ObjectStore, "put_file", reconcile_before_the_second)
    files = {"file": ("a.wav", song), "reference_alto": ("b.wav", song)}
    answer = http.post("/v1/jobs", files=files, data={"model": "duo,quartet"})
    assert answer.json()["code"] == "store-unavailable"
    assert len(stored) == 1
    assert http.get("/v1/jobs").json()["jobs"] == []
    assert gateway.objects() == []


async def test_a_starting_gateway_brings_lost_jobs_back_by_itself(
    http: httpx.Client, song: bytes, gateway: Gateway, serve: Serve, queue: JobQueue, model_store: Path
) -> None:
    posted = http.post("/v1/jobs", files={"file": song}).json()
    lose_all(gateway)
    app = create_app(gateway.settings, RedisDoor(gateway.redis_url), gateway.store, BundleStore(model_store))
    with serve(app):
        claim = None
        while claim is None:
            claim = await WorkerSide(queue.door).claim("worker-1", wait_seconds=2)
    assert claim.job_id == posted["id"]
