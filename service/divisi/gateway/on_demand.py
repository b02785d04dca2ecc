"""What is made of a finished job when it is asked for: practice mixes, and all its files in one ZIP file.

A practice mix puts a part in front of the others, or is everything but the part. It is added up from the stored stems
in a child process (the gateway touches no samples), and kept beside the stems: a job that nobody practises with costs
no room, and the second caller waits for nothing. However many ask a gateway at once, it makes a mix once; of mixes with
levels of their own a job keeps only so many. A ZIP file is made while it is sent: flat memory, no temporary file.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastapi.responses import StreamingResponse
from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, AsyncMemberFile, async_stream_zip

from divisi.audio.sandbox import MixPart, mix_in_child
from divisi.contract.errors import ConflictError, ModelError, NotFoundError
from divisi.contract.files import StemFormat
from divisi.contract.job import Job
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem
from divisi.gateway.answers import job_body
from divisi.gateway.dependencies import Services
from divisi.gateway.multipart_form import scratch_folder
from divisi.storage.names import attempt_prefix, content_disposition, legal_name, stem_key
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import get_logger
from divisi.whole_files import digests_of

log = get_logger(__name__)

LOWER_DB = 12
# Beside both mixes of every part with the usual level: else reads could fill the store.
MOST_OTHER_MIXES = 16
_LONGEST_SECONDS = 1800.0
_NOTE = ".json"
# Entries and directory of a ZIP file beside the stems take far less than the rest of 4 GiB.
_ZIP_32_BYTES = 2**32 - 2**20
_CHUNK_BYTES = 1024 * 1024
_MODE = 0o644


@dataclass(frozen=True)
class PracticeMix:
    """Which mix of a job: of which part, without it or with it in front of the others, lowered by so many dB."""

    job: Job
    manifest: Manifest
    part: str
    is_without: bool = False
    lower_db: int = LOWER_DB

    @property
    def is_usual(self) -> bool:
        """True for the mixes that every job may have."""
        return self.is_without or self.lower_db == LOWER_DB

    @property
    def title(self) -> str:
        """As people see it."""
        return f"without {self.part}" if self.is_without else f"{self.part} in front"

    @property
    def name(self) -> str:
        """As it is stored."""
        return f"mix-without-{self.part}" if self.is_without else f"mix-{self.part}-{self.lower_db}"

    @property
    def note_key(self) -> str:
        """Where it is noted what the mix is, once it is stored."""
        return self.key_of(f"{self.name}{self.job.encoding.extension}{_NOTE}")

    def key_of(self, file_name: str) -> str:
        """Key of a file beside the job's stems."""
        return stem_key(self.job.job_id, self.manifest.attempt, file_name)

    def gain_of(self, stem: ManifestStem) -> float:
        """Factor of one stem's samples."""
        if self.is_without:
            return 0.0 if stem.name == self.part else 1.0
        return 1.0 if stem.name == self.part else 10 ** (-self.lower_db / 20)


def all_mixes(job: Job, manifest: Manifest) -> list[PracticeMix]:
    """Both mixes of every part."""
    return [
        PracticeMix(job, manifest, stem.name, is_without) for stem in manifest.parts for is_without in (False, True)
    ]


async def ready_mix(services: Services, mix: PracticeMix) -> ManifestFile:
    """The mix as a file of the store, made now if nobody has asked for it before.

    Raises:
        ConflictError: `too-many-mixes`, the job keeps as many with levels of their own as it may.
        NotFoundError: `unknown-part`, or stems that are gone.
        ModelError: `damaged-stem`, a stem cannot be read.
    """
    known = [stem.name for stem in mix.manifest.parts]
    if mix.part not in known:
        raise NotFoundError(f"the job has no part {mix.part!r}; it has {', '.join(known)}", code="unknown-part")
    key = mix.note_key
    looking = services.mixes.get(key)
    if looking is None:
        looking = asyncio.create_task(_find_or_make(services, mix))
        services.mixes[key] = looking
        looking.add_done_callback(lambda _: services.mixes.pop(key))
    # Whoever leaves does not take the mix from those who wait with them.
    return await asyncio.shield(looking)


async def _find_or_make(services: Services, mix: PracticeMix) -> ManifestFile:
    try:
        return ManifestFile(**json.loads(await services.store.get_bytes(mix.note_key)))
    except NotFoundError:
        pass
    if not mix.is_usual:
        await _require_room(services, mix)
    # A process that decodes, as an inspection is; more at once than there are cores only makes all of them late.
    async with services.inspection_places:
        made = await asyncio.to_thread(_make, services, mix)
    services.metrics.count_mix("made")
    return made


