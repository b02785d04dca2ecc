"""The slow part of a recording, a constant offset of its converter or rumble below all music: no voice's, so models are
never given it. It stays in the residual, and stems and residual still sum to the recording.

A low-pass of linear phase (Kaiser window; Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6) follows the
offset; music is the recording without it. From 24 Hz on, below the deepest string of a piano, music stays as it is to
-90 dB. Each value looks at a whole window of the recording and at nothing else: near the ends the nearest such value
holds, so that a tone which begins at full strength does not look like an offset. Only where rumble goes on up to the
end is the recording mirrored there: what a mirror makes of music, some -30 dB for a moment, is less than the rumble.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from divisi.audio.recording import Samples, check_samples

# All that is slower is offset, all that is faster is music.
_OFFSET_HZ, _MUSIC_HZ = 8.0, 24.0
_ATTENUATION_DB = 90.0
# Of the power of music: an offset that moves more is followed up to the ends.
_MOVING = 1e-3

Offset = NDArray[np.float64]


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
    # What the next window reaches back to, whose first half is done; the offset up to where it is done.
    held, offset = np.zeros((num_channels, 0), np.float32), np.zeros((num_channels, 0))
    first = 0
    for block in blocks:
        check_samples(block, num_channels)
        held = np.concatenate([held, block], axis=1)
        while held.shape[1] >= frame_length:
            offset = _inner(held[:, :frame_length], spectrum, reach)
            lead = offset[:, :0] if first else _edge(held[:, ::-1], offset[:, ::-1], spectrum, reach)[:, ::-1]
            yield _less(held[:, first : frame_length - reach], lead, offset)
            held, first = held[:, frame_length - 2 * reach :].copy(), reach
    if not first and held.shape[1] <= 2 * reach:
        # Shorter than one window: its mean is all that can be known.
        if held.shape[1]:
            yield _less(held, held.mean(axis=1, dtype=np.float64, keepdims=True))
        return
    tail = _inner(held, spectrum, reach)
    lead = tail[:, :0] if first else _edge(held[:, ::-1], tail[:, ::-1], spectrum, reach)[:, ::-1]
    yield _less(held[:, first:], lead, tail, _edge(held, np.concatenate([offset, tail], axis=1), spectrum, reach))


def low_pass(sample_rate: int) -> NDArray[np.float64]:
    """Samples of the filter, an odd number that sum to 1: passes 8 Hz, stops 24 Hz."""
    band = 2 * np.pi * (_MUSIC_HZ - _OFFSET_HZ) / sample_rate
    reach = int(np.ceil((_ATTENUATION_DB - 8) / (2.285 * band) / 2))
    cutoff = (_MUSIC_HZ + _OFFSET_HZ) / sample_rate
    kernel = np.sinc(cutoff * np.arange(-reach, reach + 1)) * np.kaiser(2 * reach + 1, 0.1102 * (_ATTENUATION_DB - 8.7))
    return np.asarray(kernel / kernel.sum())


def _inner(samples: Samples, spectrum: NDArray[np.complex128], reach: int) -> Offset:
    """Of the samples that have a whole window around them: (C, n), n up to a frame -> (C, n - 2 reach)."""
    frame_length = 2 * (len(spectrum) - 1)
    spectra = np.fft.rfft(samples.astype(np.float64), frame_length)
    return np.asarray(np.fft.irfft(spectra * spectrum, frame_length)[:, 2 * reach : samples.shape[1]])


def _edge(samples: Samples, inner: Offset, spectrum: NDArray[np.complex128], reach: int) -> Offset:
    """Of the last samples of a recording: (C, reach).

    Args:
        samples: up to the recording's end, float32 (C, n), n at least 2 reach.
        inner: the offset up to where this one begins.
    """
    samples, inner = samples[:, -2 * reach :], inner[:, -reach:]
    mirrored = np.concatenate([samples, samples[:, -2 : -reach - 2 : -1]], axis=1)
    moving, still = _inner(mirrored, spectrum, reach), inner[:, -1:]
    is_moving = inner.var(axis=1) > _MOVING * (samples[:, reach:] - moving).var(axis=1)
    return np.where(is_moving[:, None], moving, still)


def _less(samples: Samples, *offsets: Offset) -> Samples:
    """The samples without their offset, which comes in parts."""
    return (samples - np.concatenate(offsets, axis=1)).astype(np.float32)
