"""How jobs are erased: at once when asked, when their time is over, and what attempts that did not win left.

Several jobs may share a recording, which goes with the last of them. Each has a mark beside it, stored before the job
is accepted. To go, a job takes its mark away and then looks whether any is left: of two that go at once, the later one
sees none.
"""

from __future__ import annotations

from collections.abc import Sequence

from divisi.contract.errors import NotFoundError, UnavailableError
from divisi.jobs.queue import JobQueue
from divisi.storage.object_keys import (
    accepted_key,
    attempt_prefix,
    job_prefix,
    sharer_key,
    sharers_prefix,
    upload_prefix,
)
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import get_logger

log = get_logger(__name__)


async def erase_job(queue: JobQueue, store: ObjectStore, job_id: str) -> None:
    """Cancels the job if it has not ended, then erases recording, stems and record.

    Raises:
        NotFoundError: no such job (`unknown-job`).
    """
    job = await queue.get(job_id)
    # First what the queue could be rebuilt from: whatever fails below, the job cannot rise again.
    await store.delete(accepted_key(job_id))
    await queue.cancel(job_id)
    await erase_audio(store, job_id, job.upload)
    await queue.delete(job_id)


async def sweep_expired(queue: JobQueue, store: ObjectStore, now: float | None = None) -> int:
    """Erases audio, stems and records of all jobs that expired by `now` (Unix seconds). Returns how many."""
    num_erased = 0
    while job_ids := await queue.expired(now):
        for job_id in job_ids:
            await erase_audio(store, job_id, await _upload_of(queue, job_id))
            await queue.delete(job_id)
            log.info("job erased", job_id=job_id, reason="expired")
        num_erased += len(job_ids)
    return num_erased


async def sweep_attempt(store: ObjectStore, job_id: str, attempt: int) -> None:
    """Erases what an attempt wrote; when the store is away, retention will see to it."""
    try:
        await store.delete_prefix(attempt_prefix(job_id, attempt))
    except UnavailableError as error:
        log.warning("attempt not swept", job_id=job_id, attempt=attempt, reason=error.message)


async def mark_sharers(store: ObjectStore, upload: str, job_ids: Sequence[str]) -> None:
    """Notes the jobs that need a recording; before any of them is accepted."""
    for job_id in job_ids:
        await store.put_bytes(sharer_key(upload, job_id), b"")


async def sharers_of(store: ObjectStore, upload: str) -> list[str]:
    """Ids of the jobs that need a recording."""
    return [found.key.rsplit("/", 1)[-1] for found in await store.list(sharers_prefix(upload))]


async def erase_audio(store: ObjectStore, job_id: str, upload: str | None) -> None:
    """Erases what the store has of a job: recording, true sources, stems; of a shared upload only when nobody else
    needs it.

    Args:
        upload: id of the upload that the job shares; None: it has a recording of its own.
    """
    await store.delete_prefix(job_prefix(job_id))
    if upload is not None:
        await leave_upload(store, upload, job_id)


async def leave_upload(store: ObjectStore, upload: str, job_id: str) -> None:
    """Takes a job's mark away, and erases the recording if it was the last."""
    await store.delete(sharer_key(upload, job_id))
    if not await sharers_of(store, upload):
        await store.delete_prefix(upload_prefix(upload))


async def _upload_of(queue: JobQueue, job_id: str) -> str | None:
    try:
        return (await queue.get(job_id)).upload
    except NotFoundError:  # another sweeper was here, and erased all of it before the record
        return None
    except ValueError as error:  # what one job left must not keep all others; reconciling erases what it shared
        log.error("expired job is not readable", job_id=job_id, reason=str(error)[:200])
        return None
