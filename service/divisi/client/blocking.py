"""The blocking client.

with Client("http://127.0.0.1:8000") as client:
    job = client.submit(Path("song.wav"), model="chorus")
    job = client.wait(job["id"], on_progress=print)
    client.download_stems(job, Path("stems"))
"""

from __future__ import annotations

import time
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


class Client:
    """A connection to one divisi server. Methods raise the errors of `divisi.contract.errors`, made of its problems.

    Args:
        base_url: address of the gateway, such as `http://127.0.0.1:8000`.
        timeout_seconds: patience for one answer; an upload may take as long as it needs.
        api_key: shown with every request, where the server asks for one.
    """

    def __init__(self, base_url: str, timeout_seconds: float = 30.0, *, api_key: str | None = None) -> None:
        timeout = httpx.Timeout(timeout_seconds, write=None, read=max(timeout_seconds, 120.0))
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url.rstrip("/") + "/", timeout=timeout, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._http.close()

    def submit(
        self,
        path: Path | Sequence[Path],
        *,
        references: Mapping[str, Path] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[RequestArguments],
    ) -> Job:
        """Uploads one recording and queues its separation; what is left out takes the server's default.

        `options` are those of `divisi.contract.request`. Several paths are one recording in mono files, a microphone
        each. `references` are true sources by stem, to score against. The same `idempotency_key` with the same content
        gives the same job.

        Raises:
            TypeError: there is no such option.
        """
        return cast(Job, self._submit(path, references, options, idempotency_key))

    def compare(
        self,
        path: Path,
        models: Sequence[str],
        *,
        references: Mapping[str, Path] | None = None,
        on_progress: Callable[[float], None] | None = None,
        waits: bool = True,
        **options: Unpack[RequestArguments],
    ) -> Comparison:
        """Separates one recording with several models; one that fails has its problem in its job.

        Args:
            on_progress: called with the share of the work that is done, 0..1.
            waits: False: return as soon as the jobs are queued.
            references, options: as of `submit`.
        """
        asked = {**options, "model": compared(models)}
        group: str = self._submit(path, references, asked)["group"]
        patience = Patience()
        while True:
            try:
                comparison = self.comparison(group)
            except (LimitError, UnavailableError) as refusal:
                time.sleep(patience.pause("the comparison runs", refusal))
                continue
            if on_progress is not None:
                on_progress(progress_of(comparison))
            if comparison["state"] == "ended" or not waits:
                return comparison
            time.sleep(patience.pause("the comparison runs"))

    def comparison(self, group: str) -> Comparison:
        """The table of one group as it stands."""
        return cast(Comparison, self._json("GET", f"v1/groups/{group}"))

    def get(self, job_id: str) -> Job:
        """The job as it stands."""
        return cast(Job, self._json("GET", f"v1/jobs/{job_id}"))

    def jobs(self, cursor: str | None = None, limit: int = 50) -> JobPage:
        """Jobs, newest first, a page at a time."""
        query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        return cast(JobPage, self._json("GET", "v1/jobs", params=query))

    def wait(
        self, job_id: str, *, timeout_seconds: float | None = None, on_progress: Callable[[Job], None] | None = None
    ) -> Job:
        """Polls until the job succeeded.

        Raises:
            InputError, ModelError: the job failed; the message is the server's.
            ConflictError: the job was cancelled.
            TimeoutError: it had not ended after `timeout_seconds`; it goes on, and can be waited for again.
            UnavailableError: the server stayed away for half a minute; the job may go on, and can be waited for again.
        """
        patience = Patience(timeout_seconds)
        while True:
            try:
                job = self.get(job_id)
            except (LimitError, UnavailableError) as refusal:
                time.sleep(patience.pause(f"job {job_id} could not be looked at", refusal))
                continue
            if on_progress is not None:
                on_progress(job)
            if ended(job):
                return require_success(job)
            time.sleep(patience.pause(standing_of(job)))

    def cancel(self, job_id: str) -> Job:
        """Stops the job and keeps its record; ConflictError when it has ended otherwise."""
        return cast(Job, self._json("POST", f"v1/jobs/{job_id}/cancel"))

    def keep(self, job_id: str) -> Job:
        """Keeps a job that succeeded from expiring, until it is erased; ConflictError when too many are kept."""
        return cast(Job, self._json("PUT", f"v1/jobs/{job_id}/keep"))

    def stop_keeping(self, job_id: str) -> Job:
        """Lets a job expire again as others do."""
        return cast(Job, self._json("DELETE", f"v1/jobs/{job_id}/keep"))

    def rehearsal(self, job_id: str) -> Rehearsal:
        """What is kept with a job to rehearse from."""
        return cast(Rehearsal, self._json("GET", f"v1/jobs/{job_id}/rehearsal"))

    def change_rehearsal(self, job_id: str, change: Callable[[Rehearsal], Rehearsal]) -> Rehearsal:
        """Keeps what `change` makes of what is kept; of what somebody else kept meanwhile, where that is so."""
        address = f"v1/jobs/{job_id}/rehearsal"
        while True:
            with again_when_changed():
                kept = self._request("GET", address)
                return cast(Rehearsal, self._json("PUT", address, **replacing(kept, change)))

    def download_stems(self, job: Job, folder: Path) -> list[Path]:
        """Writes each stem of a succeeded job as `folder/<stem>.<extension>`, checked for length and SHA-256.

        A download that breaks off goes on from there, as long as the server comes back within half a minute. A stem
        that lies in the folder already is not fetched again. On failure nothing is written; the job stays.

        Raises:
            InputError: `would-replace`, the folder holds another file of that name.
            UnavailableError: the server stayed away, or sent other bytes than it announced.
        """
        return self._bring(wanted_files(job["stems"], folder), folder)

    def download_pitch(self, job: Job, folder: Path) -> list[Path]:
        """Writes pitch tracks, notes and bars, as `download_stems`; nothing for models without pitch."""
        return self._bring(wanted_files(job["pitch"], folder), folder)

    def download_resynthesis(self, job: Job, folder: Path) -> Path | None:
        """Writes the mixture as the model sings it again, as `download_stems`; None for models that do not."""
        wanted = wanted_files([job["resynthesis"]] if job["resynthesis"] else [], folder)
        return next(iter(self._bring(wanted, folder)), None)

    def download_report(self, job: Job, folder: Path) -> Path | None:
        """Writes the job's picture, `report.png`, as `download_stems`; None when there is none."""
        if job["views"] is None:
            return None
        return (self._bring([Wanted(job["views"]["report"], REPORT_NAME, folder / REPORT_NAME)], folder))[0]

    def tracks(
        self,
        job: Job,
        folder: Path,
        *,
        on_progress: Callable[[float], None] | None = None,
        **options: Unpack[TrackArguments],
    ) -> list[Path]:
        """Makes learning tracks of a succeeded job, waits for them, and writes them as `download_stems` does.

        Args:
            on_progress: called with the share of the work that is done, 0..1.
            options: those of `divisi.contract.tracks`: `parts`, `layouts`, `speed`, `semitones`, `format`, `choir`.

        Raises:
            ConflictError: `too-many-mixes`, the job keeps as many as it may.
            InputError: `would-replace`, the folder holds another file of that name.
            TypeError: there is no such option.
        """
        query = query_of(options)
        patience = Patience()
        while True:
            try:
                made = cast(LearningTracks, self._json("GET", f"v1/jobs/{job['id']}/tracks", params=query))
            except (LimitError, UnavailableError) as refusal:
                time.sleep(patience.pause("learning tracks are made", refusal))
                continue
            if on_progress is not None:
                on_progress(made["progress"])
            if made["state"] == "ready":
                return self._bring(wanted_tracks(made, folder), folder)
            time.sleep(patience.pause("learning tracks are made"))

    def export(self, comparison: Comparison, folder: Path) -> Path:
        """Writes an ended comparison as a folder that opens from disk, without a service; gives its `index.html`.

        Raises:
            InputError: `would-replace`, the folder holds another file of the same name.
        """
        with unpacking(comparison["folder"], folder) as arrival:
            self._fetch(arrival)
        return folder / PAGE_NAME

    def delete(self, job_id: str) -> None:
        """Cancels the job if it has not ended, and erases its audio and record."""
        self._request("DELETE", f"v1/jobs/{job_id}")

    def models(self) -> list[dict[str, Any]]:
        """The cards of the models that the server offers."""
        models: list[dict[str, Any]] = self._json("GET", "v1/models")["models"]
        return models

    def _submit(
        self,
        path: Path | Sequence[Path],
        references: Mapping[str, Path] | None,
        options: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as opened:
            form = form_of(path, references, options, opened)
            return self._json("POST", "v1/jobs", headers=headers, **form)

    def _bring(self, wanted: Sequence[Wanted], folder: Path) -> list[Path]:
        with arriving(wanted, folder) as arrivals:
            for arrival in arrivals:
                self._fetch(arrival)
        return [one.target for one in wanted]

    def _fetch(self, arrival: Arrival) -> None:
        while not arrival.is_complete:
            try:
                with self._http.stream(
                    "GET", arrival.address, headers=arrival.headers, follow_redirects=True
                ) as answer:
                    if not answer.is_success:
                        answer.read()
                    arrival.begin(answer)
                    for block in answer.iter_bytes():
                        arrival.write(block)
                arrival.end()
            except (httpx.HTTPError, DivisiError) as error:
                time.sleep(arrival.pause(error))

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        return json_of(self._request(method, path, **request))

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise no_answer(str(self._http.base_url), error) from error
        if not answer.is_success:
            raise problem_to_error(answer)
        return answer
