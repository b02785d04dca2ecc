"""Learning tracks of finished jobs: made when they are first asked for, kept with the job, erased with it.

Many may ask at once and at several gateways: one task a gateway makes a set, and notes in the store how far it is, so
that others show that instead of making it too. A job keeps only so many tracks. When it is erased meanwhile, the child
is killed and nothing stays.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from divisi.contract.errors import ConflictError, NotFoundError, UnavailableError
from divisi.contract.job import Job
from divisi.contract.manifest import Manifest, ManifestFile
from divisi.contract.tracks import Track, TrackOptions
from divisi.queue.job_queue import JobQueue
from divisi.storage.names import attempt_prefix, content_disposition, song_title, stem_key
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import get_logger
from divisi.tracks.child import make_in_child
from divisi.tracks.making import TrackOrder, TrackStem
from divisi.whole_files import digests_of

log = get_logger(__name__)

# Six full sets of a quartet: else reads could fill the store.
MOST_TRACKS = 102
# Between two looks whether the job is still there, and two notes of how far it is; a note as old as several of them is
# of a gateway that is gone.
WATCH_SECONDS = 2.0
_NOTE_AGE_SECONDS = 20.0
# Until what is away is asked again; then again, and so on.
_RETRY_SECONDS = (1.0, 4.0, 15.0, 60.0)
_MEDIA_TYPES = {"mp3": "audio/mpeg", "ogg": "audio/ogg", "flac": "audio/flac", "wav": "audio/wav"}
Result = TypeVar("Result")
Count = Callable[[Literal["made", "refused"]], None]


@dataclass(frozen=True)
class TrackSet:
    """Tracks of one finished job, made alike."""

    job: Job
    manifest: Manifest
    options: TrackOptions
    tracks: tuple[Track, ...]

    @property
    def key(self) -> str:
        """The same for the same set."""
        asked = [self.options.model_dump(include=set(TrackOptions.model_fields)), [one.slug for one in self.tracks]]
        digest = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        return self.key_of(f"tracks-{digest}.making")

    def note_key(self, track: Track) -> str:
        """Where it is noted what a track is, once it is stored."""
        return self.key_of(f"{self._name(track)}.json")

    def file_key(self, track: Track, checksum: str) -> str:
        """Where it is stored. Two gateways may make it at once: no note is of the other's bytes."""
        return self.key_of(f"{self._name(track)}-{checksum[:16]}")

    def key_of(self, file_name: str) -> str:
        """Key of a file beside the job's stems."""
        return stem_key(self.job.job_id, self.manifest.attempt, file_name)

    def _name(self, track: Track) -> str:
        options = self.options
        choir = sha256(options.choir.encode()).hexdigest()[:8]
        return f"track-{track.slug}-{options.speed}-{options.semitones}-{choir}-{options.format}"


@dataclass
class _Making:
    job_id: str
    num_new: int
    task: asyncio.Task[list[ManifestFile]] | None = None
    progress: float = 0.0


@dataclass(frozen=True)
class Standing:
    """How far a set is: its files, in its order, where all are there; else how much of the work is done, 0..1."""

    files: Sequence[ManifestFile] = ()
    progress: float = 1.0


