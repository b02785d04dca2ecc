"""Receives one recording: from the request's body straight to a file on disk, hashed on the way, never held in memory.

Two forms: `multipart/form-data` with one file part beside the options, or the bare bytes with the options in the
query. Every limit is enforced while reading, so a refusal comes before the rest of the body.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from divisi.errors import InputError
from divisi.storage.file_names import clean_label

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE_FIELD = "file"
MAX_FIELDS = 128
MAX_FIELD_BYTES = 4096
# Boundaries, part headers and fields around the file; far more than the limits on fields can fill.
MULTIPART_OVERHEAD_BYTES = 1024 * 1024
IDLE_SECONDS = 60.0
WRITE_BYTES = 1024 * 1024
RAW_MEDIA_TYPES = frozenset({"application/octet-stream", "application/ogg", "binary/octet-stream", ""})


@dataclass(frozen=True)
class Upload:
    """A received recording; the file lives as long as the `receive_upload` that gave it.

    Args:
        path: the bytes as they came.
        label: cleaned file name of the form's file, None when there is none. Never a path.
        sha256: of the bytes, in hex.
        fields: form fields by name, each with its values in order; empty for a bare body.
    """

    path: Path
    label: str | None
    num_bytes: int
    sha256: str
    fields: dict[str, list[str]]


@asynccontextmanager
async def receive_upload(request: Request, max_bytes: int, work_dir: Path | None) -> AsyncIterator[Upload]:
    """Reads the body of a request into a temporary file, which is gone when the context ends.

    Raises:
        InputError: `unsupported-media-type`, `upload-too-large`, `upload-too-slow`, `malformed-upload`.
    """
    media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    is_form = media_type == b"multipart/form-data"
    if not is_form:
        _check_raw_media_type(media_type.decode("latin-1"))
    _check_announced_length(request, max_bytes + (MULTIPART_OVERHEAD_BYTES if is_form else 0), max_bytes)
    with tempfile.NamedTemporaryFile(dir=work_dir, prefix="divisi-upload-") as file:
        sink = _Sink(file, max_bytes)
        if is_form:
            form = _Form(sink)
            await form.read(request, parameters.get(b"boundary", b""), max_bytes + MULTIPART_OVERHEAD_BYTES)
            label, fields = form.label, form.fields
        else:
            async for chunk in _chunks(request):
                sink.add(chunk)
                await sink.settle()
            label, fields = None, {}
        await sink.flush()
        yield Upload(Path(file.name), label, sink.num_bytes, sink.sha256.hexdigest(), fields)


class _Sink:
    """Counts, hashes and writes the recording, off the event loop and in larger pieces than the network's."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._waiting = bytearray()
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def add(self, data: bytes) -> None:
        """Takes bytes over; `settle` writes them."""
        self.num_bytes += len(data)
        if self.num_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._waiting += data

    async def settle(self) -> None:
        """Writes what waits once it is worth a write."""
        if len(self._waiting) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Writes all that waits."""
        data, self._waiting = self._waiting, bytearray()
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytearray) -> None:
        self.sha256.update(data)
        self._file.write(data)
        self._file.flush()


@dataclass
class _Part:
    """The part of a form that is being read."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    name: str = ""
    is_file: bool = False
    value: bytearray = field(default_factory=bytearray)


class _Form:
    """A multipart body: the part `file` goes to the sink, small text parts become fields."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink
        self._part = _Part()
        self._num_parts = 0
        self._is_complete = False
        self._has_file = False
        self.label: str | None = None
        self.fields: dict[str, list[str]] = {}

    async def read(self, request: Request, boundary: bytes, max_bytes: int) -> None:
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
            parser = MultipartParser(boundary, callbacks)
            async for chunk in _chunks(request):
                num_bytes += len(chunk)
                if num_bytes > max_bytes:
                    raise _malformed(f"the form has more than {MULTIPART_OVERHEAD_BYTES} bytes beside its file")
                parser.write(chunk)
                await self._sink.settle()
            parser.finalize()
        except FormParserError as error:
            raise _malformed(f"the multipart body is broken: {error}") from error
        if not self._is_complete:
            raise _malformed("the multipart body ends before its last boundary")
        if not self._has_file:
            raise InputError(f"the form has no file in its field `{FILE_FIELD}`", code="missing-file")

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
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        self._part.name = _decode(options.get(b"name", b""))
        self._part.is_file = self._part.name == FILE_FIELD
        if not self._part.name:
            raise _malformed("a part of the form has no name")
        if b"filename" in options and not self._part.is_file:
            raise InputError(
                f"the file is in the field {self._part.name[:80]!r}; it belongs in `{FILE_FIELD}`", code="missing-file"
            )
        if self._part.is_file:
            if self._has_file:
                raise InputError("the form has more than one file; one job takes one recording", code="too-many-files")
            self._has_file = True
            # Old clients send names in other encodings; a name is only a label, no reason to refuse.
            self.label = clean_label(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._sink.add(data[start:end])
            return
        self._part.value += data[start:end]
        if len(self._part.value) > MAX_FIELD_BYTES:
            raise _malformed(f"the field {self._part.name[:80]!r} is longer than {MAX_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if not self._part.is_file:
            self.fields.setdefault(self._part.name, []).append(_decode(bytes(self._part.value)))

    def _complete(self) -> None:
        self._is_complete = True


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    body = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise InputError(f"nothing came for {IDLE_SECONDS:.0f} s", code="upload-too-slow") from error
        yield chunk


def _check_raw_media_type(media_type: str) -> None:
    if not media_type.startswith(("audio/", "video/")) and media_type not in RAW_MEDIA_TYPES:
        raise InputError(
            f"a body of type {media_type[:80]!r} is not taken; send multipart/form-data with a field `{FILE_FIELD}`, "
            "or the bare recording as audio/* or application/octet-stream",
            code="unsupported-media-type",
        )


def _check_announced_length(request: Request, most: int, max_bytes: int) -> None:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(max_bytes)


def _decode(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("names and values of the form are UTF-8 text") from error


def _too_large(max_bytes: int) -> InputError:
    return InputError(
        f"the recording is larger than {max_bytes} bytes, the most this service accepts",
        code="upload-too-large",
        limit_bytes=max_bytes,
    )


def _malformed(detail: str) -> InputError:
    return InputError(detail, code="malformed-upload")
