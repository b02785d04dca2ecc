"""Pictures of a separation: a spectrogram of each track, over a logarithmic frequency axis, and `report.png` of all.

    tracks (K, C, n) ─► mean of the channels ─► windows, so many a second ─► power (K, N, F) ─► columns ─► image

Columns are gathered while a recording passes; where they would become more than `MOST_COLUMNS`, every two become one.

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
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Powers = NDArray[np.float32]
Images = NDArray[np.uint8]

# Seconds of audio in one window, about: partials of low voices stand apart.
_WINDOW_SECONDS = 0.11
# Frames transformed at a time, which bounds the memory.
_MOST_FRAMES = 64
MOST_COLUMNS, HEIGHT = 2048, 192
LOWEST_HZ, HIGHEST_HZ = 50.0, 8000.0
# Below the loudest spot of all tracks; quieter is black.
_RANGE_DB = 70.0
_TINY = 1e-12
# Red, green, blue at equal distances from quiet to loud: dark blue, violet, red, orange, pale yellow.
_COLOURS = ((6, 6, 18), (48, 18, 92), (122, 28, 109), (188, 55, 84), (237, 105, 37), (251, 180, 50), (252, 255, 190))
_WIDTH, _MARGIN, _LEFT = 1200, 12, 120
_SPECTROGRAM, _LEVEL, _STRIP, _GAP, _TITLE = 120, 36, 8, 14, 40
_BACKGROUND, _INK, _FAINT, _SILENT = "#fbfaf7", "#1d2330", "#737a88", "#dedbd3"
# One colour a voice, apart for colour-blind eyes too.
_VOICE_COLOURS = ("#56b4e9", "#ffd84d", "#2fd39b", "#ff8fc7", "#ffffff", "#e69f00")
_LEVEL_COLOUR = "#4a5a78"
_QUIETEST_DB = -60.0


class PowerFrames:
    """Windows of K tracks that pass in blocks; the first is centred half a hop after the beginning.

    Args:
        num_tracks: K.
        sample_rate: Hz.
        frames_a_second: how many windows.
    """

    def __init__(self, num_tracks: int, sample_rate: int, frames_a_second: int) -> None:
        self.hop_length = max(1, round(sample_rate / frames_a_second))
        self.fft_length = 2 ** max(4, round(math.log2(_WINDOW_SECONDS * sample_rate)))
        self.frequencies = np.fft.rfftfreq(self.fft_length, 1 / sample_rate).astype(np.float64)
        self._window = np.hanning(self.fft_length + 1)[:-1].astype(np.float32)
        self._window /= self._window.sum() / 2  # a sine of amplitude 1 has power 1
        self._waiting = np.zeros((num_tracks, max(0, (self.fft_length - self.hop_length) // 2)), np.float32)
        self._num_samples = 0
        self._num_frames = 0

    def push(self, tracks: NDArray[np.float32]) -> Iterator[Powers]:
        """Takes the next float32 (K, C, n); gives the frames that are complete, float32 (K, N, F)."""
        self._num_samples += tracks.shape[-1]
        self._waiting = np.concatenate([self._waiting, tracks.mean(axis=1)], axis=-1)
        yield from self._transform()

    def finish(self) -> Iterator[Powers]:
        """The last frames; what lies beyond the recording is silent. A frame for every hop that was begun."""
        wanted = -(-self._num_samples // self.hop_length) - self._num_frames
        if wanted > 0:
            length = (wanted - 1) * self.hop_length + self.fft_length
            missing = max(0, length - self._waiting.shape[-1])
            self._waiting = np.pad(self._waiting, ((0, 0), (0, missing)))[:, :length]
            yield from self._transform()

    def _transform(self) -> Iterator[Powers]:
        while (ready := 1 + (self._waiting.shape[-1] - self.fft_length) // self.hop_length) > 0:
            count = min(ready, _MOST_FRAMES)
            windows = sliding_window_view(self._waiting, self.fft_length, axis=-1)[:, :: self.hop_length][:, :count]
            spectra = np.fft.rfft(windows * self._window)
            self._waiting = self._waiting[:, count * self.hop_length :]
            self._num_frames += count
            yield (np.square(spectra.real) + np.square(spectra.imag)).astype(np.float32, copy=False)


class SpectrogramTracks:
    """Columns of K tracks.

    Args:
        num_tracks: K.
        frequencies: of the bins, Hz, (F,).
    """

    def __init__(self, num_tracks: int, frequencies: NDArray[np.float64]) -> None:
        edges = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(HEIGHT) / HEIGHT)
        spacing = frequencies[1]
        self._first_bins = np.rint(edges / spacing).astype(int).clip(0, len(frequencies) - 1)
        self._end_bin = min(len(frequencies), math.ceil(HIGHEST_HZ / spacing) + 1)
        self._is_beyond = edges > frequencies[-1]
        # float32 (columns, K, HEIGHT): mean power.
        self._columns = np.zeros((MOST_COLUMNS, num_tracks, HEIGHT), np.float32)
        self._num_columns = 0
        self._frames_a_column = 1
        self._sum = np.zeros((num_tracks, HEIGHT), np.float32)
        self._num_summed = 0

    def push_powers(self, powers: Powers) -> None:
        """Takes float32 (K, N, F)."""
        # Of each row the loudest bin: a partial stays as bright as it is, however many bins a row has.
        rows = np.maximum.reduceat(powers[..., : self._end_bin], self._first_bins, axis=-1)
        rows[..., self._is_beyond] = 0
        for frame in rows.swapaxes(0, 1):
            self._sum += frame
            self._num_summed += 1
            if self._num_summed == self._frames_a_column:
                self._add_column()

    def finish(self) -> Images:
        """Shades, uint8 (K, HEIGHT, columns), the highest frequency in the first row."""
        if self._num_summed:
            self._add_column()
        levels = 10 * np.log10(self._columns[: max(1, self._num_columns)] + _TINY)
        loudest = max(float(levels.max()), -60.0)
        shades = ((levels - loudest) / _RANGE_DB + 1).clip(0, 1) * 255
        return shades.astype(np.uint8).transpose(1, 2, 0)[:, ::-1]

    def _add_column(self) -> None:
        if self._num_columns == MOST_COLUMNS:
            half = MOST_COLUMNS // 2
            self._columns[:half] = (self._columns[0::2] + self._columns[1::2]) / 2
            self._num_columns = half
            self._frames_a_column *= 2
            if self._num_summed < self._frames_a_column:
                return
        self._columns[self._num_columns] = self._sum / self._num_summed
        self._num_columns += 1
        self._sum[:] = 0
        self._num_summed = 0


def palette_image(shades: Images) -> Image.Image:
    """An image in the palette of all our spectrograms, of uint8 (height, width)."""
    places = np.linspace(0, len(_COLOURS) - 1, 256)
    channels = [np.interp(places, range(len(_COLOURS)), channel) for channel in zip(*_COLOURS, strict=True)]
    image = Image.fromarray(np.ascontiguousarray(shades)).convert("L")
    image.putpalette(np.rint(np.stack(channels, axis=-1)).astype(int).ravel().tolist())
    return image


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
        _draw_track(image, track, _TITLE + place * row_height, _VOICE_COLOURS[(place - 1) % len(_VOICE_COLOURS)])
    _draw_times(draw, seconds, image.height - 2 * _MARGIN)
    image.save(path)


def _draw_track(image: Image.Image, track: TrackPicture, top: int, colour: str) -> None:
    draw = ImageDraw.Draw(image)
    width = _WIDTH - _LEFT - _MARGIN
    draw.text((_MARGIN, top), track.name, fill=_INK, font=ImageFont.load_default(15))
    known = track.confidence[~np.isnan(track.confidence)]
    if len(known):
        draw.text((_MARGIN, top + 22), f"confidence {known.mean():.2f}", fill=_FAINT, font=ImageFont.load_default(11))
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
    """Vermilion for 0, amber, teal for 1: distinct without red and green."""
    if np.isnan(confidence):
        return _SILENT
    stops = ((213, 94, 0), (240, 200, 80), (0, 140, 120))
    channels = zip(*stops, strict=True)
    red, green, blue = (round(float(np.interp(confidence, (0, 0.5, 1), channel))) for channel in channels)
    return red, green, blue
