from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.decode import open_decoder
from divisi.audio.recording import resample
from divisi.contract.errors import InputError, NotFoundError
from divisi.contract.job import Job, new_job_id
from divisi.contract.manifest import Manifest, ManifestFile
from divisi.models.bundle import BundleStore
from divisi.settings import Settings
from divisi.storage.names import attempt_prefix, mixture_key, reference_key
from divisi.storage.object_store import ObjectStore
from divisi.timing import StageClock
from divisi.worker.attempt import Assignment
from divisi.worker.child import WarmModels
from divisi.worker.process_job import process_job

pytestmark = pytest.mark.anyio

Accept = Callable[..., Awaitable[Job]]
# Rounding of float32 sums of five files.
CONSERVATION_DBFS = -120.0
# Of MP3 at these rates, as a share of the energy; one sample late, or of another stem, is above 1.
PREVIEW_ERROR, LEAST_ENERGY = 0.1, 1e-4


class Bench:
    """Runs jobs of one deployment and keeps what was reported."""

    def __init__(self, settings: Settings, store: ObjectStore, tmp_path: Path, model_id: str = "first") -> None:
        self._settings, self._store, self._tmp_path = settings, store, tmp_path
        self._separator = WarmModels(settings, BundleStore(settings.model_store)).get(model_id)
        self.reports: list[tuple[float, str]] = []

    def run(self, job: Job, attempt: int = 1):  # type: ignore[no-untyped-def]
        work_dir = self._tmp_path / f"attempt-{job.job_id}-{attempt}"
        work_dir.mkdir()
        job = job.model_copy(update={"attempt": attempt})
        assignment = Assignment(job, work_dir)
        return process_job(assignment, self._separator, self._store, self._settings, self._note, StageClock())

    def _note(self, progress: float, stage: str) -> None:
        self.reports.append((progress, stage))


@pytest.fixture
def bench(settings: Settings, store: ObjectStore, tmp_path: Path) -> Bench:
    return Bench(settings, store, tmp_path)


async def test_every_stem_of_the_manifest_is_in_the_store_as_described(
    bench: Bench, store: ObjectStore, accept: Accept
) -> None:
    job = await accept()
    manifest = bench.run(job, attempt=2)
    assert [stem.name for stem in manifest.stems] == ["soprano", "alto", "tenor", "bass", "residual"]
    assert [stem.is_residual for stem in manifest.stems] == [False] * 4 + [True]
    for stem in manifest.stems:
        content = await store.get_bytes(stem.key)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (stem.bytes, stem.sha256)
        assert zlib.crc32(content) == stem.crc32
        assert stem.media_type == "audio/wav"
    stored = [found.key for found in await store.list(attempt_prefix(job.job_id, 2))]
    assert stored == sorted(file.key for file in (*manifest.files, *manifest.previews))


async def test_the_recording_of_several_jobs_is_found_where_they_share_it(bench: Bench, accept: Accept) -> None:
    manifest = bench.run(await accept(upload="0" * 26))
    assert len(manifest.stems) == 5


async def test_every_stem_has_a_preview_of_its_length_that_is_no_part_of_the_archive(
    bench: Bench, store: ObjectStore, accept: Accept, tmp_path: Path
) -> None:
    manifest = bench.run(await accept(seconds=1.5))
    assert [file.name for file in manifest.previews] == [f"preview-{stem.name}.mp3" for stem in manifest.stems]
    assert not set(manifest.previews) & set(manifest.files)
    for stem, preview in zip(manifest.stems, manifest.previews, strict=True):
        store.download(stem.key, tmp_path / stem.file_name)
        store.download(preview.key, tmp_path / preview.file_name)
        with open_decoder(tmp_path / stem.file_name) as decoder:
            samples = np.concatenate(list(decoder.blocks(65_536)), axis=1)
            wanted = resample(samples, decoder.facts.sample_rate, 32_000)
        with open_decoder(tmp_path / preview.file_name) as decoder:
            heard = np.concatenate(list(decoder.blocks(65_536)), axis=1)
            assert (decoder.facts.sample_rate, preview.media_type) == (32_000, "audio/mpeg")
        assert heard.shape == wanted.shape
        error_energy = np.square(heard - wanted).sum()
        assert error_energy <= PREVIEW_ERROR * np.square(wanted).sum() + LEAST_ENERGY


