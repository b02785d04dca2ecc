"""Reads a multipart/form-data body as it comes: parts `file` and `reference_<stem>` go to sinks, text to fields.

A sink counts what arrives, hashes it and writes it off the event loop; each file of a recording that comes in several
gets one of its own on disk.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from divisi.contract.errors import InputError, UnavailableError
from divisi.storage.names import clean_label, file_name_in
from divisi.whole_files import Digests

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_FIELD = "file"
# What the recording is called, in place of its file's name: only a label, no reason to refuse a recording.
LABEL_FIELD = "file_name"
# Fields with true sources begin so; the rest is the name of the stem.
REFERENCE_PREFIX = "reference_"
MAX_FIELDS = 128
MAX_FIELD_BYTES = 4096
# Of a part's header: names of files may be long, and escaped into many times their length.
MAX_HEADER_BYTES = 64 * 1024
# Boundaries, part headers and fields around the file; far more than the limits on fields can fill.
MULTIPART_OVERHEAD_BYTES = 1024 * 1024
WRITE_BYTES = 1024 * 1024


class MultipartForm:
    """A multipart body: the part `file` goes to the sink, small text parts become fields.

    Args:
        sink: takes the bytes of the file, or of several.
        max_files: parts `file` that are taken.
        open_reference: opens the sink of a true source, by the name of its stem.
    """

    def __init__(self, sink: UploadSink, max_files: int, open_reference: Callable[[str], UploadSink]) -> None:
        self._sink = sink
        self._max_files = max_files
        self._open_reference = open_reference
        self._reference: UploadSink | None = None
        self._part = _Part()
        self._num_parts = 0
        self._is_complete = False
        self.num_files = 0
        self.label: str | None = None
        self.fields: dict[str, list[str]] = {}

    async def read(self, chunks: AsyncIterable[bytes], boundary: bytes, max_bytes: int) -> None:
        """Parses the whole body; what it finds is in `fields`, `label` and the sink."""
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }
        if not boundary:
            raise _malformed("the Content-Type names no boundary")
        num_bytes = 0
        try:
            parser = MultipartParser(boundary, callbacks, max_header_size=MAX_HEADER_BYTES)
            async for chunk in chunks:
                num_bytes += len(chunk)
                if num_bytes > max_bytes:
                    raise _malformed(f"the form has more than {MULTIPART_OVERHEAD_BYTES} bytes beside its file")
                parser.write(chunk)
                await self._sink.settle()
                if self._reference is not None:
                    await self._reference.settle()
            parser.finalize()
        except FormParserError as error:
            raise _malformed(f"the multipart body is broken: {error}") from error
        if not self._is_complete:
            raise _malformed("the multipart body ends before its last boundary")

    def _begin(self) -> None:
        self._num_parts += 1
        if self._num_parts > MAX_FIELDS:
            raise _malformed(f"the form has more than {MAX_FIELDS} fields")
        self._part = _Part()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _end_header(self) -> None:
        part = self._part
        part.headers[part.header_name.lower()] = part.header_value
        part.header_name = part.header_value = b""

    def _end_headers(self) -> None:
        disposition = self._part.headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        file_name = file_name_in(disposition)
        self._part.name = _decode(options.get(b"name", b""))
        self._part.is_file = self._part.name == FILE_FIELD
        if not self._part.name:
            raise _malformed("a part of the form has no name")
        if self._part.name.startswith(REFERENCE_PREFIX):
            self._part.sink = self._reference = self._open_reference(self._part.name.removeprefix(REFERENCE_PREFIX))
        elif file_name is not None and not self._part.is_file:
            raise InputError(
                f"the file is in the field {self._part.name[:80]!r}; it belongs in `{FILE_FIELD}`", code="missing-file"
            )
        if self._part.is_file:
            self._begin_file()
            if self.num_files == 1:
                self.label = clean_label(file_name)

    def _begin_file(self) -> None:
        self.num_files += 1
        if self.num_files > self._max_files:
            message = f"the form has more than {self._max_files} files; a recording comes in one, or one per channel"
            raise InputError(message, code="too-many-files", limit=self._max_files)
        if self.num_files > 1:
            self._sink.begin_next_file()

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file or self._part.sink is not None:
            (self._part.sink or self._sink).add(data[start:end])
            return
        self._part.value += data[start:end]
        if self._part.name == LABEL_FIELD:
            del self._part.value[MAX_FIELD_BYTES:]
        if len(self._part.value) > MAX_FIELD_BYTES:
            raise _malformed(f"the field {self._part.name[:80]!r} is longer than {MAX_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if not self._part.is_file and self._part.sink is None:
            value = bytes(self._part.value)
            is_label = self._part.name == LABEL_FIELD
            text = value.decode("utf-8", "replace") if is_label else _decode(value)
            self.fields.setdefault(self._part.name, []).append(text)

    def _complete(self) -> None:
        self._is_complete = True


@dataclass
class _Part:
    """The part of a form that is being read."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    is_file: bool = False
    sink: UploadSink | None = None
    value: bytearray = field(default_factory=bytearray)


