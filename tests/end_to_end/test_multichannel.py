"""A quintet under eight microphones from upload to archive, as a person sends it: eight mono files, one request.

The recording is simulated, in small: the shape is that of the real ones, rate and length are not.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from benchmarks.quintet import QUINTET, QuintetRoom, score_images, simulate_quintet
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.client import Client
from divisi.settings import default_model_store

RATE = 16_000
MODEL = "fastmnmf2-quintet"
# -90 dBFS.
SUM_BAR = 10 ** (-90 / 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Everything on one machine, with the models as shipped and the worker's usual engine."""
    folder = tmp_path_factory.mktemp("multichannel")
    port = free_port()
    environment = {**os.environ, "DIVISI_MODEL_STORE": str(default_model_store())}
    command = [sys.executable, "-m", "divisi.cli", "up", "--data", str(folder / "data"), "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_ready(url):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)


def _is_ready(url: str) -> bool:
    """The gateway answers, and a worker has said that it can fit."""
    try:
        return bool(httpx.get(f"{url}/v1/models/{MODEL}").json().get("is_offered"))
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def room() -> QuintetRoom:
    return simulate_quintet(0.3, 3.0, RATE, seed=0)


@pytest.fixture(scope="module")
def files(room: QuintetRoom, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("microphones")
    paths = [folder / f"{number}.wav" for number in range(1, 9)]
    for path, samples in zip(paths, room.mixture, strict=True):
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    return paths


def test_eight_files_go_in_and_five_instruments_come_out(server: str, files: list[Path], room: QuintetRoom) -> None:
    with Client(server) as client:
        seen: list[float] = []
        job = client.submit(files, model=MODEL, stem_format="wav32f", num_iterations=12, num_bases=8)
        job = client.wait(job["id"], on_progress=lambda now: seen.append(now["progress"]))
        assert seen == sorted(seen)
        archive = httpx.get(f"{server}{job['links']['archive']}").content
        client.delete(job["id"])
    images = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        for name in (*QUINTET, "residual"):
            entry = next(entry for entry in content.namelist() if entry.endswith(f"{name}.wav"))
            samples, rate = soundfile.read(io.BytesIO(content.read(entry)), dtype="float32")
            assert (samples.shape, rate) == ((3 * RATE, 8), RATE)
            images[name] = samples.T
    total = np.sum(list(images.values()), axis=0, dtype=np.float64)
    assert np.abs(total - room.mixture).max() <= SUM_BAR
    estimates = np.stack([images[name] for name in QUINTET])
    assert score_images(estimates, room.images, room.mixture, range(5)).improvement > 3


def test_a_file_of_another_length_is_refused_before_anything_is_queued(
    server: str, files: list[Path], tmp_path: Path
) -> None:
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(100, np.float32), RATE)
    uploads = [("file", (path.name, path.read_bytes())) for path in (*files[:7], short)]
    problem = httpx.post(f"{server}/v1/jobs", files=uploads, data={"model": MODEL}).json()
    assert problem["code"] == "files-do-not-match"
    assert problem["facts"] == {"file": 8, "num_samples": 100, "expected_num_samples": 3 * RATE}


def test_a_fit_is_cancelled_between_two_iterations_and_the_worker_goes_on(server: str, files: list[Path]) -> None:
    with Client(server) as client:
        endless = client.submit(files, model=MODEL, num_iterations=1000)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while client.get(endless["id"])["progress"] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        next_one = client.submit(files, model=MODEL, num_iterations=1, num_bases=2)
        client.cancel(endless["id"])
        # A new process with an engine takes its time on a busy machine; how fast cancels are, tests/chaos measures.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while client.get(next_one["id"])["state"] == "queued":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert client.wait(next_one["id"])["state"] == "succeeded"
        assert client.get(endless["id"])["state"] == "cancelled"
