from __future__ import annotations

import numpy as np
import pytest

from divisi.separation.segments import OverlapAdd


def test_neighbours_are_cross_faded_between_their_contexts() -> None:
    joined = OverlapAdd(context_length=2, fade_length=4)
    first = joined.push(0, np.zeros((1, 10), np.float32))
    second = joined.push(2, np.ones((1, 10), np.float32))
    whole = np.concatenate([first, second, joined.finish(12)], axis=1)
    np.testing.assert_allclose(whole[0], [0, 0, 0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1, 1, 1])


def test_what_lies_in_the_context_is_not_heard() -> None:
    spoilt = np.array([9, 9, 1, 1, 1, 1, 9, 9], np.float32)
    joined = OverlapAdd(context_length=2, fade_length=1)
    parts = [joined.push(start, spoilt) for start in (0, 3, 6)]
    whole = np.concatenate([*parts, joined.finish(14)])
    np.testing.assert_array_equal(whole[2:12], 1)


def test_the_recording_ends_in_the_last_segment_with_its_context() -> None:
    joined = OverlapAdd(context_length=3, fade_length=0)
    joined.push(0, np.arange(8, dtype=np.float32))
    np.testing.assert_array_equal(joined.finish(7), [5, 6])


def test_axes_before_the_last_are_kept() -> None:
    joined = OverlapAdd(context_length=1, fade_length=2)
    assert joined.push(0, np.zeros((4, 2, 10), np.float32)).shape == (4, 2, 7)
    assert joined.finish(10).shape == (4, 2, 3)


def test_segments_that_end_before_the_whole_are_an_error() -> None:
    joined = OverlapAdd(context_length=0, fade_length=0)
    joined.push(0, np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="end at 5"):
        joined.finish(6)


def test_segments_given_are_not_changed() -> None:
    joined = OverlapAdd(context_length=0, fade_length=2)
    segment = np.ones(6, np.float32)
    joined.push(0, segment)
    joined.push(4, segment)
    np.testing.assert_array_equal(segment, 1)
