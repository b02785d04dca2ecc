"""Receives one recording: from the request's body straight to a file on disk, hashed on the way, never held in memory.

Two forms: `multipart/form-data` with a file part, or one for each microphone, beside the options; or the bare bytes
with the options in the query. Every limit is enforced while reading, so a refusal comes before the rest of the body.
True sources that come with it are checked against it, and given to the jobs whose models have such stems.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from divisi.access.sources import Sources
from divisi.audio.decode import channel_file_name, pack_files
from divisi.audio.recording import AudioFacts, AudioLimits, check_true_source, mismatch
from divisi.audio.sandbox import inspect_audio_in_child
from divisi.contract.card import ModelCard
from divisi.contract.errors import InputError
from divisi.contract.manifest import ManifestFile
from divisi.contract.request import SeparationRequest
from divisi.gateway.multipart_form import (
    FILE_FIELD,
    MULTIPART_OVERHEAD_BYTES,
    MultipartForm,
    UploadSink,
    needing_room,
    scratch_folder,
    too_large,
)
from divisi.settings import Settings, listed
from divisi.storage.bucket import read_address, result_folder
from divisi.storage.names import clean_label, file_name_in

IDLE_SECONDS = 60.0
Body = TypeVar("Body", bound=BaseModel)
_STEM_NAME = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*(?<!.{65})")
RAW_MEDIA_TYPES = frozenset({"application/octet-stream", "application/ogg", "binary/octet-stream", ""})


@dataclass(frozen=True)
class ReceivedFile:
    """A recording or a true source as it came: where its bytes are, their number, SHA-256 in hex, and CRC-32."""

    path: Path
    num_bytes: int
    sha256: str
    crc32: int

    def kept_as(self, name: str, title: str, key: str, facts: AudioFacts) -> ManifestFile:
        """What a job's record says of it; `title` is its name as people see it."""
        file_name = f"{title}.{facts.container}"
        return ManifestFile(name, file_name, key, self.num_bytes, self.sha256, facts.media_type, self.crc32)


@dataclass(frozen=True)
class Upload(ReceivedFile):
    """A received recording; its path is a folder where it came in several files, whose digests are of all together.

    Its files live as long as the `receive_upload` that gave it.

    Args:
        label: cleaned name of the form's first file, or of a bare body's header; None when there is none. Never a path.
        num_files: how many came; 0 of a form without one.
        fields: form fields by name, each with its values in order; empty for a bare body.
        references: true sources by the name of their stem.
    """

    label: str | None
    num_files: int
    fields: dict[str, list[str]]
    references: dict[str, ReceivedFile]

    @property
    def total_bytes(self) -> int:
        """Of the recording and its true sources."""
        return self.num_bytes + sum(reference.num_bytes for reference in self.references.values())

    @property
    def digest(self) -> str:
        """Of all that was sent, in hex."""
        parts = [f"{name} {self.references[name].sha256}" for name in sorted(self.references)]
        return hashlib.sha256("\n".join([self.sha256, *parts]).encode()).hexdigest() if parts else self.sha256

    def mixture_file(self) -> Path:
        """The one file to keep; several are packed into one beside them at the first call. Takes a while: thread it.

        Raises:
            UnavailableError: `disk-full`.
        """
        if not self.path.is_dir():
            return self.path
        packed = self.path.with_name("packed")
        if not packed.exists():
            with needing_room():
                pack_files(self.path, packed)
        return packed


@asynccontextmanager
async def receive_upload(request: Request, max_bytes: int, work_dir: Path, max_files: int = 1) -> AsyncIterator[Upload]:
    """Reads the body of a request into temporary files, which are gone when the context ends.

    Args:
        max_bytes: of all files together.
        work_dir: where the files lie.
        max_files: that a form may have.

    Raises:
        InputError: `unsupported-media-type`, `upload-too-large`, `upload-too-slow`, `malformed-upload`,
            `too-many-files`.
        UnavailableError: `disk-full`.
    """
    media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    is_form = media_type == b"multipart/form-data"
    if not is_form:
        _check_raw_media_type(media_type.decode("latin-1"))
    _check_announced_length(request, max_bytes + (MULTIPART_OVERHEAD_BYTES if is_form else 0), max_bytes)
    with scratch_folder(work_dir, "divisi-upload-") as scratch, ExitStack() as open_files:
        folder = scratch / "files"
        folder.mkdir()

        def opened(path: Path) -> IO[bytes]:
            return open_files.enter_context(path.open("wb"))

        places = itertools.count()
        sink = UploadSink(lambda: opened(folder / channel_file_name(next(places))), max_bytes)
        references: dict[str, tuple[Path, UploadSink]] = {}

        def open_reference(name: str) -> UploadSink:
            _check_reference_name(name, references)
            path = scratch / f"reference-{len(references)}"
            references[name] = path, UploadSink(lambda: opened(path), max_bytes)
            return references[name][1]

        label: str | None = None
        fields: dict[str, list[str]] = {}
        num_files = 1
        if is_form:
            form = MultipartForm(sink, max_files, open_reference)
            await form.read(_chunks(request), parameters.get(b"boundary", b""), max_bytes + MULTIPART_OVERHEAD_BYTES)
            label, fields, num_files = form.label, form.fields, form.num_files
        else:
            label = clean_label(file_name_in(request.headers.get("content-disposition", "").encode("latin-1")))
            async for chunk in _chunks(request):
                sink.add(chunk)
                await sink.settle()
        for part in (sink, *(source for _, source in references.values())):
            await part.flush()
        path = folder if num_files > 1 else folder / channel_file_name(0)
        received = {name: ReceivedFile(path, *source.measured) for name, (path, source) in references.items()}
        yield Upload(path, *sink.measured, label, num_files, fields, received)


