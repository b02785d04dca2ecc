from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from divisi.separation.full_band import mixed_down
from divisi.separation.survey import NOISE, Survey, local_flatness, low_pass, survey, without_offset

RATE = 8000
# Of music: what the filter takes from its lowest notes.
KEPT = 10 ** (-80 / 20)
# float32 samples below 2.
ROUNDING = 2.0**-23


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


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("num_channels", [1, 6])
def test_noise_of_any_colour_is_flat(num_channels, sample_rate, noise) -> None:
    white = noise(num_channels, sample_rate // 2)
    assert local_flatness(white, sample_rate) == pytest.approx(0.56, abs=0.05)
    red = np.cumsum(white, axis=1, dtype=np.float64).astype(np.float32)
    assert local_flatness(red, sample_rate) > NOISE


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("hiss", [0.0, 0.1])
def test_tones_are_not_even_with_vibrato_and_hiss(hiss, sample_rate, noise) -> None:
    times = np.arange(sample_rate // 2) / sample_rate
    vibrato = 0.02 * np.sin(2 * np.pi * 6 * times)
    chord = sum(
        np.sin(2 * np.pi * tone_hz * k * (times + vibrato / 40)) / k for tone_hz in (130, 196, 330) for k in (1, 2, 3)
    )
    samples = (0.1 * chord)[None].astype(np.float32) + hiss * noise(1, len(times))
    assert local_flatness(samples, sample_rate) < NOISE / 2


def test_the_loudest_channel_decides(noise) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)[None].astype(np.float32)
    assert local_flatness(np.concatenate([0.01 * noise(1, 8000), tone]), 16_000) < NOISE / 2


@pytest.mark.parametrize("num_samples", [1, 10, 8000])
def test_silence_is_no_noise(num_samples) -> None:
    assert local_flatness(np.zeros((2, num_samples), np.float32), 16_000) == 0


def music_of(samples: np.ndarray, sample_rate: int, block_length: int = 5000) -> np.ndarray:
    blocks = (samples[:, start : start + block_length] for start in range(0, samples.shape[1], block_length))
    return np.concatenate([*without_offset(blocks, sample_rate, len(samples))], axis=1)


def tones(sample_rate: int, seconds: float = 4.3) -> np.ndarray:
    """A deep string and a voice, both at full strength from the first sample to the last: float32 (2, T)."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return np.stack([0.3 * np.cos(2 * np.pi * 27.5 * times), 0.3 * np.sin(2 * np.pi * 110 * times)]).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 192_000])
def test_music_stays_as_it_is_from_the_first_sample_to_the_last(sample_rate) -> None:
    samples = tones(sample_rate)
    np.testing.assert_allclose(music_of(samples, sample_rate), samples, atol=0.3 * KEPT)


@pytest.mark.parametrize("sample_rate", [8000, 44_100, 192_000])
@pytest.mark.parametrize("offsets", [(0.2, 0.2), (0.5, -0.01), (1.0, 0.0), (-30.0, 7.0)])
def test_a_constant_offset_changes_nothing_else(offsets, sample_rate) -> None:
    samples = tones(sample_rate)
    moved = samples + np.array(offsets, np.float32)[:, None]
    atol = ROUNDING * max(1, np.abs(offsets).max())
    np.testing.assert_allclose(music_of(moved, sample_rate), music_of(samples, sample_rate), atol=atol)


def test_rumble_and_drift_are_no_music() -> None:
    samples, times = tones(16_000), np.arange(round(4.3 * 16_000)) / 16_000
    slow = (0.4 * np.sin(2 * np.pi * 5 * times) + 0.1 * times).astype(np.float32)
    inner = slice(8000, -8000)
    music = music_of(samples + slow, 16_000)
    np.testing.assert_allclose(music[:, inner], music_of(samples, 16_000)[:, inner], atol=0.3 * KEPT)


def test_rumble_is_followed_up_to_the_ends() -> None:
    samples, times = tones(16_000), np.arange(round(4.3 * 16_000)) / 16_000
    rumble = (0.4 * np.sin(2 * np.pi * 5 * times + 1)).astype(np.float32)
    left = music_of(samples + rumble, 16_000) - music_of(samples, 16_000)
    for end in (left[:, :3000], left[:, -3000:]):
        assert np.square(end).mean() < 0.02 * np.square(rumble).mean()


def test_a_deep_tone_that_begins_at_full_strength_is_not_taken_for_rumble() -> None:
    times = np.arange(40_000) / 16_000
    tone = (0.3 * np.sin(2 * np.pi * 27.5 * times))[None].astype(np.float32)
    np.testing.assert_allclose(music_of(tone, 16_000), tone, atol=0.3 * KEPT)


def test_an_offset_in_one_stretch_is_gone_a_moment_after_it_begins() -> None:
    samples = tones(16_000)
    moved = samples.copy()
    moved[:, 20_000:50_000] += 0.2
    left = np.abs(music_of(moved, 16_000) - music_of(samples, 16_000))
    reach = len(low_pass(16_000)) // 2
    for stretch in (left[:, : 20_000 - reach], left[:, 20_000 + reach : 50_000 - reach], left[:, 50_000 + reach :]):
        np.testing.assert_allclose(stretch, 0, atol=ROUNDING)


@pytest.mark.parametrize("num_samples", [1, 64, 5711, 5712, 5713, 5714, 22_000, 70_001])
@pytest.mark.parametrize("block_length", [999, 10**6])
def test_blocks_of_any_length_give_the_same_samples(num_samples, block_length, noise) -> None:
    assert len(low_pass(16_000)) == 5713
    samples = noise(2, num_samples) + np.float32(0.3)
    music = music_of(samples, 16_000, block_length)
    assert music.shape == samples.shape
    assert music.dtype == np.float32
    np.testing.assert_array_equal(music, music_of(samples, 16_000, 777))


def test_of_a_sound_shorter_than_the_window_the_mean_is_the_offset(noise) -> None:
    samples = noise(1, 3000)
    np.testing.assert_allclose(music_of(samples + np.float32(0.5), 16_000), samples - samples.mean(), atol=1e-6)


def test_nothing_gives_nothing() -> None:
    assert sum(block.shape[1] for block in without_offset([], 16_000, 2)) == 0


def test_memory_does_not_grow_with_the_recording(noise) -> None:
    block = noise(2, 16_000)

    def peak_bytes(seconds: int) -> int:
        tracemalloc.start()
        for _ in without_offset((block for _ in range(seconds)), 16_000, 2):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(5)
    assert peak_bytes(120) < 1.1 * peak_bytes(30)
