from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from divisi.audio.ogg import OggStream, read_ogg_links, set_serial_number
from divisi.contract.errors import InputError

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
