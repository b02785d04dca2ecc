from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from divisi.separation.survey import low_pass, without_offset

# Of music: what the filter takes from its lowest notes.
KEPT = 10 ** (-80 / 20)
# float32 samples below 2.
ROUNDING = 2.0**-23


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
