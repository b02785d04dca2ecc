"""Upload → gateway → Redis → worker → TorchServe → stems: the same stems as torch makes in this process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from tests.conftest import free_port
from tests.models.running_torch_serve import RunningTorchServe
from tests.models.tiny_bundle import STEMS, noise
from tests.patience import PATIENCE_SECONDS

from divisi.client import Client
from divisi.contract.files import StemFormat
from divisi.delivery.deliver import separate_file
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, open_engine
from divisi.separation.separator import Separator
from divisi.settings import Settings, child_environment

# The same file in the same torch; the way to the stems is the same code.
SAME = 1e-6


@pytest.fixture
def service(torch_serve: RunningTorchServe, tiny_bundle: ModelBundle, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """Address of a gateway with one worker behind it whose engine is TorchServe."""
    settings = Settings(
        redis_url=redis_url,
        store_url=f"file://{tmp_path / 'store'}",
        model_store=tiny_bundle.path.parents[1],
        default_model=tiny_bundle.card.id,
        port=free_port(),
        engine="torch_serve",
        torch_serve_url=torch_serve.url,
        torch_serve_key_file=torch_serve.key_file,
    )
    url = f"http://127.0.0.1:{settings.port}"
    with ExitStack() as stack:
        for process in ("worker", "gateway"):
            command = [sys.executable, "-m", "divisi.cli", process]
            running = stack.enter_context(subprocess.Popen(command, env=child_environment(settings)))
            stack.callback(running.terminate)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_ready(url):
            assert running.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline, "the gateway was not ready in time"
            time.sleep(0.1)
        yield url


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_stems_are_those_of_torch_in_this_process(service: str, tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    recording = tmp_path / "duet.wav"
    soundfile.write(recording, noise(11_111), tiny_bundle.card.sample_rate, subtype="FLOAT")
    with Client(service) as client:
        job = client.wait(client.submit(recording, stem_format="wav32f")["id"])
        assert job["state"] == "succeeded", job
        assert job["report"]["engine"]["name"] == "torch_serve"
        served = {path.stem: soundfile.read(path)[0] for path in client.download_stems(job, tmp_path / "served")}
    engine = open_engine("torch_script", tiny_bundle, EngineOptions())
    separate_file(recording, tmp_path / "here", Separator(engine, tiny_bundle.card), StemFormat.WAV32F)
    assert set(STEMS) <= set(served)
    for name, samples in served.items():
        here = soundfile.read(tmp_path / "here" / f"{name}.wav")[0]
        np.testing.assert_allclose(samples, here, rtol=0, atol=SAME)
