"""What the API says: jobs, stems and lists as pydantic models, made from the records of the jobs room."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from divisi.bundles.card import ModelCard
from divisi.contract.files import FILES, RecordList, path_of
from divisi.contract.job import Job, JobState
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem, StemScore
from divisi.contract.request import JobOptions
from divisi.gateway.problems import ProblemBody, job_problem


class StemBody(BaseModel):
    """One delivered stem."""

    name: str = Field(examples=["soprano"])
    href: str = Field(description="Where its bytes are.", examples=["/v1/jobs/01k…/stems/soprano"])
    file_name: str = Field(examples=["soprano.wav"])
    bytes: int
    sha256: str
    media_type: str = Field(examples=["audio/wav"])
    is_residual: bool = Field(description="True for what no stem explains: the recording minus all stems.")
    peak: float | None = Field(None, description="Largest sample, full scale 1.")
    clipped_samples: int = Field(0, description="Samples that the stem format could not hold.")


class FileBody(BaseModel):
    """One delivered file that is not audio."""

    name: str = Field(examples=["pitch.json"])
    href: str = Field(description="Where its bytes are.", examples=["/v1/jobs/01k…/pitch.json"])
    file_name: str = Field(examples=["pitch.json"])
    bytes: int
    sha256: str
    media_type: str = Field(examples=["application/json"])


class NoteBody(BaseModel):
    """One note of one voice."""

    start_seconds: float
    end_seconds: float
    midi: int = Field(description="Number of the nearest key at the tuning; 69 is A4.", examples=[69])
    f0_hz: float = Field(description="Median of its pitch, as it sounds.", examples=[440.6])


class VoicePitchBody(BaseModel):
    """Pitch of one voice."""

    f0_hz: list[float] = Field(description="One value for each frame, in Hz; 0 where the voice has no pitch.")
    voicing: list[float] | None = Field(None, description="How sure the model is of each, 0..1; only of some models.")
    notes: list[NoteBody] = Field(description="In order of time; none overlap.")


class TuningBody(BaseModel):
    """What the choir is tuned to, over the whole recording and all voices."""

    a4_hz: float = Field(description="What A4 sounds at.", examples=[452.89])
    cents: float = Field(description="The same above 440 Hz, in hundredths of a semitone.", examples=[50.0])


class PitchBody(BaseModel):
    """`pitch.json`: pitch tracks and notes of every delivered voice."""

    hop_seconds: float = Field(description="From one frame to the next; the first is at 0 s.", examples=[0.032])
    num_frames: int
    tuning: TuningBody | None = Field(None, description="None in files of jobs from before it was measured.")
    voices: dict[str, VoicePitchBody] = Field(description="By name of the stem.")


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


class ConfidenceBody(BaseModel):
    """How far a stem is to be believed: the share of its energy that is expected to be the voice's own."""

    stem: str
    mean: float | None = Field(None, description="Over all steps; null when the stem is silent.")
    step_seconds: float
    values: list[float | None] = Field(description="0..1, at most 64; null where the stem is silent.")


class ScoreBody(BaseModel):
    """A stem measured against the true source that was sent with the recording."""

    stem: str
    si_sdr_db: float | None = Field(None, description="Over all; null when the source is silent.")
    mixture_si_sdr_db: float | None = Field(None, description="Of the recording itself, for comparison.")
    frame_seconds: float
    frames_si_sdr_db: list[float | None] = Field(description="Step by step, at most 64; null where it is silent.")
    reference: FileBody | None = Field(None, description="The true source, as it was sent.")


class MixBody(BaseModel):
    """Practice mixes for one part; made when first asked for."""

    part: str = Field(examples=["soprano"])
    in_front: str = Field(description="The part in front, the others lowered.")
    without: str = Field(description="Everything but the part.")


class WarningBody(BaseModel):
    """What a person should know before relying on the result."""

    code: str = Field(examples=["cut-at-full-scale"])
    message: str = Field(
        description="A sentence to show.",
        examples=["12 samples of alto were cut at full scale, by up to 1.2 dB; the format wav32f keeps them."],
    )
    facts: dict[str, Any] = Field(default_factory=dict, description="Its values, by name.")


class ReportBody(BaseModel):
    """How the separation went."""

    conservation_dbfs: float | None = Field(
        None,
        description="Peak of recording minus (stems + residual), as the files hold them, in dBFS; null without a "
        "residual and in lossy formats.",
    )
    warnings: list[WarningBody] = Field(
        default_factory=list, description="What to know before relying on the result; empty when all is well."
    )
    real_time_factor: float = Field(description="Seconds of work for one second of audio.")
    wall_seconds: float
    voices: list[str] = Field(description="Who was taken to sing; stems of others are silent.")
    are_voices_detected: bool = Field(description="True when they were heard (`auto`), not named.")
    engine: dict[str, Any] = Field(description="Name, device and versions of what ran.")


class LinksBody(BaseModel):
    """Where to go from here."""

    self: str
    events: str
    archive: str | None = Field(None, description="All stems in one ZIP file, once the job has succeeded.")


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
    expires_at: datetime | None = Field(None, description="When audio, stems and this record are erased.")
    stems: list[StemBody] = Field(default_factory=list, description="Empty until the job has succeeded.")
    resynthesis: StemBody | None = Field(
        None, description="The mixture as the model sings it again; null for models that do not, and until the end."
    )
    pitch: list[FileBody] = Field(
        default_factory=list, description="`pitch.csv`, `pitch.json`, `notes.mid`; empty for models without pitch."
    )
    views: ViewsBody | None = Field(None, description="Null until the end.")
    confidence: list[ConfidenceBody] = Field(default_factory=list, description="Of each stem; empty until the end.")
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


