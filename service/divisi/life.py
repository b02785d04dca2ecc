"""The life of what is stored for a job: how it is erased, swept when its time is over, and rebuilt when Redis lost it.

One order holds everywhere: objects go first, the record last. Whatever is interrupted is done again.

Several jobs may share a recording, which goes with the last of them. Each has a mark beside it, stored before the job
is accepted. To go, a job takes its mark away and then looks whether any is left: of two that go at once, the later one
sees none.

`reconcile` runs beside the gateway, at its start and now and then: every accepted job in the store that the queue does
not know is submitted again. Each job is asked for in Redis before its object is read, and erasing a job takes the
object before the record: so a job that is being erased is never brought back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from divisi.contract.errors import ConflictError, DivisiError, NotFoundError, UnavailableError
from divisi.contract.job import Job, new_job_id
from divisi.queue.job_queue import JobQueue
from divisi.storage.names import (
    JOBS_PREFIX,
    UPLOADS_PREFIX,
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


PERIOD_SECONDS = 300.0
# An upload that was broken off while it was stored is swept after this; none takes so long to store.
ORPHAN_AGE = timedelta(hours=6)


async def keep_reconciled(queue: JobQueue, store: ObjectStore) -> None:
    """Reconciles at once and then every few minutes, until cancelled; outages are waited out."""
    while True:
        try:
            await reconcile(queue, store)
        except UnavailableError as error:
            log.warning("reconciling put off", reason=error.message)
        except Exception:  # whatever it was must not end the loop
            log.exception("reconciling failed")
        await asyncio.sleep(PERIOD_SECONDS)


async def reconcile(queue: JobQueue, store: ObjectStore, now: datetime | None = None) -> list[str]:
    """Submits lost jobs again and sweeps uploads that never became jobs.

    Returns:
        Ids of the jobs that were brought back.
    """
    uploads: dict[str, list[Job]] = {}
    for job_id in await store.list_folders(JOBS_PREFIX):
        if await _is_known(queue, job_id):
            continue
        try:
            job = await _read_accepted(store, job_id)
        except ValueError as error:
            # Somebody's recording all the same, perhaps of a newer version: left for a person.
            log.error("accepted job is not readable", job_id=job_id, reason=str(error)[:200])
            continue
        if job is None:
            await _sweep_orphan(store, job_id, now or datetime.now(UTC))
        else:
            uploads.setdefault(job.group or job_id, []).append(job)
    for upload in await store.list_folders(UPLOADS_PREFIX):
        await _sweep_unneeded(queue, store, upload, now or datetime.now(UTC))
    return [job_id for jobs in uploads.values() for job_id in await _bring_back(queue, store, jobs)]


async def _is_known(queue: JobQueue, job_id: str) -> bool:
    try:
        await queue.get(job_id)
    except NotFoundError:
        return False
    return True


async def _read_accepted(store: ObjectStore, job_id: str) -> Job | None:
    try:
        return Job.from_json(await store.get_bytes(accepted_key(job_id)))
    except NotFoundError:
        return None


async def _bring_back(queue: JobQueue, store: ObjectStore, jobs: list[Job]) -> Iterable[str]:
    """All lost jobs of one upload together: they share one idempotency key."""
    job_ids = [job.job_id for job in jobs]
    try:
        submission = await queue.submit(*jobs)
    except ConflictError:
        return []  # its key is in use by an upload under way: the next round will know
    except DivisiError as error:
        log.warning("accepted jobs not brought back yet", job_ids=job_ids, reason=error.message)
        return []
    if submission.is_replay:
        # No caller got these ids: the caller has sent the recording again meanwhile, and follows those jobs.
        for job in jobs:
            await erase_audio(store, job.job_id, job.upload)
        return []
    log.warning("accepted jobs brought back", job_ids=job_ids)
    return job_ids


async def _sweep_orphan(store: ObjectStore, job_id: str, now: datetime) -> None:
    # The id says when storing began, and ids sort by time. The objects do not: what is being stored is none yet.
    if _is_old(job_id, now):
        await store.delete_prefix(job_prefix(job_id))
        log.info("abandoned upload swept", job_id=job_id)


async def _sweep_unneeded(queue: JobQueue, store: ObjectStore, upload: str, now: datetime) -> None:
    """A recording whose jobs were never accepted, or were erased by somebody who was interrupted."""
    if not _is_old(upload, now):
        return
    job_ids = await sharers_of(store, upload)
    for job_id in job_ids:
        if not await _is_known(queue, job_id) and not await _is_accepted(store, job_id):
            await leave_upload(store, upload, job_id)
    if not job_ids:
        await store.delete_prefix(upload_prefix(upload))
        log.info("abandoned upload swept", upload=upload)


async def _is_accepted(store: ObjectStore, job_id: str) -> bool:
    try:
        await store.head(accepted_key(job_id))
    except NotFoundError:
        return False
    return True


def _is_old(job_id: str, now: datetime) -> bool:
    return job_id < new_job_id((now - ORPHAN_AGE).timestamp())
