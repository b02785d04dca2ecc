from collections.abc import Callable
from pathlib import Path

import pytest

from divisi.audio.sniff import Sniffed, sniff
from divisi.contract.errors import InputError

MakeFile = Callable[..., Path]
WriteBytes = Callable[[bytes], Path]

ID3_TAG = b"ID3\x04\x00\x00\x00\x00\x02\x01" + b"x" * 257


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [
        ("WAV", "PCM_16", "wav"),
        ("WAVEX", "PCM_16", "wav"),
        ("RF64", "PCM_16", "rf64"),
        ("FLAC", "PCM_16", "flac"),
        ("OGG", "VORBIS", "ogg"),
        ("OGG", "OPUS", "ogg"),
        ("MP3", "MPEG_LAYER_III", "mp3"),
        ("AIFF", "PCM_16", "aiff"),
        ("CAF", "PCM_16", "caf"),
    ],
)
def test_the_container_is_known_by_its_bytes(make_file: MakeFile, container: str, codec: str, name: str) -> None:
    path = make_file(container, codec, sample_rate=48_000)
    assert sniff(path) == Sniffed(name, range(path.stat().st_size))


@pytest.mark.parametrize(("container", "name"), [("MP3", "mp3"), ("FLAC", "flac")])
@pytest.mark.parametrize("num_tags", [1, 2])
def test_tags_in_front_are_skipped(
    make_file: MakeFile, write_bytes: WriteBytes, container: str, name: str, num_tags: int
) -> None:
    path = write_bytes(ID3_TAG * num_tags + make_file(container).read_bytes())
    assert sniff(path) == Sniffed(name, range(num_tags * len(ID3_TAG), path.stat().st_size))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-audio"),
        (ID3_TAG, "empty-audio"),
        (b"RIFF", "not-audio"),
        (b"RIFF\x10\0\0\0AVI " + bytes(100), "unsupported-format"),
        (b"Dear choir, here is the recording." * 100, "not-audio"),
        ("Dear choir".encode("utf-16") * 100, "not-audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1_000), "not-audio"),
        (b"%PDF-1.7\n" + bytes(1_000), "not-audio"),
        (b"PK\x03\x04" + bytes(1_000), "not-audio"),
        (b"\0", "not-audio"),
        (b"V", "not-audio"),
        (b"V\xe0" + bytes(100), "unsupported-format"),
        (b"\xff\xf1", "not-audio"),
        (b"MThd\0\0\0\x06" + bytes(100), "unsupported-format"),
        (b"#!AMR\n" + bytes(100), "unsupported-format"),
    ],
)
def test_what_is_no_recording_is_told(write_bytes: WriteBytes, content: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        sniff(write_bytes(content))
    assert caught.value.code == code
