"""Recordings in several files and options of fitted models: taken, kept with the job, or refused with the values."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.gateway.conftest import publish_model

from divisi.contract.card import Fitting
from divisi.queue.worker_side import RollCall, WorkerState, WorkerStatus
from divisi.storage.names import mixture_key

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

    from divisi.queue.job_queue import JobQueue

RATE = 16_000


@pytest.fixture(scope="module")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model_store")
    publish_model(root, "quartet", ("soprano", "alto", "tenor", "bass"))
    publish_model(root, "duo", ("upper", "lower"))
    fitting = Fitting(
        algorithm="fastmnmf2",
        num_sources=2,
        num_bases=2,
        num_iterations=2,
        fft_length=512,
        initialisation="spots",
    )
    publish_model(root, "fitted", ("source_1", "source_2"), num_channels="any", fitting=fitting)
    return root


def mono(num_samples: int = 4000, rate: int = RATE, seed: int = 0) -> bytes:
    return recording(num_samples, 1, rate, seed)


def recording(num_samples: int, num_channels: int, rate: int = RATE, seed: int = 0) -> bytes:
    noise = 0.1 * np.random.default_rng(seed).standard_normal((num_samples, num_channels))
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format="WAV")
    return file.getvalue()


def submit(http: httpx.Client, *files: bytes, **fields: Any) -> httpx.Response:
    parts = [("file", (f"{place}.wav", data)) for place, data in enumerate(files, start=1)]
    return http.post("/v1/jobs", files=parts, data={"model": "fitted", **fields})


def test_mono_files_are_one_recording_in_their_order(http: httpx.Client, gateway: Gateway) -> None:
    files = [mono(seed=seed) for seed in range(3)]
    answer = submit(http, *files)
    assert answer.status_code == 202
    job = answer.json()
    assert job["file_name"] == "1.wav"
    assert job["input"] | {"container": "files", "num_channels": 3, "num_samples": 4000, "exact": True} == job["input"]
    packed = (gateway.folder / "store" / mixture_key(job["id"])).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        parts = [archive.extractfile(member) for member in archive.getmembers()]
        assert [part.read() for part in parts if part] == files
    assert not gateway.uploads()


@pytest.mark.parametrize(
    ("other", "facts"),
    [
        (mono(3999), {"num_samples": 3999, "expected_num_samples": 4000}),
        (mono(rate=8000), {"sample_rate": 8000, "expected_sample_rate": 16_000}),
        (recording(4000, 2), {"num_channels": 2, "expected_num_channels": 1}),
    ],
    ids=["length", "rate", "channels"],
)
def test_files_that_do_not_match_are_refused_with_both_values(
    other: bytes, facts: dict[str, int], http: httpx.Client, gateway: Gateway
) -> None:
    answer = submit(http, mono(), mono(), other)
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "files-do-not-match"
    assert problem["facts"] == {"file": 3, **facts}
    assert not gateway.objects()
    assert not gateway.uploads()


def test_the_same_bytes_in_other_files_are_another_recording(http: httpx.Client) -> None:
    key = {"Idempotency-Key": "once"}
    first = http.post("/v1/jobs", files=[("file", ("a.wav", mono()))], data={"model": "duo"}, headers=key)
    again = [("file", ("a.wav", mono())), ("file", ("b.wav", mono()))]
    second = http.post("/v1/jobs", files=again, data={"model": "duo"}, headers=key)
    assert first.status_code == 202
    assert second.json()["code"] == "idempotency-key-reused"


def test_options_of_the_fit_are_kept_with_the_job(http: httpx.Client) -> None:
    options = {"num_sources": "3", "num_iterations": "7", "seed": "4", "spots": "low:1,high:3", "stems": "high"}
    job = submit(http, recording(4000, 3), **options).json()
    assert job["requested_stems"] == ["high"]
    spots = [{"name": "low", "channel": 1}, {"name": "high", "channel": 3}]
    assert job["fit"] == {"num_sources": 3, "num_iterations": 7, "seed": 4, "spots": spots}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"num_sources": "4"}, "too-many-sources"),
        ({"spots": "low:4"}, "invalid-spot"),
        ({"spots": "low"}, "invalid-spot"),
        ({"stems": "low"}, "unknown-stem"),
        ({"initialisation": "spots"}, "invalid-spot"),
        ({"fft_length": "1000"}, "invalid-fit-option"),
        ({"num_iterations": "0"}, "invalid-request"),
        ({"precision": "half"}, "invalid-request"),
        ({"model": "quartet", "seed": "1"}, "fit-not-supported"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_it_is_queued(
    options: dict[str, str], code: str, http: httpx.Client, gateway: Gateway
) -> None:
    answer = submit(http, recording(4000, 3), **options)
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert not gateway.objects()


def test_a_mono_recording_has_too_few_microphones(http: httpx.Client) -> None:
    problem = submit(http, mono()).json()
    assert problem["code"] == "too-few-channels"
    assert problem["facts"] == {"num_channels": 1, "least": 2}


def test_the_card_says_what_is_fitted(http: httpx.Client) -> None:
    card = http.get("/v1/models/fitted").json()
    assert card["fitting"]["algorithm"] == "fastmnmf2"
    assert card["needs"] == ["torch"]
    assert card["is_offered"] is None  # no worker has been heard of
    assert http.get("/v1/models/duo").json() | {"needs": [], "is_offered": True} == http.get("/v1/models/duo").json()


@pytest.mark.anyio
async def test_a_fit_is_refused_before_it_is_examined_when_no_worker_at_work_can_do_it(
    http: httpx.Client, gateway: Gateway, queue: JobQueue
) -> None:
    await RollCall(queue.door).announce(WorkerStatus("plain", WorkerState.IDLE, 1.8e9, can_fit=False))
    answer = submit(http, b"never looked at")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"
    problem = answer.json()
    assert problem["code"] == "no-worker-for-model"
    assert problem["facts"] == {"model": "fitted", "num_workers": 1}
    assert not gateway.objects()
    offers = {card["id"]: card["is_offered"] for card in http.get("/v1/models").json()["models"]}
    assert offers == {"quartet": True, "duo": True, "fitted": False}
    assert submit(http, recording(4000, 1), model="duo").status_code == 202


@pytest.mark.anyio
@pytest.mark.parametrize("can_fit", [True, None], ids=["has torch", "has not said yet"])
async def test_one_worker_that_can_fit_is_enough(can_fit: bool | None, http: httpx.Client, queue: JobQueue) -> None:
    roll_call = RollCall(queue.door)
    await roll_call.announce(WorkerStatus("plain", WorkerState.IDLE, 1.8e9, can_fit=False))
    await roll_call.announce(WorkerStatus("other", WorkerState.BUSY, 1.8e9, can_fit=can_fit))
    assert http.get("/v1/models/fitted").json()["is_offered"] is can_fit
    assert submit(http, recording(4000, 3)).status_code == 202
