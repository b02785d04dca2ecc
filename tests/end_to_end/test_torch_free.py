"""Serving runs without torch: neither the gateway nor an ONNX worker that has separated something has loaded it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

from divisi.sample import mixture_path

GATEWAY = "import divisi.gateway.app, divisi.bootstrap"
WORKER = """
import divisi.worker.supervisor, divisi.worker.child, divisi.worker.process_job
from pathlib import Path
from divisi.cli.separate import Request, local_separation
local_separation(Request())((Path({mixture!r}),), Path({folder!r}), lambda done: None)
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
    for line in requires("divisi") or []:
        requirement = Requirement(line)
        for extra in ("", "gateway", "worker", "standalone", "av"):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                assert requirement.name not in {"torch", "torchaudio", "onnxscript"}
