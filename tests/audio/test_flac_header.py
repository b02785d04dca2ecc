from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.audio.flac_header import read_flac_header
from divisi.errors import InputError


@pytest.mark.parametrize(("codec", "bits"), [("PCM_16", 16), ("PCM_24", 24)])
def test_the_header_says_what_was_written(make_file: Callable[..., Path], codec: str, bits: int) -> None:
    header = read_flac_header(make_file("FLAC", codec, sample_rate=96_000, num_samples=12_345), 0)
    assert (header.sample_rate, header.bits, header.num_samples) == (96_000, bits, 12_345)


def test_the_patch_takes_away_the_number_of_samples_only(
    make_file: Callable[..., Path], write_bytes: Callable[[bytes], Path]
) -> None:
    content = bytearray(make_file("FLAC", "PCM_24", sample_rate=192_000).read_bytes())
    for place, patch in read_flac_header(write_bytes(bytes(content)), 0).patches.items():
        content[place : place + len(patch)] = patch
    header = read_flac_header(write_bytes(bytes(content)), 0)
    assert (header.sample_rate, header.bits, header.num_samples) == (192_000, 24, None)


def test_a_file_that_ends_in_the_header_is_undecodable(write_bytes: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError) as caught:
        read_flac_header(write_bytes(b"fLaC" + bytes(18)), 0)
    assert caught.value.code == "undecodable"
