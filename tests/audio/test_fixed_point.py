import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from divisi.audio.recording import to_fixed_point


@pytest.mark.parametrize("bits", [16, 24])
@given(samples=arrays(np.float32, (2, 50), elements=st.floats(-1, 1, width=32)))
def test_rounding_moves_a_sample_by_half_a_step_at_most(bits: int, samples: np.ndarray) -> None:
    words, num_clipped = to_fixed_point(samples, bits)
    step = 2.0 ** (1 - bits)
    errors = np.abs(words * step - samples.astype(np.float64))
    assert errors[samples < 1 - step].max(initial=0) <= step / 2
    assert errors.max() <= step  # +1 has no word of its own
    assert num_clipped == 0


@pytest.mark.parametrize("bits", [16, 24])
def test_every_word_survives_the_way_through_float(bits: int) -> None:
    half = 1 << (bits - 1)
    words = np.unique(np.linspace(-half, half - 1, 100_001).astype(np.int32))[None]
    again, _ = to_fixed_point((words / half).astype(np.float32), bits)
    np.testing.assert_array_equal(again, words)


@pytest.mark.parametrize("bits", [16, 24])
def test_what_lies_beyond_full_scale_is_clipped_and_counted(bits: int) -> None:
    half = 1 << (bits - 1)
    words, num_clipped = to_fixed_point(np.array([[-1e30, -1.5, -1, 1, 1.5, 1e30]], np.float32), bits)
    assert words.tolist() == [[-half, -half, -half, half - 1, half - 1, half - 1]]
    assert num_clipped == 4
