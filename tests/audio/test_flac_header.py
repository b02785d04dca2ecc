import io
from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.audio.flac import FlacHeader, find_flac_streams, read_flac_header
from divisi.contract.errors import InputError


def read(content: bytes) -> FlacHeader:
    return read_flac_header(io.BytesIO(content), 0)


@pytest.mark.parametrize(("codec", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_the_header_says_what_was_written(make_file: Callable[..., Path], codec: str, bits: int) -> None:
    header = read(make_file("FLAC", codec, sample_rate=96_000, num_samples=12_345).read_bytes())
    assert (header.sample_rate, header.bits, header.num_samples) == (96_000, bits, 12_345)


def test_the_shown_fields_lack_the_number_of_samples_only(make_file: Callable[..., Path]) -> None:
    content = bytearray(make_file("FLAC", "PCM_24", sample_rate=192_000).read_bytes())
    header = read(bytes(content))
    content[header.fields_at : header.fields_at + 8] = header.fields
    header = read(bytes(content))
    assert (header.sample_rate, header.bits, header.num_samples) == (192_000, 24, None)


def test_a_file_that_ends_in_the_header_is_undecodable() -> None:
    with pytest.raises(InputError) as caught:
        read(b"fLaC" + bytes(18))
    assert caught.value.code == "undecodable"


@pytest.mark.parametrize("gap", [0, 1, (1 << 20) - 5])
def test_each_stream_of_a_file_is_found(make_file: Callable[..., Path], gap: int) -> None:
    content = make_file("FLAC").read_bytes()
    second = len(content) + gap
    assert find_flac_streams(io.BytesIO(content + bytes(gap) + content)) == [0, second]
