"""A deployment to be cruel to: real Redis with its append-only file on, a folder as object store, real workers.

Jobs are accepted as the gateway accepts them: mixture and record into the store, then submit. `audit` says what became
of them, from the store and Redis alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import redis.asyncio
import soundfile

from divisi.bootstrap import open_door, open_store
from divisi.contract.card import ModelCard
from divisi.contract.errors import UnavailableError
from divisi.contract.job import ENDED_STATES, Job, JobEvent, JobState, new_job_id
from divisi.contract.manifest import ManifestFile
from divisi.contract.request import Lane
from divisi.models.bundle import CARD_FILE, write_card, write_checksums
from divisi.queue.job_queue import JobQueue
from divisi.queue.watching import EventReader, Figures
from divisi.settings import Settings, child_environment
from divisi.standalone import redis_executable
from divisi.storage.names import accepted_key, attempt_prefix, mixture_key
from divisi.storage.object_store import ObjectStore

SAMPLE_RATE = 16_000
SEGMENT_LENGTH = 16_000
STEMS = ("soprano", "alto", "tenor", "bass")
MODEL_ID = "chaos"
# Whatever takes longer has gone wrong, however busy the machine is; nothing is measured by it.
LONGEST_SECONDS = 300.0
# A winner sweeps what earlier attempts left right after its commit.
SWEEP_SECONDS = 60.0


@dataclass
class Audit:
    """What became of the accepted jobs."""

    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    lost: int = 0  # unknown to Redis, or not ended
    committed_twice: int = 0  # more than one `succeeded` event
    broken_stems: int = 0  # named by a manifest, but missing or with other bytes
    leftovers: int = 0  # objects of attempts that no manifest names
    stream_length: int = 0
    counters: dict[str, int] = field(default_factory=dict)


class Deployment:
    """Redis, store and workers under one temporary folder; `async with deployment(...)` makes and removes it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.queue = JobQueue(open_door(settings))
        self.store: ObjectStore = open_store(settings)
        self.raw = redis.asyncio.Redis.from_url(settings.redis_url, decode_responses=True)
        self.accepted: list[str] = []
        self.refused_submits = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.gateways: list[subprocess.Popen[bytes]] = []
        self.redis: subprocess.Popen[str] | None = None

    # --- Redis ---

    def start_redis(self) -> None:
        """Starts Redis on what its append-only file holds and returns when it answers."""
        address = urlsplit(self.settings.redis_url)
        options = {
            "port": str(address.port),
            "bind": str(address.hostname),
            "protected-mode": "no",
            "dir": str(self.folder / "redis"),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
        self.redis = subprocess.Popen([redis_executable(), *arguments], stdout=subprocess.PIPE, text=True)
        assert self.redis.stdout is not None
        assert any("eady to accept connections" in line for line in self.redis.stdout), "Redis did not start"

    def kill_redis(self) -> None:
        """kill -9 of Redis."""
        assert self.redis is not None
        self.redis.kill()
        self.redis.communicate()

    # --- workers ---

    def start_worker(self, *within: str) -> subprocess.Popen[bytes]:
        """Starts one worker process; its log goes to workers.log.

        Args:
            within: a command that runs the worker in its place, such as `ip netns exec NAME`.
        """
        environment = child_environment(self.settings)
        environment["PYTHONPATH"] = str(Path(__file__).parent)  # for engines.py
        with (self.folder / "workers.log").open("ab") as log:
            command = [*within, sys.executable, "-m", "divisi.cli", "worker"]
            worker = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.workers.append(worker)
        return worker

    def kill_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9 of a worker and everything it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        worker.wait()
        self.workers.remove(worker)

    def replace_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """kill -9 of a worker tree, and a new worker at once."""
        self.kill_worker(worker)
        self.start_worker()

    async def wait_for_workers(self, number: int) -> None:
        """Returns when so many workers have a warm engine."""
        await self._until(lambda: self.log_count('"engine warm"') >= number, LONGEST_SECONDS, "warm workers")

    def log_count(self, text: str) -> int:
        """How often the workers' logs hold a text."""
        path = self.folder / "workers.log"
        return path.read_text(errors="replace").count(text) if path.exists() else 0

    def claims_of(self, worker: subprocess.Popen[bytes]) -> int:
        """How many jobs a worker has claimed, by its log."""
        lines = (self.folder / "workers.log").read_text(errors="replace").splitlines()
        return sum('"job claimed"' in line and f"-{worker.pid}-" in line for line in lines)

    async def _until(self, is_so: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} within {seconds:g} s; see {self.folder}")
            await asyncio.sleep(0.05)

    # --- gateways ---

    async def start_gateway(self) -> str:
        """Starts one gateway on a port of its own and returns its address when it is ready; logs to gateways.log."""
        port = free_port()
        with (self.folder / "gateways.log").open("ab") as log:
            command = [sys.executable, "-m", "divisi.cli", "gateway"]
            environment = child_environment(self.settings, port=str(port))
            gateway = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.gateways.append(gateway)
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + LONGEST_SECONDS
        async with httpx.AsyncClient(timeout=LONGEST_SECONDS) as http:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(f"{url}/readyz")).status_code == httpx.codes.OK:
                        return url
                await asyncio.sleep(0.1)
        raise TimeoutError(f"no gateway was ready within {LONGEST_SECONDS:g} s; see {self.folder}")

    # --- jobs ---

    async def accept(self, audio_seconds: float, level: float | None = None, lane: Lane = Lane.INTERACTIVE) -> str:
        """Accepts one job as the gateway does: what it takes to rebuild it is in the store before it counts.

        Args:
            audio_seconds: length of the recording: soft noise, or samples to and fro between `level` and its negative.
        """
        num_samples = int(audio_seconds * SAMPLE_RATE)
        noise = 0.1 * np.random.default_rng(0).standard_normal(num_samples)
        samples = noise if level is None else level * (-1.0) ** np.arange(num_samples)
        path = self.folder / "upload.wav"
        soundfile.write(path, samples.astype(np.float32), SAMPLE_RATE, subtype="FLOAT")
        audio = {"container": "wav", "codec": "float", "sample_rate": SAMPLE_RATE, "num_channels": 1}
        job = Job(
            job_id=new_job_id(),
            model_id=MODEL_ID,
            model_version="1.0.0",
            stem_format="wav32f",
            submitted_at=time.time(),
            lane=lane,
            audio={**audio, "num_samples": num_samples, "exact": True},
        )
        await self.store.put_file(mixture_key(job.job_id), path)
        await self.store.put_bytes(accepted_key(job.job_id), job.to_json().encode())
        while True:
            try:
                await self.queue.submit(job)
                break
            except UnavailableError:  # no answer: the same again, as the gateway's reconciler does
                self.refused_submits += 1
                await asyncio.sleep(0.1)
        self.accepted.append(job.job_id)
        return job.job_id

    async def job(self, job_id: str) -> Job | None:
        """The job as it stands; None while Redis is away."""
        try:
            return await self.queue.get(job_id)
        except UnavailableError:
            return None

    async def holders(self) -> dict[int, Job]:
        """Which worker (by process id) runs which job now."""
        jobs = [await self.job(job_id) for job_id in self.accepted]
        running = [job for job in jobs if job is not None and job.state is JobState.RUNNING]
        names: list[str | None] = []
        with contextlib.suppress(redis.RedisError, OSError):
            names = [await self.raw.hget(self.queue.door.key("job", job.job_id), "consumer") for job in running]
        return {int(name.split("-")[-2]): job for name, job in zip(names, running, strict=False) if name}

    async def wait_for_busy_worker(self, seconds: float = LONGEST_SECONDS) -> tuple[subprocess.Popen[bytes], Job]:
        """A worker that runs a job just now, chosen by chance, and its job."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            holders = await self.holders()
            busy = [worker for worker in self.workers if worker.pid in holders]
            if busy:
                worker = random.choice(busy)
                return worker, holders[worker.pid]
            await asyncio.sleep(0.02)
        raise TimeoutError(f"no worker was busy within {seconds:g} s; see {self.folder}")

    async def seconds_until_next_run(self, job_id: str, since: float) -> float:
        """From a moment (Unix seconds) to the beginning of the job's next attempt, by the clock of its events."""
        async for event in EventReader(self.queue.door).events(job_id):
            if event is not None and event.kind is JobState.RUNNING and event_time(event) > since:
                return event_time(event) - since
        return 0.0

    async def wait_for_ends(self, seconds: float) -> float:
        """Waits until every accepted job has ended, or the time is over; returns the seconds it took."""
        began = time.monotonic()
        open_jobs = list(self.accepted)
        while open_jobs and time.monotonic() - began < seconds:
            job = await self.job(open_jobs[-1])
            if job is not None and job.state in ENDED_STATES:
                open_jobs.pop()
            else:
                await asyncio.sleep(0.05)
        return time.monotonic() - began

    async def audit(self) -> Audit:
        """Counts what became of all accepted jobs, once the workers had a moment to sweep after the last of them."""
        deadline = time.monotonic() + SWEEP_SECONDS
        while (audit := await self._count()).leftovers and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        return audit

    async def _count(self) -> Audit:
        audit = Audit(accepted=len(self.accepted), counters=await Figures(self.queue.door).counters())
        for job_id in self.accepted:
            job = await self.queue.get(job_id)
            audit.states[job.state] += 1
            if not job.state.is_ended:
                audit.lost += 1
                continue
            events = [event async for event in EventReader(self.queue.door).events(job_id) if event is not None]
            audit.committed_twice += sum(event.kind is JobState.SUCCEEDED for event in events) > 1
            audit.broken_stems += await self._broken_stems(job)
            audit.leftovers += await self._leftovers(job)
        audit.stream_length = sum(lane.length for lane in (await Figures(self.queue.door).depth()).values())
        return audit

    async def _broken_stems(self, job: Job) -> int:
        broken = 0
        for stem in delivered(job):
            content = await self.store.get_bytes(stem.key)
            broken += len(content) != stem.bytes or hashlib.sha256(content).hexdigest() != stem.sha256
        return broken

    async def _leftovers(self, job: Job) -> int:
        named = {file.key for file in delivered(job)}
        found = [await self.store.list(attempt_prefix(job.job_id, number)) for number in range(1, job.attempt + 1)]
        return sum(stored.key not in named for objects in found for stored in objects)

    async def close(self) -> None:
        """Ends all processes."""
        for worker in list(self.workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGCONT)
            self.kill_worker(worker)
        for gateway in self.gateways:
            gateway.kill()
            gateway.wait()
        await self.queue.door.close()
        await self.raw.aclose()
        if self.redis is not None and self.redis.poll() is None:
            self.kill_redis()


