"""What the API answers: jobs, lists, comparisons, problems.

The gateway makes them of the records. `divisi.client.records`, by which type checkers know the answers, is made of
these models; a test fails when it is stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from divisi.contract.errors import Fault
from divisi.contract.job import JobState
from divisi.contract.manifest import ResultWarning, StemConfidence, StemScore
from divisi.contract.request import JobOptions
from divisi.contract.tracks import Layout


@dataclass(frozen=True)
class Since:
    """Marks what servers before this version do not answer."""

    version: str


class FileBody(BaseModel):
    """One file to download."""

    name: str = Field(examples=["soprano"])
    href: str = Field(description="Where its bytes are.", examples=["/v1/jobs/01k…/stems/soprano"])
    file_name: str = Field(examples=["soprano.wav"])
    bytes: int
    sha256: str
    media_type: str = Field(examples=["audio/wav"])


class PreviewBody(BaseModel):
    """A small file to listen to at once: MP3 of a constant rate."""

    href: str = Field(examples=["/v1/jobs/01k…/previews/soprano.mp3"])
    bytes: int
    media_type: str = Field(examples=["audio/mpeg"])


class StemBody(FileBody):
    """One delivered stem."""

    is_residual: bool = Field(description="True for what no stem explains: the recording minus all stems.")
    peak: float | None = Field(None, description="Largest sample, full scale 1.")
    clipped_samples: int = Field(0, description="Samples that the stem format could not hold.")
    preview: Annotated[PreviewBody | None, Since("0.2")] = Field(
        None, description="Of stems and residual; null for jobs of workers that made none."
    )


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    pointer: str = Field(description="Where: `/query/limit`, `/body/stems`, `/header/last-event-id`.")
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457 problem document; `code` is the part to act on."""

    model_config = ConfigDict(json_schema_extra={"title": "Problem"})

    type: str = Field(description="URN of the code.", examples=["urn:divisi:problem:audio-too-long"])
    title: str = Field(examples=["Audio too long"])
    status: int = Field(ge=100, le=599)
    detail: str = Field(examples=["the file lasts 12000 s; this service accepts 10800 s"])
    code: str = Field(description="Stable slug.", examples=["audio-too-long"])
    fault: Fault = Field(description="Whose it is: `caller`, who must change something, or `service`.")
    advice: str = Field(description="What a person can do.", examples=["Save the recording as WAV or FLAC."])
    instance: str | None = Field(None, description="Path of the request.")
    request_id: str | None = Field(None, description="The X-Request-ID of the answer; name it when asking for help.")
    facts: dict[str, Any] = Field(default_factory=dict, description="Values such as limits, by name.")
    errors: list[FieldProblem] = Field(default_factory=list, description="What is wrong where, for invalid requests.")


class InputBody(BaseModel):
    """What is known of the recording."""

    container: str | None = Field(None, examples=["wav"])
    codec: str | None = Field(None, examples=["pcm_16"])
    sample_rate: int | None = Field(None, description="Hz.")
    num_channels: int | None = None
    num_samples: int | None = Field(None, description="Of each channel.")
    duration_seconds: float | None = None
    exact: bool | None = Field(None, description="True when counted by decoding everything, else the header's word.")


class TrackImageBody(BaseModel):
    """A picture of one track: the mixture, a stem or the residual."""

    name: str = Field(examples=["soprano"])
    href: str


class ViewsBody(BaseModel):
    """What a page draws without decoding audio."""

    peaks: str = Field(description="Waveforms: `peaks.json`.")
    confidence: str = Field(description="Every second of every stem: `confidence.json`.")
    report: str = Field(description="Everything in one picture: `report.png`.")
    spectrograms: list[TrackImageBody] = Field(description="The mixture, the stems in order, the residual.")


@dataclass(frozen=True)
class ScoreBody(StemScore):
    """A stem measured against the true source that was sent with the recording."""

    reference: Annotated[FileBody | None, Field(description="The true source, as it was sent.")] = None


class MixBody(BaseModel):
    """Practice mixes for one part; made when first asked for."""

    part: str = Field(examples=["soprano"])
    in_front: str = Field(description="The part in front, the others lowered.")
    without: str = Field(description="Everything but the part.")


class TrackBody(BaseModel):
    """One learning track."""

    part: str | None = Field(description="Null: all parts together.", examples=["soprano"])
    layout: Layout | None
    title: str = Field(examples=["soprano in front"])
    file_name: str = Field(examples=["02 soprano in front.mp3"])
    href: str = Field(description="Where its bytes are; asked for before the set is ready, it is made first.")
    bytes: int | None = Field(None, description="Null until the set is ready.")
    sha256: str | None = Field(None, description="Likewise.")


class TrackSetBody(BaseModel):
    """Learning tracks, made alike; the first look begins to make them."""

    state: Literal["making", "ready"]
    progress: float = Field(ge=0, le=1)
    tracks: list[TrackBody]
    archive: str = Field(description="All of them in one ZIP file.")


