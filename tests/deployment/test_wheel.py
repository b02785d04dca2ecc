"""The wheels by themselves: away from any checkout they separate with the model that they carry."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an environment has of ours where the service is installed, and with it the client."""
    folder = tmp_path_factory.mktemp("unpacked")
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(folder)
    return folder


def test_the_wheel_carries_the_default_model_and_nothing_of_the_workshop(unpacked: Path) -> None:
    assert [path.name for path in unpacked.glob("divisi/model_store/*")] == ["chorus"]
    assert list(unpacked.glob("divisi/model_store/chorus/*/model.onnx"))
    assert not list(unpacked.glob("divisi_workshop"))
    assert list(unpacked.glob("divisi/queue/scripts/*.lua"))
    assert list(unpacked.glob("divisi/gateway/page/*.js"))
    assert len(list(unpacked.glob("divisi/gateway/reference/swagger-ui*.gz"))) == 2


def test_service_and_client_have_every_file_once(wheels: dict[str, Path], unpacked: Path) -> None:
    names = ("divisi-choir", "divisi-choir-client")
    service, client = (set(zipfile.ZipFile(wheels[name]).namelist()) for name in names)
    assert not service & client
    files = [path for path in (ROOT / "service/divisi").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    written = {str(path.relative_to(ROOT / "service")) for path in files}
    assert written <= service | client


def test_every_distribution_carries_the_licence(unpacked: Path) -> None:
    licence = (ROOT / "LICENSE").read_bytes()
    assert [path.read_bytes() for path in unpacked.glob("*.dist-info/licenses/LICENSE")] == [licence] * 2
    for folder in ("service", "service/workshop"):  # copies: a source distribution reaches no file outside of it
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        assert project["license-files"] == ["LICENSE"]
        assert (ROOT / folder / "LICENSE").read_bytes() == licence


def test_the_service_requires_the_client_of_its_own_version() -> None:
    service, client = (
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in (".", "service")
    )
    assert f"{client['name']}=={client['version']}" in service["dependencies"]
    assert client["version"] == service["version"]


def test_an_installed_wheel_separates_in_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIVISI_")}
    environment["PYTHONPATH"] = str(unpacked)
    sample = unpacked / "divisi" / "sample" / "chorale.flac"
    command = [sys.executable, "-m", "divisi.cli", "separate", sample, "-o", "stems", "--format", "flac"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stems = sorted(path.name for path in (tmp_path / "stems").glob("*.flac"))
    assert stems == ["alto.flac", "bass.flac", "soprano.flac", "tenor.flac"]
