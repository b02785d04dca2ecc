"""The client for asyncio; the same calls as the blocking one.

async with AsyncClient("http://127.0.0.1:8000") as client:
    job = await client.submit(Path("song.wav"))
    job = await client.wait(job["id"])
    await client.download_stems(job, Path("stems"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, Unpack, cast

import httpx

from divisi.client.arrivals import Arrival, Wanted, arriving, unpacking, wanted_files, wanted_tracks
from divisi.client.records import Comparison, Job, JobPage, LearningTracks, Rehearsal
from divisi.client.wire import (
    PAGE_NAME,
    REPORT_NAME,
    Patience,
    again_when_changed,
    compared,
    ended,
    form_of,
    json_of,
    no_answer,
    problem_to_error,
    progress_of,
    replacing,
    require_success,
    standing_of,
)
from divisi.contract.errors import DivisiError, LimitError, UnavailableError
from divisi.contract.request import RequestArguments
from divisi.contract.tracks import TrackArguments, query_of


class AsyncClient:
    """A connection to one divisi server; see `Client`."""

    def __init__(self, base_url: str, timeout_seconds: float = 30.0, *, api_key: str | None = None) -> None:
        timeout = httpx.Timeout(timeout_seconds, write=None, read=max(timeout_seconds, 120.0))
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(base_url=base_url.rstrip("/") + "/", timeout=timeout, headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def submit(
        self,
        path: Path | Sequence[Path],
        *,
        references: Mapping[str, Path] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[RequestArguments],
    ) -> Job:
        """Uploads one recording and queues its separation; see `Client.submit`."""
        return cast(Job, await self._submit(path, references, options, idempotency_key))

    async def compare(
        self,
        path: Path,
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
        patience = Patience()
        while True:
            try:
                comparison = await self.comparison(group)
            except (LimitError, UnavailableError) as refusal:
                await asyncio.sleep(patience.pause("the comparison runs", refusal))
                continue
            if on_progress is not None:
                on_progress(progress_of(comparison))
            if comparison["state"] == "ended" or not waits:
                return comparison
            await asyncio.sleep(patience.pause("the comparison runs"))

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
        patience = Patience(timeout_seconds)
        while True:
            try:
                job = await self.get(job_id)
            except (LimitError, UnavailableError) as refusal:
                await asyncio.sleep(patience.pause(f"job {job_id} could not be looked at", refusal))
                continue
            if on_progress is not None:
                on_progress(job)
            if ended(job):
                return require_success(job)
            await asyncio.sleep(patience.pause(standing_of(job)))

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
        patience = Patience()
        while True:
            try:
                made = cast(LearningTracks, await self._json("GET", f"v1/jobs/{job['id']}/tracks", params=query))
            except (LimitError, UnavailableError) as refusal:
                await asyncio.sleep(patience.pause("learning tracks are made", refusal))
                continue
            if on_progress is not None:
                on_progress(made["progress"])
            if made["state"] == "ready":
                return await self._bring(wanted_tracks(made, folder), folder)
            await asyncio.sleep(patience.pause("learning tracks are made"))

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

    async def _submit(
        self,
        path: Path | Sequence[Path],
        references: Mapping[str, Path] | None,
        options: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as opened:
            form = form_of(path, references, options, opened)
            return await self._json("POST", "v1/jobs", headers=headers, **form)

    async def _bring(self, wanted: Sequence[Wanted], folder: Path) -> list[Path]:
        with arriving(wanted, folder) as arrivals:
            downloads = [asyncio.create_task(self._fetch(arrival)) for arrival in arrivals]
            try:
                await asyncio.gather(*downloads)
            finally:  # when one has failed, nobody waits for the others
                for download in downloads:
                    download.cancel()
                await asyncio.gather(*downloads, return_exceptions=True)
        return [one.target for one in wanted]

    async def _fetch(self, arrival: Arrival) -> None:
        while not arrival.is_complete:
            try:
                async with self._http.stream(
                    "GET", arrival.address, headers=arrival.headers, follow_redirects=True
                ) as answer:
                    if not answer.is_success:
                        await answer.aread()
                    arrival.begin(answer)
                    async for block in answer.aiter_bytes():
                        await asyncio.to_thread(arrival.write, block)
                await asyncio.to_thread(arrival.end)
            except (httpx.HTTPError, DivisiError) as error:
                await asyncio.sleep(arrival.pause(error))

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return json_of(await self._request(method, path, **request))

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise no_answer(str(self._http.base_url), error) from error
        if not answer.is_success:
            raise problem_to_error(answer)
        return answer
