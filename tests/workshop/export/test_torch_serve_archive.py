"""Archives for TorchServe hold the published artifact and our handler, and nothing of divisi."""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from tests.models.tiny_bundle import restate

from divisi.contract.errors import ModelError
from divisi.models.bundle import ModelBundle
from divisi_workshop.export.torch_serve_archive import HANDLER, ArchiveOptions, write_archive

SERVER_LIBRARIES = {"numpy", "safetensors", "torch"}


def test_an_archive_holds_artifact_handler_and_how_to_run_them(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    path = write_archive(tiny_bundle, tmp_path, ArchiveOptions(num_workers=2, num_threads=3, batch_size=4))
    assert path == tmp_path / "tiny-duo-1.0.0.mar"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(content["MAR-INF/MANIFEST.json"])["model"]
    assert (manifest["modelName"], manifest["modelVersion"]) == ("tiny-duo", "1.0.0")
    assert content[manifest["serializedFile"]] == tiny_bundle.artifact_path("torchscript").read_bytes()
    assert content[manifest["handler"]] == HANDLER.read_bytes()
    config = yaml.safe_load(content[manifest["configFile"]])
    assert config["startupTimeout"] >= 600
    assert config["maxRetryTimeoutInSec"] >= 24 * 3600
    assert (config["minWorkers"], config["maxWorkers"], config["batchSize"], config["threads"]) == (2, 2, 4, 3)


def test_the_same_bundle_gives_the_same_bytes(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    first = write_archive(tiny_bundle, tmp_path / "a").read_bytes()
    assert write_archive(tiny_bundle, tmp_path / "b").read_bytes() == first


def test_a_bundle_without_torchscript_has_no_archive(tiny_bundle: ModelBundle, tmp_path: Path) -> None:
    bare = restate(tiny_bundle, tmp_path / "models", artifacts=(), parity=None)
    with pytest.raises(ModelError) as refused:
        write_archive(bare, tmp_path)
    assert refused.value.code == "missing-artifact"


@pytest.mark.parametrize("name", ["handler.py", "start.py", "check.py"])
def test_what_runs_beside_torchserve_imports_nothing_of_divisi(name: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse(HANDLER.with_name(name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - SERVER_LIBRARIES <= set(sys.stdlib_module_names)
