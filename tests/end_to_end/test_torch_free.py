"""Serving runs without torch: neither the gateway nor an ONNX worker that has separated something has loaded it, and
where it is not installed the models that need it are not offered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import requires
from pathlib import Path

import httpx
from packaging.requirements import Requirement
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi import DISTRIBUTION
from divisi.sample import mixture_path
from divisi.settings import default_model_store

# None there is how Python itself marks a module that cannot be imported.
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None"

GATEWAY = "import divisi.gateway.app, divisi.bootstrap"
WORKER = """
import divisi.worker.supervisor, divisi.worker.child, divisi.worker.process_job
from pathlib import Path
from divisi.machine.separation import local_separation
from divisi.cli.out_folder import OutFolder
from divisi.cli.request import CommandRequest
local_separation(CommandRequest())([Path({mixture!r})], OutFolder(Path({folder!r}), "digest"), lambda done: None)
assert Path({folder!r}, "bass.wav").stat().st_size > 0
"""
CHECK = "\nimport sys; loaded = [m for m in sys.modules if m.split('.')[0] == 'torch']; assert not loaded, loaded[:3]"


def run(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program + CHECK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_gateway_does_not_load_torch() -> None:
    run(GATEWAY)


def test_a_worker_that_has_separated_a_recording_has_not_loaded_torch(tmp_path: Path) -> None:
    run(WORKER.format(mixture=str(mixture_path()), folder=str(tmp_path)))


def test_no_extra_for_serving_asks_for_torch() -> None:
    for line in requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        for extra in ("", "gateway", "worker", "standalone", "av"):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                assert requirement.name not in {"torch", "torchaudio", "onnxscript"}


def test_without_torch_models_that_need_it_are_listed_as_such_and_their_jobs_refused(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])),
        "DIVISI_MODEL_STORE": str(default_model_store()),
    }
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "divisi.cli", "up", "--data", str(tmp_path / "data"), "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (offers := _offers(url)).get("fastmnmf2-quintet") is None:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        not_offered = {model for model, is_offered in offers.items() if not is_offered}
        assert not_offered == {"fastmnmf2-quintet", "fastmnmf2", "ilrma"}
        with mixture_path().open("rb") as file:
            answer = httpx.post(f"{url}/v1/jobs", files={"file": file}, data={"model": "fastmnmf2"})
        assert (answer.status_code, answer.json()["code"]) == (503, "no-worker-for-model")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


def _offers(url: str) -> dict[str, bool | None]:
    """Which models are offered; nothing until the gateway answers."""
    try:
        models = httpx.get(f"{url}/v1/models").json()["models"]
    except httpx.HTTPError:
        return {}
    return {card["id"]: card["is_offered"] for card in models}
