"""The stretches that a fit learns from are where everybody is heard."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from divisi.separation.fitted_separator import ActivityMeter

RATE = 100


def meter_of(samples: np.ndarray, block_length: int = 37) -> ActivityMeter:
    meter = ActivityMeter(len(samples), RATE)
    for start in range(0, samples.shape[1], block_length):
        meter.push(samples[:, start : start + block_length])
    return meter


def playing(*spans: tuple[int, int], seconds: int = 60) -> np.ndarray:
    """One microphone's noise during some seconds, float32 (T,)."""
    samples = np.full(seconds * RATE, 1e-3)
    for start, end in spans:
        samples[start * RATE : end * RATE] = 0.5
    return (samples * np.random.default_rng(0).choice([-1, 1], len(samples))).astype(np.float32)


def test_the_only_bars_of_a_quiet_player_are_among_them() -> None:
    samples = np.stack([playing((0, 40)), 0.01 * playing((50, 55))])
    starts = meter_of(samples).most_active(2, 5 * RATE)
    assert any(45 * RATE <= start <= 55 * RATE for start in starts)
    assert any(start <= 35 * RATE for start in starts)


def test_stretches_do_not_overlap_and_rise() -> None:
    starts = meter_of(np.stack([playing((20, 40)), playing((20, 40))])).most_active(3, 5 * RATE)
    assert starts == sorted(starts)
    assert all(after - before >= 5 * RATE for before, after in pairwise(starts))


def test_fewer_come_where_the_recording_holds_no_more() -> None:
    assert len(meter_of(playing((0, 6), seconds=7)[None]).most_active(3, 5 * RATE)) == 1


def test_blocks_change_nothing() -> None:
    samples = np.stack([playing((3, 9)), playing((30, 37))])
    assert meter_of(samples, 37).most_active(2, 500) == meter_of(samples, 1000).most_active(2, 500)


def test_silence_has_stretches_too() -> None:
    assert len(meter_of(np.zeros((2, 6000), np.float32)).most_active(2, 500)) == 2
