import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from divisi.audio.decode import open_decoder
from divisi.audio.encode import check_encoding, open_encoder
from divisi.contract.errors import InputError
from divisi.contract.files import StemFormat

LOSSLESS = [stem_format for stem_format in StemFormat if stem_format.is_lossless]
# Half a step of each format; float is exact.
ROUNDING = {
    StemFormat.WAV: 2.0**-24,
    StemFormat.WAV16: 2.0**-16,
    StemFormat.WAV24: 2.0**-24,
    StemFormat.WAV32F: 0.0,
    StemFormat.FLAC: 2.0**-24,
}
SHAPES = [(16_000, 1, 1), (16_000, 1, 1_600), (44_100, 2, 44_101), (48_000, 6, 4_800), (22_050, 2, 3), (8_000, 1, 800)]


def encode(path: Path, stem_format: StemFormat, samples: np.ndarray, sample_rate: int, block_length: int) -> int:
    with open_encoder(path, stem_format, sample_rate, len(samples)) as encoder:
        for start in range(0, samples.shape[1], block_length):
            encoder.write(samples[:, start : start + block_length])
    assert encoder.num_samples == samples.shape[1]
    return encoder.clipped_samples


def decode(path: Path) -> np.ndarray:
    with open_decoder(path) as decoder:
        return np.concatenate(list(decoder.blocks(10_000)), axis=1)


@pytest.mark.parametrize("stem_format", StemFormat)
def test_a_stem_may_lie_in_a_folder_whose_name_is_no_utf8(tmp_path: Path, stem_format: StemFormat) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    encode(folder / "stem", stem_format, np.zeros((1, 8_000), np.float32), 8_000, 1_000)
    assert decode(folder / "stem").shape == (1, 8_000)


@pytest.mark.parametrize(
    ("stem_format", "sample_rate", "num_channels", "num_samples"),
    [(stem_format, *shape) for stem_format in StemFormat for shape in SHAPES if stem_format != "mp3" or shape[1] <= 2],
)
def test_a_stem_has_the_rate_channels_and_sample_count_it_was_given(
    tmp_path: Path,
    samples_of: Callable[..., np.ndarray],
    stem_format: StemFormat,
    sample_rate: int,
    num_channels: int,
    num_samples: int,
) -> None:
    samples = samples_of(num_channels, num_samples)
    encode(tmp_path / "stem", stem_format, samples, sample_rate, 1_000)
    with open_decoder(tmp_path / "stem") as decoder:
        assert (decoder.facts.sample_rate, decoder.facts.num_channels) == (sample_rate, num_channels)
        decoded = np.concatenate(list(decoder.blocks(10_000)), axis=1)
    assert decoded.shape == samples.shape
    if stem_format in LOSSLESS:
        np.testing.assert_allclose(decoded, samples, atol=ROUNDING[stem_format], rtol=0)


@pytest.mark.parametrize("stem_format", [StemFormat.OGG, StemFormat.MP3])
def test_a_lossy_stem_sounds_like_what_was_written(
    tmp_path: Path, samples_of: Callable[..., np.ndarray], stem_format: StemFormat
) -> None:
    samples = 0.5 * samples_of(2, 44_100)
    encode(tmp_path / "stem", stem_format, samples, 44_100, 5_000)
    error = decode(tmp_path / "stem") - samples
    ratio_db = 10 * np.log10(np.mean(samples**2) / np.mean(error**2))
    assert ratio_db > 8  # the noise in the signal is what lossy formats save on; a shift or a swap would give 0 or less


@pytest.mark.parametrize("num_channels", [3, 5, 6, 7, 8])
def test_surround_channels_come_back_in_their_places(tmp_path: Path, num_channels: int) -> None:
    time = np.arange(24_000) / 48_000
    # The low-frequency channel of Vorbis keeps only lows, so all pitches are low.
    pitches = 20 * (2 + np.arange(num_channels))
    samples = (0.3 * np.sin(2 * np.pi * pitches[:, None] * time)).astype(np.float32)
    encode(tmp_path / "stem", StemFormat.OGG, samples, 48_000, 4_096)
    spectrum = np.abs(np.fft.rfft(decode(tmp_path / "stem")[:, :24_000], axis=1))
    assert (2 * np.argmax(spectrum, axis=1)).tolist() == pitches.tolist()