def check_source(upload: Upload, options: SeparationRequest, sources: Sources) -> None:
    """Refuses a submit without a recording, one with two, and an address that cannot be fetched from.

    Raises:
        InputError: `missing-file`, `source-and-file`, `source-refused`.
    """
    if options.source_url is None:
        if not upload.num_files:
            raise InputError(f"the form has no file in its field `{FILE_FIELD}`", code="missing-file")
        return
    if upload.num_bytes or upload.references:
        raise InputError("there is a source_url, and a file as well", code="source-and-file")
    sources.check(options.source_url)


def check_target(options: SeparationRequest, settings: Settings) -> None:
    """Refuses a bucket that nothing may be written to. Raises InputError `target-refused`."""
    if options.target is None:
        return
    try:
        read_address(result_folder(options.target, "job"), listed(settings.target_buckets))
    except ValueError as refusal:
        raise InputError(f"target is refused: {refusal}", code="target-refused") from None


async def fetch_source(upload: Upload, source_url: str, sources: Sources, max_bytes: int) -> Upload:
    """The upload with the recording at an address in it. Raises as `Sources.fetch`."""
    with ExitStack() as opened:
        sink = UploadSink(lambda: opened.enter_context(upload.path.open("wb")), max_bytes)
        fetched = await sources.fetch(source_url, sink)
    num_bytes, sha256, crc32 = sink.measured
    return replace(upload, num_bytes=num_bytes, sha256=sha256, crc32=crc32, label=fetched.label)


async def read_json(request: Request, model: type[Body], max_bytes: int) -> Body:
    """A small body as JSON.

    Raises:
        InputError: `rehearsal-too-large`, `upload-too-slow`.
        RequestValidationError: with a pointer to each field that is wrong.
    """
    data = bytearray()
    async for chunk in _chunks(request):
        data += chunk
        if len(data) > max_bytes:
            raise InputError(f"more than {max_bytes} bytes are not kept", code="rehearsal-too-large", limit=max_bytes)
    try:
        return model.model_validate_json(bytes(data))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in problems]) from error


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


def _check_reference_name(name: str, known: Iterable[str]) -> None:
    if not _STEM_NAME.fullmatch(name):
        raise InputError(f"{name[:80]!r} cannot be the name of a stem", code="unknown-reference")
    if name in known:
        raise InputError(f"the true source of {name!r} was sent twice", code="too-many-files")


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
        raise too_large(max_bytes)


def check_references(
    upload: Upload, facts: AudioFacts, cards: Sequence[ModelCard], limits: AudioLimits
) -> dict[str, AudioFacts]:
    """Examines each true source in a process of its own; facts by stem.

    Raises:
        InputError: `unknown-reference`, no model asked for has the stem; `reference-mismatch`, another rate, length or
            number of channels than the recording's; or what an upload is refused for.
    """
    known = list(dict.fromkeys(stem for card in cards for stem in card.stems))
    for name in upload.references:
        if name not in known:
            message = f"no model asked for has the stem {name!r}; there are {', '.join(known)}"
            raise InputError(message, code="unknown-reference", known=known)
    found = {}
    for name, reference in upload.references.items():
        found[name] = own = inspect_audio_in_child(reference.path, limits)
        check_true_source(name, own.sample_rate, own.num_channels, facts.sample_rate, facts.num_channels)
        # What was not counted here the worker will notice.
        if own.exact and facts.exact and own.num_samples != facts.num_samples:
            raise mismatch(name, f"has {own.num_samples} samples; the recording has {facts.num_samples}")
    return found
