"""Choirs of speakers and singers who are themselves synthetic."""

from collections.abc import Callable

import numpy as np
import pytest

from divisi_workshop.choirs.speech_voices import analyse_speech
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Part
from divisi_workshop.choirs.wide_choirs import SHARES, Cast, make_choir, mean_pitch, sing_part
from divisi_workshop.choirs.world_voices import analyse_singer

CHORALE = np.repeat([[72, 67, 60, 48], [74, 67, 59, 55]], 32, axis=0)


@pytest.fixture(scope="module")
def cast(make_part: Callable[..., Part], make_tone: Callable[..., np.ndarray]) -> Cast:
    recorded = [[analyse_singer(make_part(voice, 3.0))] for voice in VOICES]
    return Cast(recorded, [analyse_speech(make_tone(pitch, 3.0)) for pitch in (110.0, 210.0)])


@pytest.mark.parametrize("kind", sorted(SHARES))
def test_a_choir_is_a_function_of_its_seed(cast: Cast, kind: str) -> None:
    first, again, other = (
        make_choir(np.random.default_rng((1, seed)), cast, [CHORALE], SHARES[kind], 1.0)[0] for seed in (4, 4, 5)
    )
    assert first.shape == (4, SAMPLE_RATE)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("singers", [1, 3])
def test_a_part_sounds_at_the_pitch_of_its_label(cast: Cast, singers: int) -> None:
    midi = np.full(400, 60.0)
    voice = cast.recorded[2][0]
    timbre = type(voice)(*(getattr(voice, name)[:400] for name in vars(voice)))
    samples, f0_hz = sing_part(np.random.default_rng(2), timbre, np.ones(400), midi, singers)
    assert (f0_hz[50:350] > 0).all()
    middle = samples[SAMPLE_RATE // 2 : 3 * SAMPLE_RATE // 2]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    low, high = (int(f0_hz[200] * factor * 8) for factor in (0.8, 1.25))
    heard_hz = (low + spectrum[low:high].argmax()) / 8
    assert abs(1200 * np.log2(heard_hz / np.median(f0_hz[100:300]))) < 60


def test_the_pitch_of_a_section_is_that_of_those_who_sound() -> None:
    f0_hz = np.array([[100.0, 100.0, 0.0, 0.0], [400.0, 0.0, 0.0, 200.0], [200.0, 0.0, 0.0, 200.0]])
    assert mean_pitch(f0_hz) == pytest.approx([200.0, 0.0, 0.0, 200.0])