@pytest.mark.parametrize("stem_format", StemFormat)
@settings(max_examples=10)
@given(block_length=st.integers(50, 9_000))
def test_the_bytes_are_the_same_whatever_the_blocks(
    tmp_path: Path, samples_of: Callable[..., np.ndarray], stem_format: StemFormat, block_length: int
) -> None:
    samples = samples_of(2, 9_000)
    encode(tmp_path / "one", stem_format, samples, 44_100, 9_000)
    encode(tmp_path / "two", stem_format, samples, 44_100, block_length)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("stem_format", StemFormat)
def test_samples_beyond_full_scale_are_kept_by_float_and_counted_by_fixed_point(
    tmp_path: Path, stem_format: StemFormat
) -> None:
    samples = np.full((2, 1_000), 0.25, np.float32)
    samples[0, 10:20] = 1.5
    num_clipped = encode(tmp_path / "stem", stem_format, samples, 44_100, 300)
    if stem_format is StemFormat.WAV32F:
        np.testing.assert_array_equal(decode(tmp_path / "stem"), samples)
    assert num_clipped == (
        10 if stem_format in (StemFormat.WAV, StemFormat.WAV16, StemFormat.WAV24, StemFormat.FLAC) else 0
    )


@pytest.mark.parametrize(
    ("stem_format", "sample_rate", "num_channels"),
    [
        (StemFormat.MP3, 44_100, 6),
        (StemFormat.MP3, 96_000, 2),
        (StemFormat.MP3, 47_999, 2),
        (StemFormat.FLAC, 44_100, 9),
        (StemFormat.FLAC, 96_001, 2),
        (StemFormat.OGG, 384_000, 2),
        (StemFormat.OGG, 44_100, 256),
        (StemFormat.WAV24, 44_100, 1_025),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_the_job(
    tmp_path: Path, stem_format: StemFormat, sample_rate: int, num_channels: int
) -> None:
    with pytest.raises(InputError) as caught:
        check_encoding(stem_format, sample_rate, num_channels)
    assert caught.value.code == "unsupported-stem-format"
    with pytest.raises(InputError):
        open_encoder(tmp_path / "stem", stem_format, sample_rate, num_channels)
    assert not (tmp_path / "stem").exists()


@pytest.mark.parametrize("sample_rate", [1_000, 8_000, 11_025, 22_050, 47_999, 65_535, 96_000, 192_000, 384_000])
@pytest.mark.parametrize("stem_format", StemFormat)
def test_what_is_not_refused_can_be_written_and_read(
    tmp_path: Path, samples_of: Callable[..., np.ndarray], stem_format: StemFormat, sample_rate: int
) -> None:
    try:
        check_encoding(stem_format, sample_rate, 2)
    except InputError:
        return
    encode(tmp_path / "stem", stem_format, samples_of(2, 5_000), sample_rate, 700)
    with soundfile.SoundFile(tmp_path / "stem") as file:
        assert (file.samplerate, file.frames) == (sample_rate, 5_000)


def test_every_format_has_an_extension_and_a_media_type() -> None:
    assert {stem_format: stem_format.extension for stem_format in StemFormat} == {
        "wav": ".wav",
        "wav16": ".wav",
        "wav24": ".wav",
        "wav32f": ".wav",
        "flac": ".flac",
        "ogg": ".ogg",
        "mp3": ".mp3",
    }
    assert all(stem_format.media_type.startswith("audio/") for stem_format in StemFormat)


def test_blocks_of_another_shape_are_refused(tmp_path: Path) -> None:
    with open_encoder(tmp_path / "stem", StemFormat.WAV24, 44_100, 2) as encoder:
        with pytest.raises(ValueError, match="3 channels, expected 2"):
            encoder.write(np.zeros((3, 10), np.float32))
        with pytest.raises(ValueError, match="float32"):
            encoder.write(np.zeros((2, 10)))  # type: ignore[arg-type]
