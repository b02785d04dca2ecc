"""The job queue as its users see it: submit, look, list, cancel, erase, dead letters.

Stands between gateway and worker. Redis Streams with a consumer group, entry = job id, truth in a hash, every change
of state one Lua script (queue/scripts/). The worker's calls are in worker_side.py, events and numbers in
watching.py. All methods may raise UnavailableError (code `redis-unavailable`).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass

from divisi.contract.errors import ConflictError, InputError, LimitError, NotFoundError, UnavailableError
from divisi.contract.job import Job, JobState, Problem
from divisi.queue.redis_door import RedisDoor

_JOB_ID = re.compile(r"[0-9a-z]{26}")
_UNFINISHED_RETRY_SECONDS = 30
_EXPIRED_AT_A_TIME = 100


@dataclass(frozen=True)
class Reservation:
    """An idempotency key held while its upload is under way.

    Args:
        job_ids: what an earlier request with this key had accepted; empty when the key is now ours.
    """

    key: str
    token: str
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Submission:
    """The accepted jobs, in order; `is_replay` when an earlier request with the same key had accepted them."""

    job_ids: tuple[str, ...]
    is_replay: bool


@dataclass(frozen=True)
class JobPage:
    """Jobs, newest first; `next_cursor` asks for the following page, None on the last."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class DeadLetter:
    """A job that used up its attempts, and why the last one failed."""

    job_id: str
    attempts: int
    problem: Problem