def _decode(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("names and values of the form are UTF-8 text") from error


def _malformed(detail: str) -> InputError:
    return InputError(detail, code="malformed-upload")


class UploadSink:
    """Takes the recording and writes it in larger pieces than the network's.

    Args:
        open_next: opens a file on disk: the first one, and another whenever a next one begins.
        max_bytes: of all files together.

    Raises:
        InputError: `upload-too-large`.
        UnavailableError: `disk-full`.
    """

    def __init__(self, open_next: Callable[[], IO[bytes]], max_bytes: int) -> None:
        self._open_next = open_next
        self._file = open_next()
        self._max_bytes = max_bytes
        self._waiting = bytearray()
        self._next_starts: list[int] = []
        self._digests = Digests()
        self._num_bytes = 0

    @property
    def measured(self) -> tuple[int, str, int]:
        """Number of bytes, their SHA-256 in hex, their CRC-32."""
        return self._num_bytes, self._digests.sha256, self._digests.crc32

    def require_room(self, num_bytes: int) -> None:
        """Refuses so many bytes before they come, when they are too many."""
        if self._num_bytes + num_bytes > self._max_bytes:
            raise too_large(self._max_bytes)

    def add(self, data: bytes) -> None:
        """Takes bytes over; `settle` writes them."""
        self._num_bytes += len(data)
        if self._num_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._waiting += data

    def begin_next_file(self) -> None:
        """What is added from now on belongs to the next file."""
        self._next_starts.append(len(self._waiting))

    async def settle(self) -> None:
        """Writes what waits once it is worth a write."""
        if len(self._waiting) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Writes all that waits."""
        data, self._waiting = self._waiting, bytearray()
        starts, self._next_starts = self._next_starts, []
        with needing_room():
            await asyncio.to_thread(self._write, data, starts)

    def _write(self, data: bytearray, starts: list[int]) -> None:
        self._write_part(data[: starts[0]] if starts else data)
        for start, end in pairwise([*starts, len(data)]):
            self._file = self._open_next()
            # Where one file ends distinguishes recordings whose bytes are the same.
            self._digests.add(b"next file")
            self._write_part(data[start:end])

    def _write_part(self, data: bytearray) -> None:
        self._digests.add(data)
        self._file.write(data)
        self._file.flush()


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder, gone at the end; UnavailableError (`disk-full`) where none can be made."""
    with needing_room():
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=prefix)
    with folder as path:
        yield Path(path)


@contextmanager
def needing_room() -> Iterator[None]:
    """Makes a write that fails an outage: UnavailableError (`disk-full`)."""
    try:
        yield
    except OSError as error:
        raise UnavailableError("there is no room for the recording at the moment", code="disk-full") from error


def too_large(max_bytes: int) -> InputError:
    """The error `upload-too-large`."""
    return InputError(
        f"the recording is larger than {max_bytes} bytes, the most this service accepts",
        code="upload-too-large",
        limit_bytes=max_bytes,
    )
