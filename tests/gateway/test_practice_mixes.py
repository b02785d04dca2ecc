"""Practice mixes and learning tracks over HTTP: what is in them, how often they are made, and how many a job keeps."""

from __future__ import annotations

import asyncio
import io
import os
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
from tests.patience import PATIENCE_SECONDS
from typer.testing import CliRunner

from divisi.audio.sandbox import MixPart
from divisi.cli.app import app
from divisi.client import AsyncClient, Client
from divisi.contract.errors import UnavailableError
from divisi.contract.files import StemFormat
from divisi.contract.manifest import Manifest, ManifestStem
from divisi.gateway import files, on_demand
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.queue.worker_side import WorkerSide
from divisi.storage.names import stem_key
from divisi.storage.object_store import ObjectStore
from divisi.tracks import shelf

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway

RATE = 16_000


@pytest.fixture
def sung(http: httpx.Client, song: bytes, gateway: Gateway) -> tuple[str, dict[str, np.ndarray]]:
    """Path of a finished job with real stems, and their samples."""
    url: str = http.post("/v1/jobs", files={"file": ("Ave verum.wav", song)}).headers["location"]
    samples = {name: np.full(RATE, value) for name, value in (("alto", 0.25), ("bass", 0.125), ("residual", 0.0625))}

    async def work() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            claim = await WorkerSide(queue.door).claim("worker-1")
            assert claim is not None
            stems = []
            for name, values in samples.items():
                buffer = io.BytesIO()
                soundfile.write(buffer, values, RATE, format="WAV", subtype="PCM_24")
                key = stem_key(claim.job_id, claim.attempt, f"{name}.wav")
                data = buffer.getvalue()
                await gateway.store.put_bytes(key, data)
                stems.append(ManifestStem(name, f"{name}.wav", key, len(data), sha256(data).hexdigest(), "audio/wav"))
            stems[-1] = replace(stems[-1], is_residual=True)
            manifest = Manifest(
                attempt=claim.attempt,
                model_id="quartet",
                model_version="1.0.0",
                stems=tuple(stems),
                audio=claim.job.audio,
                conservation_dbfs=None,
                real_time_factor=0.1,
                wall_seconds=1.0,
                engine={},
            )
            assert await WorkerSide(queue.door).commit(claim, manifest) == "ok"

    asyncio.run(work())
    return url, samples


def test_practice_mixes_put_a_part_in_front_or_leave_it_out(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway
) -> None:
    url, _ = sung
    mixes = http.get(url).json()["mixes"]
    assert [mix["part"] for mix in mixes] == ["alto", "bass"]
    in_front = http.get(mixes[0]["in_front"])
    assert in_front.headers["content-disposition"].endswith("Ave%20verum%20-%20alto%20in%20front.wav")
    lowered = 10 ** (-12 / 20) * (0.125 + 0.0625)
    np.testing.assert_allclose(soundfile.read(io.BytesIO(in_front.content))[0], 0.25 + lowered, atol=2**-23)
    without = http.get(mixes[0]["without"])
    assert without.headers["content-disposition"].endswith("Ave%20verum%20-%20without%20alto.wav")
    np.testing.assert_allclose(soundfile.read(io.BytesIO(without.content))[0], 0.1875, atol=2**-23)
    before = gateway.objects()
    again = http.get(mixes[0]["without"], headers={"Range": "bytes=0-3"})
    assert (again.status_code, again.content) == (206, b"RIFF")
    assert gateway.objects() == before
    assert http.get(f"{url}/mixes/flute").json()["code"] == "unknown-part"
    assert gateway.uploads() == []


def counted(http: httpx.Client, outcome: str) -> float:
    line = f'divisi_gateway_mixes_total{{outcome="{outcome}"}} '
    return next((float(text.removeprefix(line)) for text in http.get("/metrics").text.split("\n") if line in text), 0.0)


def ask_together(gateway: Gateway, paths: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response]:
    """Answers to requests that have all come before the first is answered."""
    have_come = 0
    is_full = asyncio.Event()
    ready_mix = files.ready_mix

    async def when_all_have_come(*asked: Any) -> Any:
        nonlocal have_come
        have_come += 1
        if have_come == len(paths):
            is_full.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await is_full.wait()
        return await ready_mix(*asked)

    barrier = Barrier(len(paths))

    def ask(path: str) -> httpx.Response:
        barrier.wait(PATIENCE_SECONDS)
        return httpx.get(f"{gateway.url}{path}", timeout=PATIENCE_SECONDS)

    with monkeypatch.context() as patched, ThreadPoolExecutor(len(paths)) as threads:
        patched.setattr(files, "ready_mix", when_all_have_come)
        return list(threads.map(ask, paths))


