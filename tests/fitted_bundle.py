"""A fitted model small enough for tests, and recordings of two players by three microphones that it tells apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from divisi.contract.card import CardDraft, Fitting
from divisi.models.bundle import ModelBundle
from divisi_workshop.export.export import export_fitted

RATE = 8000
FFT = 512


def fitted_draft(model_id: str = "fitted", **fitting: Any) -> CardDraft:
    stated = {"algorithm": "fastmnmf2", "num_sources": 2, "num_bases": 4, "num_iterations": 12, "fft_length": FFT}
    return CardDraft(
        id=model_id,
        version="1.0.0",
        title="Two players",
        description="For tests.",
        stem_family="any",
        stems=("source_1", "source_2"),
        sample_rate=44_100,
        num_channels="any",
        segment_length="whole",
        fitting=Fitting(**{**stated, "initialisation": "spots", **fitting}),
    )


def publish_fitted(root: Path, **fitting: Any) -> ModelBundle:
    return export_fitted(fitted_draft(**fitting), root)


def two_players(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Images float32 (2, 3, T): a low tone and a high one that come and go, heard most by the first and by the second
    microphone; the third hears both."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    sources = []
    for hertz, rate in ((220.0, 1.3), (590.0, 1.9)):
        tone = sum(np.sin(2 * np.pi * k * hertz * times + rng.uniform(0, 6)) / k for k in range(1, 6))
        swell = 0.05 + np.clip(np.sin(2 * np.pi * rate * times + rng.uniform(0, 6)), 0, 1)
        sources.append(swell * tone + 0.01 * rng.standard_normal(len(times)))
    mixing = np.array([[1.0, 0.3, 0.6], [0.25, 1.0, -0.5]])
    images = mixing[:, :, None] * np.stack(sources)[:, None]
    images += 1e-4 * rng.standard_normal(images.shape)
    return (0.1 * images).astype(np.float32)
