"""A real gateway on loopback for each test: uvicorn in a thread, Redis, a local folder, two models."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx
import numpy as np
import pytest
import redis
import soundfile
import uvicorn

from divisi.contract.card import ModelCard
from divisi.contract.job import Job
from divisi.contract.manifest import Manifest, ManifestFile, ManifestStem, ResultWarning
from divisi.gateway.app import create_app
from divisi.models.bundle import CARD_FILE, BundleStore, write_card, write_checksums
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import QueueOptions, RedisDoor
from divisi.queue.worker_side import WorkerSide
from divisi.settings import Settings
from divisi.storage.names import stem_key
from divisi.storage.object_store import ObjectStore, open_object_store

WorkOff = Callable[..., Awaitable[Job]]
StemBytes = Callable[[str], bytes]
Serve = Callable[[Any], "Served"]

SAMPLE_RATE = 16_000
QUARTET = ("soprano", "alto", "tenor", "bass")


def publish_model(root: Path, model_id: str, stems: tuple[str, ...], **stated: Any) -> None:
    """A bundle without artifacts: all that the gateway looks at."""
    folder = root / model_id / "1.0.0"
    folder.mkdir(parents=True)
    card = ModelCard(
        id=model_id,
        version="1.0.0",
        title=model_id,
        description="For tests.",
        stem_family="satb",
        stems=stems,
        sample_rate=SAMPLE_RATE,
        segment_length="whole",
        **stated,
    )
    write_card(card, folder / CARD_FILE)
    write_checksums(folder, [CARD_FILE])


@dataclass(frozen=True)
class Gateway:
    """A running gateway and what it leans on."""

    url: str
    settings: Settings
    store: ObjectStore
    folder: Path
    redis_url: str

    def objects(self) -> list[str]:
        """Everything that rests in the store."""
        root = self.folder / "store"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def uploads(self) -> list[Path]:
        """Temporary files of uploads."""
        return list((self.folder / "work").glob("divisi-gateway-*/divisi-*"))

    def redis_keys(self) -> list[str]:
        """Keys in Redis beside the empty streams that carry the consumer groups."""
        with redis.Redis.from_url(self.redis_url, decode_responses=True) as client:
            return sorted(key for key in client.scan_iter() if client.type(key) != "stream" or client.xlen(key))


class _Hurried:
    """asyncio for uvicorn, with a tenth of the tenths of seconds that it lets pass before it looks again or stops."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


uvicorn.server.asyncio = _Hurried()  # type: ignore[assignment]


