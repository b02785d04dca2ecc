"""The protocol between `decode` and the two libraries that decode: libsndfile (`sndfile_source`) and FFmpeg
(`av_source`).
"""

from __future__ import annotations

from typing import Protocol

from divisi.audio.facts import AudioFacts
from divisi.audio.waveform import Samples


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
    """This library does not know the codec in this container; another may."""
