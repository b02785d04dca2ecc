from __future__ import annotations

import numpy as np
import pytest

from divisi.separation.full_band import mixed_down
from divisi.separation.survey import Survey, survey

RATE = 8000


def surveyed(samples: np.ndarray, block_length: int = 5000) -> Survey:
    blocks = (samples[:, start : start + block_length] for start in range(0, samples.shape[1], block_length))
    return survey(blocks, RATE, len(samples))


def weights(samples: np.ndarray) -> list[float]:
    """Signs of the channels in the downmix."""
    found = surveyed(samples).downmix_weights
    np.testing.assert_allclose(np.abs(found), 1 / len(samples), rtol=1e-6)
    return np.sign(found).tolist()


def hum(seconds: float, level: float) -> np.ndarray:
    """The same in both channels, as from one cable."""
    times = np.arange(round(seconds * RATE)) / RATE
    return np.tile(level * np.sin(2 * np.pi * 50 * times), (2, 1)).astype(np.float32)


def test_channels_are_averaged(noise) -> None:
    assert weights(noise(4, 5 * RATE)) == [1, 1, 1, 1]


def test_a_channel_of_reversed_polarity_is_turned_over(noise) -> None:
    left = noise(1, 3 * RATE)
    stereo = np.concatenate([left, -0.5 * left])
    mixed = mixed_down(stereo, surveyed(stereo).downmix_weights)
    np.testing.assert_allclose(mixed, 0.75 * left, atol=1e-7)


def test_wide_stereo_is_left_as_it_is(noise) -> None:
    middle, side = noise(1, 3 * RATE, seed=1), noise(1, 3 * RATE, seed=2)
    assert weights(np.concatenate([middle + side, middle - side])) == [1, 1]


@pytest.mark.parametrize("num_samples", [0, 1, 100_000])
def test_silence_decides_for_the_mean(num_samples) -> None:
    found = surveyed(np.zeros((3, num_samples), np.float32))
    np.testing.assert_allclose(found.downmix_weights, [1 / 3] * 3, rtol=1e-6)
    assert (found.peak, found.loud_power, found.num_samples) == (0, 0, num_samples)


def before(what: str, noise) -> np.ndarray:
    """What may stand in front of 30 s of music at -20 dB, float32 (2, T)."""
    if what == "talk, louder and in both channels alike":
        return 3 * np.tile(noise(1, 20 * RATE, seed=3), (2, 1))
    if what == "applause in a hall":
        return 2 * noise(2, 40 * RATE, seed=4)
    if what == "digital silence":
        return np.zeros((2, 90 * RATE), np.float32)
    if what == "noise of a converter":
        return 1e-4 * np.tile(noise(1, 90 * RATE, seed=5), (2, 1))
    if what == "hum":
        return hum(90, 1e-3)
    if what == "a click in one channel":
        click = np.zeros((2, RATE), np.float32)
        click[1, 100:110] = 0.99
        return click
    if what == "a channel that starts late":
        return np.concatenate([noise(1, 25 * RATE, seed=6), np.zeros((1, 25 * RATE), np.float32)])
    if what == "an offset":
        return np.full((2, 60 * RATE), 0.5, np.float32)
    raise ValueError(what)


@pytest.mark.parametrize(
    "what",
    [
        "talk, louder and in both channels alike",
        "applause in a hall",
        "digital silence",
        "noise of a converter",
        "hum",
        "a click in one channel",
        "a channel that starts late",
        "an offset",
    ],
)
def test_what_stands_in_front_of_the_music_does_not_decide(what, noise) -> None:
    left = noise(1, 30 * RATE)
    front = before(what, noise)
    assert weights(np.concatenate([front, np.concatenate([left, -left])], axis=1)) == [1, -1]
    assert weights(np.concatenate([front, np.concatenate([left, left])], axis=1)) == [1, 1]


def test_an_offset_in_all_channels_does_not_hide_reversed_polarity(noise) -> None:
    left = noise(1, 5 * RATE)
    assert weights(np.concatenate([left, -left]) + np.float32(0.5)) == [1, -1]


def test_a_dead_channel_is_left_as_it_is(noise) -> None:
    left = noise(1, 5 * RATE)
    assert weights(np.concatenate([left, np.zeros_like(left), -left])) == [1, 1, -1]


def test_a_click_in_a_dead_channel_does_not_make_it_the_leading_one(noise) -> None:
    left = noise(1, 20 * RATE)
    dead = np.zeros_like(left)
    dead[0, 4000:4050] = 100
    assert weights(np.concatenate([dead, left, -left])) == [1, 1, -1]


def test_how_loud_a_recording_is_does_not_depend_on_a_pop_or_on_pauses(noise) -> None:
    samples = np.zeros((1, 300 * RATE), np.float32)
    samples[:, 250 * RATE : 260 * RATE] = 0.1 * noise(1, 10 * RATE)
    samples[:, 5 * RATE : 5 * RATE + 500] = 1
    assert surveyed(samples).loud_power == pytest.approx(1e-4, rel=0.1)
    assert surveyed(samples[:, 250 * RATE : 250 * RATE + 700]).loud_power == pytest.approx(1e-4, rel=0.3)


def test_the_peak_is_the_recordings_own_offset_included() -> None:
    assert surveyed(np.full((2, 9000), -1.5, np.float32)).peak == 1.5


def test_blocks_of_any_length_give_the_same_survey(noise) -> None:
    samples = noise(3, 70_001)
    one, other = surveyed(samples, 777), surveyed(samples, 10**6)
    np.testing.assert_array_equal(one.downmix_weights, other.downmix_weights)
    assert (one.peak, one.loud_power, one.num_samples) == (other.peak, other.loud_power, other.num_samples)
