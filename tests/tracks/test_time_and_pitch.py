"""Another speed and key: as long, as high and at the places that were asked for; vowels and channels stay."""

from __future__ import annotations

import numpy as np
import pytest

from divisi.tracks.time_and_pitch import TimeAndPitch, Tracks

SAMPLE_RATE = 16_000
# Of a bin of the spectra that the tests look at, 1 Hz, as far as a peak's place is interpolated.
CENTS = 1.0
# Of the resonance, half of what is between the partials that show it.
FORMANT_SHARE = 0.05
# Spectra are 13 ms of the recording apart; a click is where their mean puts it.
CLICK_SECONDS = 0.003


def changed(tracks: Tracks, percent: int, semitones: float, block_length: int = 5_000) -> Tracks:
    """Tracks, float32 (S, C, T), block by block."""
    engine = TimeAndPitch(*tracks.shape[:2], SAMPLE_RATE, percent, semitones)
    blocks = [tracks[..., start : start + block_length] for start in range(0, tracks.shape[-1], block_length)]
    return np.concatenate([*map(engine.push, blocks), engine.finish()], axis=-1)


def tone(hz: float, seconds: float = 3) -> np.ndarray:
    """A sine, float32 (T,)."""
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def vowel(f0_hz: float, formant_hz: float) -> np.ndarray:
    """Partials under one resonance, float32 (T,)."""
    numbers = np.arange(1, int(5_000 / f0_hz))
    levels = 1 / (1 + ((numbers * f0_hz - formant_hz) / 150) ** 2)
    return sum(level * tone(f0_hz * number) for number, level in zip(numbers, levels, strict=True)) / 4  # type: ignore[return-value]


def spectrum(samples: np.ndarray) -> np.ndarray:
    """Magnitudes of the second second, in bins of 1 Hz."""
    return np.abs(np.fft.rfft(samples[SAMPLE_RATE : 2 * SAMPLE_RATE] * np.hanning(SAMPLE_RATE)))


def pitch_of(samples: np.ndarray) -> float:
    """Of the loudest partial, Hz."""
    levels = np.log(spectrum(samples))
    peak = int(levels.argmax())
    left, top, right = levels[peak - 1 : peak + 2]
    return float(peak + 0.5 * (left - right) / (left - 2 * top + right))


@pytest.mark.parametrize(("percent", "semitones"), [(50, 0), (80, -3), (80, 0), (100, 1), (100, -12), (125, 12)])
def test_a_tone_is_as_long_and_as_high_as_was_asked(percent: int, semitones: int) -> None:
    made = changed(tone(440)[None, None], percent, semitones)
    assert made.shape == (1, 1, round(3 * SAMPLE_RATE * 100 / percent))
    assert abs(1200 * np.log2(pitch_of(made[0, 0]) / 440) - 100 * semitones) < CENTS


@pytest.mark.parametrize("semitones", [-5, 3, 5])
def test_the_vowel_stays_where_the_voice_is_moved(semitones: int) -> None:
    made = changed(vowel(110, 1_100)[None, None], 100, semitones)[0, 0]
    powers = spectrum(made) ** 2
    near = slice(500, 1_700)
    centre = (powers[near] @ np.arange(500, 1_700)) / powers[near].sum()
    assert abs(centre / 1_100 - 1) < FORMANT_SHARE


def test_blocks_of_any_length_give_the_same() -> None:
    tracks = np.stack([vowel(150, 700), vowel(233, 1_200)])[:, None]
    whole = changed(tracks, 80, 2, block_length=tracks.shape[-1])
    for block_length in (700, 16_000):
        np.testing.assert_allclose(changed(tracks, 80, 2, block_length), whole, atol=1e-5)


def test_a_track_is_the_same_beside_others_and_alone() -> None:
    tracks = np.stack([vowel(150, 700), vowel(233, 1_200)])[:, None]
    both = changed(tracks, 80, -2)
    for number in range(2):
        np.testing.assert_allclose(changed(tracks[number : number + 1], 80, -2)[0], both[number], atol=1e-5)


def test_a_click_is_at_one_time_in_all_tracks() -> None:
    place = 2 * SAMPLE_RATE
    tracks = np.zeros((2, 1, 3 * SAMPLE_RATE), np.float32)
    tracks[0, 0, :SAMPLE_RATE] = tone(200, 1)
    tracks[:, :, place] = 1
    powers = np.square(changed(tracks, 80, 0)[:, 0])
    near = round(place / 0.8) + np.arange(-1_000, 1_001)
    centres = (powers[:, near] @ near) / powers[:, near].sum(axis=1)
    assert np.ptp(centres) < SAMPLE_RATE / 10_000
    assert np.abs(centres - place / 0.8).max() < CLICK_SECONDS * SAMPLE_RATE


def test_a_voice_stays_where_it_stands_between_the_channels() -> None:
    voice = vowel(150, 700)
    made = changed(np.stack([voice, -0.5 * voice])[None], 80, 3)[0]
    np.testing.assert_allclose(made[1], -0.5 * made[0], atol=1e-5)


def test_a_voice_is_as_loud_as_it_was() -> None:
    voice = vowel(150, 700)
    for percent, semitones in ((80, 0), (100, 3), (60, -4)):
        made = changed(voice[None, None], percent, semitones)[0, 0]
        assert abs(20 * np.log10(np.std(made[SAMPLE_RATE:]) / np.std(voice[SAMPLE_RATE:]))) < 2


@pytest.mark.parametrize("num_samples", [0, 1, 700])
def test_what_is_shorter_than_a_spectrum_comes_out_all_the_same(num_samples: int) -> None:
    made = changed(np.ones((1, 2, num_samples), np.float32), 80, 5)
    assert made.shape == (1, 2, round(num_samples / 0.8))
    assert np.isfinite(made).all()


def test_silence_stays_silent() -> None:
    assert not changed(np.zeros((1, 1, 20_000), np.float32), 80, 5).any()
