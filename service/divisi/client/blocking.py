"""The blocking client.

with Client("http://127.0.0.1:8000") as client:
    job = client.submit(Path("song.wav"), model="chorus")
    job = client.wait(job["id"], on_progress=print)
    client.download_stems(job, Path("stems"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast

from divisi.client.arrivals import Wanted, unpacking, wanted_files, wanted_tracks
from divisi.client.connections import Connection
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


class Client(Connection):
    __doc__ = Connection.__doc__

    def submit(
        self,
        path: Recordings,
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

    def separate(
        self,
        path: Recordings,
        folder: str | Path = "stems",
        *,
        references: Mapping[str, Path] | None = None,
        on_progress: Callable[[float], None] | None = None,
        **options: Unpack[RequestArguments],
    ) -> dict[str, Path]:
        """Separates one recording and writes its stems as `folder/<stem>.<extension>`; gives where each lies, by name.

        What to know before relying on them comes as Python warnings. The job is erased on the server once all is here;
        on failure it stays.

        Args:
            on_progress: called with the share of the work that is done, 0..1.
            references, options: as of `submit`.

        Raises:
            InputError, ModelError, ConflictError, UnavailableError: as of `wait` and `download_stems`.
        """
        job = self.submit(path, references=references, **options)
        job = self.wait(job["id"], on_progress=on_progress and (lambda job: on_progress(job["progress"])))
        self.download_stems(job, Path(folder))
        self.delete(job["id"])
        warn_of(job)
        return by_stem(job, Path(folder))

    def compare(
        self,
        path: str | Path,
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
        for comparison in self._looks(lambda: self.comparison(group), lambda _: "the comparison runs"):
            if on_progress is not None:
                on_progress(progress_of(comparison))
            if comparison["state"] == "ended" or not waits:
                break
        return comparison

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
        for job in self.iter_progress(job_id, timeout_seconds=timeout_seconds):
            if on_progress is not None:
                on_progress(job)
        return require_success(job)

    def iter_progress(self, job_id: str, *, timeout_seconds: float | None = None) -> Iterator[Job]:
        """The job as it stands, again and again, and last as it ended, however that was; raises as `wait` does."""
        for job in self._looks(lambda: self.get(job_id), partial(standing_of, job_id), timeout_seconds):
            yield job
            if ended(job):
                return

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

        def look() -> LearningTracks:
            return cast(LearningTracks, self._json("GET", f"v1/jobs/{job['id']}/tracks", params=query))

        for made in self._looks(look, lambda _: "learning tracks are made"):
            if on_progress is not None:
                on_progress(made["progress"])
            if made["state"] == "ready":
                break
        return self._bring(wanted_tracks(made, folder), folder)

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
