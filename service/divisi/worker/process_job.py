"""What a worker does for one job; read this first.

    mixture from the store → examine → separate → stems into the store → manifest

Runs in the child (child.py). Nobody sees the stems unless the supervisor's commit of the manifest is accepted.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from divisi import DISTRIBUTION
from divisi.audio.decode import FILES_CONTAINER, unpack_files
from divisi.audio.recording import AudioLimits
from divisi.audio.sandbox import inspect_audio_in_child
from divisi.bootstrap import open_bucket
from divisi.contract.job import Job
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem, StemConfidence, StemScore
from divisi.delivery.deliver import Recording, SeparatedFile, separate_file
from divisi.delivery.files import DeliveredFile, StemFile
from divisi.models.plan import fit_request_from
from divisi.separation.fitted_separator import AnySeparator
from divisi.separation.separator import SeparationOptions
from divisi.settings import Settings, listed
from divisi.storage.bucket import read_address, result_folder
from divisi.storage.names import content_disposition, mixture_key, stem_key
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import span
from divisi.timing import StageClock
from divisi.worker.attempt import Assignment

Report = Callable[[float, str], None]
"""Called with progress 0..1 and the stage."""

# Shares of the whole that are reached when a stage begins; separating is nearly all of the work.
_SEPARATING_FROM, _UPLOADING_FROM = 0.05, 0.95

# Distributions whose version says what ran, and the module they bring.
_RUNTIMES = {"onnxruntime": "onnxruntime", "onnxruntime-gpu": "onnxruntime", "torch": "torch"}


def process_job(
    assignment: Assignment,
    separator: AnySeparator,
    store: ObjectStore,
    settings: Settings,
    report: Report,
    clock: StageClock,
) -> Manifest:
    """Makes the stems of one attempt and uploads them to the attempt's own folder.

    Args:
        assignment: the job with the number of the attempt, and an empty folder for the recording and its stems.
        clock: measures how long each stage takes.

    Raises:
        InputError: the recording cannot be separated.
        ModelError: the model cannot do it.
        UnavailableError: the object store is away.
    """
    began = time.monotonic()
    job, work_dir = assignment.job, assignment.work_dir
    report(0.0, "fetching")
    with clock.stage("download"), span("download"):
        mixture = _fetch_mixture(job, store, work_dir)
        references = _fetch_references(job, store, work_dir)
    limits = AudioLimits(
        settings.max_duration_seconds,
        settings.max_channels,
        inspect_seconds=settings.job_timeout_seconds,
        max_decoded_bytes=settings.max_decoded_bytes,
    )
    # What the gateway had no time to count is counted here, before anything expensive begins.
    facts = job.audio
    if not facts.get("exact"):
        report(0.02, "inspecting")
        with clock.stage("inspect"), span("inspect"):
            # In a process of its own, with little memory: a decoder that goes astray takes no engine with it.
            facts = asdict(inspect_audio_in_child(mixture, limits))

    def report_separation(share: float) -> None:
        report(_SEPARATING_FROM + share * (_UPLOADING_FROM - _SEPARATING_FROM), "separating")

    with span("separate", model=separator.card.id, engine=separator.engine.name, device=separator.engine.device) as now:
        recording = Recording(mixture, job.file_name, limits, references, clock)
        options, out = _options_of(job), work_dir / "stems"
        delivery = separate_file(recording, out, separator, job.encoding, options, report_separation)
        now.set(real_time_factor=delivery.real_time_factor, num_samples=delivery.num_samples)
        for stage in ("decode", "separate", "encode"):
            now.set(**{f"{stage}_seconds": clock.seconds.get(stage, 0.0)})
    _upload_all(job, delivery, store, report, clock)
    manifest = _manifest_of(job, separator, delivery, facts, time.monotonic() - began)
    if job.target is not None:
        with clock.stage("upload"), span("upload to target"):
            _write_to(result_folder(job.target, job.job_id), delivery, manifest, settings)
    return manifest


def _fetch_mixture(job: Job, store: ObjectStore, work_dir: Path) -> Path:
    """The recording as one file, or a folder of the files that it came in."""
    mixture = work_dir / "mixture"
    store.download(mixture_key(job.job_id, job.upload), mixture)
    if job.audio.get("container") != FILES_CONTAINER:
        return mixture
    folder = work_dir / "files"
    unpack_files(mixture, folder)
    mixture.unlink()
    return folder


def _fetch_references(job: Job, store: ObjectStore, work_dir: Path) -> dict[str, Path]:
    """The true sources that came with the recording, by stem."""
    folder = work_dir / "references"
    folder.mkdir(exist_ok=True)
    references = {reference.name: folder / str(place) for place, reference in enumerate(job.references)}
    for reference in job.references:
        store.download(reference.key, references[reference.name])
    return references


def _options_of(job: Job) -> SeparationOptions:
    """What the job asks for, and what every job gets."""
    return SeparationOptions(
        **job.delivery_options(),
        stems=job.stems,
        include_pitch=True,
        include_resynthesis=True,
        include_views=True,
        include_previews=True,
        voices=job.voices,
        fit=None if job.fit is None else fit_request_from(job.fit),
    )


def _upload_all(job: Job, delivery: SeparatedFile, store: ObjectStore, report: Report, clock: StageClock) -> None:
    """All of it into the attempt's own folder."""
    resynthesis = () if delivery.resynthesis is None else (delivery.resynthesis,)
    beside = (*delivery.previews, *delivery.pitch, *delivery.views)
    delivered: list[DeliveredFile] = [*delivery.files, *resynthesis, *beside]
    for number, file in enumerate(delivered):
        report(_UPLOADING_FROM + (1 - _UPLOADING_FROM) * number / len(delivered), "uploading")
        with clock.stage("upload"), span("upload", stem=file.name, bytes=file.bytes):
            _upload(job, file, store)


