"""The worker's loop: claim a job, have the child work on it, see to its end; drain on SIGTERM; reclaim and sweep.

One process, one job at a time; start as many as there are cores or GPUs. It never touches samples: process_job.py has
the work, attempt.py how one attempt ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import structlog

from divisi.bootstrap import Scratch, end_process, open_door, open_store
from divisi.contract.errors import DivisiError, UnavailableError
from divisi.life import sweep_attempt, sweep_expired
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.worker_side import Claim, RollCall, WorkerSide
from divisi.settings import Settings
from divisi.storage.object_store import ObjectStore
from divisi.telemetry import Span, configure_tracing, current_traceparent, get_logger, span, stop_tracing
from divisi.worker.attempt import Attempt, ChildProcess, Done, Failed, Ready
from divisi.worker.health import Ending, WorkerHealth, serve_health

log = get_logger(__name__)

_CLAIM_WAIT_SECONDS = 1.0
_REDIS_RETRY_SECONDS = 0.5
_LONGEST_CHILD_BACKOFF_SECONDS = 30.0
# Time after the end of draining for reporting to the queue, if Redis should be away just then.
_LAST_WORDS_SECONDS = 5.0
_SWEEP_SECONDS = 60.0
# A job of a dead worker waits for a lease and a tenth.
_RECLAIMS_A_LEASE = 10
# How often a worker reports what it does; nothing waits for it.
_ANNOUNCE_SECONDS = 2.0


def run_worker(settings: Settings) -> NoReturn:
    """Runs one worker until SIGTERM or SIGINT, then ends the process; a second signal ends it at once."""
    asyncio.run(_run_worker(settings))


async def _run_worker(settings: Settings) -> NoReturn:
    health = WorkerHealth(settings.worker_heartbeat_file)
    configure_tracing("divisi-worker", settings.otel_endpoint)
    if settings.worker_metrics_port:
        serve_health(health, settings.worker_metrics_port)
    door = open_door(settings)
    with Scratch(settings.work_dir, "worker") as scratch:
        supervisor = Supervisor(settings, door, open_store(settings), health, scratch)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, supervisor.stop)
        try:
            await supervisor.run()
        finally:
            await door.close()
            stop_tracing()
    # From within: closing the event loop would wait for the threads that look names up, for as long as no server of
    # names answers.
    end_process()


class Supervisor:
    """One worker. `run` returns after `stop`, when the job at hand has ended or been handed back."""

    def __init__(
        self, settings: Settings, door: RedisDoor, store: ObjectStore, health: WorkerHealth, scratch: Scratch
    ) -> None:
        self._settings = settings
        self._door = door
        self._queue = WorkerSide(door)
        self._roll_call = RollCall(door)
        self._store = store
        self._health = health
        self._scratch = scratch
        health.metrics.store_errors.watch(store.failures)
        # Unlike any other process, be it an earlier one of the same name: see WorkerSide.claim.
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._child: ChildProcess | None = None
        self._failed_starts = 0
        loop = asyncio.get_running_loop()
        self._stopping: asyncio.Future[None] = loop.create_future()
        self._drain_deadline: asyncio.Future[None] = loop.create_future()
        self._give_up: asyncio.Future[None] = loop.create_future()

    async def run(self) -> None:
        """Works until stopped."""
        log.info("worker started", consumer=self._consumer, engine=self._settings.engine, device=self._settings.device)
        async with asyncio.TaskGroup() as group:
            clocks = [
                group.create_task(self._on_a_clock(self._settings.lease_seconds / _RECLAIMS_A_LEASE, self._reclaim)),
                group.create_task(self._on_a_clock(_ANNOUNCE_SECONDS, self._announce)),
                group.create_task(self._on_a_clock(min(_SWEEP_SECONDS, self._settings.retention_seconds), self._sweep)),
            ]
            try:
                while not self._stopping.done():
                    await self._work_once()
            finally:
                for clock in clocks:
                    clock.cancel()
                if self._child is not None:
                    await self._child.kill()
        with contextlib.suppress(UnavailableError):  # it is forgotten after a while
            await self._roll_call.sign_off(self._consumer)
        log.info("worker stopped", consumer=self._consumer)

    def stop(self) -> None:
        """Claims no more and drains; called again, ends the process at once."""
        if self._stopping.done():
            if self._child is not None:
                self._child.kill_now()
            os._exit(1)
        log.info("worker draining", seconds=self._settings.drain_seconds)
        self._health.is_draining = True
        self._stopping.set_result(None)
        loop = asyncio.get_running_loop()
        loop.call_later(self._settings.drain_seconds, self._drain_deadline.set_result, None)
        loop.call_later(self._settings.drain_seconds + _LAST_WORDS_SECONDS, self._give_up.set_result, None)

    async def _work_once(self) -> None:
        self._health.pulse()
        child = await self._warm_child()
        if child is None:
            return
        try:
            can_fit = bool((self._health.engine or {}).get("can_fit"))
            claim = await self._queue.claim(self._consumer, wait_seconds=_CLAIM_WAIT_SECONDS, can_fit=can_fit)
        except UnavailableError as error:
            if not self._health.is_redis_away:
                log.warning("Redis is away", reason=error.message)
            self._health.is_redis_away, self._health.problem = True, error.message
            await self._pause(_REDIS_RETRY_SECONDS)
            return
        self._health.is_redis_away = False
        if claim is None:
            return
        with (
            structlog.contextvars.bound_contextvars(job_id=claim.job_id, attempt=claim.attempt),
            span("attempt", parent=claim.job.trace, kind="consumer", job_id=claim.job_id, attempt=claim.attempt) as now,
        ):
            self._health.job_id = claim.job_id
            now.set(consumer=claim.consumer, model=claim.job.model_id, lane=claim.job.lane.value)
            try:
                await self._attend(claim, child, now)
            finally:
                self._health.job_id = None
                self._health.attempts += 1

    async def _attend(self, claim: Claim, child: ChildProcess, now: Span) -> None:
        metrics, lane = self._health.metrics, claim.job.lane.value
        metrics.claims.labels(lane).inc()
        if claim.attempt == 1:
            metrics.wait_seconds.labels(lane).observe(max(0.0, time.time() - claim.job.submitted_at))
        log.info("job claimed", consumer=claim.consumer, model_id=claim.job.model_id, lane=claim.job.lane)
        started = time.monotonic()
        folder = f"{claim.job_id}-{claim.attempt}"
        job = claim.job.model_copy(update={"trace": current_traceparent()})
        child.assign(job, self._scratch.fresh_folder(folder))
        attempt = Attempt(claim, child, self._queue, self._settings, self._health)
        outcome = await attempt.run(self._drain_deadline)
        if not outcome.keeps_child:
            await child.kill()
        with span("settle"):
            ending = await attempt.settle(outcome, self._give_up)
        self._scratch.remove(folder)
        seconds = time.monotonic() - started
        reason = outcome.problem.message if outcome.problem else None
        now.set(ending=ending or "unknown")
        if outcome.problem is not None:
            now.fail(outcome.problem.message)
        log.info("attempt ended", ending=ending or "unknown", seconds=round(seconds, 3), reason=reason)
        metrics.attempts.labels(ending or "unknown").inc()
        if outcome.reply is not None:
            metrics.observe_work(outcome.reply.figures)
        if ending is Ending.SUCCEEDED and isinstance(outcome.reply, Done):
            metrics.attempt_seconds.observe(seconds)
            metrics.job_seconds.labels(lane).observe(max(0.0, time.time() - claim.job.submitted_at))
            metrics.real_time_factor.observe(outcome.reply.manifest.real_time_factor)
            for earlier in range(1, claim.attempt):
                await sweep_attempt(self._store, claim.job_id, earlier)
        elif ending is not None:
            await sweep_attempt(self._store, claim.job_id, claim.attempt)

    async def _warm_child(self) -> ChildProcess | None:
        """The child with its engine warm; None when it did not start (after a pause) or the worker is stopping."""
        if self._child is not None and self._child.is_alive:
            return self._child
        self._health.engine = None
        if self._child is not None:
            await self._child.kill()
        self._child = await ChildProcess.start(self._settings)
        self._health.metrics.child_starts.inc()
        reply = await self._unless_stopping(self._child.reply())
        if isinstance(reply, Ready):
            log.info("engine warm", **reply.engine)
            self._health.engine, self._failed_starts = reply.engine, 0
            with contextlib.suppress(UnavailableError):  # the clock says it again
                await self._announce()
            return self._child
        cause = await self._child.kill()
        if not self._stopping.done():
            reason = reply.problem.message if isinstance(reply, Failed) else cause
            log.error("the engine did not start", reason=reason)
            self._health.problem = reason
            await self._pause(min(2.0**self._failed_starts, _LONGEST_CHILD_BACKOFF_SECONDS))
            self._failed_starts += 1
        return None

    async def _unless_stopping(self, awaitable: Awaitable[Any]) -> Any:
        """What the awaitable gives, or None when the worker is to stop first; the pulse goes on meanwhile."""
        task = asyncio.ensure_future(awaitable)
        while not task.done() and not self._stopping.done():
            await asyncio.wait({task, self._stopping}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            self._health.pulse()
        if task.done():
            return task.result()
        task.cancel()
        return None

    async def _pause(self, seconds: float) -> None:
        await self._unless_stopping(asyncio.sleep(seconds))

    async def _on_a_clock(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        """Acts about every so many seconds, jittered so that workers do not act together, until cancelled."""
        while True:
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
            try:
                await act()
            except DivisiError as error:
                log.warning("housekeeping put off", reason=error.message)

    async def _reclaim(self) -> None:
        given_back, buried = await self._queue.reclaim()
        if given_back or buried:
            log.warning("took jobs from silent workers", given_back=given_back, dead_letters=buried)

    async def _announce(self) -> None:
        try:
            await self._roll_call.announce(self._health.status(self._consumer))
        except UnavailableError as error:
            # A Redis that is full or a replica still answers those who ask it for jobs.
            self._health.are_writes_refused, self._health.problem = True, error.message
            raise
        self._health.are_writes_refused = False

    async def _sweep(self) -> None:
        if await self._queue.take_turn("sweep", _SWEEP_SECONDS / 2):
            await sweep_expired(JobQueue(self._door), self._store)
