"""What callers may use: counted for each of them, in one step, however many ask at once."""

from __future__ import annotations

import asyncio

import pytest
import redis

from divisi.access.callers import Limits, UploadQuota
from divisi.contract.errors import LimitError
from divisi.queue.job_queue import JobQueue

pytestmark = pytest.mark.anyio
HOUR_MS = 3_600_000


async def test_of_many_requests_at_once_exactly_the_limit_is_admitted(queue: JobQueue) -> None:
    answers = await asyncio.gather(*(Limits(queue.door).admit_request("key:a", 10) for _ in range(40)))
    assert sum(answer.is_admitted for answer in answers) == 10
    assert sorted(answer.remaining for answer in answers if answer.is_admitted) == list(range(10))
    assert all(0 < answer.reset_seconds <= 60 for answer in answers)


async def test_one_callers_requests_do_not_count_for_another(queue: JobQueue) -> None:
    limits = Limits(queue.door)
    for _ in range(3):
        await limits.admit_request("key:a", 3)
    assert not (await limits.admit_request("key:a", 3)).is_admitted
    assert (await limits.admit_request("key:b", 3)).is_admitted


async def test_the_window_slides(queue: JobQueue, raw: redis.Redis) -> None:
    limits = Limits(queue.door)
    for _ in range(2):
        await limits.admit_request("key:a", 2)
    window = "divisi:requests:key:a"
    [(first, at), _] = raw.zrange(window, 0, -1, withscores=True)
    raw.zadd(window, {first: at - 61e6})
    assert (await limits.admit_request("key:a", 2)).is_admitted
    assert not (await limits.admit_request("key:a", 2)).is_admitted


async def test_uploads_are_taken_off_a_days_quota_and_given_back(queue: JobQueue) -> None:
    limits = Limits(queue.door)
    quota = UploadQuota(num_bytes=100, audio_seconds=10)
    await limits.spend_upload("key:a", quota, 60, 4.0)
    with pytest.raises(LimitError, match="100 bytes"):
        await limits.spend_upload("key:a", quota, 41, 1.0)
    with pytest.raises(LimitError, match="10 s of audio"):
        await limits.spend_upload("key:a", quota, 1, 6.5)
    await limits.spend_upload("key:a", quota, 40, 6.0)
    with pytest.raises(LimitError) as refusal:
        await limits.spend_upload("key:a", quota)
    assert 23 * 3600 < refusal.value.facts["retry_after_seconds"] <= 24 * 3600
    await limits.spend_upload("key:a", quota, -40, -6.0)
    await limits.spend_upload("key:a", quota, 40, 6.0)


async def test_what_was_uploaded_a_day_ago_no_longer_counts(queue: JobQueue, raw: redis.Redis) -> None:
    limits = Limits(queue.door)
    quota = UploadQuota(num_bytes=100, audio_seconds=0)
    seconds, _ = raw.time()
    hour = seconds * 1000 // HOUR_MS
    raw.hset("divisi:spent:key:a", mapping={f"bytes{hour - 24}": 90, f"bytes{hour - 3}": 30, f"bytes{hour}": 40})
    await limits.spend_upload("key:a", quota, 30)
    with pytest.raises(LimitError) as refusal:
        await limits.spend_upload("key:a", quota, 20)
    # The thirty of three hours ago leave first, after another 20 to 21 hours.
    assert 20 * 3600 < refusal.value.facts["retry_after_seconds"] <= 21 * 3600
    assert f"bytes{hour - 24}" not in raw.hgetall("divisi:spent:key:a")


async def test_a_quota_of_nothing_is_no_limit(queue: JobQueue) -> None:
    limits = Limits(queue.door)
    await limits.spend_upload("key:a", UploadQuota(0, 0), 10**15, 10**9)
    await limits.spend_upload("key:a", UploadQuota(0, 0))


async def test_unfinished_jobs_are_counted_by_owner_until_they_end(queue: JobQueue, make_job) -> None:
    mine = [make_job(owner="key:a") for _ in range(3)]
    await queue.submit(*mine[:2], most_unfinished=2)
    with pytest.raises(LimitError) as refusal:
        await queue.submit(mine[2], most_unfinished=2)
    assert refusal.value.facts["violated"] == "unfinished-jobs"
    with pytest.raises(LimitError):
        await queue.require_job_room("key:a", 2)
    await queue.submit(make_job(owner="key:b"), most_unfinished=2)
    await queue.cancel(mine[0].job_id)
    await queue.submit(mine[2], most_unfinished=2)


async def test_each_owner_lists_their_own_jobs(queue: JobQueue, make_job) -> None:
    mine, theirs, nobodys = make_job(owner="key:a"), make_job(owner="key:b"), make_job()
    for job in (mine, theirs, nobodys):
        await queue.submit(job)
    assert [job.job_id for job in (await queue.list(owner="key:a")).jobs] == [mine.job_id]
    assert len((await queue.list()).jobs) == 3
    await queue.cancel(mine.job_id)
    await queue.delete(mine.job_id)
    assert (await queue.list(owner="key:a")).jobs == ()


async def test_nothing_of_an_owner_stays_when_their_jobs_are_erased(
    queue: JobQueue, make_job, raw: redis.Redis
) -> None:
    job = make_job(owner="key:a", webhook_url="https://choir.example/told")
    await queue.submit(job)
    await queue.cancel(job.job_id)
    await queue.delete(job.job_id)
    left = sorted(key for key in raw.scan_iter() if job.job_id in key or "key:a" in key)
    assert left == []
    assert raw.zcard("divisi:webhooks:due") == 0
