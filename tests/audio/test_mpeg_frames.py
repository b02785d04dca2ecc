import io
from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.audio.frames import MpegStream, find_mpeg_stream, parse_frame_header, read_mpeg_stream

MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]


def read(path: Path) -> MpegStream:
    with path.open("rb") as file:
        stream = read_mpeg_stream(file)
    assert stream is not None
    return stream


# ISO 11172-3 and 13818-3: header word, then what it means.
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("fffb9000", (44_100, 2, 3, 417, 1152)),  # MPEG 1 layer III, 128 kbit/s
        ("fffb92c0", (44_100, 1, 3, 418, 1152)),  # the same, padded, mono
        ("fff384c0", (24_000, 1, 3, 192, 576)),  # MPEG 2 layer III, 64 kbit/s
        ("fffda400", (48_000, 2, 2, 576, 1152)),  # MPEG 1 layer II, 192 kbit/s
        ("ffff9000", (44_100, 2, 1, 312, 384)),  # MPEG 1 layer I, 288 kbit/s
    ],
)
def test_frame_headers_are_read_as_the_standard_says(word: str, expected: tuple[int, ...]) -> None:
    header = parse_frame_header(bytes.fromhex(word))
    assert header is not None
    assert (header.sample_rate, header.num_channels, header.layer, header.length, header.samples) == expected


@pytest.mark.parametrize("word", ["fffbf000", "fffb0000", "fffb9c00", "ffeb9000", "fff19000", "7ffb9000", "fffb"])
def test_what_is_no_frame_header_is_told(word: str) -> None:
    assert parse_frame_header(bytes.fromhex(word)) is None


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_the_tag_promises_as_many_frames_as_there_are(make_file: MakeFile, sample_rate: int, num_channels: int) -> None:
    path = make_file("MP3", sample_rate=sample_rate, num_channels=num_channels)
    stream = read(path)
    assert stream.promised_frames == stream.num_frames
    assert stream.start == 0 < stream.audio_start
    assert stream.end == path.stat().st_size
    assert stream.num_frames * stream.header.samples >= 20_000


def test_a_torn_frame_is_not_counted(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("MP3")
    whole = read(path)
    torn = read(write_bytes(path.read_bytes()[:-1]))
    assert torn.num_frames == whole.num_frames - 1
    assert torn.promised_frames == whole.promised_frames


def test_tags_behind_the_last_frame_are_left_out(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("MP3")
    for tag in (b"TAG" + bytes(125), b"APETAGEX" + b"\xff" * 500, bytes(5_000)):
        stream = read(write_bytes(path.read_bytes() + tag))
        assert stream.end == path.stat().st_size
        assert stream.num_frames == stream.promised_frames


def test_bytes_between_frames_are_stepped_over(make_file: MakeFile, write_bytes: WriteBytes) -> None:
    path = make_file("MP3")
    whole = read(path)
    content = path.read_bytes()
    first = parse_frame_header(content[whole.audio_start : whole.audio_start + 4])
    assert first is not None
    cut = whole.audio_start + first.length
    stream = read(write_bytes(content[:cut] + b"\xff" * 300 + content[cut:]))
    assert stream.num_frames == whole.num_frames


@pytest.mark.parametrize(
    "head",
    [b"", b"\xff", b"\xff\xfe" + "Sehr geehrte Damen".encode("utf-16-le") * 50, b"\xff" * 5_000, bytes(5_000)],
    ids=["nothing", "one byte", "UTF-16 text", "ones", "zeros"],
)
def test_what_is_no_mpeg_audio_is_not_taken_for_it(head: bytes) -> None:
    assert find_mpeg_stream(io.BytesIO(head)) is None
