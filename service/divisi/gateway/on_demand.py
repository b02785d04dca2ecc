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
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from stream_zip import NO_COMPRESSION_32, NO_COMPRESSION_64, AsyncMemberFile, async_stream_zip

from divisi.access.callers import SIGNATURE
from divisi.audio.sandbox import MixPart, mix_in_child
from divisi.contract.answers import TrackSetBody
from divisi.contract.errors import ConflictError, ModelError, NotFoundError
from divisi.contract.files import StemFormat
from divisi.contract.job import Job, JobState
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem
from divisi.contract.tracks import LOWER_DB, TrackSetOptions, check_length, check_part, tracks_of
from divisi.gateway.answers import track_set_body
from divisi.gateway.dependencies import GatewayServices, Services, in_query, signed
from divisi.gateway.jobs import JobId
from divisi.gateway.multipart_form import scratch_folder
from divisi.gateway.openapi import ARCHIVE_RESPONSE, problems
from divisi.storage.names import attempt_prefix, content_disposition, legal_name, stem_key
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import get_logger
from divisi.tracks.shelf import TrackSet
from divisi.whole_files import digests_of

log = get_logger(__name__)
router = APIRouter(prefix="/v1/jobs/{job_id}")

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
    check_part(mix.part, [stem.name for stem in mix.manifest.parts])
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


async def finished_job(services: Services, job_id: str) -> tuple[Job, Manifest]:
    """A job that succeeded, and what it made; ConflictError for any other state."""
    job = await services.queue.get(job_id)
    if job.state is JobState.SUCCEEDED and job.manifest is not None:
        return job, job.manifest
    if job.state.is_ended:
        raise ConflictError(f"job {job_id} has {job.state.value}", code=f"job-{job.state.value}", state=job.state.value)
    raise ConflictError(f"job {job_id} is {job.state.value}", code="job-not-finished", state=job.state.value)


@router.get(
    "/tracks",
    response_model=TrackSetBody,
    summary="Make learning tracks, and see how far they are",
    tags=["mixes"],
    responses=problems(404, 409),
)
async def get_tracks(
    request: Request,
    job_id: JobId,
    services: GatewayServices,
    asked: Annotated[TrackSetOptions, in_query(TrackSetOptions)],
) -> Any:
    """The set for everybody, or for some parts and layouts. The first look begins to make it; it is kept. A link that
    opens without a key leads on by such links.
    """
    wanted = await _track_set(services, job_id, asked)
    body = track_set_body(wanted, await services.tracks.look(wanted), services.settings.root_path)
    return await signed(request, services, body) if request.query_params.get(SIGNATURE) else body


@router.get(
    "/tracks.zip",
    summary="Download learning tracks",
    tags=["mixes"],
    response_class=Response,
    responses={**ARCHIVE_RESPONSE, **problems(404, 409)},
)
async def get_tracks_archive(
    job_id: JobId, services: GatewayServices, asked: Annotated[TrackSetOptions, in_query(TrackSetOptions)]
) -> Any:
    """A set in one ZIP file. Where it is not there yet this waits until it is made; `tracks` says how far it is."""
    wanted = await _track_set(services, job_id, asked)
    return tracks_answer(wanted, await services.tracks.ready(wanted), services.store)


async def _track_set(services: Services, job_id: str, asked: TrackSetOptions) -> TrackSet:
    job, manifest = await finished_job(services, job_id)
    check_length(job.duration_seconds, asked)
    return TrackSet(job, manifest, asked, tuple(tracks_of([stem.name for stem in manifest.parts], asked)))


def tracks_answer(wanted: TrackSet, files: Sequence[ManifestFile], store: ObjectStore) -> StreamingResponse:
    """Learning tracks in one ZIP file."""
    job, change = wanted.job, wanted.options.change
    ended_at = datetime.fromtimestamp(job.ended_at or job.submitted_at, UTC)
    name = f"learning tracks ({change}).zip" if change else "learning tracks.zip"
    pieces = zip_of({}, {legal_name(file.file_name): file for file in files}, ended_at, store)
    return zip_answer(pieces, content_disposition(job.file_name, name, job.job_id))


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
