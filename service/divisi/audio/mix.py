"""Adds recordings of one rate and length, each at a gain, block by block: practice mixes out of stems."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from divisi.audio.decode import open_decoder
from divisi.audio.encode import StemFormat, open_encoder
from divisi.audio.waveform import Samples
from divisi.errors import InputError

_BLOCK_LENGTH = 1 << 16


@dataclass(frozen=True)
class MixPart:
    """One recording and the factor that its samples take."""

    path: Path
    gain: float


def mix_files(parts: Sequence[MixPart], out: Path, stem_format: StemFormat) -> None:
    """Writes the sum. Lossy codecs may pad a stem; the shortest ends the mix.

    Raises:
        InputError: `undecodable`, or `mix-mismatch` for other rates or channels than the first's.
    """
    with ExitStack() as opened:
        decoders = [opened.enter_context(open_decoder(part.path)) for part in parts]
        facts = decoders[0].facts
        for decoder in decoders:
            if (decoder.facts.sample_rate, decoder.facts.num_channels) != (facts.sample_rate, facts.num_channels):
                raise InputError("the parts differ in rate or channels", code="mix-mismatch")
        encoder = opened.enter_context(open_encoder(out, stem_format, facts.sample_rate, facts.num_channels))
        streams = [decoder.blocks(_BLOCK_LENGTH) for decoder in decoders]
        for blocks in zip(*streams, strict=False):
            length = min(block.shape[-1] for block in blocks)
            encoder.write(_sum([block[:, :length] for block in blocks], [part.gain for part in parts]))


def _sum(blocks: Sequence[Samples], gains: Sequence[float]) -> Samples:
    total = np.zeros(blocks[0].shape, np.float64)
    for block, gain in zip(blocks, gains, strict=True):
        total += gain * block
    return total.astype(np.float32)
