"""A network of some thousand parameters with all that real ones have (DFT by convolution, GRU, f0), and its bundles."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from divisi.contract.card import CardDraft, ModelCard
from divisi.models.bundle import CARD_FILE, ModelBundle, open_bundle, read_checksums, write_card, write_checksums
from divisi.whole_files import sha256_of

HOP = 64
WINDOW = 256
BINS = WINDOW // 2 + 1
STEMS = ("upper", "lower")


class TinyNetwork(nn.Module):
    """Mixture (B, C, T) → estimates (B, 2, C, T), f0 (B, 2, N), resynthesis (B, C, T); T a multiple of HOP."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        samples, bins = torch.arange(WINDOW), torch.arange(BINS)
        angles = 2 * math.pi * bins[:, None] * samples[None] / WINDOW
        dft = torch.cat([angles.cos(), -angles.sin()]) * torch.hann_window(WINDOW)
        self.register_buffer("dft", dft[:, None], persistent=False)
        self.recurrent = nn.GRU(BINS, hidden, batch_first=True, bidirectional=True)
        self.mask = nn.Linear(2 * hidden, len(STEMS) * BINS)
        self.pitch = nn.Linear(2 * hidden, len(STEMS))

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.separate(mixture, None)

    def separate(self, mixture: Tensor, roster: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        batch, channels, length = mixture.shape
        padded = nn.functional.pad(mixture.reshape(batch * channels, 1, length), (WINDOW // 2, WINDOW // 2))
        spectra = nn.functional.conv1d(padded, self.dft, stride=HOP).reshape(batch, channels, 2 * BINS, -1)
        real, imag = spectra.chunk(2, dim=2)
        magnitude = (real.square() + imag.square() + 1e-9).sqrt().mean(1).transpose(1, 2)
        hidden, _ = self.recurrent(magnitude)
        scores = self.mask(hidden).unflatten(2, (len(STEMS), BINS))
        masks = scores.softmax(2).permute(0, 2, 3, 1)
        if roster is not None:
            masks = masks * roster[:, :, None, None]
        masked = spectra[:, None] * torch.cat([masks, masks], dim=2)[:, :, None]
        waves = nn.functional.conv_transpose1d(masked.flatten(0, 2), self.dft / WINDOW, stride=HOP)
        estimates = waves[:, 0, WINDOW // 2 : -(WINDOW // 2)].reshape(batch, len(STEMS), channels, length)
        f0_hz = 110 * torch.exp(self.pitch(hidden).tanh()).transpose(1, 2)
        return estimates, f0_hz, estimates.sum(1)


class TinyRosterNetwork(TinyNetwork):
    """The same with a roster (B, 2): the estimates of absent voices are silent, their pitch is 0."""

    def forward(self, mixture: Tensor, roster: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        estimates, f0_hz, resynthesis = self.separate(mixture, roster)
        return estimates, f0_hz * roster[:, :, None], resynthesis


def build(config: dict[str, Any] | None) -> nn.Module:
    """As the factories of real networks."""
    return TinyNetwork(**(config or {}))


def tiny_network() -> TinyNetwork:
    """The same weights at every call."""
    torch.manual_seed(7)
    return TinyNetwork().eval()


def tiny_roster_network() -> TinyRosterNetwork:
    """The same weights at every call."""
    torch.manual_seed(7)
    return TinyRosterNetwork().eval()


def tiny_draft(**changes: Any) -> CardDraft:
    """A draft that fits `TinyNetwork`, but for the changes."""
    fields = {
        "id": "tiny-duo",
        "version": "1.0.0",
        "title": "Tiny duo",
        "description": "Two voices, untrained.",
        "stem_family": "duo",
        "stems": STEMS,
        "sample_rate": 8000,
        "segment_length": 40 * HOP,
        "context_length": 4 * HOP,
        "length_multiple": HOP,
        "extra_outputs": [{"name": "f0", "hop_length": HOP}, {"name": "resynthesis"}],
    }
    return CardDraft.model_validate(fields | changes)


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    """Noise at -20 dBFS, float32."""
    return np.float32(0.1) * np.random.default_rng(seed).standard_normal(shape, np.float32)


def restate(bundle: ModelBundle, root: Path, **changes: Any) -> ModelBundle:
    """A copy of a bundle under `root` whose card says something else, with checksums that fit."""
    folder = root / bundle.card.id / bundle.card.version
    shutil.copytree(bundle.path, folder)
    card = ModelCard.model_validate(bundle.card.model_dump() | changes)
    write_card(card, folder / CARD_FILE)
    write_checksums(folder, read_checksums(folder))
    return open_bundle(folder)


def replace_artifact(bundle: ModelBundle, root: Path, kind: str, content: bytes) -> ModelBundle:
    """A copy of a bundle under `root` with other bytes in one artifact, and a card and checksums that fit them."""
    copy = restate(bundle, root)
    artifacts = list(copy.card.artifacts)
    index = [artifact.kind for artifact in artifacts].index(kind)
    path = copy.path / artifacts[index].file
    path.write_bytes(content)
    artifacts[index] = artifacts[index].model_copy(update={"sha256": sha256_of(path), "bytes": len(content)})
    write_card(copy.card.model_copy(update={"artifacts": tuple(artifacts)}), copy.path / CARD_FILE)
    write_checksums(copy.path, read_checksums(copy.path))
    return open_bundle(copy.path)