def test_a_mix_that_many_ask_for_at_once_is_made_once(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = sung
    answers = ask_together(gateway, [f"{url}/mixes/alto"] * 6, monkeypatch)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert counted(http, "made") == 1


def test_two_gateways_that_make_one_mix_each_note_what_they_made(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = sung
    run = on_demand._run

    def run_otherwise(parts: Sequence[MixPart], out: Path, encoding: StemFormat) -> None:
        run(parts, out, encoding)
        out.write_bytes(out.read_bytes()[:-1] + b"!")

    first = http.get(f"{url}/mixes/alto")
    [note] = (gateway.folder / "store").rglob("mix-*.json")
    of_the_first = note.read_bytes()
    note.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(on_demand, "_run", run_otherwise)
        second = http.get(f"{url}/mixes/alto")
    assert second.content != first.content
    note.write_bytes(of_the_first)
    again = http.get(f"{url}/mixes/alto")
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])


def test_a_job_keeps_so_many_mixes_with_levels_of_their_own_and_the_usual_ones(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand, "MOST_OTHER_MIXES", 2)
    url, _ = sung
    paths = [f"{url}/mixes/alto?lower_db={lower_db}" for lower_db in (3, 6, 9, 20)]
    answers = dict(zip(paths, ask_together(gateway, paths, monkeypatch), strict=True))
    refused = [path for path, answer in answers.items() if answer.status_code == 409]
    assert len(refused) == 2
    assert {answers[path].json()["code"] for path in refused} == {"too-many-mixes"}
    assert (counted(http, "made"), counted(http, "refused")) == (2, 2)
    before = gateway.objects()
    for path, answer in answers.items():
        assert http.get(path).status_code == http.head(path).status_code == answer.status_code
    assert http.get(f"{url}/mixes/bass?lower_db=60").json()["code"] == "too-many-mixes"
    assert gateway.objects() == before
    # Those that every job may have are made all the same.
    assert http.get(f"{url}/archive.zip?mixes=true").status_code == 200
    assert counted(http, "made") == 6


