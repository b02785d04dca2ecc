"""What both clients send and are answered: forms out, errors of `divisi.contract.errors` back. No connection here."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any, cast

import httpx

from divisi.client.records import Comparison, File, Job, Rehearsal
from divisi.contract.errors import (
    ConflictError,
    DivisiError,
    InputError,
    LimitError,
    ModelError,
    UnavailableError,
    class_of,
)
from divisi.contract.job import ENDED_STATES
from divisi.contract.request import form_fields

# Between two looks at a job: a tenth of the time waited so far, so that many jobs waited for at once stay within the
# requests that a caller has in a minute.
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
# Tries of a request while the server is away; the pauses between them double, half a minute in all.
MOST_TRIES = 7
FIRST_PAUSE_SECONDS = 0.5
# In an exported comparison: what to open. Of a job: its picture.
PAGE_NAME, REPORT_NAME = "index.html", "report.png"


Recordings = str | Path | Sequence[Path] | None
"""One recording: a file; mono files, a microphone each; or none, where `source_url` says where it is."""


def form_of(
    recording: Recordings, references: Mapping[str, Path] | None, options: Mapping[str, Any], opened: ExitStack
) -> dict[str, Any]:
    """The form of a submit, as httpx takes it; `opened` closes its files.

    Raises:
        TypeError: there is no such option.
    """
    fields = form_fields(options)
    if recording is None:
        return {"params": fields}
    paths = [Path(recording)] if isinstance(recording, str | Path) else recording
    named = [("file", path) for path in paths]
    named += [(f"reference_{stem}", path) for stem, path in (references or {}).items()]
    files = [(name, (_label_of(path), opened.enter_context(path.open("rb")))) for name, path in named]
    return {"data": fields, "files": files}


def _label_of(path: Path) -> str:
    """The file's name as UTF-8 can say it: names of old disks and ZIP files are sometimes in another encoding."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def compared(models: Sequence[str]) -> list[str]:
    """Models of a comparison; ValueError for fewer than two."""
    if len(set(models)) < 2:
        raise ValueError("a comparison takes two models or more")
    return list(models)


def progress_of(comparison: Comparison) -> float:
    """Share of the work that is done, 0..1."""
    jobs = [system["job"] for system in comparison["systems"]]
    return sum(1.0 if ended(job) else job["progress"] for job in jobs) / len(jobs)


class Tries:
    """How often a request is repeated while the server is away or asks for a pause."""

    def __init__(self) -> None:
        self._failures = 0

    def start_anew(self) -> None:
        """Something came: what fails from now on is another outage."""
        self._failures = 0

    def pause(self, error: DivisiError) -> float:
        """Seconds until the next try; raises the error when another try would not help, or enough were made."""
        self._failures += 1
        if not isinstance(error, UnavailableError | LimitError) or self._failures >= MOST_TRIES:
            raise error
        seconds = FIRST_PAUSE_SECONDS * 2 ** (self._failures - 1)
        return float(max(seconds, error.facts.get("retry_after_seconds", seconds)))


class Patience:
    """How long a caller waits: pauses between two looks, until the time is up."""

    def __init__(self, timeout_seconds: float | None = None) -> None:
        self.timeout_seconds = timeout_seconds
        self._began = time.monotonic()
        self._tries = Tries()

    def pause(self, standing: str, refusal: LimitError | UnavailableError | None = None) -> float:
        """Seconds until the next look, no less than the server asked for.

        Args:
            standing: what the look said, such as "job … is queued".
            refusal: the server's, where it did not let us look; or that it is away.

        Raises:
            TimeoutError: the time is up.
            UnavailableError: the server stays away.
        """
        waited = time.monotonic() - self._began
        seconds = min(max(SHORTEST_PAUSE_SECONDS, waited / 10), LONGEST_PAUSE_SECONDS)
        if isinstance(refusal, UnavailableError):
            seconds = max(seconds, self._tries.pause(refusal))
        else:
            self._tries.start_anew()
        if refusal is not None:
            seconds = max(seconds, refusal.facts.get("retry_after_seconds", seconds))
        if self.timeout_seconds is None:
            return seconds
        left = self.timeout_seconds - waited
        if left <= 0:
            raise TimeoutError(
                f"{standing} after {self.timeout_seconds:g} s of waiting; it goes on, and can be waited for again"
            )
        return min(seconds, left)


