from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from divisi.audio.ogg_pages import read_ogg_structure, set_serial_number

MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]


@pytest.mark.parametrize("codec", ["VORBIS", "OPUS"])
def test_a_whole_file_is_one_untorn_stream(make_file: MakeFile, codec: str) -> None:
    structure = read_ogg_structure(make_file("OGG", codec, sample_rate=48_000))
    assert (structure.num_links, structure.is_torn) == (1, False)


@pytest.mark.parametrize("missing_bytes", [1, 30, 3_000])
def test_a_file_cut_anywhere_is_torn(make_file: MakeFile, write_bytes: WriteBytes, missing_bytes: int) -> None:
    content = make_file("OGG", "VORBIS", num_samples=100_000).read_bytes()
    assert read_ogg_structure(write_bytes(content[:-missing_bytes])).is_torn


def test_bytes_behind_the_last_page_do_not_matter(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("OGG", "VORBIS").read_bytes()
    assert not read_ogg_structure(write_bytes(content + b"TAG" + bytes(125))).is_torn


def test_streams_put_one_after_the_other_are_counted(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    content = make_file("OGG", "VORBIS").read_bytes()
    assert read_ogg_structure(write_bytes(content * 3)).num_links == 3


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
