"""Synthetic choirs from singers who are themselves synthetic."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi_workshop.choirs.takes import SAMPLE_RATE, VOICES, Part, load_resung, make_missing, save_choir
from divisi_workshop.choirs.world_voices import Singer, analyse_singer, make_choir

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


def test_only_what_is_missing_is_made_each_from_its_number_and_the_seed(tmp_path: Path) -> None:
    def make(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
        return 0.1 * rng.standard_normal((4, 800)), np.zeros((4, 10)), 0.5

    make_missing(tmp_path / "whole", range(3), 1, make)
    make_missing(tmp_path / "again", range(2), 1, make)
    (tmp_path / "again" / "choir_00000.npz").unlink()
    untouched = (tmp_path / "again" / "choir_00001.flac").stat().st_mtime_ns
    make_missing(tmp_path / "again", range(3), 1, make)
    assert (tmp_path / "again" / "choir_00001.flac").stat().st_mtime_ns == untouched
    first, second = ([c.parts[0][0].samples for c in load_resung(tmp_path / name)] for name in ("whole", "again"))
    assert len(first) == len(second) == 3
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])
