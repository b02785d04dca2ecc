"""The simulated quintet: images that sum to the recording, and spot microphones that hear their own instrument."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.quintet import (
    INSTRUMENTS,
    NUM_MICROPHONES,
    NUM_SPOTS,
    QUINTET,
    QuintetRoom,
    play,
    play_quintet,
    score_images,
    simulate_quintet,
)

RATE = 16_000


@pytest.fixture(scope="module")
def room() -> QuintetRoom:
    return simulate_quintet(0.3, 2.0, RATE, seed=3)


def test_the_images_are_the_recording_but_for_a_little_noise(room: QuintetRoom) -> None:
    assert room.images.shape == (NUM_SPOTS, NUM_MICROPHONES, 2 * RATE)
    noise = room.mixture - room.images.sum(axis=0)
    assert 10 * np.log10(np.mean(noise**2) / np.mean(room.mixture**2)) < -55


def test_every_spot_hears_its_own_instrument_most(room: QuintetRoom) -> None:
    powers = np.square(room.images[:, :NUM_SPOTS]).mean(axis=2)
    np.testing.assert_array_equal(powers.argmax(axis=0), np.arange(NUM_SPOTS))


def test_the_same_seed_plays_the_same(room: QuintetRoom) -> None:
    np.testing.assert_array_equal(play_quintet(1.0, RATE, 3), play_quintet(1.0, RATE, 3))
    assert not np.array_equal(play_quintet(1.0, RATE, 3), play_quintet(1.0, RATE, 4))


@pytest.mark.parametrize("name", QUINTET)
def test_an_instrument_plays_within_its_range(name: str) -> None:
    instrument = INSTRUMENTS[name]
    sound = play(instrument, 3.0, RATE, [0])
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    lowest_hertz = 440 * 2 ** ((instrument.lowest - 69) / 12)
    below = spectrum[: int(0.8 * lowest_hertz * len(sound) / RATE)].sum()
    assert below < 0.02 * spectrum.sum()


def test_true_images_score_far_above_the_microphones(room: QuintetRoom) -> None:
    nearly = room.images + 1e-4 * np.random.default_rng(0).standard_normal(room.images.shape).astype(np.float32)
    scores = score_images(nearly[[3, 1, 0, 4, 2]], room.images, room.mixture, range(NUM_SPOTS), finds_order=True)
    assert scores.improvement > 20
    assert (scores.sir > 20).all()
    assert scores.recording_si_sdr == pytest.approx(
        score_images(room.images, room.images, room.mixture, range(NUM_SPOTS)).recording_si_sdr
    )