async def _require_room(services: Services, mix: PracticeMix) -> None:
    """Raises ConflictError when the job has all the mixes with levels of their own that it may have."""
    prefix = attempt_prefix(mix.job.job_id, mix.manifest.attempt)
    usual = {one.note_key for one in all_mixes(mix.job, mix.manifest)}
    kept = {found.key for found in await services.store.list(prefix)}
    # Those that others asked for before are on their way.
    earlier = itertools.takewhile(lambda key: key != mix.note_key, list(services.mixes))
    notes = {key for key in (*kept, *earlier) if key.startswith(f"{prefix}/mix-") and key.endswith(_NOTE)}
    if len(notes - usual - {mix.note_key}) >= MOST_OTHER_MIXES:
        services.metrics.count_mix("refused")
        raise ConflictError(
            f"the job keeps {MOST_OTHER_MIXES} practice mixes with levels of their own, and no more; the others can be "
            f"lowered by {LOWER_DB} dB",
            code="too-many-mixes",
            limit=MOST_OTHER_MIXES,
        )


def _make(services: Services, mix: PracticeMix) -> ManifestFile:
    store, encoding = services.store, mix.job.encoding
    with scratch_folder(services.work_dir, "divisi-mix-") as scratch:
        parts = []
        for place, stem in enumerate(mix.manifest.stems):
            if gain := mix.gain_of(stem):
                store.download(stem.key, scratch / str(place))
                parts.append(MixPart(scratch / str(place), gain))
        if not parts:  # everything but the only stem of a job without residual
            raise NotFoundError(f"nothing is left without {mix.part}", code="unknown-part")
        out = scratch / "mix"
        _run(parts, out, encoding)
        digests, title = digests_of(out), f"{mix.title}{encoding.extension}"
        # Two gateways may make one mix at once, and lossy formats differ from time to time: no note, whichever comes
        # last, is of the other's bytes.
        key = mix.key_of(f"{mix.name}-{digests.sha256[:16]}{encoding.extension}")
        size, media_type = out.stat().st_size, encoding.media_type
        made = ManifestFile(mix.name, title, key, size, digests.sha256, media_type, digests.crc32)
        disposition = content_disposition(mix.job.file_name, title, mix.job.job_id)
        store.upload(key, out, media_type=media_type, disposition=disposition)
        # Last: whoever finds it finds the mix.
        (note := scratch / "note").write_text(json.dumps(asdict(made)))
        store.upload(mix.note_key, note)
    log.info("practice mix made", job_id=mix.job.job_id, mix=mix.name, bytes=made.bytes)
    return made


def _run(parts: Sequence[MixPart], out: Path, encoding: StemFormat) -> None:
    try:
        mix_in_child(parts, out, encoding, _LONGEST_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        log.error("practice mix failed", reason=(error.stderr or b"").decode(errors="replace")[-500:])
        raise ModelError("the stems of this job cannot be mixed", code="damaged-stem") from error


def archive_of(job: Job, root: str, files: Sequence[ManifestFile], store: ObjectStore) -> AsyncIterable[bytes]:
    """The ZIP file of a finished job, piece by piece: what was delivered, or more, and what the API says about it."""
    description = job_body(job, root).model_dump_json(indent=2, exclude={"links"}).encode()
    ended_at = datetime.fromtimestamp(job.ended_at or job.submitted_at, UTC)
    return zip_of({"manifest.json": description}, {legal_name(file.file_name): file for file in files}, ended_at, store)


def zip_of(
    texts: Mapping[str, bytes], files: Mapping[str, ManifestFile], modified: datetime, store: ObjectStore
) -> AsyncIterable[bytes]:
    """Small files at hand and files of the store, by their paths in the ZIP file.

    Audio is stored, not deflated: lossless and lossy codecs leave nothing to gain, PCM little.
    """
    return async_stream_zip(_members(texts, files, modified, store), chunk_size=_CHUNK_BYTES)


def zip_answer(pieces: AsyncIterable[bytes], disposition: str) -> StreamingResponse:
    """A ZIP file as the answer to a request."""
    headers = {"Content-Disposition": disposition, "Cache-Control": "private, no-cache"}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


async def _members(
    texts: Mapping[str, bytes], files: Mapping[str, ManifestFile], modified: datetime, store: ObjectStore
) -> AsyncIterator[AsyncMemberFile]:
    total = sum(map(len, texts.values())) + sum(file.bytes for file in files.values())
    method = NO_COMPRESSION_32 if total < _ZIP_32_BYTES else NO_COMPRESSION_64
    for name, text in texts.items():
        yield name, modified, _MODE, method(len(text), zlib.crc32(text)), _once(text)
    for name, file in files.items():
        # A stored entry announces its checksum before its bytes; what version 0.1 made is read for it first.
        checksum = await _checksum_of(file, store) if file.crc32 is None else file.crc32
        yield name, modified, _MODE, method(file.bytes, checksum), store.stream(file.key, 0, file.bytes)


async def _checksum_of(file: ManifestFile, store: ObjectStore) -> int:
    checksum = 0
    async for piece in store.stream(file.key, 0, file.bytes):
        checksum = zlib.crc32(piece, checksum)
    return checksum


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
