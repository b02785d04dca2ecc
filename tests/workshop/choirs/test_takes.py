"""Cutting and transposing excerpts."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi_workshop.choirs.takes import SAMPLE_RATE, Choir, excerpt, load_nino_dios, load_part


def loudest_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


def test_an_excerpt_moved_up_an_octave_sounds_and_reads_twice_as_high(choir: Choir) -> None:
    samples, f0_hz = excerpt(choir.parts[2][0], 0.5, 12.0, 2 * SAMPLE_RATE, 512)
    assert loudest_hz(samples) == pytest.approx(440.0, abs=2)
    assert np.allclose(f0_hz, 440.0)
    assert len(f0_hz) == 2 * SAMPLE_RATE // 512 + 1


def test_there_is_silence_before_the_beginning_and_after_the_end(choir: Choir) -> None:
    part = choir.parts[0][0]
    before, early = excerpt(part, -1.0, 0.0, 2 * SAMPLE_RATE, 500)
    assert (before[:SAMPLE_RATE] == 0).all()
    assert (before[SAMPLE_RATE:] != 0).any()
    assert (early[:32] == 0).all()
    assert (early[32:] > 0).all()
    after, late = excerpt(part, 100.0, 0.0, SAMPLE_RATE, 500)
    assert not after.any()
    assert not late.any()


def test_only_the_named_singers_are_loaded(data_folders: tuple[Path, Path]) -> None:
    data, cache = data_folders
    loaded = load_nino_dios(data / "nino_dios", cache / "labels" / "nino_dios", (1,))
    assert [[part.name for part in voice] for voice in loaded.parts] == [
        ["soprano_1"],
        ["alto_1"],
        ["tenor_1"],
        ["bass_1"],
    ]


def test_a_recording_at_another_rate_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "alto_1.flac", np.zeros(100), 44_100)
    with pytest.raises(ValueError, match="44100 Hz"):
        load_part(tmp_path / "alto_1.flac", tmp_path / "alto_1.npy")
