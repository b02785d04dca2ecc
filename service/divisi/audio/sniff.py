"""Which container a file is, by its first bytes alone: names and media types from outside are not believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from divisi.audio.mpeg_frames import find_first_frame
from divisi.errors import InputError

_HEAD_LENGTH = 64 * 1024

# Things people take for recordings; the answer names them instead of saying "not audio".
_FOREIGN = {
    b"MThd": "a MIDI file, which holds notes and no sound",
    b"\x30\x26\xb2\x75": "a Windows Media file",
    b".snd": "an AU file",
    b"riff": "a Wave64 file",
    b"wvpk": "a WavPack file",
    b"MAC ": "a Monkey's Audio file",
    b"#!AM": "an AMR file",
}


@dataclass(frozen=True)
class Sniffed:
    """Attributes: `container`, as in AudioFacts; `start`: byte at which it begins, behind ID3 tags that were put in
    front.
    """

    container: str
    start: int


def sniff(path: Path) -> Sniffed:
    """Names the container.

    Raises:
        InputError: `empty-audio` (no bytes), `not-audio`, `unsupported-format` (audio of a kind that nothing here
            reads).
    """
    with path.open("rb") as file:
        start = _skip_id3_tags(file)
        file.seek(start)
        head = file.read(_HEAD_LENGTH)
    if not head:
        if start:
            raise InputError("the file holds a tag and no audio", code="empty-audio")
        raise InputError("the file is empty", code="empty-audio")
    container = _container_of(head)
    if container is None:
        raise InputError("the file is not a recording: its content is of no known audio format", code="not-audio")
    return Sniffed(container, start)


def _container_of(head: bytes) -> str | None:
    magic = head[:4]
    if magic in (b"RIFF", b"RIFX") and head[8:12] == b"WAVE":
        return "wav"
    if magic in (b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return "rf64"
    if magic == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    by_magic = {b"fLaC": "flac", b"OggS": "ogg", b"caff": "caf", b"\x1a\x45\xdf\xa3": "webm"}
    if magic in by_magic:
        return by_magic[magic]
    if head[4:8] == b"ftyp":
        return "m4a"
    if magic in _FOREIGN:
        raise InputError(f"the file is {_FOREIGN[magic]}; it cannot be read", code="unsupported-format")
    if _is_adts(head):
        return "aac"
    return "mp3" if find_first_frame(head) is not None else None


def _skip_id3_tags(file: BinaryIO) -> int:
    """Where the audio begins: behind any ID3v2 tags (their length is four bytes of seven bits, header and footer not
    counted).
    """
    start = 0
    while True:
        file.seek(start)
        header = file.read(10)
        if len(header) < 10 or header[:3] != b"ID3" or max(header[6:10]) > 0x7F:
            return start
        length = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
        has_footer = bool(header[5] & 0x10)
        start += 10 + length + (10 if has_footer else 0)


def _is_adts(head: bytes) -> bool:
    """Two AAC frame headers in a row (ISO 13818-7): sync 0xFFF, layer 0, frame length in 13 bits."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return False
    length = (head[3] & 0x03) << 11 | head[4] << 3 | head[5] >> 5
    following = head[length : length + 2]
    return length >= 7 and (following == head[:2] or len(head) == length)
