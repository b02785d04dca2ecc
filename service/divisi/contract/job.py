"""The record of one job: what was asked, its states and legal moves, its fingerprint, and JSON both ways.

Second stop of upload → job → worker → engine → stems. A value without a connection: `queue` keeps it in Redis,
the gateway shows it, the worker runs it. Times are Unix times in seconds.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, TypeAdapter

from divisi.contract.errors import DivisiError
from divisi.contract.manifest import Manifest, ManifestFile, duration_seconds_of
from divisi.contract.request import FIT_OPTIONS, OPTIONS, JobOptions, SeparationRequest

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
# In digests since version 0.1, whatever their values, in this order; of the rest, what is not left out.
_ALWAYS_DIGESTED = ("stem_format", "stems", "include_residual", "lane")
# What does not decide the outcome, or is in the digest in another form.
_NEVER_DIGESTED = frozenset({*_ALWAYS_DIGESTED, *FIT_OPTIONS, "model", "file_name", "webhook_url", "webhook_secret"})


class JobState(StrEnum):
    """queued → running → succeeded | failed | cancelled; running → queued when an attempt is lost or handed back."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_ended(self) -> bool:
        """True when the job will not move again (save for an operator's retry of a dead letter)."""
        return self in ENDED_STATES


ENDED_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True)
class Problem:
    """Why a job failed: code (slug), message for a person, facts for machines (JSON values)."""

    code: str
    message: str
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_error(cls, error: DivisiError) -> Self:
        """The problem that an error of our own tree describes."""
        return cls(error.code, error.message, dict(error.facts))

    def to_json(self) -> str:
        """As JSON text."""
        return _PROBLEM.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """From JSON text; ValueError when it is not a problem."""
        return _PROBLEM.validate_json(text)  # type: ignore[return-value]


