import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from divisi.audio.flac import count_samples

MakeFile = Callable[..., Path]


def count(content: bytes, start: int = 0) -> int | None:
    return count_samples(io.BytesIO(content), start, len(content))


@pytest.mark.parametrize("codec", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 47_999, 192_000])
@pytest.mark.parametrize("num_channels", [1, 2, 5])
def test_frames_say_how_many_samples_there_are(
    make_file: MakeFile, codec: str, sample_rate: int, num_channels: int
) -> None:
    path = make_file("FLAC", codec, sample_rate=sample_rate, num_channels=num_channels, num_samples=20_123)
    assert count(path.read_bytes()) == 20_123


def test_numbers_of_many_bytes_are_read(make_file: MakeFile) -> None:
    # 600 frames of 4,096: their numbers take up to two bytes.
    path = make_file("FLAC", samples=np.zeros((1, 600 * 4_096 + 17), "f4"))
    assert count(path.read_bytes()) == 600 * 4_096 + 17


@pytest.mark.parametrize("behind", [bytes(5_000), np.random.default_rng(5).bytes(200_000), b"\xff\xf8" * 999])
def test_what_stands_behind_the_sound_is_not_counted(make_file: MakeFile, behind: bytes) -> None:
    assert count(make_file("FLAC").read_bytes() + behind) == 20_000


def test_a_picture_in_front_that_holds_frames_is_not_counted(make_file: MakeFile) -> None:
    content = make_file("FLAC").read_bytes()
    other = make_file("FLAC", num_samples=90_000).read_bytes()
    picture = b"\x06" + len(other).to_bytes(3, "big") + other
    assert count(content[:42] + picture + content[42:]) == 20_000


def test_a_stream_that_begins_within_a_file_is_counted_by_itself(make_file: MakeFile) -> None:
    content = make_file("FLAC").read_bytes()
    assert count(bytes(77) + content, start=77) == 20_000


def test_a_header_without_frames_holds_no_number(make_file: MakeFile) -> None:
    assert count(make_file("FLAC").read_bytes()[:42]) is None
