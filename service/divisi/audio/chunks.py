"""Chunked containers (WAV, RF64, BW64, AIFF, CAF): where the samples lie, whether all promised bytes are there, and the
plain file of the same samples that a decoder is shown.

libsndfile shortens a recording silently to the bytes there are, stops at sizes that pipes left open, and stumbles over
what programs put around the samples. So the chunks are found here, and it sees nothing but format and samples. A data
chunk that reaches beyond the file is an error, unless its size is the mark of a writer that could not seek.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from divisi.audio.source import Piece, Seekable, bytes_at, undecodable
from divisi.contract.errors import InputError

# Writers that cannot seek put 0, all ones, or a little less than 2 or 4 GiB: sox 0x7f000000 and 0x7ffff000, others
# 0x7fffffff, 0x80000000, or all ones less the header. No file that ends long before means these.
_MARKS_32 = (range(0x7F00_0000, 0x8001_0000), range(0xFF00_0000, 0x1_0000_0000))
_LARGEST_64 = 1 << 62
_ALL_ONES = 0xFFFF_FFFF
# Names that readers look for; the byte in front of one, behind an odd length, is padding whatever it holds.
_WANTED = frozenset({b"ds64", b"fmt ", b"data", b"COMM", b"SSND", b"desc"})


@dataclass(frozen=True)
class ChunkedSound:
    """Attributes:
    sample_rate: Hz as written.
    data: where the samples lie, in order.
    pieces: a plain file of them.
    is_mpeg: they are a stream of MPEG audio, whatever the format says of samples.
    """

    sample_rate: float
    data: tuple[range, ...]
    pieces: tuple[Piece, ...]
    is_mpeg: bool = False


_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_MPEG_TAGS = frozenset({0x50, 0x55})
# The last 14 bytes of a sub-format that stands for a format tag, which is its first two.
_SUB_FORMAT_OF_TAG = bytes.fromhex("0000 0000 1000 8000 00aa00389b71")
# `fmt ` is 40 bytes at most, and some codecs add a table of theirs.
_LONGEST_FORMAT = 512


@dataclass(frozen=True)
class _RiffFormat:
    """What a `fmt ` chunk says; `frame_bytes`: of a sample of each channel or a block; `body`: shown to the decoder."""

    tag: int
    sample_rate: int
    frame_bytes: int
    body: bytes


def read_riff(file: Seekable, start: int, end: int) -> ChunkedSound:
    """Finds format and samples in the WAV, RF64 or BW64 file at byte `start`.

    Raises:
        InputError: `undecodable` when the file is shorter than its data chunk, or has none.
    """
    head = bytes_at(file, start, 12)
    order = ">" if head[:4] == b"RIFX" else "<"
    is_64 = head[:4] in (b"RF64", b"BW64")
    (riff_bytes,) = struct.unpack(order + "I", head[4:8])
    data_bytes_64 = 0
    sound_format: _RiffFormat | None = None
    bodies: list[tuple[int, int]] = []
    last: _Chunk | None = None
    for last in _read_chunks(file, start + 12, order + "I"):
        if last.name == b"ds64":
            data_bytes_64 = int.from_bytes(bytes_at(file, last.body + 8, 8), "little")
        elif last.name == b"fmt " and sound_format is None:
            if last.body + last.length > end:
                break
            sound_format = _read_riff_format(bytes_at(file, last.body, min(last.length, _LONGEST_FORMAT)), order)
        elif last.name == b"data":
            size = last.length
            if is_64 and size in (0, _ALL_ONES):
                size = data_bytes_64 or (1 << 64) - 1
            is_open = size == 0 and start + riff_bytes + 8 != end  # 0 is honest where the outer size is
            if is_open or _is_mark(size, last.body, end):
                bodies.append((last.body, max(0, end - last.body)))
                break
            bodies.append((last.body, size))
            if is_64 and size != last.length:
                break  # chunks behind it would be looked for at the 32-bit size
    if sound_format is None:
        _refuse_without("format (`fmt `)", last, end)
    if not bodies:
        _refuse_without("samples (`data`)", last, end)
    data = [_data_range(body, size, end, sound_format.frame_bytes) for body, size in bodies]
    header = _riff_header(sound_format, sum(map(len, data)), order)
    return ChunkedSound(sound_format.sample_rate, tuple(data), (header, *data), sound_format.tag in _MPEG_TAGS)


def _read_riff_format(body: bytes, order: str) -> _RiffFormat:
    if len(body) < 14:
        raise undecodable(f"the file is damaged: its format (`fmt `) has {len(body)} bytes")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack(order + "HHIIHH", body[:16].ljust(16, b"\0"))
    if tag == _EXTENSIBLE and body[26:40] == _SUB_FORMAT_OF_TAG:
        (tag,) = struct.unpack(order + "H", body[24:26])
    if tag in (_PCM, _FLOAT, _A_LAW, _MU_LAW) and channels:
        word = (bits + 7) // 8 or max(1, frame_bytes // channels)
        if word == 3 and frame_bytes == 4 * channels:  # 24 bits lie in 32
            word = 4
        frame_bytes = word * channels
        body = struct.pack(order + "HHIIHH", tag, channels, rate, rate * frame_bytes & _ALL_ONES, frame_bytes, 8 * word)
    return _RiffFormat(tag, rate, max(1, frame_bytes), body)


def _riff_header(sound_format: _RiffFormat, data_bytes: int, order: str) -> bytes:
    """Of a file that holds nothing but this format and so many bytes of samples."""

    def head(name: bytes, length: int) -> bytes:
        return struct.pack(order + "4sI", name, length)

    chunk = head(b"fmt ", len(sound_format.body)) + sound_format.body
    chunk += bytes(len(chunk) % 2)
    length = 4 + len(chunk) + 8 + data_bytes
    if length <= _ALL_ONES:
        return head(b"RIFX" if order == ">" else b"RIFF", length) + b"WAVE" + chunk + head(b"data", data_bytes)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, length + 36, data_bytes, data_bytes // sound_format.frame_bytes, 0)
    rest = sizes + chunk + struct.pack("<4sI", b"data", _ALL_ONES)
    return struct.pack("<4sI4s", b"RF64", _ALL_ONES, b"WAVE") + rest


# Samples begin behind the offset and the block size in their chunk.
_SSND_HEAD = 8
_IMA4, _IMA4_PACKET = b"ima4", 34


def read_aiff(file: Seekable, start: int, end: int) -> ChunkedSound:
    """Finds format and samples in the AIFF or AIFC file at byte `start`, in any order.

    Raises:
        InputError: `undecodable` when the file is shorter than its samples, or has none.
    """
    (form_bytes,) = struct.unpack(">I", bytes_at(file, start + 4, 4))
    is_open_form = start + form_bytes + 8 != end
    common = sound = last = None
    for last in _read_chunks(file, start + 12, ">I"):
        if last.name == b"COMM" and common is None:
            common = bytes_at(file, last.body, min(last.length, 22))
        elif last.name == b"SSND" and sound is None:
            sound = last
        if common is not None and sound is not None:
            break
    if common is None:
        _refuse_without("format (`COMM`)", last, end)
    if len(common) < 18:
        raise undecodable(f"the file is damaged: its format (`COMM`) has {len(common)} bytes")
    if sound is None:
        _refuse_without("samples (`SSND`)", last, end)
    channels, _, bits, rate = struct.unpack(">HIH10s", common[:18])
    coding = common[18:22] if bytes_at(file, start + 8, 4) == b"AIFC" and len(common) == 22 else b""
    word_bytes = _IMA4_PACKET if coding == _IMA4 else (bits + 7) // 8
    frame_bytes = max(1, channels * word_bytes)
    offset = int.from_bytes(bytes_at(file, sound.body, 4).ljust(4, b"\0"), "big")
    body = sound.body + _SSND_HEAD + offset
    if _is_mark(sound.length, sound.body, end) or (sound.length in (0, _SSND_HEAD) and is_open_form):
        data = range(body, max(body, end))
    else:
        data = _data_range(body, max(0, sound.length - _SSND_HEAD - offset), end, frame_bytes)
    header = _aiff_header(struct.pack(">HIH10s", channels, len(data) // frame_bytes, bits, rate), coding, len(data))
    return ChunkedSound(_from_extended(rate), (data,), (header, data))


def _aiff_header(common: bytes, coding: bytes, data_bytes: int) -> bytes:
    """Of a file that holds nothing but this format and so many bytes of samples."""
    form = b"AIFF"
    if coding:
        common += coding + b"\0\0"
        form = b"AIFC" + struct.pack(">4sII", b"FVER", 4, 0xA280_5140)
    form += struct.pack(">4sI", b"COMM", len(common)) + common
    form += struct.pack(">4sIII", b"SSND", min(data_bytes + _SSND_HEAD, _ALL_ONES), 0, 0)
    return struct.pack(">4sI", b"FORM", min(len(form) + data_bytes, _ALL_ONES)) + form


def _from_extended(number: bytes) -> float:
    """An 80-bit extended float, big-endian: sign and 15-bit exponent, 64-bit mantissa with its leading 1 written."""
    exponent = int.from_bytes(number[:2], "big") & 0x7FFF
    mantissa = int.from_bytes(number[2:], "big")
    return mantissa * 2.0 ** max(min(exponent - 16_383 - 63, 900), -1_000)


_DESC_BYTES = 32
_EDIT_COUNT_BYTES = 4


def read_caf(file: Seekable, start: int, end: int) -> ChunkedSound:
    """Finds format and samples in the CAF file at byte `start`.

    Raises:
        InputError: `undecodable` when the file is shorter than its data chunk, or has none; `empty-audio`.
    """
    described = b""
    tables: list[Piece] = []
    sound = last = None
    for last in _read_chunks(file, start + 8, ">Q"):
        if last.name == b"desc":
            described = bytes_at(file, last.body, min(last.length, _DESC_BYTES))
        elif last.name == b"data" and sound is None:
            sound = last
            if _is_mark(last.length, last.body, end):
                break
        elif last.name in (b"kuki", b"pakt"):  # the codec's own header, and the lengths of packets
            tables += [struct.pack(">4sQ", last.name, last.length), _data_range(last.body, last.length, end, 1)]
    if len(described) < _DESC_BYTES:
        _refuse_without("format (`desc`)", last, end)
    if sound is None:
        _refuse_without("samples (`data`)", last, end)
    rate, packet_bytes = struct.unpack(">d8xI", described[:20])
    if _is_mark(sound.length, sound.body, end):
        data = range(sound.body, max(sound.body, end))
    elif sound.length < _EDIT_COUNT_BYTES:
        raise InputError("the file holds no samples", code="empty-audio")
    else:
        _data_range(sound.body + _EDIT_COUNT_BYTES, sound.length - _EDIT_COUNT_BYTES, end, max(1, packet_bytes))
        data = range(sound.body, min(sound.body + sound.length, end))  # with its edit count, which comes first
    header = bytes_at(file, start, 8) + struct.pack(">4sQ", b"desc", _DESC_BYTES) + described
    data_head = struct.pack(">4sQ", b"data", len(data))
    return ChunkedSound(rate, (data,), (header, *tables, data_head, data))


@dataclass(frozen=True)
class _Chunk:
    """Attributes: `name`; `body`: byte at which its content begins; `length` of the content as written."""

    name: bytes
    body: int
    length: int


def _read_chunks(file: Seekable, start: int, size_format: str) -> Iterator[_Chunk]:
    """The chunks from byte `start` on.

    Args:
        size_format: of `struct`, of a chunk's length. Chunks of 32 bits begin at even bytes, others at any.
    """
    head_bytes = 4 + struct.calcsize(size_format)
    position = start
    while len(head := bytes_at(file, position, head_bytes)) == head_bytes:
        (length,) = struct.unpack(size_format, head[4:])
        yield _Chunk(head[:4], position + head_bytes, length)
        position += head_bytes + length
        if head_bytes == 8 and length % 2 and not _is_padding_missing(bytes_at(file, position, 5)):
            position += 1


def _is_padding_missing(place: bytes) -> bool:
    """True where a name stands at an odd place already: padding is 0 by rule, but other bytes are seen."""
    return place[1:] not in _WANTED and re.match(rb"[A-Za-z][ -~]{3}", place) is not None


def _data_range(body: int, promised: int, end: int, frame_bytes: int) -> range:
    """Where the samples of a data chunk lie.

    Args:
        body: where they begin.
        promised: their bytes as the chunk says.
        end: of the file.
        frame_bytes: a sample of each channel (or a block of them) takes so many; less than that missing is no loss.

    Raises:
        InputError: `undecodable` when the file is shorter.
    """
    there = max(0, end - body)
    if promised // frame_bytes > there // frame_bytes:
        raise undecodable(f"the file is truncated: its header promises {promised} bytes of audio, {there} are there")
    length = min(promised, there)
    # Some writers count the byte that makes a chunk's length even; decoders of blocks would take it for one.
    return range(body, body + length - (length % frame_bytes == 1))


def _is_mark(size: int, body: int, end: int) -> bool:
    """True for a size that stands for "unknown" where the data begin at `body` and the file ends at `end`."""
    if body + size <= end:
        return False
    return size >= _LARGEST_64 or any(size in marks for marks in _MARKS_32)


def _refuse_without(what: str, last: _Chunk | None, end: int) -> NoReturn:
    """Raises InputError `undecodable` for a file in whose chunks something was not found; `last` is where they end."""
    if last is None or last.body + last.length > end:
        raise undecodable(f"the file is truncated: it ends before its {what}")
    raise undecodable(f"the file is damaged: it has no {what}")