async def test_views_confidence_and_scores_against_true_sources_come_with_the_stems(
    bench: Bench, store: ObjectStore, accept: Accept, tmp_path: Path
) -> None:
    job = await accept(seconds=1.5)
    key = reference_key(job.job_id, "alto")
    store.download(mixture_key(job.job_id), tmp_path / "source")
    await store.put_file(key, tmp_path / "source")
    source = ManifestFile("alto", "true alto.wav", key, 0, "", "audio/wav")
    manifest = bench.run(job.model_copy(update={"references": (source,)}))
    tracks = ["mixture", "soprano", "alto", "tenor", "bass", "residual"]
    images = [f"spectrogram-{track}.png" for track in tracks]
    assert [file.name for file in manifest.views] == ["peaks.json", "confidence.json", "report.png", *images]
    peaks = json.loads(await store.get_bytes(manifest.views[0].key))
    assert list(peaks["tracks"]) == [*tracks, "true alto"]
    assert peaks["num_samples"] == 24_000
    assert [one.stem for one in manifest.confidence] == tracks[1:-1]
    (score,) = manifest.scores  # the passthrough engine gives the recording, scaled
    assert (score.stem, score.si_sdr_db, len(score.frames_si_sdr_db)) == ("alto", score.mixture_si_sdr_db, 2)


async def test_stems_and_residual_sum_to_the_recording(
    bench: Bench, store: ObjectStore, accept: Accept, tmp_path: Path
) -> None:
    job = await accept(seconds=2.345)
    manifest = bench.run(job)
    total = 0.0
    for stem in manifest.stems:
        store.download(stem.key, tmp_path / stem.file_name)
        total = total + soundfile.read(tmp_path / stem.file_name, dtype="float64")[0]
    store.download(mixture_key(job.job_id), tmp_path / "mixture")
    mixture = soundfile.read(tmp_path / "mixture", dtype="float64")[0]
    assert len(total) == len(mixture) == manifest.audio["num_samples"]  # type: ignore[arg-type]
    assert 20 * np.log10(np.abs(total - mixture).max() + 1e-12) <= CONSERVATION_DBFS
    assert manifest.conservation_dbfs is not None
    assert manifest.conservation_dbfs <= CONSERVATION_DBFS


async def test_the_manifest_says_what_ran_and_how_fast(bench: Bench, accept: Accept) -> None:
    manifest = bench.run(await accept(), attempt=3)
    assert (manifest.attempt, manifest.model_id, manifest.model_version) == (3, "first", "1.0.0")
    assert (manifest.engine["name"], manifest.engine["device"]) == ("passthrough", "cpu")
    assert 0 < manifest.real_time_factor < 10
    assert manifest.wall_seconds > 0


async def test_only_the_wanted_stems_are_delivered(bench: Bench, accept: Accept) -> None:
    manifest = bench.run(await accept(stems=("bass", "alto"), include_residual=False))
    assert [stem.name for stem in manifest.stems] == ["alto", "bass"]


async def test_progress_rises_and_names_its_stages(bench: Bench, accept: Accept) -> None:
    job = await accept()
    bench.run(job.model_copy(update={"audio": job.audio | {"exact": False}}))
    shares = [share for share, _ in bench.reports]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1
    stages = list(dict.fromkeys(stage for _, stage in bench.reports))
    assert stages == ["fetching", "inspecting", "separating", "uploading"]


async def test_what_the_gateway_had_no_time_to_count_is_counted(bench: Bench, accept: Accept) -> None:
    job = await accept(seconds=1.5)
    manifest = bench.run(job.model_copy(update={"audio": job.audio | {"num_samples": 99, "exact": False}}))
    assert (manifest.audio["num_samples"], manifest.audio["exact"]) == (24_000, True)