class JobQueue:
    """The jobs in the Redis behind a door."""

    def __init__(self, door: RedisDoor) -> None:
        self.door = door

    async def submit(self, *jobs: Job, reservation: Reservation | None = None, most_unfinished: int = 0) -> Submission:
        """Accepts the jobs of one upload, all or none. The same job ids again change nothing, so it may be repeated.

        The idempotency key and fingerprint are those of the first job; pass the reservation that was taken on the key.

        Raises:
            ConflictError: the key was used for other content (`idempotency-key-reused`) or another upload holds it
                (`idempotency-key-in-flight`).
            UnavailableError: too many jobs wait (`queue-full`).
            LimitError: the jobs' owner has too many unfinished ones (more than `most_unfinished`, unless that is 0).
        """
        key, fingerprint = jobs[0].idempotency_key, jobs[0].fingerprint or ""
        records = [text for job in jobs for text in (job.job_id, job.lane.value, job.to_json())]
        answer, *rest = await self.door.run(
            "submit",
            self.door.options.max_queued_jobs,
            _digest(key) if key else "",
            fingerprint,
            reservation.token if reservation else "",
            int(self.door.options.idempotency_seconds * 1000),
            most_unfinished,
            *records,
        )
        if answer == "reused":
            raise ConflictError(
                "This Idempotency-Key was used for another recording or other parameters", code="idempotency-key-reused"
            )
        if answer == "in-flight":
            raise _in_flight()
        if answer == "full":
            most = self.door.options.max_queued_jobs
            raise UnavailableError(f"{rest[0]} jobs wait; this service queues {most}", code="queue-full", limit=most)
        if answer == "unfinished":
            raise _too_many_unfinished(rest[0], most_unfinished)
        return Submission(tuple(rest), is_replay=answer == "replayed")

    async def require_job_room(self, owner: str, limit: int) -> None:
        """LimitError (`too-many-unfinished-jobs`) when the owner could not submit a job now."""
        unfinished = await self.door.ask(self.door.redis.scard(self.door.key("unfinished", owner)))
        if limit and unfinished >= limit:
            raise _too_many_unfinished(unfinished, limit)

    async def reserve_idempotency_key(
        self, key: str, seconds: float = 60.0, *, prolong: Reservation | None = None
    ) -> Reservation:
        """Holds a key while its upload is under way; `prolong` a reservation before its `seconds` are over.

        A reservation ends with submit, release, or by itself. When its `job_ids` is not empty the key has been used;
        the upload must still be read and fingerprinted, so that submit can distinguish a replay from a misuse.

        Raises:
            ConflictError: another upload with this key is under way (`idempotency-key-in-flight`).
        """
        token = prolong.token if prolong else secrets.token_hex(8)
        answer, *job_ids = await self.door.run("reserve", _digest(key), token, int(seconds * 1000))
        if answer == "in-flight":
            raise _in_flight()
        return Reservation(key, token, tuple(job_ids))

    async def release_idempotency_key(self, reservation: Reservation) -> None:
        """Lets go of a key whose upload came to nothing."""
        await self.door.run("release", _digest(reservation.key), reservation.token)

    async def get(self, job_id: str) -> Job:
        """The job as it stands.

        Raises:
            NotFoundError: no such job (`unknown-job`).
        """
        values = await self.door.ask(self.door.redis.hgetall(self.door.key("job", job_id)))
        if not values:
            raise _unknown(job_id)
        return Job.from_hash(values)

    async def owner_of(self, job_id: str) -> str | None:
        """Whose job it is; None when it is nobody's, or there is no such job."""
        owner: str | None = await self.door.ask(self.door.redis.hget(self.door.key("job", job_id), "owner"))
        return owner

    async def list(self, cursor: str | None = None, limit: int = 50, owner: str | None = None) -> JobPage:
        """Jobs, newest first, older than the cursor; only those of one owner where one is named.

        Raises:
            InputError: not a cursor of this list (`invalid-cursor`).
        """
        if cursor is not None and not _JOB_ID.fullmatch(cursor):
            raise InputError(f"{cursor!r} is not a cursor of this list", code="invalid-cursor")
        newest = f"({cursor}" if cursor else "+"
        index = self.door.key("index", owner) if owner else self.door.key("index")
        job_ids = await self.door.ask(self.door.redis.zrevrangebylex(index, newest, "-", start=0, num=limit + 1))
        page = job_ids[:limit]
        pipe = self.door.redis.pipeline(transaction=False)
        for job_id in page:
            pipe.hgetall(self.door.key("job", job_id))
        found = await self.door.ask(pipe.execute()) if page else []
        jobs = tuple(Job.from_hash(values) for values in found if values)
        return JobPage(jobs, page[-1] if len(job_ids) > limit else None)

    async def cancel(self, job_id: str) -> Job:
        """Cancels the job unless it has ended; returns it as it stands then. Its worker stops within about a second.

        Raises:
            NotFoundError: no such job (`unknown-job`).
        """
        before = await self.door.run("cancel", job_id, int(self.door.options.retention_seconds * 1000))
        if before is None:
            raise _unknown(job_id)
        return await self.get(job_id)

    async def keep(self, job_id: str, *, keeps: bool = True, most: int = 0) -> Job:
        """Keeps a job that succeeded until it is erased, or lets it expire again after the usual time.

        Args:
            most: jobs that its owner may keep; 0: any number.

        Raises:
            NotFoundError: no such job (`unknown-job`).
            ConflictError: the job has not succeeded (`job-not-finished`), or its owner keeps as many as they may
                (`too-many-kept-jobs`).
        """
        retention_ms = int(self.door.options.retention_seconds * 1000)
        answer, *rest = await self.door.run("keep", job_id, int(keeps), most, retention_ms)
        if answer == "missing":
            raise _unknown(job_id)
        if answer == "full":
            message = f"this caller keeps {rest[0]} jobs; {most} are allowed"
            raise ConflictError(message, code="too-many-kept-jobs", limit=most)
        if answer != "ok":
            raise ConflictError(f"Job {job_id} is {answer}", code="job-not-finished", state=answer)
        return await self.get(job_id)

    async def delete(self, job_id: str) -> bool:
        """Erases the record, events and idempotency key of an ended job; False when there was none.

        Raises:
            ConflictError: the job has not ended (`job-not-ended`); cancel it first.
        """
        answer = await self.door.run("delete", job_id)
        if answer in (JobState.QUEUED, JobState.RUNNING):
            raise ConflictError(f"Job {job_id} is {answer}; cancel it first", code="job-not-ended", state=answer)
        return answer == "deleted"

    async def expired(self, now: float | None = None) -> tuple[str, ...]:
        """Ids of some jobs whose audio and record are to be erased by `now` (Unix seconds; None: the present)."""
        until = int((time.time() if now is None else now) * 1000)
        index = self.door.key("expiry")
        found = await self.door.ask(
            self.door.redis.zrangebyscore(index, "-inf", until, start=0, num=_EXPIRED_AT_A_TIME)
        )
        return tuple(found)

    async def dead_letters(self, limit: int = 100) -> tuple[DeadLetter, ...]:
        """Dead letters, newest first."""
        entries = await self.door.ask(self.door.redis.xrevrange(self.door.key("dead"), count=limit))
        return tuple(
            DeadLetter(values["job"], int(values["attempts"]), Problem.from_json(values["problem"]))
            for _, values in entries
        )

    async def retry_dead_letter(self, job_id: str) -> None:
        """Queues a dead letter again, with fresh attempts.

        Raises:
            NotFoundError: no such job (`unknown-job`).
            ConflictError: the job is not a dead letter (`not-a-dead-letter`).
        """
        answer = await self.door.run("retry", job_id)
        if answer == "missing":
            raise _unknown(job_id)
        if answer != "retried":
            raise ConflictError(f"Job {job_id} is {answer} and no dead letter", code="not-a-dead-letter", state=answer)


def _digest(key: str) -> str:
    """Fixed-length stand-in for a caller's key of any length and content."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def _in_flight() -> ConflictError:
    return ConflictError("Another upload with this Idempotency-Key is under way", code="idempotency-key-in-flight")


def _unknown(job_id: str) -> NotFoundError:
    return NotFoundError(f"There is no job {job_id}", code="unknown-job")


def _too_many_unfinished(unfinished: int, limit: int) -> LimitError:
    """The error `too-many-unfinished-jobs`."""
    return LimitError(
        f"this caller has {unfinished} unfinished jobs; {limit} are allowed",
        code="too-many-unfinished-jobs",
        violated="unfinished-jobs",
        limit=limit,
        retry_after_seconds=_UNFINISHED_RETRY_SECONDS,
    )
