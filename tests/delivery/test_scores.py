"""SI-SDR against true sources, streamed, equals the formula over everything at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.contract.errors import InputError
from divisi.delivery.scores import ReferenceScores
from divisi_workshop.metrics import si_sdr_db

RATE = 8000


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, np.ndarray]:
    samples = (np.random.default_rng(1).standard_normal(2 * RATE + 500) * 0.1).astype(np.float32)
    samples[RATE : 2 * RATE] = 0
    path = tmp_path / "alto.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path, samples


@pytest.mark.parametrize("block_length", [333, 100_000])
def test_ratios_are_those_of_the_formula_second_by_second_and_over_all(
    block_length: int, source: tuple[Path, np.ndarray]
) -> None:
    path, samples = source
    noise = np.random.default_rng(2).standard_normal(samples.shape).astype(np.float32)
    stem, mixture = 0.5 * samples + 0.01 * noise, samples + 0.1 * noise
    with ReferenceScores({"alto": path}, ["bass", "alto"], RATE, 1) as scores:
        for start in range(0, len(samples), block_length):
            part = slice(start, start + block_length)
            scores.push(mixture[None, part], np.stack([noise, stem])[:, None, part])
        (score,) = scores.finish()
    assert score.si_sdr_db == pytest.approx(si_sdr_db(stem, samples), abs=0.01)
    assert score.mixture_si_sdr_db == pytest.approx(si_sdr_db(mixture, samples), abs=0.01)
    assert score.frames_si_sdr_db[0] == pytest.approx(si_sdr_db(stem[:RATE], samples[:RATE]), abs=0.01)
    assert score.frames_si_sdr_db[1] is None
    assert len(score.frames_si_sdr_db) == 3


@pytest.mark.parametrize("length", [2 * RATE, 3 * RATE])
def test_a_source_of_another_length_is_an_error(length: int, source: tuple[Path, np.ndarray]) -> None:
    silence = np.zeros((1, length), np.float32)

    def compare() -> None:
        with ReferenceScores({"alto": source[0]}, ["alto"], RATE, 1) as scores:
            scores.push(silence, silence[None])
            scores.finish()

    with pytest.raises(InputError) as caught:
        compare()
    assert caught.value.code == "reference-mismatch"
