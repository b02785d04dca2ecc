"""The worker decodes strangers' bytes too: what is accepted is held against them again, whoever counted before."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.contract.errors import InputError
from divisi.contract.job import Job
from divisi.models.bundle import BundleStore
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore
from divisi.timing import StageClock
from divisi.worker.attempt import Assignment
from divisi.worker.child import WarmModels
from divisi.worker.process_job import process_job

pytestmark = pytest.mark.anyio

Accept = Callable[..., Awaitable[Job]]
RATE = 16_000


def stereo_second() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full((RATE, 2), 0.1, np.float32), RATE, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"max_decoded_bytes": 1000}, "audio-too-large"),
        ({"max_duration_seconds": 0.5}, "audio-too-long"),
        ({"max_channels": 1}, "too-many-channels"),
    ],
)
@pytest.mark.parametrize("is_counted", [True, False])
async def test_a_recording_beyond_the_limits_is_refused_by_the_worker(
    make_settings: Callable[..., Settings],
    store: ObjectStore,
    accept: Accept,
    tmp_path: Path,
    changes: dict,
    code: str,
    is_counted: bool,
) -> None:
    settings = make_settings(**changes)
    separator = WarmModels(settings, BundleStore(settings.model_store)).get("first")
    job = await accept(content=stereo_second())
    job = job.model_copy(update={"attempt": 1, "audio": job.audio | {"exact": is_counted}})
    with pytest.raises(InputError) as caught:
        process_job(Assignment(job, tmp_path), separator, store, settings, lambda *_: None, StageClock())
    assert caught.value.code == code