def standing_of(job_id: str, job: Job | None) -> str:
    """How far the job is, in words; None: the server did not say."""
    if job is None:
        return f"job {job_id} could not be looked at"
    return f"job {job_id} is {job['state']} ({job['progress']:.0%} done)"


def warn_of(job: Job) -> None:
    """Python warnings (UserWarning) of what to know before relying on the stems."""
    report = job["report"]
    for warning in report.get("warnings", []) if report else []:
        warnings.warn(warning["message"], stacklevel=3)


def by_stem(job: Job, folder: Path) -> dict[str, Path]:
    """Where each stem of a job lies, once they are downloaded into a folder."""
    return {stem["name"]: target_of(stem, folder) for stem in job["stems"]}


def ended(job: Job) -> bool:
    """True when the job will not move again."""
    return job["state"] in ENDED_STATES


def require_success(job: Job) -> Job:
    """The job, if it succeeded.

    Raises:
        InputError, ModelError: it failed; the message is the server's.
        ConflictError: it was cancelled.
    """
    if job["state"] == "failed":
        problem: Mapping[str, Any] = job.get("problem") or {}
        message = problem.get("detail") or problem.get("title") or "the job failed"
        raise (InputError if problem.get("fault") == "caller" else ModelError)(message, code=problem.get("code"))
    if job["state"] == "cancelled":
        raise ConflictError(f"job {job['id']} was cancelled", code="job-cancelled")
    return job


def target_of(file: File, folder: Path) -> Path:
    """Where a file goes: what the server calls it is no path."""
    name = PureWindowsPath(file["file_name"]).name  # of a path of either kind
    return folder / ("".join(filter(str.isprintable, name)).strip(" .") or "download")


def address_of(href: str) -> str:
    """An address that the server gave, relative to the server's own: only its proxy knows below which path that is."""
    return href[href.rfind("/v1/") + 1 :] if href.startswith("/") else href


def no_answer(server: str, error: httpx.HTTPError) -> UnavailableError:
    """The error of a server that is not there, or went away."""
    reason = str(error) or type(error).__name__
    return UnavailableError(f"{server} does not answer ({reason}); `divisi up` starts a server on this machine")


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """What the server answered; InputError when it is no answer of divisi's."""
    body = _object_of(answer)
    if body is None:
        raise InputError(f"{answer.url} does not answer as divisi does; is the address right?")
    return body


def replacing(answer: httpx.Response, change: Callable[[Rehearsal], Rehearsal]) -> dict[str, Any]:
    """What a request carries that keeps something in the place of what was answered, and of nothing else."""
    return {"json": change(cast(Rehearsal, json_of(answer))), "headers": {"If-Match": answer.headers["ETag"]}}


@contextmanager
def again_when_changed() -> Iterator[None]:
    """Lets pass that somebody else kept something meanwhile."""
    try:
        yield
    except ConflictError as error:
        if error.code != "rehearsal-changed":
            raise


def problem_to_error(answer: httpx.Response) -> DivisiError:
    """The error that a problem+json answer stands for, or any other that is no success."""
    problem = _object_of(answer) or {}
    message = problem.get("detail") or problem.get("title") or f"the server answered {answer.status_code}"
    if answer.has_redirect_location:
        message = f"{answer.url} leads on to {answer.headers['location']}; is the address right?"
    code = problem.get("code")
    error = class_of(code, answer.status_code)(str(message), code=code)
    error.facts.update(problem.get("facts") or {})
    return error


def _object_of(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
