"""From an upload to accepted jobs: read this first.

    Redis and the store answer → the body is on disk → options and models fit → the recording is here and sound
    → mixture and accepted job are in the store → the queue has the job → 202

A refusal at any step leaves nothing behind. Whatever was answered 202 is never lost: the store holds enough to rebuild
the queue's entry (see `life.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from starlette.requests import Request

from divisi.access.callers import Caller
from divisi.access.key_ring import seal
from divisi.audio.encode import check_encoding
from divisi.audio.recording import AudioFacts
from divisi.audio.sandbox import inspect_audio_in_child
from divisi.contract.card import ModelCard
from divisi.contract.errors import ConflictError, DivisiError, NotFoundError, UnavailableError
from divisi.contract.job import Job, fingerprint_of, new_job_id
from divisi.contract.manifest import ManifestFile
from divisi.contract.request import SeparationRequest
from divisi.gateway.dependencies import Services
from divisi.gateway.models import choose_models, read_options, require_fitters, voices_for, wanted_stems
from divisi.gateway.uploads import Upload, check_references, check_source, check_target, fetch_source, receive_upload
from divisi.life import erase_audio, mark_sharers
from divisi.models.plan import fit_request_of
from divisi.queue.job_queue import JobQueue, Reservation, Submission
from divisi.storage.names import UNNAMED, accepted_key, clean_label, content_disposition, mixture_key, reference_key
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import current_traceparent, get_logger, span
from divisi.webhooks.sender import check_webhook

log = get_logger(__name__)

# A key is held this long without a sign of life from the upload that holds it.
HOLD_SECONDS = 30.0


@dataclass(frozen=True)
class Acceptance:
    """The jobs of one upload, in the order of the models asked for.

    Args:
        group: id that they share; None for a single job.
        is_replay: an earlier request with the same Idempotency-Key had been answered with these jobs.
    """

    jobs: tuple[Job, ...]
    group: str | None
    is_replay: bool = False


async def accept_upload(
    request: Request, services: Services, caller: Caller, idempotency_key: str | None
) -> Acceptance:
    """Takes the recording in a request's body and queues a job for each model asked for.

    Raises:
        InputError, RequestValidationError: the recording, its address or the options are refused.
        ConflictError: the Idempotency-Key is in use, or was used for something else.
        UnavailableError: Redis or the store is away, too many jobs wait, or no worker at work can run a model.
        LimitError: the caller has too many unfinished jobs, or has used up the day's uploads.
    """
    settings = services.settings
    await _require_room(services)
    if caller.owner is not None:
        await services.queue.require_job_room(caller.owner, settings.max_unfinished_jobs)
        await services.limits.spend_upload(caller.owner, services.upload_quota)
        idempotency_key = idempotency_key and f"{caller.owner} {idempotency_key}"
    async with (
        _held_key(services.queue, idempotency_key) as reservation,
        receive_upload(request, settings.max_upload_bytes, services.work_dir, settings.max_channels) as upload,
    ):
        if upload.num_files:
            services.metrics.observe_upload(upload.total_bytes)
        options = read_options(upload.fields, request.query_params.multi_items())
        check_webhook(options, caller, settings)
        check_source(upload, options, services.sources)
        check_target(options, settings)
        encoding = options.encoding
        cards = await asyncio.to_thread(choose_models, options, services.bundles, settings.default_model)
        fit = fit_request_of(options).to_dict()
        fingerprint = fingerprint_of(upload.digest, [card.id for card in cards], options, fit)
        if reservation is not None and reservation.job_ids:
            return await _replay(services.queue, reservation, fingerprint)
        await require_fitters(services, cards)
        if options.source_url is not None:
            with span("fetch source"):
                upload = await fetch_source(upload, options.source_url, services.sources, settings.max_upload_bytes)
            services.metrics.observe_upload(upload.total_bytes)
        async with services.inspection_places:
            with span("inspect upload", bytes=upload.num_bytes):
                facts = await asyncio.to_thread(inspect_audio_in_child, upload.path, services.audio_limits)
            references = await asyncio.to_thread(check_references, upload, facts, cards, services.audio_limits)
        check_encoding(encoding, facts.sample_rate, facts.num_channels)
        order = _Order(upload, options, facts, references)
        jobs = _draft_jobs(order, cards, caller.owner, idempotency_key, fingerprint)
        if options.webhook_secret is not None:
            secret = await services.keys.deployment_secret()
            jobs = tuple(_with_seal(job, options.webhook_secret, secret) for job in jobs)
        seconds = facts.duration_seconds * len(jobs)
        spent = services.limits.upload_spent(caller.owner, services.upload_quota, upload.total_bytes, seconds)
        async with spent as share:
            acceptance = await _publish(services, jobs, upload, reservation)
            share.is_kept = not acceptance.is_replay
        return acceptance


async def _require_room(services: Services) -> None:
    """Refuses before the body is read when the job could not be taken anyway."""
    depths, *_ = await asyncio.gather(
        services.figures.depth(),
        services.door.require_writes(),
        services.store.ping(),
    )
    waiting = sum(depth.waiting for depth in depths.values())
    limit = services.door.options.max_queued_jobs
    if waiting >= limit:
        raise UnavailableError(f"{waiting} jobs wait; this service queues {limit}", code="queue-full", limit=limit)


@asynccontextmanager
async def _held_key(queue: JobQueue, key: str | None) -> AsyncIterator[Reservation | None]:
    """Holds an idempotency key while its upload is under way, however long that takes."""
    if key is None:
        yield None
        return
    reservation = await queue.reserve_idempotency_key(key, HOLD_SECONDS)
    prolonging = asyncio.create_task(_prolong(queue, reservation))
    try:
        yield reservation
    finally:
        prolonging.cancel()
        with suppress(UnavailableError):  # it ends by itself
            await asyncio.shield(queue.release_idempotency_key(reservation))


async def _prolong(queue: JobQueue, reservation: Reservation) -> None:
    while True:
        await asyncio.sleep(HOLD_SECONDS / 3)
        with suppress(DivisiError):  # the submit will say so
            await queue.reserve_idempotency_key(reservation.key, HOLD_SECONDS, prolong=reservation)


async def _replay(queue: JobQueue, reservation: Reservation, fingerprint: str) -> Acceptance:
    try:
        jobs = tuple([await queue.get(job_id) for job_id in reservation.job_ids])
    except NotFoundError as error:
        message = "the job of this Idempotency-Key has just been erased; send the recording again"
        raise ConflictError(message, code="idempotency-key-in-flight") from error
    if jobs[0].fingerprint != fingerprint:
        message = "this Idempotency-Key was used for another recording or other options"
        raise ConflictError(message, code="idempotency-key-reused")
    return Acceptance(jobs, jobs[0].group, is_replay=True)


@dataclass(frozen=True)
class _Order:
    """What one upload asks for, once it is checked; `references` has the facts of the true sources, by stem."""

    upload: Upload
    options: SeparationRequest
    facts: AudioFacts
    references: Mapping[str, AudioFacts]

    def recording(self, job_id: str, group: str | None) -> ManifestFile | None:
        """The recording as a file to serve; several files packed into one are none."""
        if self.upload.path.is_dir():
            return None
        return self.upload.kept_as("recording", "recording", mixture_key(job_id, group), self.facts)

    def true_sources(self, card: ModelCard, job_id: str, group: str | None) -> tuple[ManifestFile, ...]:
        """Those of the stems that the model has, as files to serve."""
        return tuple(
            self.upload.references[stem].kept_as(stem, f"true {stem}", reference_key(job_id, stem, group), facts)
            for stem in card.stems
            if (facts := self.references.get(stem))
        )


def _draft_jobs(
    order: _Order, cards: Sequence[ModelCard], owner: str | None, idempotency_key: str | None, fingerprint: str
) -> tuple[Job, ...]:
    # The ids of a group carry one time, so that they stand together in the list of all jobs.
    now = time.time()
    group = new_job_id(now) if len(cards) > 1 else None
    options, facts = order.options, order.facts
    return tuple(
        Job(
            job_id=(job_id := new_job_id(now)),
            model_id=card.id,
            model_version=card.version,
            **options.job_options(),
            submitted_at=now,
            stems=wanted_stems(card, options, facts),
            voices=voices_for(card, options),
            fit=fit_request_of(options).to_dict() if card.fitting else None,
            group=group,
            upload=group,
            place=place,
            file_name=clean_label(options.file_name) or order.upload.label or UNNAMED,
            audio={**asdict(facts), "duration_seconds": facts.duration_seconds},
            recording=order.recording(job_id, group),
            references=order.true_sources(card, job_id, group),
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            owner=owner,
            target=options.target,
            webhook_url=options.webhook_url,
            trace=current_traceparent(),
        )
        for place, card in enumerate(cards)
    )


def _with_seal(job: Job, webhook_secret: str, deployment_secret: bytes) -> Job:
    return job.model_copy(update={"webhook_secret": seal(webhook_secret, job.job_id, deployment_secret)})


async def _publish(
    services: Services, jobs: tuple[Job, ...], upload: Upload, reservation: Reservation | None
) -> Acceptance:
    store, queue = services.store, services.queue
    try:
        mixture = await asyncio.to_thread(upload.mixture_file)
        first, shared = jobs[0], jobs[0].upload
        with span("store recording", job_id=first.job_id):
            if shared is not None:
                await mark_sharers(store, shared, [job.job_id for job in jobs])
            await _store(store, first, first.recording, mixture_key(first.job_id, shared), mixture)
            for source in {source.key: source for job in jobs for source in job.references}.values():
                await _store(store, first, source, source.key, upload.references[source.name].path)
        # Last of all: from then on `reconcile` may queue the job, though the others of its upload were refused.
        for job in jobs:
            await store.put_bytes(accepted_key(job.job_id), job.to_json().encode())
    except BaseException:
        await asyncio.shield(_erase(store, jobs))
        raise
    submission = await _submit(services, jobs, reservation)
    if submission.is_replay:
        await asyncio.shield(_erase(store, jobs))
        jobs = tuple([await queue.get(job_id) for job_id in submission.job_ids])
    for job in jobs:
        log.info("job accepted", job_id=job.job_id, model=job.model_id, lane=job.lane.value, group=job.group)
    return Acceptance(jobs, jobs[0].group, submission.is_replay)


async def _store(store: ObjectStore, job: Job, file: ManifestFile | None, key: str, path: Path) -> None:
    """Stores what came, under what it is downloaded as; several files packed into one are not downloaded."""
    media_type = file.media_type if file else None
    disposition = content_disposition(job.file_name, file.file_name, job.job_id) if file else None
    await store.put_file(key, path, media_type=media_type, disposition=disposition)


async def _submit(services: Services, jobs: tuple[Job, ...], reservation: Reservation | None) -> Submission:
    """Submits, and erases the recording where it is sure that Redis did not take the jobs."""
    try:
        most_unfinished = 0 if services.settings.is_private else services.settings.max_unfinished_jobs
        return await services.queue.submit(*jobs, reservation=reservation, most_unfinished=most_unfinished)
    except DivisiError as error:
        if error.code == "redis-unavailable":
            # A connection that broke does not say on which side of the command. Asked again, Redis may know.
            try:
                await services.queue.get(jobs[0].job_id)
            except NotFoundError:
                pass
            except UnavailableError:
                # Erased, a job that was taken after all would fail. Kept, it runs, or `reconcile` queues it.
                raise error from None
            else:
                return Submission(tuple(job.job_id for job in jobs), is_replay=False)
        await asyncio.shield(_erase(services.store, jobs))
        raise


async def _erase(store: ObjectStore, jobs: Sequence[Job]) -> None:
    for job in jobs:
        try:
            await erase_audio(store, job.job_id, job.upload)
        except UnavailableError as error:
            log.warning("refused upload not erased yet", job_id=job.job_id, cause=repr(error.__cause__))
