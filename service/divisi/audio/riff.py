"""WAV, RF64 and BW64 (RIFF chunks): the format, the samples, and the plain WAV of them that decoders are shown."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from divisi.audio.chunks import Chunk, ChunkedSound, bytes_at, data_range, is_mark, read_chunks, refuse_without
from divisi.audio.spliced_file import Seekable
from divisi.contract.errors import InputError

_WANTED = frozenset({b"ds64", b"fmt ", b"data"})
_ALL_ONES = 0xFFFF_FFFF
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_MPEG_TAGS = frozenset({0x50, 0x55})
# The last 14 bytes of a sub-format that stands for a format tag, which is its first two.
_SUB_FORMAT_OF_TAG = bytes.fromhex("0000 0000 1000 8000 00aa00389b71")
# `fmt ` is 40 bytes at most, and some codecs add a table of theirs.
_LONGEST_FORMAT = 512


@dataclass(frozen=True)
class _Format:
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
    sound_format: _Format | None = None
    bodies: list[tuple[int, int]] = []
    last: Chunk | None = None
    for last in read_chunks(file, start + 12, order + "I", _WANTED):
        if last.name == b"ds64":
            data_bytes_64 = int.from_bytes(bytes_at(file, last.body + 8, 8), "little")
        elif last.name == b"fmt " and sound_format is None:
            if last.body + last.length > end:
                break
            sound_format = _read_format(bytes_at(file, last.body, min(last.length, _LONGEST_FORMAT)), order)
        elif last.name == b"data":
            size = last.length
            if is_64 and size in (0, _ALL_ONES):
                size = data_bytes_64 or (1 << 64) - 1
            is_open = size == 0 and start + riff_bytes + 8 != end  # 0 is honest where the outer size is
            if is_open or is_mark(size, last.body, end):
                bodies.append((last.body, max(0, end - last.body)))
                break
            bodies.append((last.body, size))
            if is_64 and size != last.length:
                break  # chunks behind it would be looked for at the 32-bit size
    if sound_format is None:
        refuse_without("format (`fmt `)", last, end)
    if not bodies:
        refuse_without("samples (`data`)", last, end)
    data = [data_range(body, size, end, sound_format.frame_bytes) for body, size in bodies]
    header = _header(sound_format, sum(map(len, data)), order)
    return ChunkedSound(sound_format.sample_rate, tuple(data), (header, *data), sound_format.tag in _MPEG_TAGS)


def _read_format(body: bytes, order: str) -> _Format:
    if len(body) < 14:
        raise InputError(f"the file is damaged: its format (`fmt `) has {len(body)} bytes", code="undecodable")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack(order + "HHIIHH", body[:16].ljust(16, b"\0"))
    if tag == _EXTENSIBLE and body[26:40] == _SUB_FORMAT_OF_TAG:
        (tag,) = struct.unpack(order + "H", body[24:26])
    if tag in (_PCM, _FLOAT, _A_LAW, _MU_LAW) and channels:
        word = (bits + 7) // 8 or max(1, frame_bytes // channels)
        if word == 3 and frame_bytes == 4 * channels:  # 24 bits lie in 32
            word = 4
        frame_bytes = word * channels
        body = struct.pack(order + "HHIIHH", tag, channels, rate, rate * frame_bytes & _ALL_ONES, frame_bytes, 8 * word)
    return _Format(tag, rate, max(1, frame_bytes), body)


def _header(sound_format: _Format, data_bytes: int, order: str) -> bytes:
    """Of a file that holds nothing but this format and so many bytes of samples."""
    chunk = struct.pack(order + "4sI", b"fmt ", len(sound_format.body)) + sound_format.body
    chunk += bytes(len(chunk) % 2)
    length = 4 + len(chunk) + 8 + data_bytes
    if length <= _ALL_ONES:
        name = b"RIFX" if order == ">" else b"RIFF"
        return (
            struct.pack(order + "4sI4s", name, length, b"WAVE")
            + chunk
            + struct.pack(order + "4sI", b"data", data_bytes)
        )
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, length + 36, data_bytes, data_bytes // sound_format.frame_bytes, 0)
    head = struct.pack("<4sI4s", b"RF64", _ALL_ONES, b"WAVE")
    return head + sizes + chunk + struct.pack("<4sI", b"data", _ALL_ONES)
