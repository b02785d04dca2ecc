"""Synthetic choirs from singers who are themselves synthetic."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi_workshop.choirs.resung import Singer, analyse_singer, load_resung, make_choir, save_choir
from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Part

CHORALE = np.repeat([[72, 67, 60, 48], [74, 67, 59, 55]], 16, axis=0)


@pytest.fixture(scope="module")
def singers(make_part: Callable[..., Part]) -> list[list[Singer]]:
    return [[analyse_singer(make_part(voice, 3.0))] for voice in VOICES]


def test_a_choir_sings_what_its_labels_say(singers: list[list[Singer]]) -> None:
    samples, f0_hz, _ = make_choir(np.random.default_rng(3), singers, [CHORALE], 2.0)
    assert samples.shape == (4, 2 * SAMPLE_RATE)
    assert f0_hz.shape == (4, 400)
    for voice in range(4):
        for frame in (100, 300):
            if (f0_hz[voice, frame - 10 : frame + 10] > 0).all():
                middle = frame * SAMPLE_RATE // 200
                window = samples[voice, middle - 1024 : middle + 1024] * np.hanning(2048)
                spectrum = np.abs(np.fft.rfft(window, 16 * 2048))
                low, high = (int(f0_hz[voice, frame] * factor * 16 * 2048 / SAMPLE_RATE) for factor in (0.75, 1.4))
                heard_hz = (low + spectrum[low:high].argmax()) * SAMPLE_RATE / (16 * 2048)
                assert abs(1200 * np.log2(heard_hz / f0_hz[voice, frame])) < 60


def test_a_choir_is_a_function_of_its_seed(singers: list[list[Singer]]) -> None:
    first, second = (make_choir(np.random.default_rng((1, 4)), singers, [CHORALE], 1.0)[0] for _ in range(2))
    other = make_choir(np.random.default_rng((1, 5)), singers, [CHORALE], 1.0)[0]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_saved_choir_comes_back_and_a_half_saved_one_does_not(tmp_path: Path) -> None:
    samples = 0.3 * np.sin(np.arange(8000) / 10)[None] * np.array([[1.0], [0.5], [0.2], [0.0]])
    f0_hz = np.full((4, 100), 250.0, dtype=np.float32)
    save_choir(tmp_path, 0, samples, f0_hz, 0.7)
    save_choir(tmp_path, 1, samples, f0_hz, 0.7)
    (tmp_path / "choir_00001.npz").unlink()
    (choir,) = load_resung(tmp_path)
    assert choir.quarter_seconds == pytest.approx(0.7)
    restored = np.stack([voice[0].samples for voice in choir.parts]) / 32768
    assert np.allclose(restored, 3 * samples, atol=1e-3)
    assert (choir.parts[2][0].f0_hz == 250).all()


def test_known_choirs_are_not_read_again(tmp_path: Path) -> None:
    save_choir(tmp_path, 0, np.full((4, 800), 0.1), np.zeros((4, 10), dtype=np.float32), 0.0)
    known: dict = {}
    (first,) = load_resung(tmp_path, known)
    (second,) = load_resung(tmp_path, known)
    assert first is second
