"""A worker's surroundings: models without artifacts, a folder as store, a queue, jobs accepted as the gateway does."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from divisi.bootstrap import open_door, open_store
from divisi.contract.card import ModelCard
from divisi.contract.job import Job, new_job_id
from divisi.models.bundle import CARD_FILE, write_card, write_checksums
from divisi.queue.job_queue import JobQueue
from divisi.settings import Settings
from divisi.storage.names import mixture_key
from divisi.storage.object_store import ObjectStore

SAMPLE_RATE = 16_000
STEMS = ("soprano", "alto", "tenor", "bass")

# Longer than a worker can be kept from its beats by whatever else the machine does.
LEASE_SECONDS = 300.0

MakeSettings = Callable[..., Settings]
Accept = Callable[..., Awaitable[Job]]


@pytest.fixture
def model_store(tmp_path: Path) -> Path:
    """Models `first`, `second` and `singer`, which also takes a roster, has pitch and sings again; each takes segments
    of one second at 16 kHz.
    """
    root = tmp_path / "models"
    for model_id in ("first", "second", "singer"):
        extra = [{"name": "f0", "hop_length": 512}, {"name": "resynthesis"}] if model_id == "singer" else []
        folder = root / model_id / "1.0.0"
        folder.mkdir(parents=True)
        card = ModelCard(
            id=model_id,
            version="1.0.0",
            title=model_id,
            description="No model at all",
            stem_family="satb",
            stems=STEMS,
            sample_rate=SAMPLE_RATE,
            segment_length=SAMPLE_RATE // 512 * 512,
            length_multiple=512,
            takes_roster=model_id == "singer",
            extra_outputs=extra,  # type: ignore[arg-type]
        )
        write_card(card, folder / CARD_FILE)
        write_checksums(folder, [CARD_FILE])
    return root


@pytest.fixture
def make_settings(tmp_path: Path, model_store: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    """Settings of a deployment in `tmp_path`; `engines:…` names the engines of the chaos tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "chaos"))

    def make(**changes: Any) -> Settings:
        plain = {
            "redis_url": redis_url,
            "store_url": f"file://{tmp_path / 'store'}",
            "model_store": model_store,
            "default_model": "first",
            "work_dir": tmp_path / "work",
            "engine": "passthrough",
            "lease_seconds": LEASE_SECONDS,
            "drain_seconds": 0.0,
        }
        return Settings.model_validate(plain | changes)

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    return make_settings()


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture
async def queue(settings: Settings) -> AsyncIterator[JobQueue]:
    async with open_door(settings) as door:
        yield JobQueue(door)


@pytest.fixture
def accept(tmp_path: Path, store: ObjectStore, queue: JobQueue) -> Accept:
    """Stores a recording (noise, samples to and fro between `level` and its negative, or the bytes of `content`) and
    submits a job for it.
    """

    async def submit(
        seconds: float = 2.0, level: float | None = None, content: bytes | None = None, **changes: Any
    ) -> Job:
        num_samples = int(seconds * SAMPLE_RATE)
        noise = 0.1 * np.random.default_rng(1).standard_normal(num_samples)
        samples = noise if level is None else level * (-1.0) ** np.arange(num_samples)
        path = tmp_path / "upload.wav"
        soundfile.write(path, samples.astype(np.float32), SAMPLE_RATE, subtype="FLOAT")
        if content is not None:
            path.write_bytes(content)
        audio = {"container": "wav", "codec": "float", "sample_rate": SAMPLE_RATE, "num_channels": 1}
        plain = {
            "job_id": new_job_id(),
            "model_id": "first",
            "model_version": "1.0.0",
            "stem_format": "wav32f",
            "submitted_at": time.time(),
            "file_name": "Ave verum.wav",
            "audio": {**audio, "num_samples": num_samples, "exact": True},
        }
        job = Job(**(plain | changes))
        await store.put_file(mixture_key(job.job_id, job.upload), path)
        await queue.submit(job)
        return job

    return submit
