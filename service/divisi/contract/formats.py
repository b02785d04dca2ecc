"""Formats of delivered audio: what each is called, what its files are called, how exact it is."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class StemFormat(StrEnum):
    """What stems are delivered as. `wav` is 24 bit, or float where the recording goes beyond full scale.

    Attributes:
        label: for people to choose by.
        extension: ending of the file name, with its dot.
        media_type: MIME type.
        is_lossless: True where stems add up to the input within rounding.
        bits: of a sample in a format of whole numbers, which cut off what lies beyond full scale; None for the others.
    """

    label: str
    extension: str
    media_type: str
    is_lossless: bool
    bits: int | None

    def __new__(
        cls,
        value: str,
        label: str = "",
        extension: str = "",
        media_type: str = "",
        is_lossless: bool = True,
        bits: int | None = None,
    ) -> Self:
        """One format with its attributes; a call with the value alone looks a format up."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.label = label
        member.extension, member.media_type = extension, media_type
        member.is_lossless, member.bits = is_lossless, bits
        return member

    WAV = "wav", "WAV, 24 bit", ".wav", "audio/wav", True, 24
    WAV16 = "wav16", "WAV, 16 bit", ".wav", "audio/wav", True, 16
    WAV24 = "wav24", "WAV, always 24 bit", ".wav", "audio/wav", True, 24
    WAV32F = "wav32f", "WAV, float", ".wav", "audio/wav", True, None
    FLAC = "flac", "FLAC", ".flac", "audio/flac", True, 24
    OGG = "ogg", "Ogg Vorbis", ".ogg", "audio/ogg", False, None
    MP3 = "mp3", "MP3", ".mp3", "audio/mpeg", False, None

    def for_peak(self, peak: float) -> StemFormat:
        """What is written for a recording whose largest sample is `peak`, full scale 1."""
        if self is not StemFormat.WAV:
            return self
        return StemFormat.WAV32F if peak > 1 else StemFormat.WAV24
