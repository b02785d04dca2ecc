import numpy as np
import pytest

from divisi.audio.recording import Waveform


def test_a_waveform_knows_its_length() -> None:
    waveform = Waveform(np.zeros((2, 24_000), np.float32), 48_000)
    assert (waveform.num_channels, waveform.num_samples, waveform.duration_seconds) == (2, 24_000, 0.5)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 10)), np.zeros(10, np.float32), np.zeros((0, 10), np.float32), np.zeros((1, 2, 10), np.float32)],
    ids=["float64", "one axis", "no channel", "three axes"],
)
def test_a_waveform_of_another_shape_or_type_is_refused(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="samples must"):
        Waveform(samples, 44_100)


def test_a_waveform_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 Hz"):
        Waveform(np.zeros((1, 10), np.float32), 0)
