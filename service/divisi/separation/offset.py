"""The slow part of a recording, a constant offset of its converter or rumble below all music: no voice's, so models are
never given it. It stays in the residual, and stems and residual still sum to the recording.

A low-pass of linear phase (Kaiser window; Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6) follows the
offset; music is the recording without it. From 24 Hz on, below the deepest string of a piano, music stays as it is to
-90 dB. Each value looks at a whole window of the recording and at nothing else: near the ends the nearest such value
holds, so that a tone which begins at full strength does not look like an offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from divisi.audio.waveform import Samples, check_samples

# All that is slower is offset, all that is faster is music.
_OFFSET_HZ, _MUSIC_HZ = 8.0, 24.0
_ATTENUATION_DB = 90.0


def without_offset(blocks: Iterable[Samples], sample_rate: int, num_channels: int) -> Iterator[Samples]:
    """The music of a recording; how it is cut into blocks does not change it.

    Args:
        blocks: the recording, float32 (C, n) each.
        sample_rate: Hz.
        num_channels: C.

    Returns:
        float32 (C, m) each, of the recording's length in all, and up to three seconds behind it.
    """
    kernel = low_pass(sample_rate)
    reach, frame_length = len(kernel) // 2, 1 << (4 * len(kernel) - 1).bit_length()
    spectrum = np.fft.rfft(kernel, frame_length)
    # Until the first whole window, and after the last one, the nearest offset holds.
    held, last, first = np.zeros((num_channels, 0), np.float32), np.zeros((num_channels, 1)), 0
    for block in blocks:
        check_samples(block, num_channels)
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= frame_length:
            offset = _offset(held[:, :frame_length], spectrum, reach)
            yield _music(held[:, first : frame_length - reach], offset, reach - first)
            held, last, first = held[:, frame_length - 2 * reach :].copy(), offset[:, -1:], reach
    if held.shape[1] > 2 * reach:
        padded = np.pad(held, ((0, 0), (0, frame_length - held.shape[1])))
        last = _offset(padded, spectrum, reach)[:, : held.shape[1] - 2 * reach]
    elif first == 0 and held.shape[1]:
        # Shorter than one window: its mean is all that can be known.
        last = held.mean(axis=1, dtype=np.float64, keepdims=True)
    yield _music(held[:, first:], last, reach - first)


def low_pass(sample_rate: int) -> NDArray[np.float64]:
    """Samples of the filter, an odd number that sum to 1: passes 8 Hz, stops 24 Hz."""
    band = 2 * np.pi * (_MUSIC_HZ - _OFFSET_HZ) / sample_rate
    reach = int(np.ceil((_ATTENUATION_DB - 8) / (2.285 * band) / 2))
    cutoff = (_MUSIC_HZ + _OFFSET_HZ) / sample_rate
    kernel = np.sinc(cutoff * np.arange(-reach, reach + 1)) * np.kaiser(2 * reach + 1, 0.1102 * (_ATTENUATION_DB - 8.7))
    return np.asarray(kernel / kernel.sum())


def _offset(frame: Samples, spectrum: NDArray[np.complex128], reach: int) -> NDArray[np.float64]:
    """Of the samples that have a whole window around them: (C, n) -> (C, n - 2 reach)."""
    spectra = np.fft.rfft(frame.astype(np.float64))
    return np.asarray(np.fft.irfft(spectra * spectrum, frame.shape[1])[:, 2 * reach :])


def _music(samples: Samples, offset: NDArray[np.float64], lead: int) -> Samples:
    """Samples less their offset, whose first value holds for `lead` samples before it and its last one to the end."""
    places = np.clip(np.arange(samples.shape[1]) - lead, 0, offset.shape[1] - 1)
    return (samples - offset[:, places]).astype(np.float32)
