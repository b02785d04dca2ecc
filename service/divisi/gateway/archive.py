"""What was delivered in one ZIP file, made while it is sent: flat memory, no temporary file."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, AsyncMemberFile, async_stream_zip

from divisi.contract.job import Job
from divisi.contract.manifest import ManifestFile
from divisi.gateway.bodies import job_body
from divisi.storage.file_names import legal_name
from divisi.storage.object_store import ObjectStore

MANIFEST_NAME = "manifest.json"
MODE = 0o644
CHUNK_BYTES = 1024 * 1024
# Entries and directory beside the stems take far less than the rest of 4 GiB.
ZIP_32_BYTES = 2**32 - 2**20


def archive_of(job: Job, root: str, files: Sequence[ManifestFile], store: ObjectStore) -> AsyncIterable[bytes]:
    """The ZIP file of a finished job, piece by piece: what was delivered, or more, and what the API says about it."""
    description = job_body(job, root).model_dump_json(indent=2, exclude={"links"}).encode()
    ended_at = datetime.fromtimestamp(job.ended_at or job.submitted_at, UTC)
    return zip_of({MANIFEST_NAME: description}, {legal_name(file.file_name): file for file in files}, ended_at, store)


def zip_of(
    texts: Mapping[str, bytes], files: Mapping[str, ManifestFile], modified: datetime, store: ObjectStore
) -> AsyncIterable[bytes]:
    """Small files at hand and files of the store, by their paths in the ZIP file.

    Audio is stored, not deflated: lossless and lossy codecs leave nothing to gain, PCM little.
    """
    return async_stream_zip(_members(texts, files, modified, store), chunk_size=CHUNK_BYTES)


async def _members(
    texts: Mapping[str, bytes], files: Mapping[str, ManifestFile], modified: datetime, store: ObjectStore
) -> AsyncIterator[AsyncMemberFile]:
    total = sum(map(len, texts.values())) + sum(file.bytes for file in files.values())
    method = NO_COMPRESSION_32 if total < ZIP_32_BYTES else NO_COMPRESSION_64
    for name, text in texts.items():
        yield name, modified, MODE, method(len(text), zlib.crc32(text)), _once(text)
    for name, file in files.items():
        # A stored entry announces its checksum before its bytes; what version 0.1 made is read for it first.
        checksum = await _checksum_of(file, store) if file.crc32 is None else file.crc32
        yield name, modified, MODE, method(file.bytes, checksum), store.stream(file.key, 0, file.bytes)


async def _checksum_of(file: ManifestFile, store: ObjectStore) -> int:
    checksum = 0
    async for piece in store.stream(file.key, 0, file.bytes):
        checksum = zlib.crc32(piece, checksum)
    return checksum


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
