"""The protocol between `decode` and the two libraries that decode: libsndfile (`sndfile_source`) and FFmpeg
(`av_source`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from divisi.audio.facts import AudioFacts
from divisi.audio.spliced_file import Piece
from divisi.audio.waveform import Samples
from divisi.contract.errors import InputError


class BlockSource(Protocol):
    """One opened recording, read from the beginning to the end once."""

    facts: AudioFacts
    """What the header says; `exact` is False."""

    promised_samples: int | None
    """Samples that must come out, or the file is damaged; None where the header promises nothing firm."""

    def read(self, num_samples: int) -> Samples:
        """Up to `num_samples` samples as float32 `(C, n)` in WAV channel order; n = 0 means the end.

        Raises:
            InputError: `undecodable`.
        """

    def close(self) -> None:
        """Frees the decoder; may be called twice."""


class CodecNotSupportedError(Exception):
    """This library does not know the codec in this container; another may.

    Args:
        codec: its name, or what is known of it.
        pieces: what another library shall read, as in SplicedFile.
    """

    def __init__(self, codec: str, pieces: Sequence[Piece]) -> None:
        super().__init__(codec)
        self.pieces = tuple(pieces)


def check_promise(promised_samples: int | None, num_decoded: int) -> None:
    """Raises InputError `undecodable` where fewer samples came out than a header promised."""
    if promised_samples is not None and num_decoded < promised_samples:
        raise InputError(
            f"the file is damaged or truncated: of {promised_samples} samples promised by its header "
            f"{num_decoded} could be decoded",
            code="undecodable",
        )
