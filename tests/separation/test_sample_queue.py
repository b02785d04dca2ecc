from __future__ import annotations

import numpy as np
import pytest

from divisi.audio.recording import SampleQueue


def test_samples_come_out_in_order_whatever_the_blocks() -> None:
    queue = SampleQueue(1)
    samples = np.arange(20, dtype=np.float32)[None]
    for start, stop in ((0, 1), (1, 8), (8, 8), (8, 20)):
        queue.push(samples[:, start:stop])
    parts = [queue.pop(length) for length in (0, 3, 10, 7)]
    assert [part.shape for part in parts] == [(1, 0), (1, 3), (1, 10), (1, 7)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), samples)
    assert len(queue) == 0


def test_more_than_waits_cannot_be_had() -> None:
    queue = SampleQueue(2)
    queue.push(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="3 wait"):
        queue.pop(4)


def test_a_block_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="does not continue"):
        SampleQueue(2).push(np.zeros((1, 3), np.float32))
