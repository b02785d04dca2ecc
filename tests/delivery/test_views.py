"""Peaks, spectrograms, confidence and the picture, of signals whose shape is known."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from divisi.delivery.pictures import HEIGHT, HIGHEST_HZ, LOWEST_HZ, MOST_COLUMNS, SpectrogramTracks
from divisi.delivery.views import MOST_POINTS, PeakTracks, ViewFiles, true_source_name
from divisi.separation.separator import SeparatedBlock

RATE = 16_000
# A step of int8 under the track's peak.
STEP = 1 / 127


def read_level(track: dict, level: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(track["levels"][level]), np.int8).reshape(-1, 2) / 127 * track["peak"]


@pytest.mark.parametrize("block_length", [7, 1000, 50_000])
def test_peaks_hold_every_extreme_however_blocks_are_cut(block_length: int) -> None:
    samples = np.random.default_rng(3).uniform(-1, 1, (2, 2, 50_000)).astype(np.float32) * [[[0.5]], [[0.01]]]
    peaks = PeakTracks(["loud", "quiet"], 50_000)
    for start in range(0, 50_000, block_length):
        peaks.push(samples[..., start : start + block_length].astype(np.float32))
    document = peaks.finish(RATE)
    assert document["num_samples"] == 50_000
    for level, body in enumerate(document["levels"]):
        width = body["samples_per_point"]
        assert body["num_points"] == -(-50_000 // width)
        for place, name in enumerate(("loud", "quiet")):
            pairs = read_level(document["tracks"][name], level)
            starts = np.arange(0, 50_000, width)
            highest = np.maximum.reduceat(samples[place].max(axis=0), starts)
            largest = document["tracks"][name]["peak"]
            np.testing.assert_allclose(pairs[:, 1], highest, atol=1.01 * STEP * largest)


def test_ten_minutes_of_six_tracks_stay_below_two_hundred_kilobytes() -> None:
    num_samples = 600 * 44_100
    peaks = PeakTracks([f"track {place}" for place in range(6)], num_samples)
    block = np.random.default_rng(1).uniform(-1, 1, (6, 1, num_samples // 20)).astype(np.float32)
    for _ in range(20):
        peaks.push(block)
    document = peaks.finish(44_100)
    assert document["levels"][0]["num_points"] <= MOST_POINTS
    assert len(json.dumps(document, separators=(",", ":"))) < 200_000


def test_columns_never_exceed_the_most_and_keep_their_place_in_time() -> None:
    frequencies = np.linspace(0, 8000, 1025)
    tracks = SpectrogramTracks(1, frequencies)
    powers = np.full((1, 3 * MOST_COLUMNS, len(frequencies)), 1e-9, np.float32)
    powers[:, 2 * MOST_COLUMNS :] = 1  # the last third is loud
    for start in range(0, powers.shape[1], 50):
        tracks.push_powers(powers[:, start : start + 50])
    shades = tracks.finish()[0]
    assert MOST_COLUMNS / 2 <= shades.shape[1] <= MOST_COLUMNS
    first_loud = np.flatnonzero(shades.max(axis=0) > 250)[0]
    assert first_loud / shades.shape[1] == pytest.approx(2 / 3, abs=2 / shades.shape[1])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two voices alone in their halves of 4 s: one stem is right, the other hums along in the first's bins."""
    seconds = np.arange(4 * RATE) / RATE
    low, high = np.sin(2 * np.pi * 220 * seconds) * 0.5, np.sin(2 * np.pi * 1760 * seconds) * 0.5
    blurred = 0.2 * low
    stems = np.stack([low - blurred + 0.0 * high, blurred])[:, None].astype(np.float32)
    rest = high[None].astype(np.float32)
    views = ViewFiles(tmp_path, "song", ["sure", "unsure", "residual"], RATE, 4 * RATE, 0.032)
    for start in range(0, 4 * RATE, 10_000):
        part = slice(start, start + 10_000)
        block, left = stems[..., part], rest[..., part]
        views.write(SeparatedBlock(block.sum(axis=0) + left, block, left, np.full((2, 20), 220, np.float32)))
    views.finish()
    assert all(path.is_file() for path in views.paths)
    return tmp_path


