"""CAF: the format, the samples, and the plain file of them that decoders are shown."""

from __future__ import annotations

import struct

from divisi.audio.chunks import Chunk, ChunkedSound, bytes_at, data_range, is_mark, read_chunks, refuse_without
from divisi.audio.spliced_file import Piece, Seekable
from divisi.contract.errors import InputError

_WANTED = frozenset({b"desc", b"data"})
# What a decoder needs besides: the codec's own header, and the lengths of packets.
_NEEDED = frozenset({b"kuki", b"pakt"})
_DESC_BYTES = 32
_EDIT_COUNT_BYTES = 4


def read_caf(file: Seekable, start: int, end: int) -> ChunkedSound:
    """Finds format and samples in the CAF file at byte `start`.

    Raises:
        InputError: `undecodable` when the file is shorter than its data chunk, or has none.
    """
    described = b""
    tables: list[Piece] = []
    sound = last = None
    for last in read_chunks(file, start + 8, ">Q", _WANTED):
        if last.name == b"desc":
            described = bytes_at(file, last.body, min(last.length, _DESC_BYTES))
        elif last.name == b"data" and sound is None:
            sound = last
            if is_mark(last.length, last.body, end):
                break
        elif last.name in _NEEDED:
            tables += [struct.pack(">4sQ", last.name, last.length), data_range(last.body, last.length, end, 1)]
    if len(described) < _DESC_BYTES:
        refuse_without("format (`desc`)", last, end)
    if sound is None:
        refuse_without("samples (`data`)", last, end)
    (rate,) = struct.unpack(">d", described[:8])
    (frame_bytes,) = struct.unpack(">I", described[16:20])
    data = _data_of(sound, end, frame_bytes)
    header = bytes_at(file, start, 8) + struct.pack(">4sQ", b"desc", _DESC_BYTES) + described
    data_head = struct.pack(">4sQ", b"data", len(data))
    return ChunkedSound(rate, (data,), (header, *tables, data_head, data))


def _data_of(sound: Chunk, end: int, packet_bytes: int) -> range:
    """The data chunk with its edit count, which comes first."""
    if is_mark(sound.length, sound.body, end):
        return range(sound.body, max(sound.body, end))
    if sound.length < _EDIT_COUNT_BYTES:
        raise InputError("the file holds no samples", code="empty-audio")
    data_range(sound.body + _EDIT_COUNT_BYTES, sound.length - _EDIT_COUNT_BYTES, end, max(1, packet_bytes))
    return range(sound.body, min(sound.body + sound.length, end))
