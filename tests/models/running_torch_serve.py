"""A real TorchServe on loopback, started as a deployment starts it, for tests that lean on one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from tests.patience import PATIENCE_SECONDS

from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions, ModelServerOptions
from divisi.models.torch_serve import ModelServer
from divisi_workshop.export.torch_serve_archive import HANDLER, ArchiveOptions, write_archive

START = HANDLER.with_name("start.py")
CHECK = HANDLER.with_name("check.py")


@dataclass(frozen=True)
class RunningTorchServe:
    """Addresses and files of a server that is healthy."""

    url: str
    management: str
    key_file: Path
    work: Path

    @property
    def options(self) -> EngineOptions:
        """For an engine that uses it."""
        return EngineOptions(
            model_server=ModelServerOptions(self.url, self.key_file, patience_seconds=PATIENCE_SECONDS)
        )

    def workers(self, model_id: str) -> list[psutil.Process]:
        """The processes that hold a model."""
        keys = json.loads((self.work / "key_file.json").read_text(encoding="utf-8"))
        headers = {"Authorization": f"Bearer {keys['management']['key']}"}
        described = httpx.get(f"{self.management}/models/{model_id}", headers=headers).json()
        return [psutil.Process(worker["pid"]) for worker in described[0]["workers"]]

    def renew_key(self) -> None:
        """Has the server forget its inference key for a new one, as happens when one expires."""
        keys = json.loads((self.work / "key_file.json").read_text(encoding="utf-8"))
        headers = {"Authorization": f"Bearer {keys['API']['key']}"}
        httpx.get(f"{self.management}/token", params={"type": "inference"}, headers=headers).raise_for_status()


@contextmanager
def running_torch_serve(
    folder: Path, bundles: Sequence[ModelBundle], ports: Sequence[int], options: ArchiveOptions = ArchiveOptions()
) -> Iterator[RunningTorchServe]:
    """Serves the bundles until the block ends; `ports` are five free ones."""
    if shutil.which("java") is None:
        pytest.skip("TorchServe needs Java; tests/system_packages.sh installs it")
    models, work, key_file = folder / "archives", folder / "work", folder / "inference_key.json"
    for bundle in bundles:
        write_archive(bundle, models, options)
    inference, management, metrics = (f"http://127.0.0.1:{port}" for port in ports[:3])
    command = [sys.executable, str(START), "--models", str(models), "--work", str(work), "--key-file", str(key_file)]
    command += ["--inference", inference, "--management", management, "--metrics", metrics]
    command += ["--grpc-ports", f"{ports[3]},{ports[4]}"]
    with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            server = ModelServer(ModelServerOptions(inference, key_file, patience_seconds=PATIENCE_SECONDS))
            server.wait_until_healthy()
            server.close()
            yield RunningTorchServe(inference, management, key_file, work)
        finally:
            process.terminate()