def test_a_tone_lights_the_row_of_its_frequency_from_the_first_column_to_the_last(made: Path) -> None:
    shades = np.asarray(Image.open(made / "spectrogram-residual.png"))
    assert shades.shape == (HEIGHT, 4 * 64)
    expected = HEIGHT * (1 - np.log(1760 / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ))
    assert np.all(np.abs(shades[:, 2:-2].argmax(axis=0) - expected) < 4)


def test_a_stem_that_shares_its_bins_is_believed_less(made: Path) -> None:
    document = json.loads((made / "confidence.json").read_text())
    assert document["num_steps"] == 4
    sure, unsure = (document["stems"][name] for name in ("sure", "unsure"))
    for better, worse in zip(sure["confidence"], unsure["confidence"], strict=True):
        assert 0 <= worse < 0.5 < better <= 1


def test_a_silent_stem_has_no_confidence(tmp_path: Path) -> None:
    tone = np.sin(np.arange(RATE) / 10).astype(np.float32)[None]
    stems = np.stack([tone, 0 * tone])
    views = ViewFiles(tmp_path, "song", ["sings", "rests"], RATE, RATE, None)
    views.write(SeparatedBlock(tone, stems, 0 * tone))
    verdict = views.finish()
    assert verdict.summary(1)[0] is None
    assert verdict.summary(0)[0] is not None


def test_the_picture_has_a_row_a_track(made: Path) -> None:
    picture = Image.open(made / "report.png").convert("RGB")
    assert picture.width == 1200
    rows = np.asarray(picture)[:, 600].sum(axis=-1) < 100  # dark: spectrograms
    assert np.count_nonzero(np.diff(rows.astype(int)) == 1) >= 4


def test_the_picture_says_what_the_choir_is_tuned_to(tmp_path: Path) -> None:
    tone = np.sin(np.arange(RATE) / 10).astype(np.float32)[None]
    titles = []
    for f0_hz in (440, 452.9, 452.9):
        views = ViewFiles(tmp_path, "song", ["alto"], RATE, RATE, 0.032)
        views.write(SeparatedBlock(tone, tone[None], 0 * tone, np.full((1, 20), f0_hz, np.float32)))
        views.finish()
        titles.append(np.asarray(Image.open(tmp_path / "report.png").convert("L"))[:40])
    np.testing.assert_array_equal(titles[1], titles[2])
    assert np.any(titles[0] != titles[1])


def test_true_sources_are_drawn_as_waveforms_in_step_with_the_stems_and_nothing_else(tmp_path: Path) -> None:
    tone = np.sin(np.arange(RATE) / 10).astype(np.float32)[None]
    views = ViewFiles(tmp_path, "song", ["alto"], RATE, RATE, None)
    for part in (slice(0, 900), slice(900, RATE)):
        # The true source has two channels and runs ahead of the stems.
        source = np.concatenate([0.5 * tone, -0.25 * tone])[:, part]
        views.write(SeparatedBlock(tone[:, :0], tone[None, :, :0], tone[:, :0]), {true_source_name("alto"): source})
    views.write(SeparatedBlock(tone, tone[None], 0 * tone))
    views.finish()
    tracks = json.loads((tmp_path / "peaks.json").read_text())["tracks"]
    assert set(tracks) == {"mixture", "alto", "true alto"}
    assert tracks["true alto"]["peak"] == pytest.approx(0.5, abs=1e-4)
    assert [len(level) for level in tracks["true alto"]["levels"]] == [len(level) for level in tracks["alto"]["levels"]]
    assert not (tmp_path / "spectrogram-true alto.png").exists()
