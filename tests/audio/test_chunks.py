import io
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.audio.chunks import ChunkedSound, read_aiff, read_caf, read_riff
from divisi.contract.errors import InputError

MakeFile = Callable[..., Path]

READERS = {"WAV": read_riff, "RF64": read_riff, "AIFF": read_aiff, "CAF": read_caf}
EDIT_COUNT_BYTES = {"CAF": 4}


def read(container: str, content: bytes, start: int = 0) -> ChunkedSound:
    return READERS[container](io.BytesIO(content), start, len(content))


@pytest.mark.parametrize("container", READERS)
@pytest.mark.parametrize("start", [0, 77])
def test_the_rate_and_the_place_of_the_samples_are_found(make_file: MakeFile, container: str, start: int) -> None:
    content = make_file(container, "PCM_16", sample_rate=22_050).read_bytes()
    sound = read(container, bytes(start) + content, start)
    assert sound.sample_rate == 22_050
    [data] = sound.data
    assert len(data) == 20_000 * 4 + EDIT_COUNT_BYTES.get(container, 0)
    assert data.stop <= start + len(content)


@pytest.mark.parametrize("container", READERS)
@pytest.mark.parametrize("missing_bytes", [1, 100, 40_000])
def test_missing_bytes_are_found(make_file: MakeFile, container: str, missing_bytes: int) -> None:
    content = make_file(container, "PCM_16").read_bytes()
    content = content[: content.index(b"PEAK")] if b"PEAK" in content else content
    with pytest.raises(InputError, match="truncated") as caught:
        read(container, content[:-missing_bytes])
    assert caught.value.code == "undecodable"


MARKS = [
    0,
    0xFFFF_FFFF,
    0xFFFF_FFDB,
    0xFFFF_FF00,
    0x7FFF_FFFF,
    0x7FFF_FFDB,
    0x7FFF_F000,
    0x7F00_0008,
    0x8000_0000,
    0x8000_0024,
]


@pytest.mark.parametrize("size", MARKS)
@pytest.mark.parametrize("outer", [0, 36, 0x7FFF_F024, 0xFFFF_FFFF])
def test_a_size_that_no_such_file_can_mean_is_unknown(make_file: MakeFile, size: int, outer: int) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    place = whole.index(b"data") + 4
    content = whole[:4] + struct.pack("<I", outer) + whole[8:place] + struct.pack("<I", size) + whole[place + 4 :]
    assert read("WAV", content).data == read("WAV", whole).data


@pytest.mark.parametrize("size", [80_004, 1 << 24, 0x6FFF_FFFF, 0xB000_0000])
def test_any_other_size_beyond_the_end_is_a_loss(make_file: MakeFile, size: int) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    place = whole.index(b"data") + 4
    with pytest.raises(InputError, match=f"promises {size} bytes of audio, 80000 are there"):
        read("WAV", whole[:place] + struct.pack("<I", size) + whole[place + 4 :])


def test_a_promise_of_less_than_a_sample_more_is_no_loss(make_file: MakeFile) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    place = whole.index(b"data") + 4
    content = whole[:place] + struct.pack("<I", 80_003) + whole[place + 4 :]
    assert read("WAV", content).data == read("WAV", whole).data


def test_an_honest_size_of_zero_is_believed(make_file: MakeFile) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    place = whole.index(b"data") + 4
    content = bytearray(whole[:place] + bytes(4) + b"LIST" + struct.pack("<I", 4) + b"INFO")
    content[4:8] = struct.pack("<I", len(content) - 8)
    assert sum(map(len, read("WAV", bytes(content)).data)) == 0


@pytest.mark.parametrize("container", ["WAV", "AIFF", "CAF"])
def test_a_chunk_that_claims_all_the_world_ends_the_search(container: str) -> None:
    with pytest.raises(InputError, match="truncated: it ends before its format"):
        read(container, b"RIFF\0\0\0\0WAVE" + b"junk" + b"\xff" * 8 + bytes(100))


@pytest.mark.parametrize("length", [(1 << 64) - 20, (1 << 62) - 99, 1 << 53])
def test_a_chunk_beyond_what_files_can_hold_ends_the_search(tmp_path: Path, length: int) -> None:
    content = b"caff\0\1\0\0" + b"junk" + struct.pack(">Q", length) + bytes(100)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, pytest.raises(InputError, match="truncated"):
        read_caf(file, 0, len(content))


def test_what_is_not_there_is_named(make_file: MakeFile) -> None:
    whole = make_file("WAV", "PCM_16").read_bytes()
    with pytest.raises(InputError, match="damaged: it has no format"):
        read("WAV", whole.replace(b"fmt ", b"xxxx"))
    with pytest.raises(InputError, match="damaged: it has no samples"):
        read("WAV", whole.replace(b"data", b"xxxx"))
