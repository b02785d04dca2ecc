from collections.abc import Callable
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from divisi.audio.recording import (
    SampleQueue,
    StreamResampler,
    check_samples,
    resample,
    resampled_length,
    to_fixed_point,
    vorbis_from_wav_order,
    wav_from_vorbis_order,
)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 10)), np.zeros(10, np.float32), np.zeros((0, 10), np.float32), np.zeros((1, 2, 10), np.float32)],
    ids=["float64", "one axis", "no channel", "three axes"],
)
def test_samples_of_another_shape_or_type_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="samples must"):
        check_samples(samples)


def test_samples_of_another_number_of_channels_are_refused() -> None:
    check_samples(np.zeros((2, 10), np.float32), num_channels=2)
    with pytest.raises(ValueError, match="2 channels, expected 1"):
        check_samples(np.zeros((2, 10), np.float32), num_channels=1)


# Vorbis I specification, section 4.3.9, against the order of WAVE_FORMAT_EXTENSIBLE's mask bits.
VORBIS = {3: "L C R", 5: "L C R BL BR", 6: "L C R BL BR LFE", 7: "L C R SL SR BC LFE", 8: "L C R SL SR BL BR LFE"}
WAV = {3: "L R C", 5: "L R C BL BR", 6: "L R C LFE BL BR", 7: "L R C LFE BC SL SR", 8: "L R C LFE BL BR SL SR"}


@pytest.mark.parametrize("num_channels", VORBIS)
def test_each_loudspeaker_gets_its_own_channel(num_channels: int) -> None:
    vorbis, wav = VORBIS[num_channels].split(), WAV[num_channels].split()
    to_vorbis, to_wav = vorbis_from_wav_order(num_channels), wav_from_vorbis_order(num_channels)
    assert to_vorbis is not None
    assert to_wav is not None
    assert [wav[place] for place in to_vorbis] == vorbis
    assert [vorbis[place] for place in to_wav] == wav


@pytest.mark.parametrize("num_channels", [1, 2, 4, 9, 32])
def test_other_numbers_of_channels_stay_as_they_are(num_channels: int) -> None:
    assert vorbis_from_wav_order(num_channels) is None
    assert wav_from_vorbis_order(num_channels) is None


@pytest.mark.parametrize("bits", [16, 24])
@given(samples=arrays(np.float32, (2, 50), elements=st.floats(-1, 1, width=32)))
def test_rounding_moves_a_sample_by_half_a_step_at_most(bits: int, samples: np.ndarray) -> None:
    words, num_clipped = to_fixed_point(samples, bits)
    step = 2.0 ** (1 - bits)
    errors = np.abs(words * step - samples.astype(np.float64))
    assert errors[samples < 1 - step].max(initial=0) <= step / 2
    assert errors.max() <= step  # +1 has no word of its own
    assert num_clipped == 0


@pytest.mark.parametrize("bits", [16, 24])
def test_every_word_survives_the_way_through_float(bits: int) -> None:
    half = 1 << (bits - 1)
    words = np.unique(np.linspace(-half, half - 1, 100_001).astype(np.int32))[None]
    again, _ = to_fixed_point((words / half).astype(np.float32), bits)
    np.testing.assert_array_equal(again, words)


@pytest.mark.parametrize("bits", [16, 24])
def test_what_lies_beyond_full_scale_is_clipped_and_counted(bits: int) -> None:
    half = 1 << (bits - 1)
    words, num_clipped = to_fixed_point(np.array([[-1e30, -1.5, -1, 1, 1.5, 1e30]], np.float32), bits)
    assert words.tolist() == [[-half, -half, -half, half - 1, half - 1, half - 1]]
    assert num_clipped == 4


def test_samples_come_out_in_order_whatever_the_blocks() -> None:
    queue = SampleQueue(1)
    samples = np.arange(20, dtype=np.float32)[None]
    for start, stop in ((0, 1), (1, 8), (8, 8), (8, 20)):
        queue.push(samples[:, start:stop])
    parts = [queue.pop(length) for length in (0, 3, 10, 7)]
    assert [part.shape for part in parts] == [(1, 0), (1, 3), (1, 10), (1, 7)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), samples)
    assert len(queue) == 0


def test_more_than_waits_cannot_be_had() -> None:
    queue = SampleQueue(2)
    queue.push(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="3 wait"):
        queue.pop(4)


def test_a_block_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="does not continue"):
        SampleQueue(2).push(np.zeros((1, 3), np.float32))


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
