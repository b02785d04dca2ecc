"""The API's answers, made from the records of jobs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from divisi.contract.answers import (
    ConfidenceBody,
    FileBody,
    InputBody,
    JobBody,
    LinksBody,
    MixBody,
    ReportBody,
    ScoreBody,
    StemBody,
    TrackImageBody,
    ViewsBody,
    WarningBody,
)
from divisi.contract.files import FILES, RecordList, path_of
from divisi.contract.job import Job, JobState
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem, StemScore
from divisi.gateway.problems import job_problem


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
    return StemBody(**asdict(stem), href=f"{url}/{path_of('audio', stem.name)}")


def _file_body(url: str, held_in: RecordList, file: ManifestFile) -> FileBody:
    return FileBody(**asdict(file), href=f"{url}/{path_of(held_in, file.name)}")


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
    alone = {row.path.partition(".")[0]: f"{url}/{row.path}" for row in FILES.values() if row.is_one_view}
    return ViewsBody(
        **alone, spectrograms=[TrackImageBody(name=track, href=href) for track, href in tracks if track is not None]
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
