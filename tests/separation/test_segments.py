from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from divisi.contract.errors import ModelError
from divisi.separation.segments import OverlapAdd, Segment, Segmenter, SegmentPlan


def segments_of(samples: np.ndarray, plan: SegmentPlan, block_length: int) -> list[Segment]:
    segmenter = Segmenter(plan, samples.shape[0])
    segments = []
    for start in range(0, samples.shape[1], block_length):
        segments += segmenter.push(samples[:, start : start + block_length])
    return segments + segmenter.finish()


@st.composite
def plans(draw: st.DrawFn) -> SegmentPlan:
    grid = draw(st.sampled_from([1, 2, 5]))
    context_length = draw(st.integers(0, 20))
    fade_length = draw(st.integers(0, 10))
    step = draw(st.integers(1, 30)) * grid
    return SegmentPlan(step + 2 * context_length + fade_length, context_length, fade_length, grid=grid)


@given(plans(), st.integers(1, 300), st.integers(1, 100))
def test_a_constant_signal_survives_any_plan(plan: SegmentPlan, length: int, block_length: int) -> None:
    samples = np.ones((1, length), np.float32)
    joined = OverlapAdd(plan.context_length, plan.fade_length)
    parts = [
        joined.push(segment.start, segment.samples[:, : segment.num_real])
        for segment in segments_of(samples, plan, block_length)
    ]
    whole = np.concatenate([*parts, joined.finish(length)], axis=1)
    assert whole.shape == (1, length)
    np.testing.assert_allclose(whole, 1, rtol=1e-6)


@given(plans(), st.integers(1, 300), st.integers(1, 100))
def test_segments_do_not_depend_on_how_the_recording_was_cut_into_blocks(
    plan: SegmentPlan, length: int, block_length: int
) -> None:
    samples = np.arange(length, dtype=np.float32)[None] + 1
    at_once, in_blocks = segments_of(samples, plan, length), segments_of(samples, plan, block_length)
    assert [segment.start for segment in at_once] == [segment.start for segment in in_blocks]
    for one, other in zip(at_once, in_blocks, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


@given(plans(), st.integers(1, 300))
def test_every_segment_holds_the_recording_from_its_start_on_and_starts_on_the_grid(
    plan: SegmentPlan, length: int
) -> None:
    samples = np.arange(length, dtype=np.float32)[None] + 1
    for segment in segments_of(samples, plan, length):
        assert segment.start % plan.grid == 0
        stretch = samples[:, segment.start : segment.start + segment.samples.shape[1]]
        assert segment.num_real == stretch.shape[1]
        np.testing.assert_array_equal(segment.samples[:, : stretch.shape[1]], stretch)
        assert not segment.samples[:, stretch.shape[1] :].any()


def test_the_last_segment_is_moved_back_so_that_it_is_full_of_the_recording() -> None:
    plan = SegmentPlan(segment_length=100, context_length=10, fade_length=20)
    segments = segments_of(np.ones((1, 190), np.float32), plan, 50)
    assert [segment.start for segment in segments] == [0, 60, 90]
    assert all(segment.samples.all() for segment in segments)


def test_a_recording_as_long_as_a_segment_is_one_segment() -> None:
    plan = SegmentPlan(segment_length=100, context_length=10, fade_length=20)
    assert [segment.start for segment in segments_of(np.ones((1, 100), np.float32), plan, 100)] == [0]


def test_a_short_recording_is_padded_to_the_length_multiple_only() -> None:
    plan = SegmentPlan(segment_length=128, context_length=8, fade_length=8, length_multiple=16)
    (segment,) = segments_of(np.ones((2, 17), np.float32), plan, 5)
    assert segment.samples.shape == (2, 32)


def test_a_whole_recording_is_one_segment_whatever_its_length() -> None:
    plan = SegmentPlan(segment_length=None, context_length=0, fade_length=0, length_multiple=16)
    (segment,) = segments_of(np.ones((1, 1000), np.float32), plan, 7)
    assert segment.samples.shape == (1, 1008)


def test_an_empty_recording_has_no_segment() -> None:
    assert segments_of(np.ones((1, 0), np.float32), SegmentPlan(100, 0, 0), 10) == []


def test_the_plan_follows_the_card(make_card) -> None:
    f0 = {"name": "f0", "hop_length": 512}
    card = make_card(segment_length=316 * 512, context_length=16 * 512, length_multiple=512, extra_outputs=(f0,))
    plan = SegmentPlan.from_card(card)
    assert plan.segment_length == card.segment_length
    assert plan.step % 512 == 0
    assert 0.05 * 16_000 <= plan.fade_length < 0.05 * 16_000 + 512


def test_a_card_without_context_still_fades(make_card) -> None:
    plan = SegmentPlan.from_card(make_card(segment_length=64_000, context_length=0))
    assert plan.fade_length == 800
    assert plan.step == 63_200


@pytest.mark.parametrize(
    "fields",
    [
        {"segment_length": 4096, "context_length": 1900, "length_multiple": 512},
        {"segment_length": 4096, "context_length": 0, "length_multiple": 256},
    ],
)
def test_a_card_whose_frames_do_not_fit_its_segments_is_refused(make_card, fields) -> None:
    card = make_card(**fields, extra_outputs=({"name": "f0", "hop_length": 512},))
    with pytest.raises(ModelError) as raised:
        SegmentPlan.from_card(card)
    assert raised.value.code == "wrong-segment"


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
