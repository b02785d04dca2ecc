from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.encode import WavCoding, WavWriter


def write(path: Path, coding: WavCoding, samples: np.ndarray, **options: int) -> bytes:
    with closing(WavWriter(coding, path, 44_100, len(samples), **options)) as writer:
        writer.write(samples[:, :7])
        writer.write(samples[:, 7:])
    return path.read_bytes()


@pytest.mark.parametrize(("coding", "subtype"), [("PCM_16", "PCM_16"), ("PCM_24", "PCM_24"), ("FLOAT", "FLOAT")])
@pytest.mark.parametrize(("num_channels", "num_samples"), [(1, 1), (1, 1_001), (2, 1_000), (6, 33)])
def test_another_reader_finds_the_same_samples(
    tmp_path: Path,
    samples_of: Callable[..., np.ndarray],
    coding: str,
    subtype: str,
    num_channels: int,
    num_samples: int,
) -> None:
    samples = samples_of(num_channels, num_samples)
    content = write(tmp_path / "stem", WavCoding[coding], samples)
    with soundfile.SoundFile(tmp_path / "stem") as file:
        assert (file.format, file.subtype, file.samplerate) == ("WAV", subtype, 44_100)
        decoded = file.read(dtype="float64", always_2d=True).T
    step = 0 if coding == "FLOAT" else 2.0 ** (1 - WavCoding[coding].value[1])
    np.testing.assert_allclose(decoded, samples, atol=step / 2, rtol=0)
    assert int.from_bytes(content[4:8], "little") + 8 == len(content)
    assert len(content) % 2 == 0


@pytest.mark.parametrize("coding", WavCoding)
def test_a_file_beyond_the_largest_riff_becomes_an_rf64_with_the_same_samples(
    tmp_path: Path, samples_of: Callable[..., np.ndarray], coding: WavCoding
) -> None:
    samples = samples_of(2, 999)
    small = write(tmp_path / "small", coding, samples)
    large = write(tmp_path / "large", coding, samples, largest_riff=1_000)
    assert (small[:4], large[:4]) == (b"RIFF", b"RF64")
    assert len(small) == len(large)
    with soundfile.SoundFile(tmp_path / "large") as file:
        assert (file.format, file.frames) == ("RF64", 999)
        decoded = file.read(dtype="float32")
    np.testing.assert_array_equal(decoded, soundfile.read(tmp_path / "small", dtype="float32")[0])


def test_the_last_size_that_fits_is_still_a_riff(tmp_path: Path, samples_of: Callable[..., np.ndarray]) -> None:
    length = len(write(tmp_path / "stem", WavCoding.PCM_16, samples_of(2, 999)))
    assert write(tmp_path / "stem", WavCoding.PCM_16, samples_of(2, 999), largest_riff=length)[:4] == b"RIFF"
    assert write(tmp_path / "stem", WavCoding.PCM_16, samples_of(2, 999), largest_riff=length - 1)[:4] == b"RF64"
