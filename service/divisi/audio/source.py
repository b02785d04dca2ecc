"""Between a recording's file and the library that decodes it: the file that the library is shown, the blocks it gives.

A library is shown the header and the sound that it can work with, pieces of the file and bytes of ours; the file stays
as it is. libsndfile (`sndfile_source`) and FFmpeg (`av_source`) both answer with a `BlockSource`.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from divisi.audio.recording import AudioFacts, Samples
from divisi.contract.errors import InputError

Piece = bytes | range
"""Bytes to show, or the bytes of the file at these places (step 1)."""

# 8 TiB; file systems refuse to go to places beyond the largest file that they can hold.
_LARGEST_FILE = 1 << 43
_STRETCH = 1 << 14
_BUFFER_BYTES = 1 << 18


class Seekable(Protocol):
    """What readers of headers need of a file, which may be open at any place."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


def bytes_at(file: Seekable, position: int, length: int) -> bytes:
    """Bytes from a place on; fewer at the end, none where sizes in a damaged file lead."""
    if position >= _LARGEST_FILE:
        return b""
    file.seek(position)
    return file.read(length)


def find_all(
    file: Seekable, pattern: re.Pattern[bytes], length: int, start: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    """Places in `start … stop` at which a pattern matches, with the bytes that stand there: `length` in all, which is
    what the longest match takes, or more; fewer at the end of the file. Memory stays flat.
    """
    for position in range(start, stop, _STRETCH):
        num_places = min(_STRETCH, stop - position)
        stretch = bytes_at(file, position, num_places + length - 1)
        match = pattern.search(stretch)
        while match is not None and match.start() < num_places:
            yield position + match.start(), stretch[match.start() : match.start() + length]
            match = pattern.search(stretch, match.start() + 1)


def undecodable(message: str) -> InputError:
    """The error of that code: the file is damaged, cut off, or of a kind that its decoder refuses."""
    return InputError(message, code="undecodable")


class SplicedFile(io.RawIOBase):
    """Reads pieces one after the other, as one file.

    Args:
        path: the file that ranges are of.
        pieces: what is shown, in order.
    """

    def __init__(self, path: Path, pieces: Iterable[Piece]) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._pieces = [piece for piece in pieces if len(piece)]
        self._starts = list(accumulate((len(piece) for piece in self._pieces), initial=0))
        self._length = self._starts.pop()
        self._position = 0

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        count = 0
        while count < len(view) and self._position < self._length:
            taken = self._read_from_piece(view[count:])
            if not taken:  # the file is shorter than it was
                break
            count += taken
            self._position += taken
        return count

    def read(self, size: int = -1, /) -> bytes:
        return super().read(size) or b""

    def _read_from_piece(self, view: memoryview) -> int:
        index = bisect_right(self._starts, self._position) - 1
        piece = self._pieces[index]
        offset = self._position - self._starts[index]
        length = min(len(view), len(piece) - offset)
        if isinstance(piece, bytes):
            view[:length] = piece[offset : offset + length]
            return length
        self._file.seek(piece.start + offset)
        return self._file.readinto(view[:length])

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        # The sizes in a damaged file lead anywhere; decoders do not expect an error of a seek.
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def open_spliced(path: Path, pieces: Iterable[Piece]) -> io.BufferedReader:
    """A SplicedFile for readers that take a few bytes here and there, mostly forward."""
    return io.BufferedReader(SplicedFile(path, pieces), _BUFFER_BYTES)


def joined(pieces: Iterable[range]) -> list[range]:
    """The same places with neighbours made one."""
    result: list[range] = []
    for piece in pieces:
        if result and result[-1].stop == piece.start:
            result[-1] = range(result[-1].start, piece.stop)
        else:
            result.append(piece)
    return result


def part_of(pieces: Iterable[Piece], start: int, stop: int) -> tuple[Piece, ...]:
    """The pieces of bytes `start … stop` of the file that these pieces are."""
    result: list[Piece] = []
    position = 0
    for piece in pieces:
        part = piece[max(0, start - position) : max(0, stop - position)]
        if len(part):
            result.append(part)
        position += len(piece)
    return tuple(result)


class BlockSource(Protocol):
    """One opened recording, read from the beginning to the end once.

    Attributes:
        facts: what the header says; `exact` is False.
        promised_samples: must come out, or the file is damaged; None where the header promises nothing firm.
    """

    facts: AudioFacts
    promised_samples: int | None

    def read(self, num_samples: int) -> Samples:
        """Up to `num_samples` samples as float32 `(C, n)` in WAV channel order; n = 0 means the end.

        Raises:
            InputError: `undecodable`.
        """

    def close(self) -> None:
        """Frees the decoder; may be called twice."""


class CodecNotSupportedError(Exception):
    """This library does not know the codec in this container; another may.

    Args:
        codec: its name, or what is known of it.
        pieces: what another library shall read, as in SplicedFile.
    """

    def __init__(self, codec: str, pieces: Sequence[Piece]) -> None:
        super().__init__(codec)
        self.pieces = tuple(pieces)


def check_promise(promised_samples: int | None, num_decoded: int) -> None:
    """Raises InputError `undecodable` where fewer samples came out than a header promised."""
    if promised_samples is not None and num_decoded < promised_samples:
        raise undecodable(
            f"the file is damaged or truncated: of {promised_samples} samples promised by its header "
            f"{num_decoded} could be decoded"
        )


class ChainedSource:
    """A BlockSource over several, one after the other in a file (Ogg chains, FLAC files joined by `cat`), each opened
    when the one in front of it is at its end.

    Args:
        links: open the parts, in order.

    Raises:
        InputError: while reading, `unsupported-format` where rate or channels change; `undecodable`.
    """

    promised_samples: int | None = None  # each link is held to its own promise

    def __init__(self, links: Sequence[Callable[[], BlockSource]]) -> None:
        self._waiting = list(links[1:])
        self._link = links[0]()
        self.facts = replace(self._link.facts, num_samples=0)
        self._taken = self._taken_of_link = 0

    def read(self, num_samples: int) -> Samples:
        while True:
            block = self._link.read(num_samples)
            self._taken_of_link += block.shape[1]
            self._taken += block.shape[1]
            if block.shape[1]:
                return block
            check_promise(self._link.promised_samples, self._taken_of_link)
            if not self._waiting:
                return block
            self._open_next()

    def close(self) -> None:
        self._link.close()

    def _open_next(self) -> None:
        self._link.close()
        self._link, self._taken_of_link = self._waiting.pop(0)(), 0
        facts = self._link.facts
        if (facts.sample_rate, facts.num_channels) != (self.facts.sample_rate, self.facts.num_channels):
            raise InputError(
                f"rate or channels change at {self._taken / self.facts.sample_rate:.1f} s; that cannot be separated",
                code="unsupported-format",
            )
