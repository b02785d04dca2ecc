"""AIFF and AIFC: the format, the samples, and the plain file of them that decoders are shown."""

from __future__ import annotations

import struct

from divisi.audio.chunks import Chunk, ChunkedSound, bytes_at, data_range, is_mark, read_chunks, refuse_without
from divisi.audio.spliced_file import Seekable
from divisi.contract.errors import InputError

_WANTED = frozenset({b"COMM", b"SSND"})
# Samples begin behind the offset and the block size in their chunk.
_SSND_HEAD = 8
_IMA4 = b"ima4"
_IMA4_PACKET = 34


def read_aiff(file: Seekable, start: int, end: int) -> ChunkedSound:
    """Finds format and samples in the AIFF or AIFC file at byte `start`, in any order.

    Raises:
        InputError: `undecodable` when the file is shorter than its samples, or has none.
    """
    (form_bytes,) = struct.unpack(">I", bytes_at(file, start + 4, 4))
    is_open_form = start + form_bytes + 8 != end
    common = sound = last = None
    for last in read_chunks(file, start + 12, ">I", _WANTED):
        if last.name == b"COMM" and common is None:
            common = bytes_at(file, last.body, min(last.length, 22))
        elif last.name == b"SSND" and sound is None:
            sound = last
        if common is not None and sound is not None:
            break
    if common is None:
        refuse_without("format (`COMM`)", last, end)
    if len(common) < 18:
        raise InputError(f"the file is damaged: its format (`COMM`) has {len(common)} bytes", code="undecodable")
    if sound is None:
        refuse_without("samples (`SSND`)", last, end)
    channels, _, bits, rate = struct.unpack(">HIH10s", common[:18])
    coding = common[18:22] if bytes_at(file, start + 8, 4) == b"AIFC" and len(common) == 22 else b""
    word_bytes = _IMA4_PACKET if coding == _IMA4 else (bits + 7) // 8
    frame_bytes = max(1, channels * word_bytes)
    data = _data_of(file, sound, end, frame_bytes, is_open_form)
    num_frames = len(data) // frame_bytes
    header = _header(struct.pack(">HIH10s", channels, num_frames, bits, rate), coding, len(data))
    return ChunkedSound(_from_extended(rate), (data,), (header, data))


def _data_of(file: Seekable, sound: Chunk, end: int, frame_bytes: int, is_open_form: bool) -> range:
    (offset,) = struct.unpack(">I", bytes_at(file, sound.body, 4).ljust(4, b"\0"))
    body = sound.body + _SSND_HEAD + offset
    size = sound.length - _SSND_HEAD - offset
    if is_mark(sound.length, sound.body, end) or (sound.length in (0, _SSND_HEAD) and is_open_form):
        return range(body, max(body, end))
    return data_range(body, max(0, size), end, frame_bytes)


def _header(common: bytes, coding: bytes, data_bytes: int) -> bytes:
    """Of a file that holds nothing but this format and so many bytes of samples."""
    if coding:
        common += coding + b"\0\0"
        form = b"AIFC" + struct.pack(">4sII", b"FVER", 4, 0xA280_5140)
    else:
        form = b"AIFF"
    form += struct.pack(">4sI", b"COMM", len(common)) + common
    form += struct.pack(">4sIII", b"SSND", min(data_bytes + _SSND_HEAD, 0xFFFF_FFFF), 0, 0)
    return struct.pack(">4sI", b"FORM", min(len(form) + data_bytes, 0xFFFF_FFFF)) + form


def _from_extended(number: bytes) -> float:
    """An 80-bit extended float, big-endian: sign and 15-bit exponent, 64-bit mantissa with its leading 1 written."""
    exponent = int.from_bytes(number[:2], "big") & 0x7FFF
    mantissa = int.from_bytes(number[2:], "big")
    return mantissa * 2.0 ** max(min(exponent - 16_383 - 63, 900), -1_000)
