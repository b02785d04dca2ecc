from __future__ import annotations

import numpy as np
import pytest

from divisi.separation.downmix import Downmix, downmix_weights


def test_channels_are_averaged(noise) -> None:
    np.testing.assert_array_equal(downmix_weights(noise(4, 1000)), [0.25] * 4)


def test_a_channel_of_reversed_polarity_is_turned_over(noise) -> None:
    left = noise(1, 16_000)
    stereo = np.concatenate([left, -0.5 * left])
    mixed = Downmix(2, 16_000).push(stereo, is_last=True)
    np.testing.assert_allclose(mixed, 0.75 * left, atol=1e-7)


def test_wide_stereo_is_left_as_it_is(noise) -> None:
    middle, side = noise(1, 16_000, seed=1), noise(1, 16_000, seed=2)
    stereo = np.concatenate([middle + side, middle - side])
    np.testing.assert_array_equal(downmix_weights(stereo), [0.5, 0.5])


@pytest.mark.parametrize("head", [np.zeros((3, 100), np.float32), np.zeros((3, 0), np.float32)])
def test_silence_decides_for_the_mean(head) -> None:
    np.testing.assert_allclose(downmix_weights(head), [1 / 3] * 3, rtol=1e-6)


def test_nothing_is_given_before_the_decision_and_all_of_it_then(noise, cut) -> None:
    stereo = noise(2, 25_000)
    downmix = Downmix(2, sample_rate=1000)  # decides after 10 000 samples
    lengths = [downmix.push(block).shape[1] for block in cut(stereo, 4000)]
    assert lengths == [0, 0, 12_000, 4000, 4000, 4000, 1000]


def test_blocks_of_any_length_give_the_same_samples(noise, cut) -> None:
    surround = noise(6, 30_000)
    results = []
    for block_length in (30_000, 777):
        downmix = Downmix(6, sample_rate=1000)
        parts = [downmix.push(block) for block in cut(surround, block_length)]
        results.append(np.concatenate([*parts, downmix.push(surround[:, :0], is_last=True)], axis=1))
    np.testing.assert_array_equal(*results)


def test_the_weights_are_not_told_before_the_decision() -> None:
    with pytest.raises(ValueError, match="not heard enough"):
        _ = Downmix(2, 16_000).weights
