"""Pitch tracks, notes, resynthesis and previews over HTTP, of models that give them and of models that do not."""

from __future__ import annotations

import asyncio
import io
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.gateway.conftest import PITCH_JSON

from divisi.client import Client
from divisi.contract.manifest import PitchBody, TuningBody
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.conftest import Gateway, StemBytes, WorkOff

NAMES = ("pitch.csv", "pitch.json", "notes.mid", "bars.json", "intonation.csv", "intonation.json", "score.musicxml")


def finish(http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff, *, sings_again: bool) -> str:
    """Path of a finished job."""

    async def work() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store, sings_again=sings_again)

    url: str = http.post("/v1/jobs", files={"file": ("Ave verum.wav", song)}).headers["location"]
    asyncio.run(work())
    return url


@pytest.fixture
def job_url(http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff) -> str:
    return finish(http, song, gateway, work_off, sings_again=True)


def test_the_job_lists_its_pitch_files_with_their_addresses(http: httpx.Client, job_url: str) -> None:
    files = http.get(job_url).json()["pitch"]
    assert [file["name"] for file in files] == [*NAMES, "alto.musicxml"]
    for file in files:
        folder = "scores/" if file["name"] == "alto.musicxml" else ""
        assert file["href"] == f"{job_url}/{folder}{file['name']}"
        answer = http.get(file["href"])
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == file["media_type"]
        assert answer.headers["etag"] == f'"{file["sha256"]}"'
        assert answer.headers["content-disposition"].endswith(f"Ave%20verum%20-%20{file['name']}")
        assert sha256(answer.content).hexdigest() == file["sha256"]
        assert len(answer.content) == file["bytes"]


@pytest.mark.parametrize("name", NAMES)
def test_pitch_files_are_answered_as_stems_are(name: str, http: httpx.Client, job_url: str) -> None:
    url = f"{job_url}/{name}"
    whole = http.get(url)
    head = http.head(url)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", whole.headers["etag"])
    part = http.get(url, headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, whole.content[1:3])
    assert http.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_the_resynthesis_is_a_stem_of_its_own_kind(http: httpx.Client, job_url: str, stem_bytes: StemBytes) -> None:
    job = http.get(job_url).json()
    assert [stem["name"] for stem in job["stems"]] == ["soprano", "alto", "tenor", "bass"]
    assert job["resynthesis"]["href"] == f"{job_url}/stems/resynthesis"
    answer = http.get(job["resynthesis"]["href"])
    assert (answer.status_code, answer.content) == (200, stem_bytes("resynthesis"))


def test_a_stem_names_its_preview_where_there_is_one(http: httpx.Client, job_url: str) -> None:
    previews = {stem["name"]: stem["preview"] for stem in http.get(job_url).json()["stems"]}
    href = f"{job_url}/previews/alto.mp3"
    assert previews["alto"] == {"href": href, "bytes": 3, "media_type": "audio/mpeg"}
    assert [name for name, preview in previews.items() if preview] == ["alto"]
    part = http.get(href, headers={"Range": "bytes=1-"})
    assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"P3", "audio/mpeg")
    missing = http.get(f"{job_url}/previews/bass.mp3")
    assert (missing.status_code, missing.json()["code"]) == (404, "no-preview")
    with zipfile.ZipFile(io.BytesIO(http.get(f"{job_url}/archive.zip").content)) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".mp3")]


def test_the_archive_holds_them_all(http: httpx.Client, job_url: str) -> None:
    with zipfile.ZipFile(io.BytesIO(http.get(f"{job_url}/archive.zip").content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[5 : 6 + len(NAMES)] == ["resynthesis.wav", *NAMES]
        assert archive.read("pitch.json") == PITCH_JSON


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_pitch_says_so(
    name: str, http: httpx.Client, song: bytes, gateway: Gateway, work_off: WorkOff
) -> None:
    url = finish(http, song, gateway, work_off, sings_again=False)
    answer = http.get(f"{url}/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "no-pitch")
    assert "quartet 1.0.0" in answer.json()["detail"]
    assert http.head(f"{url}/{name}").status_code == 404
    assert http.get(f"{url}/stems/resynthesis").json()["code"] == "unknown-stem"
    job = http.get(url).json()
    assert (job["pitch"], job["resynthesis"]) == ([], None)


def test_pitch_of_an_unfinished_job_is_not_there_yet(http: httpx.Client, song: bytes) -> None:
    url = http.post("/v1/jobs", files={"file": song}).headers["location"]
    answer = http.get(f"{url}/pitch.json")
    assert (answer.status_code, answer.json()["code"]) == (409, "job-not-finished")


def test_pitch_files_of_older_jobs_have_no_tuning_and_are_described_all_the_same() -> None:
    assert PitchBody.model_validate_json(PITCH_JSON).tuning is None
    tuned = PITCH_JSON.replace(b'"voices"', b'"tuning": {"a4_hz": 452.89, "cents": 50.0}, "voices"')
    assert PitchBody.model_validate_json(tuned).tuning == TuningBody(a4_hz=452.89, cents=50.0)


def test_the_client_fetches_them(gateway: Gateway, http: httpx.Client, job_url: str, tmp_path: Path) -> None:
    with Client(gateway.url) as client:
        job = client.wait(job_url.rsplit("/", 1)[-1])
        paths = client.download_pitch(job, tmp_path / "out")
        again = client.download_resynthesis(job, tmp_path / "out")
    assert [path.name for path in paths] == [*NAMES, "alto.musicxml"]
    assert (tmp_path / "out" / "pitch.json").read_bytes() == PITCH_JSON
    assert again == tmp_path / "out" / "resynthesis.wav"


def test_the_client_fetches_nothing_where_there_is_nothing(
    gateway: Gateway, http: httpx.Client, song: bytes, work_off: WorkOff, tmp_path: Path
) -> None:
    url = finish(http, song, gateway, work_off, sings_again=False)
    with Client(gateway.url) as client:
        job = client.wait(url.rsplit("/", 1)[-1])
        assert client.download_pitch(job, tmp_path) == []
        assert client.download_resynthesis(job, tmp_path) is None


def test_the_client_names_who_sings(gateway: Gateway, http: httpx.Client, song: bytes, tmp_path: Path) -> None:
    path = tmp_path / "duet.wav"
    path.write_bytes(song)
    with Client(gateway.url) as client:
        assert client.submit(path, voices=["bass", "alto"])["requested_voices"] == ["alto", "bass"]
        assert client.submit(path, voices=["auto"])["requested_voices"] == "auto"
