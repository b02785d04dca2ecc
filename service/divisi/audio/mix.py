"""Adds recordings of one rate and length, each at a gain, block by block: practice mixes out of stems. A mix that would
go beyond full scale is turned down as a whole, so that nothing of it is cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from divisi.audio.decode import open_decoder
from divisi.audio.encode import StemFormat, open_encoder
from divisi.audio.waveform import Samples
from divisi.contract.errors import InputError

_BLOCK_LENGTH = 1 << 16


@dataclass(frozen=True)
class MixPart:
    """One recording and the factor that its samples take."""

    path: Path
    gain: float


def mix_files(parts: Sequence[MixPart], out: Path, encoding: StemFormat) -> None:
    """Writes the sum, turned down where it would go beyond full scale. Lossy codecs may pad a stem; the shortest ends
    the mix.

    Raises:
        InputError: `undecodable`, or `mix-mismatch` for other rates or channels than the first's.
    """
    largest = max((float(np.abs(block).max(initial=0)) for block in _sums(parts)), default=0.0)
    scale = np.float32(1 / max(largest, 1.0))
    with open_decoder(parts[0].path) as decoder:
        facts = decoder.facts
    with open_encoder(out, encoding, facts.sample_rate, facts.num_channels) as encoder:
        for block in _sums(parts):
            encoder.write(block * scale)


def _sums(parts: Sequence[MixPart]) -> Iterator[Samples]:
    """The parts, added up, float32 (C, n) each."""
    with ExitStack() as opened:
        decoders = [opened.enter_context(open_decoder(part.path)) for part in parts]
        facts = decoders[0].facts
        for decoder in decoders:
            if (decoder.facts.sample_rate, decoder.facts.num_channels) != (facts.sample_rate, facts.num_channels):
                raise InputError("the parts differ in rate or channels", code="mix-mismatch")
        streams = [decoder.blocks(_BLOCK_LENGTH) for decoder in decoders]
        for blocks in zip(*streams, strict=False):
            total = np.zeros((facts.num_channels, min(block.shape[-1] for block in blocks)))
            for part, block in zip(parts, blocks, strict=True):
                total += part.gain * block[:, : total.shape[1]]
            yield total.astype(np.float32)
