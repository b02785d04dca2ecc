"""How the audio of a job is erased, and a recording that several jobs share: with the last of them.

Each job that shares a recording has a mark beside it, stored before the job is accepted. To go, a job takes its mark
away and then looks whether any is left: of two that go at once, the later one sees none. Whatever is interrupted can be
done again.
"""

from __future__ import annotations

from collections.abc import Sequence

from divisi.storage.keys import job_prefix, sharer_key, sharers_prefix, upload_prefix
from divisi.storage.object_store import ObjectStore


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