class ModelBody(ModelCard):
    """The card of a model, and whether it can be run now."""

    needs: list[str] = Field(description="Extras that a worker must have to run it.", examples=[["torch"]])
    is_offered: bool | None = Field(
        description="False: no worker at work can run it, jobs for it are refused (`no-worker-for-model`); "
        "null: not known yet, or no worker is heard of; jobs wait for one."
    )


class ModelListBody(BaseModel):
    """The newest version of every model that this service runs."""

    models: list[ModelBody]
    default_model: str = Field(description="Used when a request names no model.")


class EventBody(BaseModel):
    """Data of one server-sent event."""

    state: JobState
    progress: float
    attempt: int
    stage: str | None = None
    problem: ProblemBody | None = None


def job_url(job_id: str) -> str:
    """Path of a job's resource."""
    return f"/v1/jobs/{job_id}"


def group_url(group: str) -> str:
    """Path of a comparison."""
    return f"/v1/groups/{group}"


def job_body(job: Job, root: str, position: int | None = None, eta_seconds: float | None = None) -> JobBody:
    """A job as the API shows it; `root` is the path in front of its addresses, `Settings.root_path`."""
    url = f"{root}{job_url(job.job_id)}"
    manifest = job.manifest if job.state is JobState.SUCCEEDED else None
    return JobBody(
        id=job.job_id,
        state=job.state,
        progress=job.progress,
        stage=job.stage,
        position=position,
        eta_seconds=eta_seconds,
        attempt=job.attempt,
        model=job.model_id,
        model_version=job.model_version,
        **job.job_options(),
        requested_stems=list(job.stems) if job.stems is not None else None,
        fit=job.fit,
        requested_voices=list(job.voices) if isinstance(job.voices, tuple) else job.voices,
        group=job.group,
        file_name=job.file_name,
        input=_input_body(manifest.audio if manifest else job.audio),
        submitted_at=_time(job.submitted_at),
        started_at=_time(job.started_at) if job.started_at else None,
        ended_at=_time(job.ended_at) if job.ended_at else None,
        expires_at=_time(job.expires_at) if job.expires_at else None,
        stems=[_stem_body(url, stem) for stem in manifest.stems] if manifest else [],
        resynthesis=_stem_body(url, manifest.resynthesis) if manifest and manifest.resynthesis else None,
        pitch=[_file_body(url, "pitch", file) for file in manifest.pitch] if manifest else [],
        views=_views_body(url, manifest) if manifest and manifest.views else None,
        confidence=[ConfidenceBody(**asdict(one)) for one in manifest.confidence] if manifest else [],
        scores=[_score_body(job, root, score) for score in manifest.scores] if manifest else [],
        mixes=[_mix_body(url, stem.name) for stem in manifest.parts] if manifest else [],
        recording=_file_body(url, "recording", job.recording) if job.recording else None,
        report=_report_body(manifest) if manifest else None,
        problem=job_problem(job.problem) if job.problem and job.state is JobState.FAILED else None,
        links=LinksBody(self=url, events=f"{url}/events", archive=f"{url}/archive.zip" if manifest else None),
    )


def _input_body(facts: dict[str, Any]) -> InputBody:
    body = InputBody.model_validate(facts)
    if body.duration_seconds is None and body.num_samples is not None and body.sample_rate:
        return body.model_copy(update={"duration_seconds": body.num_samples / body.sample_rate})
    return body


def _stem_body(url: str, stem: ManifestStem) -> StemBody:
    return StemBody(
        name=stem.name,
        href=f"{url}/{path_of('audio', stem.name)}",
        file_name=stem.file_name,
        bytes=stem.bytes,
        sha256=stem.sha256,
        media_type=stem.media_type,
        is_residual=stem.is_residual,
        peak=stem.peak,
        clipped_samples=stem.clipped_samples,
    )


def _file_body(url: str, held_in: RecordList, file: ManifestFile) -> FileBody:
    return FileBody(
        name=file.name,
        href=f"{url}/{path_of(held_in, file.name)}",
        file_name=file.file_name,
        bytes=file.bytes,
        sha256=file.sha256,
        media_type=file.media_type,
    )


def reference_bodies(job: Job, root: str) -> list[FileBody]:
    """The true sources that came with the recording."""
    url = f"{root}{job_url(job.job_id)}"
    return [_file_body(url, "references", reference) for reference in job.references]


def _score_body(job: Job, root: str, score: StemScore) -> ScoreBody:
    by_name = {body.name: body for body in reference_bodies(job, root)}
    return ScoreBody(**asdict(score), reference=by_name.get(score.stem))


def _views_body(url: str, manifest: Manifest) -> ViewsBody:
    image = FILES["spectrogram"]
    tracks = [(image.value_in(file.name), f"{url}/{image.path_of(file.name)}") for file in manifest.views]
    return ViewsBody(
        peaks=f"{url}/{FILES['peaks_json'].path}",
        confidence=f"{url}/{FILES['confidence_json'].path}",
        report=f"{url}/{FILES['report_png'].path}",
        spectrograms=[TrackImageBody(name=track, href=href) for track, href in tracks if track is not None],
    )


def _mix_body(url: str, part: str) -> MixBody:
    mix = f"{url}/{FILES['mix'].path_of(part)}"
    return MixBody(part=part, in_front=mix, without=f"{mix}?without=true")


def _report_body(manifest: Manifest) -> ReportBody:
    return ReportBody(
        conservation_dbfs=manifest.conservation_dbfs,
        warnings=[WarningBody(**asdict(warning)) for warning in manifest.warnings],
        real_time_factor=manifest.real_time_factor,
        wall_seconds=manifest.wall_seconds,
        voices=list(manifest.voices),
        are_voices_detected=manifest.are_voices_detected,
        engine=manifest.engine,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
