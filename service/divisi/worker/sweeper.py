"""Erases what nobody may see or keep: expired jobs, and the stems of attempts that did not win.

Objects go first, the record last: a sweep that is interrupted is done again by the next.
"""

from __future__ import annotations

from divisi.errors import NotFoundError, UnavailableError
from divisi.jobs.queue import JobQueue
from divisi.storage.erasure import erase_audio
from divisi.storage.keys import attempt_prefix
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import get_logger

log = get_logger(__name__)


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


async def _upload_of(queue: JobQueue, job_id: str) -> str | None:
    try:
        return (await queue.get(job_id)).upload
    except NotFoundError:  # another sweeper was here, and erased all of it before the record
        return None
    except ValueError as error:  # what one job left must not keep all others; reconciling erases what it shared
        log.error("expired job is not readable", job_id=job_id, reason=str(error)[:200])
        return None


async def sweep_attempt(store: ObjectStore, job_id: str, attempt: int) -> None:
    """Erases what an attempt wrote; when the store is away, retention will see to it."""
    try:
        await store.delete_prefix(attempt_prefix(job_id, attempt))
    except UnavailableError as error:
        log.warning("attempt not swept", job_id=job_id, attempt=attempt, reason=error.message)
