"""The wheel by itself: away from any checkout it separates with the model that it carries."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, folder, ROOT], check=True, capture_output=True)
    (wheel,) = folder.glob("divisi_choir-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_carries_the_default_model_and_nothing_of_the_workshop(unpacked: Path) -> None:
    assert [path.name for path in unpacked.glob("divisi/model_store/*")] == ["chorus"]
    assert list(unpacked.glob("divisi/model_store/chorus/*/model.onnx"))
    assert not list(unpacked.glob("divisi_workshop"))
    assert list(unpacked.glob("divisi/door/scripts/*.lua"))
    assert list(unpacked.glob("divisi/gateway/page/*.js"))


def test_an_installed_wheel_separates_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIVISI_")}
    environment["PYTHONPATH"] = str(unpacked)
    sample = unpacked / "divisi" / "sample" / "chorale.flac"
    command = [sys.executable, "-m", "divisi.cli", "separate", sample, "-o", "stems", "--format", "flac"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stems = sorted(path.name for path in (tmp_path / "stems").glob("*.flac"))
    assert stems == ["alto.flac", "bass.flac", "soprano.flac", "tenor.flac"]
