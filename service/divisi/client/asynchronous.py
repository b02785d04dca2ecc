"""The client for asyncio; the same calls as the blocking one.

async with AsyncClient("http://127.0.0.1:8000") as client:
    job = await client.submit(Path("song.wav"))
    job = await client.wait(job["id"])
    await client.download_stems(job, Path("stems"))
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urljoin

import httpx

from divisi.client.records import Comparison, File, Job
from divisi.client.wire import (
    POLL_SECONDS,
    Submission,
    arrived,
    broke_off,
    ended,
    problem_to_error,
    require_success,
    target_of,
)
from divisi.errors import UnavailableError


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
        self, path: Path | Sequence[Path], asked: Submission | None = None, *, idempotency_key: str | None = None
    ) -> Job:
        """Uploads one recording and queues its separation with one model."""
        return cast(Job, await self._submit(path, asked or Submission(), idempotency_key))

    async def compare(
        self, path: Path, models: Sequence[str], *, references: Mapping[str, Path] | None = None
    ) -> Comparison:
        """Separates one recording with several models and waits for all of them."""
        if len(set(models)) < 2:
            raise ValueError("a comparison takes two models or more")
        group = (await self._submit(path, Submission(tuple(models), references=references), None))["group"]
        while (comparison := await self.comparison(group))["state"] != "ended":
            await asyncio.sleep(POLL_SECONDS)
        return comparison

    async def comparison(self, group: str) -> Comparison:
        """The table of one group as it stands."""
        return cast(Comparison, await self._json("GET", f"v1/groups/{group}"))

    async def get(self, job_id: str) -> Job:
        """The job as it stands."""
        return cast(Job, await self._json("GET", f"v1/jobs/{job_id}"))

    async def wait(self, job_id: str, *, on_progress: Callable[[Job], None] | None = None) -> Job:
        """Polls until the job succeeded; raises as `Client.wait` does."""
        while True:
            job = await self.get(job_id)
            if on_progress is not None:
                on_progress(job)
            if ended(job):
                return require_success(job)
            await asyncio.sleep(POLL_SECONDS)

    async def cancel(self, job_id: str) -> Job:
        """Stops the job and keeps its record; ConflictError when it has ended otherwise."""
        return cast(Job, await self._json("POST", f"v1/jobs/{job_id}/cancel"))

    async def download_stems(self, job: Job, folder: Path) -> list[Path]:
        """Writes each stem as `folder/<stem>.<extension>`, all at once, and checks their SHA-256."""
        folder.mkdir(parents=True, exist_ok=True)
        return list(await asyncio.gather(*(self._download(stem, folder) for stem in job["stems"])))

    async def delete(self, job_id: str) -> None:
        """Cancels the job if it has not ended, and erases its audio and record."""
        await self._request("DELETE", f"v1/jobs/{job_id}")

    async def _submit(
        self, path: Path | Sequence[Path], asked: Submission, idempotency_key: str | None
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as opened:
            files = asked.open_files(path, opened)
            return await self._json("POST", "v1/jobs", data=asked.fields(), files=files, headers=headers)

    async def _download(self, file: File, folder: Path) -> Path:
        path = target_of(file, folder)
        partial = path.with_name(path.name + ".part")
        digest = hashlib.sha256()
        address = urljoin(str(self._http.base_url), file["href"])
        try:
            async with self._http.stream("GET", address, follow_redirects=True) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise problem_to_error(answer)
                with partial.open("wb") as part:
                    async for block in answer.aiter_bytes():
                        digest.update(block)
                        await asyncio.to_thread(part.write, block)
        except httpx.HTTPError as error:
            raise broke_off(file, error) from error
        return arrived(file, partial, digest.hexdigest(), path)

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._request(method, path, **request)).json()
        return answer

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self._http.base_url} does not answer: {error}") from error
        if answer.is_error:
            raise problem_to_error(answer)
        return answer