def ready(http: httpx.Client, url: str, query: str = "") -> dict[str, Any]:
    """The answer for a set of learning tracks, once it is made."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (body := http.get(f"{url}/tracks{query}").json())["state"] != "ready":
        assert time.monotonic() < deadline
    return body


def test_a_set_of_learning_tracks_is_made_once_and_kept(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway
) -> None:
    url, _ = sung
    assert http.get(url).json()["links"]["tracks"] == f"{url}/tracks"
    query = "?parts=alto&layouts=front,left&speed=80&format=flac&choir=St.%20Cecilia"
    body = ready(http, url, query)
    names = ["01 all parts", "02 alto in front", "04 alto left, the rest right"]
    assert [track["file_name"] for track in body["tracks"]] == [f"{name} (80 percent).flac" for name in names]
    archive = http.get(body["archive"])
    assert archive.headers["content-disposition"].endswith("learning%20tracks%20%2880%20percent%29.zip")
    before = gateway.objects()
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        assert files.testzip() is None
        for track in body["tracks"]:
            alone = http.get(track["href"])
            assert (len(alone.content), alone.content) == (track["bytes"], files.read(track["file_name"]))
    samples, rate = soundfile.read(io.BytesIO(alone.content))
    assert (rate, samples.shape) == (RATE, (RATE * 100 // 80, 2))
    assert gateway.objects() == before
    assert not [name for name in before if name.endswith(".making")]
    assert counted(http, "made") == 1


def test_a_link_opens_the_usual_set_and_no_other(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway
) -> None:
    url, _ = sung
    shared = http.get(http.post(f"{url}/links").json()["shared"]).json()
    address = shared["links"]["tracks"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (body := http.get(address).json())["state"] != "ready":
        assert time.monotonic() < deadline
    assert [track["file_name"] for track in body["tracks"]][:2] == ["01 all parts.mp3", "02 alto in front.mp3"]
    for opened in (body["archive"], body["tracks"][1]["href"]):
        assert "signature=" in opened
        assert http.get(opened).status_code == 200
    refused = http.get(f"{address}&speed=80")
    assert (refused.status_code, refused.json()["code"]) == (403, "link-invalid")


def test_options_that_no_track_has_are_refused(http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]]) -> None:
    url, _ = sung
    for query in ("speed=49", "semitones=13", "format=aac", "layouts=front,behind", "layout=left"):
        answer = http.get(f"{url}/tracks?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), query
    assert http.get(f"{url}/tracks?parts=flute").json()["code"] == "unknown-part"


def test_a_job_keeps_so_many_learning_tracks(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "MOST_TRACKS", 4)
    url, _ = sung
    ready(http, url, "?layouts=front&format=wav")
    refused = http.get(f"{url}/tracks?layouts=left&format=wav")
    assert (refused.status_code, refused.json()["code"]) == (409, "too-many-mixes")
    assert http.get(f"{url}/mixes/all?layout=front&format=wav").status_code == 200
    assert http.get(f"{url}/mixes/alto?format=wav&speed=80").status_code == 200
    assert http.get(f"{url}/mixes/alto?format=wav&speed=90").json()["code"] == "too-many-mixes"


def test_erasing_a_job_ends_the_making_of_its_tracks(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = Event(), Event()

    async def never(*_: object) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(shelf, "make_in_child", never)
    monkeypatch.setattr(shelf, "WATCH_SECONDS", 0.01)
    url, _ = sung
    assert http.get(f"{url}/tracks").json()["state"] == "making"
    assert begun.wait(PATIENCE_SECONDS)
    assert http.delete(url).status_code == 204
    assert ended.wait(PATIENCE_SECONDS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while gateway.objects():
        assert time.monotonic() < deadline


def test_a_set_outlives_a_moment_without_store_and_redis(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these fails at its first call."""
    away = []

    def fails_once(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if name not in away:
                away.append(name)
                raise UnavailableError("away for a moment")
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    for owner, name in ((ObjectStore, "download"), (ObjectStore, "upload"), (ObjectStore, "put_bytes")):
        fails_once(owner, name)
    fails_once(shelf.TrackShelf, "_require_job")
    monkeypatch.setattr(shelf, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(shelf, "_RETRY_SECONDS", (0.0,))
    assert len(ready(http, sung[0], "?layouts=front")["tracks"]) == 3
    assert sorted(away) == ["_require_job", "download", "put_bytes", "upload"]
    assert counted(http, "made") == 1


def test_uploads_do_not_wait_for_learning_tracks(
    http: httpx.Client,
    sung: tuple[str, dict[str, np.ndarray]],
    gateway: Gateway,
    song: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun = Event()

    async def never(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(shelf, "make_in_child", never)
    monkeypatch.setattr(shelf, "WATCH_SECONDS", 0.01)
    url, _ = sung
    for place in range((os.cpu_count() or 1) + 1):
        assert http.get(f"{url}/tracks?layouts=front&parts=alto&speed={80 + place}").json()["state"] == "making"
    assert begun.wait(PATIENCE_SECONDS)
    accepted = http.post("/v1/jobs", files={"file": ("song.wav", song)}, timeout=PATIENCE_SECONDS)
    assert accepted.status_code == 202
    assert http.delete(url).status_code == 204


def test_stems_that_cannot_be_read_are_named_as_ours_to_mend(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway
) -> None:
    url, _ = sung
    for stem in (gateway.folder / "store").rglob("alto.wav"):
        stem.write_bytes(b"no sound at all")
    answer = http.get(f"{url}/tracks.zip?layouts=front")
    assert (answer.status_code, answer.json()["code"]) == (500, "damaged-stem")
    assert not [name for name in gateway.objects() if name.endswith(".making")]


def test_both_clients_bring_a_set(
    http: httpx.Client, sung: tuple[str, dict[str, np.ndarray]], gateway: Gateway, tmp_path: Path
) -> None:
    job_id = sung[0].rsplit("/", 1)[1]
    shares: list[float] = []
    with Client(gateway.url) as client:
        job = client.get(job_id)
        made = client.tracks(job, tmp_path / "one", on_progress=shares.append, layouts=["front"], parts=["alto"])

    async def bring() -> list[Path]:
        async with AsyncClient(gateway.url) as client:
            return await client.tracks(job, tmp_path / "other", layouts=["front"], parts=["alto"])

    again = asyncio.run(bring())
    assert [path.name for path in made] == ["01 all parts.mp3", "02 alto in front.mp3"]
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in again]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    done = CliRunner().invoke(app, ["tracks", job_id, "--server", gateway.url, "-o", str(tmp_path / "cli")])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "cli").iterdir())) == 9