async def test_a_recording_that_turns_out_too_long_is_refused(
    make_settings: Callable[..., Settings], store: ObjectStore, accept: Accept, tmp_path: Path
) -> None:
    bench = Bench(make_settings(max_duration_seconds=1.0), store, tmp_path)
    job = await accept(seconds=2.0)
    with pytest.raises(InputError) as caught:
        bench.run(job.model_copy(update={"audio": job.audio | {"exact": False}}))
    assert caught.value.code == "audio-too-long"


async def test_a_damaged_recording_is_the_callers_fault_and_leaves_nothing(
    bench: Bench, store: ObjectStore, accept: Accept
) -> None:
    job = await accept(content=b"RIFF\x00\x00\x00\x00WAVEnonsense")
    with pytest.raises(InputError):
        bench.run(job)
    assert await store.list(attempt_prefix(job.job_id, 1)) == []


async def test_a_recording_that_is_gone_is_not_found(bench: Bench, accept: Accept) -> None:
    job = await accept()
    with pytest.raises(NotFoundError):
        bench.run(job.model_copy(update={"job_id": new_job_id()}))


@pytest.fixture
def singer(settings: Settings, store: ObjectStore, tmp_path: Path) -> Bench:
    """Runs jobs with a model that takes a roster, has pitch tracks and sings the mixture again."""
    return Bench(settings, store, tmp_path, "singer")


async def test_pitch_and_resynthesis_are_in_the_store_as_described_and_apart_from_the_stems(
    singer: Bench, store: ObjectStore, accept: Accept
) -> None:
    job = await accept(seconds=1.5)
    manifest = singer.run(job)
    assert [stem.name for stem in manifest.stems] == ["soprano", "alto", "tenor", "bass", "residual"]
    assert [(file.name, file.media_type) for file in manifest.pitch] == [
        ("pitch.csv", "text/csv"),
        ("pitch.json", "application/json"),
        ("notes.mid", "audio/midi"),
        ("bars.json", "application/json"),
        ("intonation.csv", "text/csv"),
        ("intonation.json", "application/json"),
        *(
            (f"{name}.musicxml", "application/vnd.recordare.musicxml+xml")
            for name in ("score", "soprano", "alto", "tenor", "bass")
        ),
    ]
    assert manifest.resynthesis is not None
    assert manifest.resynthesis.name == "resynthesis"
    for file in manifest.files:
        content = await store.get_bytes(file.key)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
    stored = [found.key for found in await store.list(attempt_prefix(job.job_id, 1))]
    assert stored == sorted(file.key for file in (*manifest.files, *manifest.previews))
    assert len(stored) == 17 + len(manifest.previews) + len(manifest.views)
    assert manifest.conservation_dbfs is not None
    assert manifest.conservation_dbfs <= CONSERVATION_DBFS


async def test_a_model_without_them_delivers_none(bench: Bench, accept: Accept) -> None:
    manifest = bench.run(await accept())
    assert (manifest.pitch, manifest.resynthesis) == ((), None)


async def test_the_manifest_says_who_was_taken_to_sing(
    singer: Bench, store: ObjectStore, accept: Accept, tmp_path: Path
) -> None:
    named = singer.run(await accept(voices=("alto", "bass")))
    assert (named.voices, named.are_voices_detected) == (("alto", "bass"), False)
    assert [stem.peak > 0 for stem in named.stems if stem.peak is not None] == [False, True, False, True, True]
    heard = singer.run(await accept(voices="auto"))
    assert (heard.voices, heard.are_voices_detected) == (("soprano", "alto", "tenor", "bass"), True)
    everybody = singer.run(await accept())
    assert (everybody.voices, everybody.are_voices_detected) == (heard.voices, False)


async def test_voices_that_the_model_cannot_be_told_are_the_callers_fault(bench: Bench, accept: Accept) -> None:
    with pytest.raises(InputError) as refused:
        bench.run(await accept(voices="auto"))
    assert refused.value.code == "voices-not-supported"


async def test_a_manifest_survives_its_way_through_redis(singer: Bench, accept: Accept) -> None:
    manifest = singer.run(await accept(voices="auto"))
    assert Manifest.from_json(manifest.to_json()) == manifest
