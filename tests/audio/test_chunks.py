from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.audio.chunks import read_chunked_header
from divisi.errors import InputError

MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "CAF"])
def test_the_rate_and_the_place_of_the_samples_are_found(make_file: MakeFile, container: str) -> None:
    path = make_file(container, "PCM_16", sample_rate=22_050)
    header = read_chunked_header(path, container.lower())
    assert header.sample_rate == 22_050
    assert header.data_start is not None
    assert header.data_bytes is not None
    # CAF counts its edit count and AIFF its offset and block size among the samples.
    assert header.data_bytes - 20_000 * 4 in (0, 4, 8)
    assert header.data_start + header.data_bytes <= path.stat().st_size
    assert header.patches == {}


@pytest.mark.parametrize("container", ["WAV", "RF64", "AIFF", "CAF"])
@pytest.mark.parametrize("missing_bytes", [1, 100, 40_000])
def test_missing_bytes_are_found(
    make_file: MakeFile, write_bytes: WriteBytes, container: str, missing_bytes: int
) -> None:
    cut = write_bytes(make_file(container, "PCM_16").read_bytes()[:-missing_bytes])
    with pytest.raises(InputError, match="truncated") as caught:
        read_chunked_header(cut, container.lower())
    assert caught.value.code == "undecodable"


def test_an_unfilled_size_is_filled_in(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    place = whole.index(b"data") + 4
    for size in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        for outer in (b"\0\0\0\0", b"\xff\xff\xff\xff", (36).to_bytes(4, "little")):
            path = write_bytes(whole[:4] + outer + whole[8:place] + size + whole[place + 4 :])
            assert read_chunked_header(path, "wav").patches == {place: (80_000).to_bytes(4, "little")}


def test_an_honest_size_of_zero_is_left_alone(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    place = whole.index(b"data") + 4
    content = bytearray(whole[:place] + bytes(4) + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    content[4:8] = (len(content) - 8).to_bytes(4, "little")
    header = read_chunked_header(write_bytes(bytes(content)), "wav")
    assert header.data_bytes == 0
    assert header.patches == {}


@pytest.mark.parametrize("container", ["wav", "aiff", "caf"])
def test_a_chunk_that_claims_all_the_world_ends_the_search(write_bytes: WriteBytes, container: str) -> None:
    path = write_bytes(b"RIFF\0\0\0\0WAVE" + b"junk" + b"\xff" * 8 + bytes(100))
    assert read_chunked_header(path, container).data_start is None
