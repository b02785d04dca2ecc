import io

import pytest

from divisi.audio.av_source import check_is_whole
from divisi.audio.sniff import begins_with_box
from divisi.contract.errors import InputError


def box(name: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + name + body


FILE_TYPE = box(b"ftyp", b"M4A \0\0\0\0")
INDEX = box(b"moov", bytes(20))
LONG_BOX = (1).to_bytes(4, "big") + b"mdat" + (116).to_bytes(8, "big") + bytes(100)
EBML_HEADER = b"\x1a\x45\xdf\xa3\x84" + bytes(4)
SEGMENT = b"\x18\x53\x80\x67"


@pytest.mark.parametrize(
    ("container", "content"),
    [
        ("m4a", FILE_TYPE + INDEX + box(b"mdat", bytes(100))),
        ("m4a", FILE_TYPE + INDEX + LONG_BOX),
        ("m4a", FILE_TYPE + INDEX + (0).to_bytes(4, "big") + b"mdat" + bytes(77)),
        ("m4a", FILE_TYPE + INDEX + box(b"mdat", bytes(100)) + bytes(50)),
        ("webm", EBML_HEADER + SEGMENT + b"\xe4" + bytes(100)),
        ("webm", EBML_HEADER + SEGMENT + b"\x01\0\0\0\0\0\0\x64" + bytes(100)),
        ("webm", EBML_HEADER + SEGMENT + b"\x01" + b"\xff" * 7 + bytes(33)),
        ("webm", EBML_HEADER + SEGMENT + b"\xff" + bytes(33)),
        ("aac", b"anything"),
    ],
    ids=["box", "long box", "open box", "padding", "segment", "long length", "open", "open in one byte", "unboxed"],
)
def test_a_whole_file_passes(container: str, content: bytes) -> None:
    check_is_whole(io.BytesIO(content), container)


@pytest.mark.parametrize(
    ("container", "content"),
    [
        ("m4a", FILE_TYPE + box(b"mdat", bytes(100))[:-1]),
        ("m4a", FILE_TYPE + LONG_BOX[:-1]),
        ("webm", EBML_HEADER + SEGMENT + b"\xe4" + bytes(99)),
        ("webm", EBML_HEADER + SEGMENT + b"\x01\0\0\0\0\0\0\x64" + bytes(99)),
    ],
    ids=["box", "long box", "segment", "long length"],
)
def test_a_missing_byte_is_found(container: str, content: bytes) -> None:
    with pytest.raises(InputError, match=f"{len(content)} are there") as caught:
        check_is_whole(io.BytesIO(content), container)
    assert caught.value.code == "undecodable"


def test_junk_behind_index_and_sound_is_no_loss() -> None:
    check_is_whole(io.BytesIO(FILE_TYPE + INDEX + box(b"mdat", bytes(100)) + b"TAGASONG" + bytes(120)), "m4a")
    check_is_whole(io.BytesIO(FILE_TYPE + INDEX + box(b"mdat", bytes(100)) + box(b"free", bytes(100))[:-1]), "m4a")


def test_a_recording_without_an_index_is_unfinished() -> None:
    with pytest.raises(InputError, match="unfinished"):
        check_is_whole(io.BytesIO(FILE_TYPE + box(b"mdat", bytes(100))), "m4a")


@pytest.mark.parametrize("name", [b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"])
def test_any_outermost_box_may_come_first(name: bytes) -> None:
    assert begins_with_box(box(name, bytes(20)))
    assert not begins_with_box(b"\0\0\0\x05" + name)
