"""Stems of a small choir: tones, one a part, and a residual."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.tracks.making import TrackStem

SAMPLE_RATE = 32_000
# Hz and amplitude.
PARTS = {"soprano": (660.0, 0.2), "alto": (440.0, 0.05), "residual": (220.0, 0.01)}


@pytest.fixture
def stems(tmp_path: Path) -> tuple[TrackStem, ...]:
    """Two seconds of stereo; the soprano stands left, the alto right."""
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    made = []
    for place, (name, (hz, level)) in enumerate(PARTS.items()):
        tone = level * np.sin(2 * np.pi * hz * seconds)
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, np.stack([tone * (1 - 0.5 * place), tone * (0.5 + 0.5 * place)], axis=1), SAMPLE_RATE)
        made.append(TrackStem(name, path, is_residual=name == "residual"))
    return tuple(made)
