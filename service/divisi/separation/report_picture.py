"""One picture of a separation (`report.png`): each track's spectrogram with pitch over it, its level, its confidence.

soprano   ┌ spectrogram, pitch as a line ┐
0.82      │ level                        │
          └ strip: confidence            ┘
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from divisi.separation.spectrograms import HIGHEST_HZ, LOWEST_HZ, Images, palette_image

_WIDTH, _MARGIN, _LEFT = 1200, 12, 120
_SPECTROGRAM, _LEVEL, _STRIP, _GAP, _TITLE = 120, 36, 8, 14, 40
_BACKGROUND, _INK, _FAINT, _SILENT = "#fbfaf7", "#1d2330", "#737a88", "#dedbd3"
# One colour a voice, apart for colour-blind eyes too.
VOICE_COLOURS = ("#56b4e9", "#ffd84d", "#2fd39b", "#ff8fc7", "#ffffff", "#e69f00")
_LEVEL_COLOUR = "#4a5a78"
_QUIETEST_DB = -60.0


@dataclass(frozen=True)
class TrackPicture:
    """What is drawn of one track.

    Attributes:
        name: of the track.
        shades: uint8 (height, width).
        peaks: largest sample of each of some equal stretches, linear, (points,).
        f0_hz: pitch at equal distances, 0 where unvoiced; empty without pitch.
        confidence: at equal distances, NaN where silent; empty for tracks without.
    """

    name: str
    shades: Images
    peaks: NDArray[np.float32]
    f0_hz: NDArray[np.float32]
    confidence: NDArray[np.float64]


def write_report(path: Path, title: str, seconds: float, tracks: Sequence[TrackPicture]) -> None:
    """Draws the tracks below each other.

    Args:
        path: of the PNG file.
        title: the line above.
        seconds: length of the recording.
        tracks: from top to bottom.
    """
    row_height = _SPECTROGRAM + _LEVEL + _STRIP + _GAP
    image = Image.new("RGB", (_WIDTH, _TITLE + row_height * len(tracks) + 2 * _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=ImageFont.load_default(16))
    for place, track in enumerate(tracks):
        _draw_track(image, track, _TITLE + place * row_height, VOICE_COLOURS[(place - 1) % len(VOICE_COLOURS)])
    _draw_times(draw, seconds, image.height - 2 * _MARGIN)
    image.save(path)


def _draw_track(image: Image.Image, track: TrackPicture, top: int, colour: str) -> None:
    draw = ImageDraw.Draw(image)
    width = _WIDTH - _LEFT - _MARGIN
    draw.text((_MARGIN, top), track.name, fill=_INK, font=ImageFont.load_default(15))
    heard = track.confidence[~np.isnan(track.confidence)]
    if len(heard):
        draw.text((_MARGIN, top + 22), f"confidence {heard.mean():.2f}", fill=_FAINT, font=ImageFont.load_default(11))
    picture = palette_image(track.shades).convert("RGB")
    image.paste(picture.resize((width, _SPECTROGRAM), Image.Resampling.BILINEAR), (_LEFT, top))
    for line in _pitch_lines(track.f0_hz, width, top):
        draw.line(line, fill=colour, width=2)
    _draw_level(draw, track.peaks, width, top + _SPECTROGRAM)
    strip = top + _SPECTROGRAM + _LEVEL
    for place, value in enumerate(track.confidence):
        left = _LEFT + width * place // len(track.confidence)
        right = _LEFT + width * (place + 1) // len(track.confidence) - 1
        draw.rectangle((left, strip, max(left, right), strip + _STRIP - 1), fill=_shade_of(value))


def _pitch_lines(f0_hz: NDArray[np.float32], width: int, top: int) -> Iterator[list[tuple[float, float]]]:
    """Stretches of pitch without a break."""
    line: list[tuple[float, float]] = []
    for place, pitch in enumerate(f0_hz):
        if LOWEST_HZ < pitch < HIGHEST_HZ:
            height = 1 - math.log(pitch / LOWEST_HZ) / math.log(HIGHEST_HZ / LOWEST_HZ)
            line.append((_LEFT + width * (place + 0.5) / len(f0_hz), top + height * _SPECTROGRAM))
            continue
        if len(line) > 1:
            yield line
        line = []
    if len(line) > 1:
        yield line


def _draw_level(draw: ImageDraw.ImageDraw, peaks: NDArray[np.float32], width: int, top: int) -> None:
    """Peaks in dB, from the bottom; -60 dBFS is empty."""
    if not len(peaks):
        return
    stretches = np.maximum.reduceat(peaks, np.arange(width) * len(peaks) // width)
    heights = (1 - 20 * np.log10(np.maximum(stretches, 1e-6)) / _QUIETEST_DB).clip(0, 1) * (_LEVEL - 4)
    for place, height in enumerate(heights):
        if height >= 1:
            column = _LEFT + place
            draw.line((column, top + _LEVEL - 2 - height, column, top + _LEVEL - 2), fill=_LEVEL_COLOUR)


def _draw_times(draw: ImageDraw.ImageDraw, seconds: float, top: int) -> None:
    width = _WIDTH - _LEFT - _MARGIN
    step = next((step for step in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800) if seconds / step <= 12), 3600)
    for place in range(int(seconds // step) + 1):
        column = _LEFT + width * place * step / max(seconds, step)
        text = f"{place * step // 60}:{place * step % 60:02d}"
        draw.text((column, top), text, fill=_FAINT, font=ImageFont.load_default(11))


def _shade_of(confidence: float) -> tuple[int, int, int] | str:
    """Vermilion for 0, amber, teal for 1: told apart without red and green."""
    if np.isnan(confidence):
        return _SILENT
    stops = ((213, 94, 0), (240, 200, 80), (0, 140, 120))
    red, green, blue = (
        round(float(np.interp(confidence, (0, 0.5, 1), channel))) for channel in zip(*stops, strict=True)
    )
    return red, green, blue
