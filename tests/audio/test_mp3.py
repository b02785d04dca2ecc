"""MP3 for listening: as long as it was, sample by sample in its place, of a constant rate; by either library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from divisi.audio import mp3
from divisi.audio.decode import open_decoder
from divisi.audio.frames import read_mpeg_stream
from divisi.audio.mp3 import MP3_RATES, QUICK, Mp3Writer

NUM_SAMPLES = 40_001
# Of a sum of tones coded at 160 kbit/s; by ear there is no difference below.
SMALLEST_SNR_DB = 20.0


@pytest.fixture(params=["lameenc", "libsndfile"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "lameenc":
        pytest.importorskip("lameenc")
    else:
        monkeypatch.setattr(mp3, "lameenc", None)


def _tones(num_channels: int, sample_rate: int, num_samples: int = NUM_SAMPLES) -> np.ndarray:
    """Two gliding tones a channel, float32 (C, T)."""
    seconds = np.arange(num_samples) / sample_rate
    channels = [
        0.3 * np.sin(2 * np.pi * (hz * seconds + 90 * seconds**2)) + 0.2 * np.sin(2 * np.pi * 3.1 * hz * seconds)
        for hz in (220, 330)[:num_channels]
    ]
    return np.stack(channels).astype(np.float32)


def _decoded(path: Path) -> np.ndarray:
    with open_decoder(path) as decoder:
        return np.concatenate(list(decoder.blocks(65_536)), axis=1)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("sample_rate", MP3_RATES)
@pytest.mark.parametrize("num_channels", [1, 2])
def test_what_is_decoded_has_the_length_and_place_of_what_was_written(
    tmp_path: Path, sample_rate: int, num_channels: int
) -> None:
    samples = _tones(num_channels, sample_rate)
    with Mp3Writer(tmp_path / "a.mp3", sample_rate, num_channels, 160) as writer:
        for block in np.array_split(samples, 7, axis=1):
            writer.write(block)
    decoded = _decoded(tmp_path / "a.mp3")
    assert decoded.shape == samples.shape
    error = decoded - samples
    assert 10 * np.log10(np.square(samples).sum() / np.square(error).sum()) > SMALLEST_SNR_DB


@pytest.mark.usefixtures("library")
def test_a_byte_of_the_file_is_a_time(tmp_path: Path) -> None:
    with Mp3Writer(tmp_path / "a.mp3", 32_000, 2, 96, QUICK) as writer:
        writer.write(_tones(2, 32_000, 320_000))
    with (tmp_path / "a.mp3").open("rb") as file:
        stream = read_mpeg_stream(file)
    assert stream is not None
    frame_bytes = 144 * 96_000 // 32_000
    assert stream.promised_frames == stream.num_frames
    assert stream.audio_start == frame_bytes
    assert stream.end - stream.start == (stream.num_frames + 1) * frame_bytes == (tmp_path / "a.mp3").stat().st_size


@pytest.mark.usefixtures("library")
def test_the_same_samples_give_the_same_bytes_in_blocks_of_any_length(tmp_path: Path) -> None:
    samples = _tones(2, 44_100)
    for name, num_blocks in (("whole", 1), ("blocks", 13)):
        with Mp3Writer(tmp_path / name, 44_100, 2, 128) as writer:
            for block in np.array_split(samples, num_blocks, axis=1):
                writer.write(block)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "blocks").read_bytes()


@pytest.mark.usefixtures("library")
def test_nothing_is_a_file_of_nothing(tmp_path: Path) -> None:
    Mp3Writer(tmp_path / "a.mp3", 44_100, 2, 128).close()
    assert (tmp_path / "a.mp3").is_file()


@pytest.mark.parametrize("wrong", [(22_050, 2, 128), (44_100, 3, 128), (44_100, 2, 100)])
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no MP3 of"):
        Mp3Writer(tmp_path / "a.mp3", *wrong)
    assert not (tmp_path / "a.mp3").exists()
