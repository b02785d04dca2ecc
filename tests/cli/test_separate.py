"""What `divisi separate` says of a result, with a shipped model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from divisi.cli.app import app

RATE = 16_000


def recording(folder: Path, peak: float) -> Path:
    times = np.arange(2 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * tone_hz * times) for tone_hz in (220, 277, 330, 440))
    path = folder / "hot.wav"
    soundfile.write(path, peak * chord / np.abs(chord).max(), RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("peak", "stem_format", "says"),
    [
        (0.9, "wav", None),
        (9.0, "wav", "hot.wav: The recording goes 19.1 dB beyond full scale, so the files are 32-bit float WAV"),
        (9.0, "flac", "were cut at full scale"),
    ],
)
def test_what_to_know_of_a_result_is_said_on_a_line_of_its_own(
    peak: float, stem_format: str, says: str | None, tmp_path: Path
) -> None:
    path = recording(tmp_path, peak)
    asked = ["separate", str(path), "-m", "satb-small", "-o", str(tmp_path / "out"), "--residual", "-f", stem_format]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("hot.wav: ")]
    if says is None:
        assert not any("full scale" in line for line in lines)
    else:
        assert any(says in line for line in lines)
