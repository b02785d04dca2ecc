"""What the images promise, as far as the Dockerfile itself can show it; service/images/build.sh builds them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SERVICE = Path(__file__).resolve().parents[2] / "service"
IMAGES = ("gateway", "worker-cpu", "worker-gpu", "torchserve")
TEXT = (SERVICE / "Dockerfile").read_text()


def stages() -> dict[str, str]:
    """The text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", TEXT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def requirements(*extras: str) -> str:
    command = [sys.executable, SERVICE / "images/requirements.py", SERVICE.parent / "pyproject.toml", *extras]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_user_without_rights_and_tell_their_health(image: str) -> None:
    stage = stages()[image]
    assert "\nUSER 10001:10001\n" in stage
    assert "\nHEALTHCHECK " in stage


def test_the_base_is_pinned() -> None:
    assert re.search(r"^ARG DEBIAN_IMAGE=\S+:bookworm-\d{8}-slim$", TEXT, re.MULTILINE)
    for dockerfile in SERVICE.glob("images/**/*Dockerfile"):
        (base,) = re.findall(r"^ARG DEBIAN_IMAGE=.+$", dockerfile.read_text(), re.MULTILINE)
        assert base in TEXT, dockerfile.name


@pytest.mark.parametrize("extras", [("gateway", "otel"), ("worker", "torch-serve", "otel")])
def test_no_torch_gets_into_gateway_and_cpu_worker(extras: tuple[str, ...]) -> None:
    assert f"list {' '.join(extras)} >" in TEXT
    assert "torch" not in requirements(*extras)
    assert "numpy" in requirements()


def test_extras_that_name_extras_are_followed() -> None:
    assert "onnxruntime" in requirements("standalone")
    assert "divisi-choir[" not in requirements("standalone")
