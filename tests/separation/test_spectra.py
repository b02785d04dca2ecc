from __future__ import annotations

import numpy as np
import pytest

from divisi.separation.full_band import Analysis, Synthesis, window_length_near

# Rounding of two transforms in single precision, for samples of deviation 0.1.
ROUNDING = 1e-6


def test_what_is_not_changed_comes_back_three_hops_later(noise) -> None:
    hop_length = 16
    samples = noise(2, 64 * hop_length)
    analysis, synthesis = Analysis(64, 2), Synthesis(64, 2)
    chunks = np.split(samples, [5 * hop_length, 6 * hop_length, 40 * hop_length], axis=1)
    whole = np.concatenate([synthesis.push(analysis.push(chunk)) for chunk in chunks], axis=1)
    np.testing.assert_allclose(whole[:, 48:], samples[:, :-48], atol=ROUNDING)
    np.testing.assert_allclose(whole[:, :48], 0, atol=ROUNDING)


def test_spectra_stay_in_single_precision(noise) -> None:
    spectra = Analysis(64, 3).push(noise(3, 160))
    assert (spectra.dtype, spectra.shape) == (np.complex64, (3, 10, 33))
    assert Synthesis(64, 3).push(spectra).dtype == np.float32


@pytest.mark.parametrize(("samples", "length"), [(2048, 2048), (5644.8, 5632), (6144, 6144), (3, 16), (128.5, 128)])
def test_window_lengths_are_near_and_fast(samples, length) -> None:
    assert window_length_near(samples) == length