def _write_to(address: str, delivery: SeparatedFile, manifest: Manifest, settings: Settings) -> None:
    """The results into the caller's bucket, and last what says that they are whole."""
    name, folder = read_address(address, listed(settings.target_buckets))
    bucket = open_bucket(settings, name)
    resynthesis = () if delivery.resynthesis is None else (delivery.resynthesis,)
    for file in (*delivery.files, *resynthesis, *delivery.pitch, *delivery.views):
        bucket.upload(f"{folder}/{file.path.name}", file.path, file.media_type)
    bucket.upload(f"{folder}/manifest.json", manifest.to_json().encode(), "application/json")


def _manifest_of(
    job: Job, separator: AnySeparator, delivery: SeparatedFile, facts: dict[str, Any], wall_seconds: float
) -> Manifest:
    """What the commit makes visible."""
    return Manifest(
        attempt=job.attempt,
        model_id=separator.card.id,
        model_version=separator.card.version,
        stems=tuple(_stem(job, file) for file in delivery.files),
        audio=facts | {"num_samples": delivery.num_samples, "exact": True},
        conservation_dbfs=delivery.conservation_dbfs,
        warnings=delivery.warnings,
        real_time_factor=delivery.real_time_factor,
        wall_seconds=wall_seconds,
        engine=engine_facts(separator),
        resynthesis=None if delivery.resynthesis is None else _stem(job, delivery.resynthesis),
        previews=tuple(ManifestFile(**_file(job, file)) for file in delivery.previews),
        pitch=tuple(ManifestFile(**_file(job, file)) for file in delivery.pitch),
        voices=delivery.voices,
        are_voices_detected=delivery.are_voices_detected,
        views=tuple(ManifestFile(**_file(job, file)) for file in delivery.views),
        confidence=_confidence(delivery),
        scores=_scores(delivery),
    )


def _confidence(delivery: SeparatedFile) -> tuple[StemConfidence, ...]:
    if delivery.confidence is None:
        return ()
    stems = [file.name for file in delivery.files if not file.is_residual]
    return tuple(StemConfidence(stem, *delivery.confidence.summary(place)) for place, stem in enumerate(stems))


def _scores(delivery: SeparatedFile) -> tuple[StemScore, ...]:
    return tuple(
        StemScore(score.stem, score.si_sdr_db, score.mixture_si_sdr_db, *score.summary()) for score in delivery.scores
    )


def _upload(job: Job, file: DeliveredFile, store: ObjectStore) -> None:
    disposition = content_disposition(job.file_name, file.path.name, job.job_id)
    key = stem_key(job.job_id, job.attempt, file.path.name)
    store.upload(key, file.path, media_type=file.media_type, disposition=disposition)


def _stem(job: Job, file: StemFile) -> ManifestStem:
    return ManifestStem(
        **_file(job, file), is_residual=file.is_residual, peak=file.peak, clipped_samples=file.clipped_samples
    )


def _file(job: Job, file: DeliveredFile) -> dict[str, Any]:
    """The fields that every file of a manifest has."""
    return {
        "name": file.name,
        "file_name": file.path.name,
        "key": stem_key(job.job_id, job.attempt, file.path.name),
        "bytes": file.bytes,
        "sha256": file.sha256,
        "crc32": file.crc32,
        "media_type": file.media_type,
    }


def engine_facts(separator: AnySeparator) -> dict[str, Any]:
    """Name, device and provider of an engine, and the versions that explain its output."""
    engine = separator.engine
    return {"name": engine.name, "device": engine.device, "provider": engine.provider, **_versions()}


def _versions() -> dict[str, str]:
    versions = {"divisi": version(DISTRIBUTION)}
    for name, module in _RUNTIMES.items():
        if module in sys.modules:
            with contextlib.suppress(PackageNotFoundError):
                versions[name] = version(name)
    return versions
