"""Python client of the REST API: submit a recording, wait with progress, download the stems.

with Client("http://127.0.0.1:8000") as client:
    job = client.submit(Path("song.wav"), model="satb-small")
    job = client.wait(job["id"], on_progress=print)
    client.download_stems(job, Path("stems"))
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from divisi.bundles.fit_plan import FitRequest
from divisi.errors import (
    AccessError,
    ConflictError,
    DivisiError,
    InputError,
    LimitError,
    ModelError,
    NotFoundError,
    UnavailableError,
)

ENDED_STATES = frozenset({"succeeded", "failed", "cancelled"})
POLL_SECONDS = 0.25
ERROR_CLASSES: dict[int, type[DivisiError]] = {
    401: AccessError,
    403: AccessError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    429: LimitError,
}

Job = dict[str, Any]


class Client:
    """A connection to one divisi server. Methods raise the errors of `divisi.errors`, built from the server's problems.

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
        model: str | None = None,
        stem_format: str | None = None,
        stems: Sequence[str] = (),
        voices: Sequence[str] = (),
        include_residual: bool | None = None,
        lane: str | None = None,
        fit: FitRequest | None = None,
    ) -> Job:
        """Uploads one recording and queues its separation; what is left out takes the server's default.

        `voices` names who sings, for models that can be told; `["auto"]`: whoever is heard. Several paths are one
        recording in mono files, a microphone each; `fit` is for models that are fitted to the recording.
        """
        fields = {"model": model, "stem_format": stem_format, "lane": lane}
        data = {name: value for name, value in fields.items() if value}
        if include_residual is not None:
            data["include_residual"] = "true" if include_residual else "false"
        if stems:
            data["stems"] = ",".join(stems)
        if voices:
            data["voices"] = ",".join(voices)
        data |= _fields_of(fit) if fit else {}
        paths = [path] if isinstance(path, Path) else path
        with ExitStack() as stack:
            files = [("file", (part.name, stack.enter_context(part.open("rb")))) for part in paths]
            return self._json("POST", "v1/jobs", data=data, files=files)

    def get(self, job_id: str) -> Job:
        """The job as it stands."""
        return self._json("GET", f"v1/jobs/{job_id}")

    def wait(self, job_id: str, *, on_progress: Callable[[Job], None] | None = None) -> Job:
        """Polls until the job succeeded.

        Raises:
            InputError, ModelError: the job failed; the message is the server's.
            ConflictError: the job was cancelled.
        """
        while True:
            job = self.get(job_id)
            if on_progress is not None:
                on_progress(job)
            if job["state"] in ENDED_STATES:
                break
            time.sleep(POLL_SECONDS)
        if job["state"] == "failed":
            problem = job["problem"] or {}
            is_callers = 400 <= int(problem.get("status", 500)) < 500
            message = problem.get("detail") or problem.get("title") or "the job failed"
            raise (InputError if is_callers else ModelError)(message, code=problem.get("code", "job-failed"))
        if job["state"] == "cancelled":
            raise ConflictError(f"job {job_id} was cancelled", code="job-cancelled")
        return job

    def download_stems(self, job: Job, folder: Path) -> list[Path]:
        """Writes each stem of a succeeded job as `folder/<stem>.<extension>` and checks its SHA-256.

        Raises:
            UnavailableError: the bytes that arrived are not those that the server announced.
        """
        folder.mkdir(parents=True, exist_ok=True)
        return [self._download(stem, folder) for stem in job["stems"]]

    def download_pitch(self, job: Job, folder: Path) -> list[Path]:
        """Writes `pitch.csv`, `pitch.json` and `notes.mid`, as `download_stems`; nothing for models without pitch."""
        folder.mkdir(parents=True, exist_ok=True)
        return [self._download(file, folder) for file in job["pitch"]]

    def download_resynthesis(self, job: Job, folder: Path) -> Path | None:
        """Writes the mixture as the model sings it again, as `download_stems`; None for models that do not."""
        folder.mkdir(parents=True, exist_ok=True)
        return self._download(job["resynthesis"], folder) if job["resynthesis"] else None

    def delete(self, job_id: str) -> None:
        """Cancels the job if it has not ended, and erases its audio and record."""
        self._request("DELETE", f"v1/jobs/{job_id}")

    def models(self) -> list[dict[str, Any]]:
        """The cards of the models that the server offers."""
        models: list[dict[str, Any]] = self._json("GET", "v1/models")["models"]
        return models

    def _download(self, stem: dict[str, Any], folder: Path) -> Path:
        path = folder / Path(stem["file_name"]).name
        partial = path.with_name(path.name + ".part")
        digest = hashlib.sha256()
        address = urljoin(str(self._http.base_url), stem["href"])
        try:
            with self._http.stream("GET", address, follow_redirects=True) as answer, partial.open("wb") as file:
                if answer.is_error:
                    answer.read()
                    raise problem_to_error(answer)
                for block in answer.iter_bytes():
                    digest.update(block)
                    file.write(block)
        except httpx.HTTPError as error:
            raise UnavailableError(f"download of {stem['name']} broke off: {error}") from error
        if digest.hexdigest() != stem["sha256"]:
            partial.unlink()
            raise UnavailableError(f"{stem['name']} arrived damaged (SHA-256 differs); try again")
        return partial.replace(path)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._request(method, path, **request).json()
        return answer

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(f"{self._http.base_url} does not answer: {error}") from error
        if answer.is_error:
            raise problem_to_error(answer)
        return answer


def _fields_of(fit: FitRequest) -> dict[str, str]:
    """Form fields."""
    fields = {name: str(value) for name, value in fit.to_dict().items() if name != "spots"}
    if fit.spots:
        fields["spots"] = ",".join(f"{spot.name}:{spot.channel}" for spot in fit.spots)
    return fields


def problem_to_error(answer: httpx.Response) -> DivisiError:
    """The error that a problem+json answer stands for."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    message = problem.get("detail") or problem.get("title") or f"the server answered {answer.status_code}"
    default = UnavailableError if answer.status_code >= 500 else InputError
    return ERROR_CLASSES.get(answer.status_code, default)(message, code=problem.get("code"))