@contextlib.asynccontextmanager
async def deployment(engine: str = "engines:SlowEngine", **settings: float | str) -> AsyncIterator[Deployment]:
    """A deployment with Redis running and no worker yet."""
    with tempfile.TemporaryDirectory(prefix="divisi-chaos-") as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        _write_model(folder / "models" / MODEL_ID / "1.0.0")
        chosen = {
            "redis_url": f"redis://127.0.0.1:{free_port()}/0",
            "store_url": f"file://{folder / 'store'}",
            "model_store": folder / "models",
            "default_model": MODEL_ID,
            "work_dir": folder / "work",
            "engine": engine,
            "log_format": "json",
            **settings,
        }
        cruel = Deployment(folder, Settings.model_validate(chosen))
        cruel.start_redis()
        await cruel.queue.door.connect()
        try:
            yield cruel
        finally:
            await cruel.close()


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def noise_wav(audio_seconds: float) -> bytes:
    """A recording of soft noise, mono, float."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(int(audio_seconds * SAMPLE_RATE))
    file = io.BytesIO()
    soundfile.write(file, noise.astype(np.float32), SAMPLE_RATE, subtype="FLOAT", format="WAV")
    return file.getvalue()


def delivered(job: Job) -> tuple[ManifestFile, ...]:
    """Every file that the job's manifest names."""
    return (*job.manifest.files, *job.manifest.previews) if job.manifest else ()


def event_time(event: JobEvent) -> float:
    """When an event happened, Unix seconds by Redis's clock."""
    return int(event.event_id.split("-")[0]) / 1000


def _write_model(folder: Path) -> None:
    """A bundle without artifacts: the engines here need none."""
    folder.mkdir(parents=True)
    card = ModelCard(
        id=MODEL_ID,
        version="1.0.0",
        title="Chaos",
        description="No model at all",
        stem_family="satb",
        stems=STEMS,
        sample_rate=SAMPLE_RATE,
        segment_length=SEGMENT_LENGTH,
    )
    write_card(card, folder / CARD_FILE)
    write_checksums(folder, [CARD_FILE])
