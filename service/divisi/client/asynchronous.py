"""The client for asyncio; the same calls as the blocking one.

async with AsyncClient("http://127.0.0.1:8000") as client:
    job = await client.submit(Path("song.wav"))
    job = await client.wait(job["id"])
    await client.download_stems(job, Path("stems"))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

from divisi.client.arrivals import Wanted, unpacking, wanted_files, wanted_tracks
from divisi.client.connections import AsyncConnection
from divisi.client.records import Comparison, Job, JobPage, LearningTracks, Rehearsal
from divisi.client.wire import (
    PAGE_NAME,
    REPORT_NAME,
    Recordings,
    again_when_changed,
    by_stem,
    compared,
    ended,
    progress_of,
    replacing,
    require_success,
    standing_of,
    warn_of,
)
from divisi.contract.request import RequestArguments
from divisi.contract.tracks import TrackArguments, query_of


class AsyncClient(AsyncConnection):
    """A connection to one divisi server; see `Client`."""

    async def submit(
        self,
        path: Recordings,
        *,
        references: Mapping[str, Path] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[RequestArguments],
    ) -> Job:
        """Uploads one recording and queues its separation; see `Client.submit`."""
        return cast(Job, await self._submit(path, references, options, idempotency_key))

    async def separate(
        self,
        path: Recordings,
        folder: str | Path = "stems",
        *,
        references: Mapping[str, Path] | None = None,
        on_progress: Callable[[float], None] | None = None,
        **options: Unpack[RequestArguments],
    ) -> dict[str, Path]:
        """Separates one recording and writes its stems; see `Client.separate`."""
        job = await self.submit(path, references=references, **options)
        job = await self.wait(job["id"], on_progress=on_progress and (lambda job: on_progress(job["progress"])))
        await self.download_stems(job, Path(folder))
        await self.delete(job["id"])
        warn_of(job)
        return by_stem(job, Path(folder))

    async def compare(
        self,
        path: str | Path,
        models: Sequence[str],
        *,
        references: Mapping[str, Path] | None = None,
        on_progress: Callable[[float], None] | None = None,
        waits: bool = True,
        **options: Unpack[RequestArguments],
    ) -> Comparison:
        """Separates one recording with several models; see `Client.compare`."""
        asked = {**options, "model": compared(models)}
        group: str = (await self._submit(path, references, asked))["group"]
        async for comparison in self._looks(lambda: self.comparison(group), lambda _: "the comparison runs"):
            if on_progress is not None:
                on_progress(progress_of(comparison))
            if comparison["state"] == "ended" or not waits:
                break
        return comparison

    async def comparison(self, group: str) -> Comparison:
        """The table of one group as it stands."""
        return cast(Comparison, await self._json("GET", f"v1/groups/{group}"))

    async def jobs(self, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Jobs, newest first, a page at a time."""
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return cast(JobPage, await self._json("GET", "v1/jobs", params=query))

    async def get(self, job_id: str) -> Job:
        """The job as it stands."""
        return cast(Job, await self._json("GET", f"v1/jobs/{job_id}"))

    async def wait(
        self, job_id: str, *, timeout_seconds: float | None = None, on_progress: Callable[[Job], None] | None = None
    ) -> Job:
        """Polls until the job succeeded; raises as `Client.wait` does."""
        async for job in self.iter_progress(job_id, timeout_seconds=timeout_seconds):
            if on_progress is not None:
                on_progress(job)
        return require_success(job)

    async def iter_progress(self, job_id: str, *, timeout_seconds: float | None = None) -> AsyncIterator[Job]:
        """The job as it stands, again and again, and last as it ended, however that was; raises as `wait` does."""
        async for job in self._looks(lambda: self.get(job_id), partial(standing_of, job_id), timeout_seconds):
            yield job
            if ended(job):
                return

    async def cancel(self, job_id: str) -> Job:
        """Stops the job and keeps its record; ConflictError when it has ended otherwise."""
        return cast(Job, await self._json("POST", f"v1/jobs/{job_id}/cancel"))

    async def keep(self, job_id: str) -> Job:
        """Keeps a job that succeeded from expiring, until it is erased; ConflictError when too many are kept."""
        return cast(Job, await self._json("PUT", f"v1/jobs/{job_id}/keep"))

    async def stop_keeping(self, job_id: str) -> Job:
        """Lets a job expire again as others do."""
        return cast(Job, await self._json("DELETE", f"v1/jobs/{job_id}/keep"))

    async def rehearsal(self, job_id: str) -> Rehearsal:
        """What is kept with a job to rehearse from."""
        return cast(Rehearsal, await self._json("GET", f"v1/jobs/{job_id}/rehearsal"))

    async def change_rehearsal(self, job_id: str, change: Callable[[Rehearsal], Rehearsal]) -> Rehearsal:
        """Keeps what `change` makes of what is kept; of what somebody else kept meanwhile, where that is so."""
        address = f"v1/jobs/{job_id}/rehearsal"
        while True:
            with again_when_changed():
                kept = await self._request("GET", address)
                return cast(Rehearsal, await self._json("PUT", address, **replacing(kept, change)))

    async def download_stems(self, job: Job, folder: Path) -> list[Path]:
        """Writes each stem as `folder/<stem>.<extension>`, all at once; see `Client.download_stems`."""
        return await self._bring(wanted_files(job["stems"], folder), folder)

    async def download_pitch(self, job: Job, folder: Path) -> list[Path]:
        """Writes pitch tracks, notes and bars, as `download_stems`; nothing for models without pitch."""
        return await self._bring(wanted_files(job["pitch"], folder), folder)

    async def download_resynthesis(self, job: Job, folder: Path) -> Path | None:
        """Writes the mixture as the model sings it again, as `download_stems`; None for models that do not."""
        wanted = wanted_files([job["resynthesis"]] if job["resynthesis"] else [], folder)
        return next(iter(await self._bring(wanted, folder)), None)

    async def download_report(self, job: Job, folder: Path) -> Path | None:
        """Writes the job's picture, `report.png`, as `download_stems`; None when there is none."""
        if job["views"] is None:
            return None
        return (await self._bring([Wanted(job["views"]["report"], REPORT_NAME, folder / REPORT_NAME)], folder))[0]

    async def tracks(
        self,
        job: Job,
        folder: Path,
        *,
        on_progress: Callable[[float], None] | None = None,
        **options: Unpack[TrackArguments],
    ) -> list[Path]:
        """Makes learning tracks, waits for them, and writes them; see `Client.tracks`."""
        query = query_of(options)

        async def look() -> LearningTracks:
            return cast(LearningTracks, await self._json("GET", f"v1/jobs/{job['id']}/tracks", params=query))

        async for made in self._looks(look, lambda _: "learning tracks are made"):
            if on_progress is not None:
                on_progress(made["progress"])
            if made["state"] == "ready":
                break
        return await self._bring(wanted_tracks(made, folder), folder)

    async def export(self, comparison: Comparison, folder: Path) -> Path:
        """Writes an ended comparison as a folder that opens from disk, without a service; gives its `index.html`.

        Raises:
            InputError: `would-replace`, the folder holds another file of the same name.
        """
        with unpacking(comparison["folder"], folder) as arrival:
            await self._fetch(arrival)
        return folder / PAGE_NAME

    async def models(self) -> list[dict[str, Any]]:
        """The cards of the models that the server offers."""
        models: list[dict[str, Any]] = (await self._json("GET", "v1/models"))["models"]
        return models

    async def delete(self, job_id: str) -> None:
        """Cancels the job if it has not ended, and erases its audio and record."""
        await self._request("DELETE", f"v1/jobs/{job_id}")