class Job(JobOptions):
    """One job. Its options and the first block of fields are what was asked and never change; the second is how far it
    got.

    Args:
        stems: names asked for, or None for all of the model's.
        fit: what is asked of a model that is fitted to the recording (FitRequest as JSON); None for other models.
        voices: who may sing: names, `auto` for whoever is detected, or None for all of the model's.
        group: id shared by the jobs of one upload.
        upload: id under which the store has the recording of all of them; None: each job has its own, as a single job
            and those of version 0.1 do.
        place: of its model among those asked for.
        recording: the upload as it came; None where it came in several files.
        references: true sources that came with it, named as their stems.
        file_name: the upload's own name, for people only; never a path.
        audio: facts of the upload (AudioFacts as JSON), as far as the gateway counted.
        idempotency_key: the caller's key; the gateway makes it unique to the caller.
        fingerprint: digest of upload and parameters, compared when the key is used again.
        owner: who submitted it, as limits count callers ("key:…", "address:…"); None where all are one.
        target: where its results go besides, `s3://…`.
        webhook_url: called when it ends.
        webhook_secret: signs these calls, sealed by the gateway; None: the owner's key has one.
        trace: the request that submitted it, as a W3C traceparent; None without tracing.
        attempt: number of the latest attempt = fencing token of whoever runs it; 0 before the first.
        progress: 0..1, never falls, over all attempts.
        stage: what the running attempt does, such as "separating".
        expires_at: when audio, stems and this record are erased; None before the end, and of a job that is kept.
    """

    job_id: str
    model_id: str
    model_version: str
    submitted_at: float
    stems: tuple[str, ...] | None = None
    voices: tuple[str, ...] | Literal["auto"] | None = None
    fit: dict[str, Any] | None = None
    group: str | None = None
    upload: str | None = None
    place: int = 0
    recording: ManifestFile | None = None
    references: tuple[ManifestFile, ...] = ()
    file_name: str = "recording"
    audio: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: str | None = None
    owner: str | None = None
    target: str | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = Field(None, repr=False)
    trace: str | None = None

    state: JobState = JobState.QUEUED
    attempt: int = 0
    progress: float = 0.0
    stage: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    expires_at: float | None = None
    problem: Problem | None = None
    manifest: Manifest | None = None

    @property
    def is_kept(self) -> bool:
        """True when it stays until somebody erases it."""
        return self.state is JobState.SUCCEEDED and not self.expires_at

    @property
    def duration_seconds(self) -> float:
        """Seconds of audio as far as the gateway counted, 0 when not known."""
        return duration_seconds_of(self.audio)

    def to_json(self) -> str:
        """What was asked, without how far it got: the record in Redis and the accepted-job object in the store.

        Options are written though they are the defaults, which another version may have changed.
        """
        options = self.model_dump(mode="json", include=set(JobOptions.model_fields))
        others = self.model_dump(mode="json", exclude=_LIVE_FIELDS, exclude_defaults=True)
        return json.dumps(others | options)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """From `to_json`; ValueError when it is not a job."""
        return cls.model_validate_json(text)

    @classmethod
    def from_hash(cls, values: Mapping[str, str]) -> Self:
        """From the fields of its Redis hash (the scripts write them; milliseconds there)."""
        problem, manifest = values.get("problem"), values.get("manifest")
        standing = {
            "state": JobState(values["state"]),
            "attempt": int(values.get("attempt", 0)),
            "progress": float(values.get("progress", 0)),
            "stage": values.get("stage"),
            "started_at": _seconds(values.get("started_at")),
            "ended_at": _seconds(values.get("ended_at")),
            "expires_at": _seconds(values.get("expires_at")),
            "problem": Problem.from_json(problem) if problem else None,
            "manifest": Manifest.from_json(manifest) if manifest else None,
        }
        return cls.from_json(values["record"]).model_copy(update=standing)


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened to a job.

    Args:
        event_id: id in the job's event stream ("1795366710638-0"); ids rise, and readers resume after one.
        kind: the state the job entered, or None for progress within `running`.
        problem: why an attempt or the job failed.
    """

    event_id: str
    kind: JobState | None
    attempt: int
    progress: float
    stage: str | None = None
    problem: Problem | None = None

    @property
    def is_last(self) -> bool:
        """True when the job ended with this event."""
        return self.kind is not None and self.kind.is_ended

    @classmethod
    def from_entry(cls, event_id: str, values: Mapping[str, str]) -> Self:
        """From an entry of the event stream."""
        kind, problem = values["kind"], values.get("problem")
        return cls(
            event_id,
            kind=None if kind == "progress" else JobState(kind),
            attempt=int(values.get("attempt", 0)),
            progress=float(values.get("progress", 0)),
            stage=values.get("stage"),
            problem=Problem.from_json(problem) if problem else None,
        )


def new_job_id(now: float | None = None) -> str:
    """A new id in the manner of a ULID: 26 characters, 48 bits of milliseconds, 80 random bits; sorts by time."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    number = (milliseconds << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


def fingerprint_of(sha256: str, model_ids: Sequence[str], request: SeparationRequest, fit: Mapping[str, Any]) -> str:
    """Digest of all that decides the outcome, however it was written down; options left out do not change it.

    Args:
        sha256: of the recording's bytes.
        model_ids: the models that the request means.
        fit: what is asked of a fit, as the job's record has it.
    """
    asked = {name: _settled(getattr(request, name)) for name in OPTIONS}
    decisive: list[Any] = [sha256, list(model_ids), *(asked[name] for name in _ALWAYS_DIGESTED)]
    decisive += [
        {name: value}
        for name, value in asked.items()
        if name not in _NEVER_DIGESTED and value != _settled(OPTIONS[name].default)
    ]
    if fit:
        decisive.append({"fit": fit})
    if request.webhook_url is not None:
        decisive.append(request.webhook_url)
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


_PROBLEM: TypeAdapter[Problem] = TypeAdapter(Problem)
_LIVE_FIELDS = {"state", "attempt", "progress", "stage", "started_at", "ended_at", "expires_at", "problem", "manifest"}


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None


def _settled(value: Any) -> Any:
    """Without order and repetition, which mean nothing."""
    return sorted(set(value)) if isinstance(value, tuple) else value