class Served:
    """An app behind uvicorn on a free port of the loopback interface, as a context manager."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        # Connections made before the app is up wait in the socket's backlog.
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Served:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@pytest.fixture(scope="session")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("model_store")
    publish_model(root, "quartet", QUARTET, takes_roster=True)
    publish_model(root, "duo", ("upper", "lower"))
    return root


@pytest.fixture
def settings(tmp_path: Path, redis_url: str, model_store: Path) -> Settings:
    return Settings(
        redis_url=redis_url,
        store_url=f"file://{tmp_path / 'store'}",
        model_store=model_store,
        default_model="quartet",
        work_dir=tmp_path / "work",
        max_upload_bytes=3_000_000,
        max_duration_seconds=600,
    )


@pytest.fixture
def gateway(settings: Settings, tmp_path: Path) -> Iterator[Gateway]:
    store = open_object_store(settings.store_url)
    app = create_app(settings, RedisDoor(settings.redis_url), store, BundleStore(settings.model_store))
    with Served(app) as served:
        yield Gateway(served.url, settings, store, tmp_path, settings.redis_url)


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url) as client:
        yield client


@pytest.fixture
async def queue(gateway: Gateway) -> AsyncIterator[JobQueue]:
    """The test's own connection to the gateway's queue."""
    async with RedisDoor(gateway.redis_url, QueueOptions()) as door:
        queue = JobQueue(door)
        yield queue


@pytest.fixture(scope="session")
def song(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Half a second of quiet noise as WAV."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    noise = np.random.default_rng(7).standard_normal(SAMPLE_RATE // 2).astype(np.float32) * 0.1
    soundfile.write(path, noise, SAMPLE_RATE)
    return path.read_bytes()


def _stem_bytes(name: str, size: int = 100_000) -> bytes:
    """A pretended stem, different for each name: noise as a WAV file of so many bytes."""
    length = size - 44
    header = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, 32_000, 2, 16)
    noise = (sha256(name.encode()).digest() * (length // 32 + 1))[:length]
    return header + struct.pack("<4sI", b"data", length) + noise


@pytest.fixture
def stem_bytes() -> StemBytes:
    """Bytes of the stem of that name, as `work_off` pretends them."""
    return _stem_bytes


@pytest.fixture
def serve() -> Serve:
    """Puts an app behind a server: `with serve(app) as served`."""
    return Served


@pytest.fixture
def work_off() -> WorkOff:
    """What a worker does with the next job, without separating: stems into the store, manifest into the queue."""
    return _work_off


PITCH_JSON = b'{"hop_seconds": 0.032, "num_frames": 1, "voices": {"alto": {"f0_hz": [440.0], "notes": []}}}'


async def _work_off(
    queue: JobQueue,
    store: ObjectStore,
    names: tuple[str, ...] = QUARTET,
    *,
    sings_again: bool = False,
    is_of_version_0_1: bool = False,
) -> Job:
    worker_side = WorkerSide(queue.door)
    claim = await worker_side.claim("worker-1")
    assert claim is not None
    await worker_side.report(claim, 0.5, "separating")
    stems = []
    for name in names:
        data = _stem_bytes(name)
        key = stem_key(claim.job_id, claim.attempt, f"{name}.wav")
        await store.put_bytes(key, data)
        checksum = None if is_of_version_0_1 else crc32(data)
        stems.append(ManifestStem(name, f"{name}.wav", key, len(data), sha256(data).hexdigest(), "audio/wav", checksum))
    manifest = Manifest(
        attempt=claim.attempt,
        model_id=claim.job.model_id,
        model_version=claim.job.model_version,
        stems=tuple(stems),
        audio=claim.job.audio,
        conservation_dbfs=-120.0,
        real_time_factor=0.1,
        wall_seconds=0.05,
        engine={"name": "passthrough"},
        voices=names,
        warnings=(ResultWarning("cut-at-full-scale", "3 samples of alto were cut", {"clipped_samples": 3}),),
    )
    if sings_again:  # a model that also has pitch tracks and a resynthesis
        manifest = await _with_extras(manifest, claim.job_id, store)
    assert await worker_side.commit(claim, manifest) == "ok"
    return await queue.get(claim.job_id)


async def _with_extras(manifest: Manifest, job_id: str, store: ObjectStore) -> Manifest:
    files = []
    for name, media_type, data in (
        ("resynthesis.wav", "audio/wav", _stem_bytes("resynthesis")),
        ("pitch.csv", "text/csv", b"seconds,alto\n0.000,440.00\n"),
        ("pitch.json", "application/json", PITCH_JSON),
        ("notes.mid", "audio/midi", b"MThd"),
        ("bars.json", "application/json", b'{"beats_a_minute": null, "beats_a_bar": 4, "key": null, "beats": []}'),
        ("intonation.csv", "text/csv", b"voice,cents\n"),
        ("intonation.json", "application/json", b"{}"),
        ("score.musicxml", "application/vnd.recordare.musicxml+xml", b"<score-partwise/>"),
        ("alto.musicxml", "application/vnd.recordare.musicxml+xml", b"<score-partwise/>"),
        ("peaks.json", "application/json", b"{}"),
        ("confidence.json", "application/json", b"{}"),
        ("report.png", "image/png", b"PNG"),
        ("spectrogram-alto.png", "image/png", b"PNG"),
        ("preview-alto.mp3", "audio/mpeg", b"MP3"),
    ):
        key = stem_key(job_id, manifest.attempt, name)
        await store.put_bytes(key, data)
        files.append(ManifestFile(name, name, key, len(data), sha256(data).hexdigest(), media_type, crc32(data)))
    again = ManifestStem(**{**asdict(files[0]), "name": "resynthesis"})
    return replace(
        manifest, resynthesis=again, pitch=tuple(files[1:9]), views=tuple(files[9:-1]), previews=(files[-1],)
    )