@dataclass
class TrackShelf:
    """Where one gateway finds learning tracks, or has them made.

    Attributes:
        places: how many processes may decode at once.
        scratch: gives a temporary folder.
        count: called for each set that is made, or refused.
    """

    store: ObjectStore
    queue: JobQueue
    places: asyncio.Semaphore
    scratch: Callable[[], AbstractContextManager[Path]]
    count: Count
    _makings: dict[str, _Making] = field(default_factory=dict)

    async def look(self, wanted: TrackSet) -> Standing:
        """How far a set is, which is begun if nobody has asked for it before.

        Raises:
            ConflictError: `too-many-mixes`, the job keeps as many as it may.
            ModelError: `damaged-stem`, it could not be made.
        """
        making = self._makings.get(wanted.key)
        if making is None:
            files = await self._found(wanted)
            if len(files) == len(wanted.tracks):
                return Standing([files[track] for track in wanted.tracks])
            elsewhere = await self._progress_elsewhere(wanted)
            if elsewhere is not None:
                return Standing(progress=elsewhere)
            making = await self._begin(wanted, files)
        if making.task is not None and making.task.done():
            self._makings.pop(wanted.key, None)
            return Standing(making.task.result())
        return Standing(progress=making.progress)

    async def ready(self, wanted: TrackSet) -> Sequence[ManifestFile]:
        """The set's files, in its order, as soon as they are there; raises as `look`."""
        while True:
            standing = await self.look(wanted)
            if standing.files:
                return standing.files
            making = self._makings.get(wanted.key)
            if making is not None and making.task is not None:
                # Whoever leaves does not take the set from those who wait with them.
                await asyncio.wait({making.task})
            else:
                await asyncio.sleep(WATCH_SECONDS)

    async def _found(self, wanted: TrackSet) -> dict[Track, ManifestFile]:
        found = {}
        for track in wanted.tracks:
            try:
                found[track] = ManifestFile(**json.loads(await self.store.get_bytes(wanted.note_key(track))))
            except NotFoundError:
                continue
        return found

    async def _progress_elsewhere(self, wanted: TrackSet) -> float | None:
        """What another gateway notes that is making the set."""
        try:
            note = json.loads(await self.store.get_bytes(wanted.key))
        except NotFoundError:
            return None
        return float(note["progress"]) if time.time() - note["at"] < _NOTE_AGE_SECONDS else None

    async def _begin(self, wanted: TrackSet, files: dict[Track, ManifestFile]) -> _Making:
        making = self._makings.get(wanted.key)
        if making is None:  # nobody has come meanwhile
            making = self._makings[wanted.key] = _Making(wanted.job.job_id, len(wanted.tracks) - len(files))
            try:
                await self._require_room(wanted)
            except BaseException:
                self._makings.pop(wanted.key)
                raise
            making.task = asyncio.create_task(self._make(wanted, making, files))
            making.task.add_done_callback(lambda task: self._forget(wanted, task))
        return making

    def _forget(self, wanted: TrackSet, task: asyncio.Task[list[ManifestFile]]) -> None:
        """What was made is found in the store; why something could not be, whoever looks next is answered."""
        if task.cancelled() or task.exception() is None:
            self._makings.pop(wanted.key, None)

    async def _require_room(self, wanted: TrackSet) -> None:
        """Raises ConflictError (`too-many-mixes`) when this, with what is under way, is more than the job may keep."""
        prefix = f"{attempt_prefix(wanted.job.job_id, wanted.manifest.attempt)}/track-"
        listed = await self.store.list(attempt_prefix(wanted.job.job_id, wanted.manifest.attempt))
        num_kept = sum(found.key.startswith(prefix) and found.key.endswith(".json") for found in listed)
        under_way = [one for one in self._makings.values() if one.job_id == wanted.job.job_id]
        num_new = sum(one.num_new for one in under_way if one.task is None or not one.task.done())
        if num_kept + num_new > MOST_TRACKS:
            self.count("refused")
            raise ConflictError(
                f"the job keeps {num_kept} learning tracks; with {num_new} more that is over {MOST_TRACKS}",
                code="too-many-mixes",
                limit=MOST_TRACKS,
            )

    async def _make(self, wanted: TrackSet, making: _Making, files: dict[Track, ManifestFile]) -> list[ManifestFile]:
        missing = tuple(track for track in wanted.tracks if track not in files)
        try:
            async with self.places:
                with self.scratch() as folder:
                    await self._make_in(folder, wanted, missing, making)
                    for track in missing:
                        files[track] = await _patiently(asyncio.to_thread, self._keep, wanted, track, folder)
        finally:
            with suppress(UnavailableError):  # it grows old by itself
                await self.store.delete(wanted.key)
        await _patiently(self._require_job, wanted)
        self.count("made")
        log.info("learning tracks made", job_id=wanted.job.job_id, num_tracks=len(missing))
        return [files[track] for track in wanted.tracks]

    async def _make_in(self, folder: Path, wanted: TrackSet, missing: tuple[Track, ...], making: _Making) -> None:
        """The child's work, for as long as the job is there."""

        def note(progress: float) -> None:
            making.progress = progress

        stems = tuple(
            TrackStem(stem.name, folder / f"stem-{place}", stem.is_residual)
            for place, stem in enumerate(wanted.manifest.stems)
        )
        for stem, kept in zip(stems, wanted.manifest.stems, strict=True):
            await _patiently(asyncio.to_thread, self.store.download, kept.key, stem.path)
        order = TrackOrder(stems, missing, wanted.options, song_title(wanted.job.file_name))
        work = asyncio.create_task(make_in_child(order, folder, note))
        try:
            while not (await asyncio.wait({work}, timeout=WATCH_SECONDS))[0]:
                with suppress(UnavailableError):  # what is away for a moment ends nothing
                    await self._require_job(wanted)
                    progress = {"progress": making.progress, "at": time.time()}
                    await self.store.put_bytes(wanted.key, json.dumps(progress).encode())
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _require_job(self, wanted: TrackSet) -> None:
        """Raises NotFoundError (`unknown-job`) when the job was erased, with what was stored for it since."""
        try:
            await self.queue.get(wanted.job.job_id)
        except NotFoundError:
            await self.store.delete_prefix(attempt_prefix(wanted.job.job_id, wanted.manifest.attempt))
            raise

    def _keep(self, wanted: TrackSet, track: Track, folder: Path) -> ManifestFile:
        """Stores a track, and last the note of it: whoever finds that finds the track."""
        path = folder / f"{track.slug}.{wanted.options.format}"
        digests, title = digests_of(path), track.file_name(wanted.options)
        media_type = _MEDIA_TYPES[wanted.options.format]
        key = wanted.file_key(track, digests.sha256)
        kept = ManifestFile(track.slug, title, key, path.stat().st_size, digests.sha256, media_type, digests.crc32)
        disposition = content_disposition(wanted.job.file_name, title, wanted.job.job_id)
        self.store.upload(key, path, media_type=media_type, disposition=disposition)
        (note := folder / "note").write_text(json.dumps(asdict(kept)))
        self.store.upload(wanted.note_key(track), note)
        return kept


async def _patiently(work: Callable[..., Awaitable[Result]], *arguments: Any) -> Result:
    """Its result, also where Redis or the store is away for a minute: what was made takes longer to make again."""
    for seconds in _RETRY_SECONDS:
        try:
            return await work(*arguments)
        except UnavailableError as error:
            log.warning("learning tracks wait", reason=error.message)
            await asyncio.sleep(seconds)
    return await work(*arguments)
