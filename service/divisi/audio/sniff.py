"""Which container a file is, by its bytes alone, and where its sound lies: names and media types from outside are not
believed, and tags that programs put in front and behind (ID3, APE, Lyrics3) would be taken for damage by decoders.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from divisi.audio.frames import find_mpeg_stream, read_adts_stream
from divisi.audio.source import Seekable, bytes_at, find_all, open_spliced
from divisi.contract.errors import InputError

_HEAD_LENGTH = 400

_BY_MAGIC = {b"fLaC": "flac", b"OggS": "ogg", b"caff": "caf", b"\x1a\x45\xdf\xa3": "webm"}
# Containers that say themselves where their sound ends; the others are read until tags begin.
_SAYS_ITS_LENGTH = frozenset({"wav", "rf64", "aiff", "caf", "m4a", "webm"})

# Things people take for recordings; the answer names them instead of saying "not audio".
_FOREIGN = {
    b"MThd": "a MIDI file, which holds notes and no sound",
    b"\x30\x26\xb2\x75": "a Windows Media file",
    b".snd": "an AU file",
    b"riff": "a Wave64 file",
    b"wvpk": "a WavPack file",
    b"MAC ": "a Monkey's Audio file",
    b"MPCK": "a Musepack file",
    b"TTA1": "a True Audio file",
    b"DSD ": "a DSD file",
    b"FRM8": "a DSD file",
    b"Crea": "a Creative Voice file",
    b"NIST": "a NIST SPHERE file",
    b".RMF": "a RealMedia file",
    b"FLV\x01": "a Flash video",
    b"#!AM": "an AMR file",
    b"\0\0\x01\xba": "an MPEG program stream",
    b"\x7f\xfe\x80\x01": "a DTS file",
    b"\x06\x0e\x2b\x34": "an MXF file",
    b".SoX": "a file in SoX's own format",
}
# Packets of MPEG transport streams begin with this byte; cameras put four bytes of time in front of each.
_TRANSPORT_SYNC = b"G"
_TRANSPORT_PACKETS = ((0, 188), (4, 192))

# Outermost boxes of MP4 and QuickTime. Old QuickTime has no `ftyp`. Sound lies in `mdat`; `moov` and `moof` say where.
BOXES = frozenset(
    b"ftyp styp moov moof mdat free skip wide pnot udta uuid sidx ssix prft emsg mfra meta PICT pdin bloc".split()
)


@dataclass(frozen=True)
class Sniffed:
    """Attributes: `container`, as in AudioFacts; `sound`: the bytes between tags in front and behind."""

    container: str
    sound: range


def sniff(path: Path) -> Sniffed:
    """Names the container.

    Raises:
        InputError: `empty-audio` (no bytes), `not-audio`, `unsupported-format` (audio of a kind that nothing here
            reads).
    """
    with path.open("rb") as file:
        start = end_of_front_tags(file)
        head = bytes_at(file, start, _HEAD_LENGTH)
        if not head:
            what = "holds a tag, or zeros, and no audio" if start else "is empty"
            raise InputError(f"the file {what}", code="empty-audio")
        container = _container_of(head)
        file_bytes = file.seek(0, 2)
        end = file_bytes if container in _SAYS_ITS_LENGTH else start_of_tags_behind(file, start)
    if container is None:
        return _find_frames(path, range(start, end))
    return Sniffed(container, range(start, end))


def _container_of(head: bytes) -> str | None:
    magic, kind = head[:4], head[8:12]
    if magic in (b"RIFF", b"RIFX") and kind == b"WAVE":
        return "wav"
    if magic in (b"RF64", b"BW64") and kind == b"WAVE":
        return "rf64"
    if magic == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return "aiff"
    if magic in _BY_MAGIC:
        return _BY_MAGIC[magic]
    if begins_with_box(head):
        return "m4a"
    foreign = _FOREIGN.get(magic)
    if magic == b"RIFF" and kind == b"AVI ":
        foreign = "an AVI film"
    elif head[:1] == b"V" and head[1:2] >= b"\xe0":
        foreign = "AAC in LATM"
    elif any(head[at : at + 3 * length : length] == _TRANSPORT_SYNC * 3 for at, length in _TRANSPORT_PACKETS):
        message = "the file is an MPEG transport stream (ts, mts); save its sound as m4a, mp3 or wav"
        raise InputError(message, code="unsupported-format")
    if foreign is not None:
        raise InputError(f"the file is {foreign}; it cannot be read", code="unsupported-format")
    return None


def begins_with_box(head: bytes) -> bool:
    """True for the first bytes of an MP4 or QuickTime file."""
    length = int.from_bytes(head[:4], "big")
    return head[4:8] in BOXES and (length in (0, 1) or length >= 8)


def _find_frames(path: Path, sound: range) -> Sniffed:
    """mp3 or aac, which are frames from some place on and have no header for the whole."""
    with open_spliced(path, (sound,)) as file:
        mpeg = find_mpeg_stream(file)
        adts = read_adts_stream(file)
    if mpeg is not None and (adts is None or mpeg < adts.start):
        return Sniffed("mp3", sound[mpeg:])
    if adts is not None:
        return Sniffed("aac", sound[adts.start : adts.stop])
    raise InputError("the file is not a recording: its content is of no known audio format", code="not-audio")


# Lyrics3 version 1 has no length; it holds at most this many bytes (with its marks).
_LONGEST_LYRICS = 5_100 + 20
_APE_TAG_HAS_HEADER = 1 << 31
_PADDING = 16
_NO_ZERO = re.compile(rb"[^\0]")


def end_of_front_tags(file: Seekable) -> int:
    """Where the sound begins: behind all ID3v2 and APEv2 tags, and behind zeros that pad them."""
    start = 0
    file_bytes = file.seek(0, io.SEEK_END)
    while start < file_bytes:
        header = bytes_at(file, start, 32)
        length = _id3_length(header, b"ID3") or _ape_length(header)
        if not length and header[:_PADDING] == bytes(_PADDING):
            length = next((place for place, _ in find_all(file, _NO_ZERO, 1, start, file_bytes)), file_bytes) - start
        if not length:
            break
        start += length
    return min(start, file_bytes)


def start_of_tags_behind(file: Seekable, start: int) -> int:
    """Where the sound that begins at byte `start` ends: in front of all tags at the end of the file."""
    end = file.seek(0, io.SEEK_END)
    while True:
        tail_bytes = min(end - start, _LONGEST_LYRICS)
        length = _length_of_last_tag(bytes_at(file, end - tail_bytes, tail_bytes))
        if not length or end - length < start:
            return end
        end -= length


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
