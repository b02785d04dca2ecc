import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from divisi.audio.xiph import (
    FlacHeader,
    OggStream,
    count_samples,
    find_flac_streams,
    read_flac_header,
    read_ogg_links,
    read_opus_head,
    set_serial_number,
)
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


MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]


def links_of(path: Path) -> list[list[OggStream]]:
    with path.open("rb") as file:
        return read_ogg_links(file)


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_a_whole_file_is_one_stream_that_ends(make_file: MakeFile, codec: str) -> None:
    [[stream]] = links_of(make_file("OGG", codec, sample_rate=48_000))
    assert stream.is_ended
    assert stream.codec in (b"\x01vorbis\0", b"OpusHead")


@pytest.mark.parametrize("missing_bytes", [1, 30, 3_000])
def test_a_file_cut_anywhere_is_truncated(make_file: MakeFile, write_bytes: WriteBytes, missing_bytes: int) -> None:
    content = make_file("OGG", "VORBIS", num_samples=100_000).read_bytes()
    with pytest.raises(InputError, match="truncated: its last Ogg page"):
        links_of(write_bytes(content[:-missing_bytes]))


def test_bytes_behind_the_last_page_do_not_matter(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("OGG", "VORBIS").read_bytes()
    assert len(links_of(write_bytes(content + b"TAG" + bytes(125)))) == 1


def test_streams_put_one_after_the_other_are_links(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("OGG", "VORBIS").read_bytes()
    assert len(links_of(write_bytes(content * 3))) == 3
    assert len(links_of(write_bytes(content + b"TAG" + bytes(125) + content))) == 2


def test_a_changed_bit_is_found_by_the_pages_checksum(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = bytearray(make_file("OGG", "VORBIS").read_bytes())
    content[-20] ^= 1
    with pytest.raises(InputError, match="wrong checksum"):
        links_of(write_bytes(bytes(content)))


def test_a_new_serial_number_leaves_a_valid_file(make_file: MakeFile) -> None:
    path = make_file("OGG", "VORBIS", num_samples=100_000)
    before, _ = soundfile.read(path)
    set_serial_number(path, 0x01020304)
    content = path.read_bytes()
    pages = content.split(b"OggS")[1:]
    assert len(pages) > 3
    assert all(page[10:14] == b"\x04\x03\x02\x01" for page in pages)
    after, _ = soundfile.read(path)  # libogg drops pages whose checksum is wrong
    assert (after == before).all()


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


OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 16_000, -256, 0)


def test_the_decoder_is_shown_48_khz_and_nothing_to_leave_out() -> None:
    skip, shown = read_opus_head(OPUS_HEAD)
    assert skip == 312
    assert shown == b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 0, 48_000, -256, 0)


def test_a_short_head_is_left_as_it_is() -> None:
    assert read_opus_head(OPUS_HEAD[:12]) == (0, OPUS_HEAD[:12])
