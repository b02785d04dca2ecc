"""Engines whose answer is known exactly, cards for them, and signals made from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from divisi.contract.card import ModelCard
from divisi.models.agreement import PassthroughEngine
from divisi.models.bundle import ModelBundle
from divisi.models.engine import EngineOptions

MakeCard = Callable[..., ModelCard]

# Zero phase, and as long as the context that the cards of these tests give: 2 * 32 + 1 taps.
LOW_PASS = np.hanning(67)[1:-1] / np.hanning(67).sum()


class LowHighEngine:
    """Two stems: what a low-pass filter lets through, and the rest. Pitches are samples of the recording, voicing their
    magnitudes; the resynthesis is twice the recording.

    The filter hears 32 samples to either side, so only a segment with that much real context gives the exact answer.
    """

    name = "low_high"
    device = "cpu"

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self.shapes: list[tuple[int, ...]] = []

    def run(self, mixture: np.ndarray, roster: np.ndarray | None = None) -> dict[str, np.ndarray]:
        assert mixture.dtype == np.float32
        assert mixture.ndim == 3
        assert mixture.shape[-1] % self._card.length_multiple == 0
        self.shapes.append(mixture.shape)
        low = np.apply_along_axis(lambda x: np.convolve(x, LOW_PASS)[32:-32], -1, mixture)
        outputs = {"estimates": np.stack([low, mixture - low], axis=1).astype(np.float32)}
        for output in self._card.extra_outputs:
            if output.hop_length is None:
                outputs[output.name] = 2 * mixture
                continue
            frames = mixture[:, 0, :: output.hop_length]
            tracks = np.stack([frames, -frames], axis=1)
            outputs[output.name] = np.abs(tracks) if output.name == "voicing" else tracks
        return outputs

    def close(self) -> None:
        pass


@pytest.fixture
def make_card() -> MakeCard:
    """A card of two stems at 16 kHz, one channel, short segments; any field can be set."""

    def make(**fields: Any) -> ModelCard:
        standard: dict[str, Any] = {
            "id": "low-high",
            "version": "1.0.0",
            "title": "Low and high",
            "description": "Splits by frequency.",
            "stem_family": "bands",
            "stems": ("low", "high"),
            "sample_rate": 16_000,
            "segment_length": 4096,
            "context_length": 512,
            "length_multiple": 64,
        }
        return ModelCard(**(standard | fields))

    return make


@pytest.fixture
def make_low_high() -> Callable[[ModelCard], LowHighEngine]:
    return LowHighEngine


@pytest.fixture
def make_passthrough() -> Callable[[ModelCard], PassthroughEngine]:
    def make(card: ModelCard) -> PassthroughEngine:
        return PassthroughEngine(ModelBundle(Path("unused"), card, {}), EngineOptions())

    return make


@pytest.fixture
def low_pass() -> np.ndarray:
    return LOW_PASS


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Noise of deviation 0.1, float32 (C, T)."""

    def make(num_channels: int, num_samples: int, seed: int = 0) -> np.ndarray:
        generator = np.random.default_rng(seed)
        return (0.1 * generator.standard_normal((num_channels, num_samples))).astype(np.float32)

    return make


@pytest.fixture
def cut() -> Callable[[np.ndarray, int], Iterator[np.ndarray]]:
    """A recording as blocks."""

    def blocks(samples: np.ndarray, block_length: int) -> Iterator[np.ndarray]:
        for start in range(0, samples.shape[1], block_length):
            yield samples[:, start : start + block_length]

    return blocks
