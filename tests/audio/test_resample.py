from collections.abc import Callable
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from divisi.audio.resample import StreamResampler, resample, resampled_length

RATES = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]
# soxr's chunked output equals its offline output up to the last bits of float32.
STREAM_TOLERANCE = 1e-6
# Ripple of soxr's high quality in the pass band, and what its ends lose.
SINE_TOLERANCE = 1e-3


@given(
    num_samples=st.integers(0, 10**11),
    from_rate=st.sampled_from(RATES),
    to_rate=st.sampled_from(RATES),
)
def test_the_length_is_the_exact_quotient_rounded_half_up(num_samples: int, from_rate: int, to_rate: int) -> None:
    exact = Fraction(num_samples * to_rate, from_rate)
    assert resampled_length(num_samples, from_rate, to_rate) == floor(exact + Fraction(1, 2))


@given(
    num_channels=st.integers(1, 6),
    num_samples=st.integers(0, 3_000),
    from_rate=st.sampled_from(RATES),
    to_rate=st.sampled_from(RATES),
)
def test_any_length_comes_out_as_long_as_promised(
    num_channels: int, num_samples: int, from_rate: int, to_rate: int
) -> None:
    resampled = resample(np.ones((num_channels, num_samples), np.float32), from_rate, to_rate)
    assert resampled.shape == (num_channels, resampled_length(num_samples, from_rate, to_rate))
    assert resampled.dtype == np.float32


def test_a_sine_keeps_its_pitch_level_and_place() -> None:
    def sine(rate: int) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    resampled = resample(sine(44_100)[None].astype(np.float32), 44_100, 16_000)[0]
    inner = slice(1_000, 15_000)
    np.testing.assert_allclose(resampled[inner], sine(16_000)[inner], atol=SINE_TOLERANCE)


def test_equal_rates_give_a_copy() -> None:
    samples = np.ones((1, 5), np.float32)
    resampled = resample(samples, 16_000, 16_000)
    resampled[:] = 0
    assert samples.all()


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44_100, 16_000), (16_000, 44_100), (48_000, 48_000)])
@given(lengths=st.lists(st.integers(0, 5_000), min_size=1, max_size=8))
def test_a_stream_gives_what_the_whole_gives(from_rate: int, to_rate: int, lengths: list[int]) -> None:
    whole = np.random.default_rng(0).uniform(-1, 1, (2, sum(lengths))).astype(np.float32)
    stream = StreamResampler(2, from_rate, to_rate)
    ends = np.cumsum(lengths)
    given_out = [
        stream.push(whole[:, end - length : end], is_last=bool(number == len(lengths)))
        for number, (length, end) in enumerate(zip(lengths, ends, strict=True), 1)
    ]
    np.testing.assert_allclose(
        np.concatenate(given_out, axis=1), resample(whole, from_rate, to_rate), atol=STREAM_TOLERANCE
    )


def test_a_block_with_other_channels_is_refused(samples_of: Callable[..., np.ndarray]) -> None:
    with pytest.raises(ValueError, match="2 channels, expected 1"):
        StreamResampler(1, 44_100, 16_000).push(samples_of(2, 10))