class ReportBody(BaseModel):
    """How the separation went."""

    conservation_dbfs: float | None = Field(
        None,
        description="Peak of recording minus (stems + residual), as the files hold them, in dBFS; null without a "
        "residual and in lossy formats.",
    )
    warnings: Annotated[list[ResultWarning], Since("0.2")] = Field(
        default_factory=list, description="What to know before relying on the result; empty when all is well."
    )
    real_time_factor: float = Field(description="Seconds of work for one second of audio.")
    wall_seconds: float
    voices: list[str] = Field(description="Who was taken to sing; stems of others are silent.")
    are_voices_detected: bool = Field(description="True when they were detected (`auto`), not named.")
    engine: dict[str, Any] = Field(description="Name, device and versions of what ran.")


class LinksBody(BaseModel):
    """Where to go from here."""

    self: str
    events: str
    archive: str | None = Field(None, description="All stems in one ZIP file, once the job has succeeded.")
    rehearsal: Annotated[str | None, Since("0.2")] = Field(
        None, description="Named passages and the tempo, once the job has succeeded."
    )
    tracks: Annotated[str | None, Since("0.2")] = Field(None, description="Learning tracks, likewise.")


class JobStanding(BaseModel):
    """Which job it is and how far it got."""

    id: str
    state: JobState
    progress: float = Field(ge=0, le=1, description="Never falls.")
    stage: str | None = Field(None, description="What the running attempt does.")
    position: int | None = Field(None, description="Jobs that start before this one, while it waits; not in lists.")
    eta_seconds: float | None = Field(None, description="Likely time until it is done, when known; not in lists.")
    attempt: int = Field(description="Number of the latest attempt; 0 before the first.")
    model: str
    model_version: str


class JobBody(JobOptions, JobStanding):
    """One job: what was asked, how far it got, and what came of it."""

    requested_stems: list[str] | None = Field(None, description="null: all stems of the model.")
    fit: dict[str, Any] | None = Field(
        None, description="What was asked of a model that is fitted to the recording; null for other models."
    )
    requested_voices: list[str] | Literal["auto"] | None = Field(None, description="null: all stems of the model.")
    group: str | None = Field(None, description="Shared by the jobs of one upload with several models.")
    file_name: str
    input: InputBody
    submitted_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = Field(
        None,
        description="When audio, stems and this record are erased; null before the end, and of kept jobs.",
    )
    is_kept: Annotated[bool, Since("0.2")] = Field(False, description="True when it stays until somebody erases it.")
    stems: list[StemBody] = Field(default_factory=list, description="Empty until the job has succeeded.")
    resynthesis: StemBody | None = Field(
        None, description="The mixture as the model sings it again; null for models that do not, and until the end."
    )
    pitch: list[FileBody] = Field(
        default_factory=list,
        description="Pitch tracks, notes and bars, as files; empty for models without pitch.",
    )
    views: ViewsBody | None = Field(None, description="Null until the end.")
    confidence: list[StemConfidence] = Field(default_factory=list, description="Of each stem; empty until the end.")
    scores: list[ScoreBody] = Field(
        default_factory=list, description="Of the stems whose true sources were sent; empty until the end."
    )
    mixes: list[MixBody] = Field(default_factory=list, description="For each part; empty until the end.")
    recording: FileBody | None = Field(None, description="The upload as it came; null when it was several files.")
    report: ReportBody | None = None
    problem: ProblemBody | None = Field(None, description="Why the job failed.")
    links: LinksBody


class JobListBody(BaseModel):
    """One page of jobs, newest first."""

    jobs: list[JobBody]
    next_cursor: str | None = Field(None, description="Ask for the next page with it; null on the last.")


class GroupBody(BaseModel):
    """The jobs of one upload, one for each model asked for."""

    group: str
    jobs: list[JobBody]


class EventBody(BaseModel):
    """Data of one server-sent event."""

    state: JobState
    progress: float
    attempt: int
    stage: str | None = None
    problem: ProblemBody | None = None


class CellBody(BaseModel):
    """One voice as one system gives it."""

    voice: str
    stem: StemBody | None = Field(None, description="Null until the job has succeeded, and for voices it has not.")
    si_sdr_db: float | None = Field(None, description="Against the true source, where one was sent.")


class SystemBody(BaseModel):
    """One model on the recording."""

    model: str
    title: str
    job: JobBody
    cells: list[CellBody] = Field(description="One for each of the group's voices.")
    resynthesis: StemBody | None = Field(None, description="The mixture as this model sings it again, where it can.")
    mean_si_sdr_db: float | None = None


class ComparisonBody(BaseModel):
    """Voices by systems."""

    group: str
    file_name: str
    submitted_at: datetime
    state: Literal["running", "ended"]
    input: InputBody
    voices: list[str] = Field(description="Of all systems, in the order of their stems.")
    references: list[FileBody] = Field(description="The true sources that were sent.")
    systems: list[SystemBody] = Field(description="In the order in which the models were asked for.")
    table: str = Field(description="The scores as a table, CSV.")
    folder: str = Field(description="All of it as a folder that opens from disk, ZIP; once the state is `ended`.")
