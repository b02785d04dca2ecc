"""A small data set of harmonic voices, and separators whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.contract.card import ModelCard
from divisi.models.agreement import PassthroughEngine
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions
from divisi.separation.separator import Separator
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES

PITCHES_HZ = dict(zip(VOICES, (523.0, 330.0, 196.0, 110.0), strict=True))


def sung(voice: str, num_samples: int) -> np.ndarray:
    """Ten harmonics of one pitch at about -14 dBFS, float64 (T,)."""
    seconds = np.arange(num_samples) / SAMPLE_RATE
    return sum(0.15 / n * np.sin(2 * np.pi * n * PITCHES_HZ[voice] * seconds) for n in range(1, 11))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a `nino_dios` of 12.5 s, voices of slightly different length; the alto is silent from 8 s on."""
    folder = tmp_path / "nino_dios"
    folder.mkdir()
    for extra, voice in enumerate(VOICES):
        samples = sung(voice, 200_000 + 1000 * extra)
        if voice == "alto":
            samples[8 * SAMPLE_RATE - 256 :] = 0
        soundfile.write(folder / f"{voice}_4.flac", samples, SAMPLE_RATE, subtype="PCM_24")
    return tmp_path


@pytest.fixture
def make_separator() -> Callable[..., Separator]:
    """A passthrough model: every stem is the mixture over the number of stems."""

    def make(stems: tuple[str, ...] = VOICES, model_id: str = "no-model", *, takes_roster: bool = False) -> Separator:
        card = ModelCard(
            id=model_id,
            version="1.0.0",
            title="Passthrough",
            description="Separates nothing.",
            stem_family="satb",
            stems=stems,
            sample_rate=SAMPLE_RATE,
            segment_length=32_768,
            context_length=4096,
            length_multiple=512,
            takes_roster=takes_roster,
        )
        return Separator(PassthroughEngine(ModelBundle(Path("unused"), card, {}), EngineOptions()), card)

    return make
