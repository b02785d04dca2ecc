"""Tags that programs put in front of a recording and behind it: ID3, APE, Lyrics3. They are no sound, and decoders take
them for damage.
"""

from __future__ import annotations

import io
import re

from divisi.audio.spliced_file import Seekable

# Lyrics3 version 1 has no length; it holds at most this many bytes (with its marks).
_LONGEST_LYRICS = 5_100 + 20
_APE_TAG_HAS_HEADER = 1 << 31
_PADDING = 16
_STRETCH = 1 << 16


def end_of_front_tags(file: Seekable) -> int:
    """Where the sound begins: behind all ID3v2 and APEv2 tags, and behind zeros that pad them."""
    start = 0
    file_bytes = file.seek(0, io.SEEK_END)
    while start < file_bytes:
        file.seek(start)
        header = file.read(32)
        length = _id3_length(header, b"ID3") or _ape_length(header)
        if not length and header[:_PADDING] == bytes(_PADDING):
            length = _count_zeros(file, start)
        if not length:
            break
        start += length
    return min(start, file_bytes)


def start_of_tags_behind(file: Seekable, start: int) -> int:
    """Where the sound that begins at byte `start` ends: in front of all tags at the end of the file."""
    end = file.seek(0, io.SEEK_END)
    while length := _length_of_last_tag(_at(file, max(start, end - _LONGEST_LYRICS), end)):
        if end - length < start:
            break
        end -= length
    return end


def _length_of_last_tag(tail: bytes) -> int:
    """Bytes that the tag at the end of these takes; 0: there is none."""
    if tail[-128:-125] == b"TAG":
        return 128 + 227 if tail[-355:-351] == b"TAG+" else 128
    if tail[-9:] == b"LYRICS200" and re.fullmatch(rb"\d{6}", tail[-15:-9]):
        return int(tail[-15:-9]) + 15
    if tail[-9:] == b"LYRICSEND":
        begin = tail.rfind(b"LYRICSBEGIN")
        return len(tail) - begin if begin >= 0 else 0
    return _ape_length(tail[-32:]) or _id3_length(tail[-10:], b"3DI")


def _id3_length(header: bytes, mark: bytes) -> int:
    """Bytes of an ID3v2 tag with its header and footer (its length is four bytes of seven bits and counts neither)."""
    if len(header) < 10 or header[:3] != mark or max(header[6:10]) > 0x7F:
        return 0
    length = header[6] << 21 | header[7] << 14 | header[8] << 7 | header[9]
    has_footer = bool(header[5] & 0x10)
    return 10 + length + (10 if has_footer else 0)


def _ape_length(header: bytes) -> int:
    """Bytes of an APEv2 tag with its header and footer; its length counts the footer only."""
    if len(header) < 32 or header[:8] != b"APETAGEX":
        return 0
    length = int.from_bytes(header[12:16], "little")
    flags = int.from_bytes(header[20:24], "little")
    return length + (32 if flags & _APE_TAG_HAS_HEADER else 0)


def _count_zeros(file: Seekable, start: int) -> int:
    file.seek(start)
    count = 0
    while stretch := file.read(_STRETCH):
        rest = stretch.lstrip(b"\0")
        count += len(stretch) - len(rest)
        if rest:
            break
    return count


def _at(file: Seekable, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(stop - start)
