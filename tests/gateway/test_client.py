"""Both clients against a real gateway: submit, wait, download, cancel, compare."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from tests.conftest import free_port
from tests.gateway.working import worker
from tests.path_proxy import proxy_below
from tests.patience import PATIENCE_SECONDS

from divisi.access.callers import WINDOW_SECONDS
from divisi.client import AsyncClient, Client, Job
from divisi.client.arrivals import Arrival
from divisi.client.records import File
from divisi.client.wire import Patience, address_of, target_of
from divisi.contract.errors import ConflictError, InputError, NotFoundError, UnavailableError
from divisi.queue.job_queue import JobQueue
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Gateway, StemBytes, WorkOff


@pytest.fixture
def recording(tmp_path: Path, song: bytes) -> Path:
    path = tmp_path / "Ave verum.wav"
    path.write_bytes(song)
    return path


def test_a_comparison_waits_for_all_models_and_tells_how_far_they_are(
    gateway: Gateway, recording: Path, work_off: WorkOff
) -> None:
    shares: list[float] = []
    with worker(gateway, work_off, 2), Client(gateway.url) as client:
        comparison = client.compare(
            recording, ["quartet", "duo"], references={"alto": recording}, on_progress=shares.append
        )
    assert [system["job"]["state"] for system in comparison["systems"]] == ["succeeded", "succeeded"]
    assert [source["name"] for source in comparison["references"]] == ["alto"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("end", ["", "/"])
def test_both_clients_find_everything_of_a_gateway_below_a_path(
    end: str, gateway: Gateway, recording: Path, work_off: WorkOff, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    async def fetch_again(url: str, job: Job) -> list[Path]:
        async with AsyncClient(url) as client:
            return await client.download_stems(await client.get(job["id"]), tmp_path / "again")

    async def work() -> None:
        async with RedisDoor(gateway.redis_url) as door:
            queue = JobQueue(door)
            await work_off(queue, gateway.store, sings_again=True)

    with proxy_below("/choir/divisi", gateway.url, strips=True) as url, Client(url + end) as client:
        job = client.submit(recording)
        asyncio.run(work())
        job = client.wait(job["id"])
        stems = client.download_stems(job, tmp_path)
        stems_again = asyncio.run(fetch_again(url + end, job))
        assert {path.name for path in client.download_pitch(job, tmp_path)} == {
            "pitch.csv",
            "pitch.json",
            "notes.mid",
            "bars.json",
            "intonation.csv",
            "intonation.json",
            "score.musicxml",
            "alto.musicxml",
        }
        report = client.download_report(job, tmp_path)
        assert report is not None
        assert report.read_bytes() == b"PNG"
        assert client.download_resynthesis(job, tmp_path) is not None
        with worker(gateway, work_off, 2):
            comparison = client.compare(recording, ["quartet", "duo"])
        assert client.export(comparison, tmp_path / "comparison").is_file()
        client.delete(job["id"])
    assert stems[0].read_bytes() == stem_bytes("soprano")
    assert [path.read_bytes() for path in stems_again] == [path.read_bytes() for path in stems]


@pytest.mark.parametrize(
    ("href", "relative"),
    [
        ("/v1/jobs/1/stems/alto", "v1/jobs/1/stems/alto"),
        ("/divisi/v1/jobs/1/mixes/v1?without=true", "v1/jobs/1/mixes/v1?without=true"),
        ("/v1/divisi/v1/jobs/1", "v1/jobs/1"),
        ("//elsewhere.example/v1/jobs/1", "v1/jobs/1"),
        ("https://store.example/v1/stem", "https://store.example/v1/stem"),
    ],
)
def test_the_path_in_front_of_an_address_is_the_clients_own(href: str, relative: str) -> None:
    assert address_of(href) == relative


def test_the_asynchronous_client_brings_the_stems_as_they_are(
    gateway: Gateway, recording: Path, work_off: WorkOff, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    async def separate() -> list[Path]:
        async with AsyncClient(gateway.url) as client:
            job = await client.submit(recording, model="quartet", stem_format="wav24")
            done = await client.wait(job["id"])
            paths = await client.download_stems(done, tmp_path / "stems")
            await client.delete(job["id"])
            return paths

    with worker(gateway, work_off, 1):
        paths = asyncio.run(separate())
    assert [path.name for path in paths] == ["soprano.wav", "alto.wav", "tenor.wav", "bass.wav"]
    assert paths[1].read_bytes() == stem_bytes("alto")


def test_one_call_separates_and_leaves_nothing_on_the_server(
    gateway: Gateway, recording: Path, work_off: WorkOff, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    shares: list[float] = []

    async def separate() -> dict[str, Path]:
        async with AsyncClient(gateway.url) as client:
            return await client.separate(recording, tmp_path / "second", model="quartet", stem_format="wav24")

    with worker(gateway, work_off, 2), Client(gateway.url) as client:
        with pytest.warns(UserWarning, match="were cut"):
            first = client.separate(str(recording), str(tmp_path / "first"), on_progress=shares.append)
        with pytest.warns(UserWarning, match="were cut"):
            second = asyncio.run(separate())
        assert client.jobs()["jobs"] == []
    assert list(first) == list(second) == ["soprano", "alto", "tenor", "bass"]
    assert first["alto"].read_bytes() == second["alto"].read_bytes() == stem_bytes("alto")
    assert shares[-1] == 1.0


def test_progress_can_be_followed_to_the_end_whatever_it_is(gateway: Gateway, recording: Path) -> None:
    async def follow(job_id: str) -> list[str]:
        async with AsyncClient(gateway.url) as client:
            return [job["state"] async for job in client.iter_progress(job_id)]

    with Client(gateway.url) as client:
        job = client.submit(recording)
        looks = client.iter_progress(job["id"])
        assert next(looks)["state"] == "queued"
        client.cancel(job["id"])
        assert [job["state"] for job in looks] == ["cancelled"]
        assert asyncio.run(follow(job["id"])) == ["cancelled"]


def test_server_and_key_are_those_of_the_environment(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIVISI_SERVER", gateway.url)
    monkeypatch.setenv("DIVISI_API_KEY", "dvs_from_the_environment")
    with Client() as client, Client(api_key="dvs_given") as given:
        assert client.jobs()["jobs"] == []
        keys = [one._http.headers["Authorization"] for one in (client, given)]
    assert keys == ["Bearer dvs_from_the_environment", "Bearer dvs_given"]


def test_both_clients_export_a_comparison_that_opens_from_disk(
    gateway: Gateway, recording: Path, work_off: WorkOff, stem_bytes: StemBytes, tmp_path: Path
) -> None:
    async def compare() -> Path:
        async with AsyncClient(gateway.url) as client:
            return await client.export(await client.compare(recording, ["quartet", "duo"]), tmp_path / "second")

    with worker(gateway, work_off, 4), Client(gateway.url) as client:
        pages = [
            client.export(client.compare(recording, ["quartet", "duo"]), tmp_path / "first"),
            asyncio.run(compare()),
        ]
    assert pages == [tmp_path / "first" / "index.html", tmp_path / "second" / "index.html"]
    for page in pages:
        assert "audio/quartet/alto.wav" in page.read_text()
        assert (page.parent / "audio/quartet/alto.wav").read_bytes() == stem_bytes("alto")
        assert not list(page.parent.glob(".*"))


def test_compare_at_the_command_line_prints_a_table_and_leaves_a_folder_that_opens_from_disk(
    gateway: Gateway, recording: Path, work_off: WorkOff, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "divisi.cli", "compare", str(recording), "-m", "quartet,duo"]
    options = ["--server", gateway.url, "--export", str(tmp_path / "listen"), "-o", str(tmp_path / "stems")]
    with worker(gateway, work_off, 2):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "quartet" in done.stdout
    assert "soprano" in done.stdout
    assert f"from disk: {tmp_path / 'listen' / 'index.html'}" in done.stdout.replace("\n", "")
    assert (tmp_path / "listen" / "audio" / "duo").is_dir()
    assert (tmp_path / "stems" / "quartet" / "alto.wav").is_file()


def test_a_comparison_that_has_not_ended_is_not_exported(gateway: Gateway, recording: Path, tmp_path: Path) -> None:
    with Client(gateway.url) as client:
        comparison = client.compare(recording, ["quartet", "duo"], waits=False)
        with pytest.raises(ConflictError):
            client.export(comparison, tmp_path)
    assert list(tmp_path.glob(".*")) == []


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(UnavailableError, match="divisi up"):
        client.jobs()


def test_a_cancelled_job_is_listed_as_such_and_waiting_for_it_says_so(gateway: Gateway, recording: Path) -> None:
    with Client(gateway.url) as client:
        job = client.submit(recording, model="duo", idempotency_key="once")
        assert client.submit(recording, model="duo", idempotency_key="once")["id"] == job["id"]
        assert client.cancel(job["id"])["state"] == "cancelled"
        assert [(one["id"], one["state"]) for one in client.jobs()["jobs"]] == [(job["id"], "cancelled")]
        with pytest.raises(ConflictError):
            client.wait(job["id"])


@contextmanager
def answering(*answers: tuple[int, dict[str, str], str]) -> Iterator[str]:
    """A server that gives these answers (status, headers, body) one after the other, the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_DELETE(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


REFUSED = (429, {}, '{"code": "rate-limited", "detail": "too many requests", "facts": {"retry_after_seconds": 0.4}}')


def test_waiting_goes_on_when_the_server_asks_for_a_pause() -> None:
    async def wait(url: str) -> str:
        async with AsyncClient(url) as client:
            return (await client.wait("a"))["state"]

    done = (200, {}, '{"id": "a", "state": "succeeded", "progress": 1}')
    for look in (lambda url: Client(url).wait("a")["state"], lambda url: asyncio.run(wait(url))):
        began = time.monotonic()
        with answering(REFUSED, done) as url:
            assert look(url) == "succeeded"
        assert time.monotonic() - began >= 0.4


def test_a_pause_that_the_server_asks_for_is_no_longer_than_the_callers_patience() -> None:
    with answering(REFUSED) as url, Client(url) as client, pytest.raises(TimeoutError, match=r"after 0\.6 s"):
        client.wait("a", timeout_seconds=0.6)


def test_looks_grow_rarer_so_that_ten_jobs_waited_for_stay_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("divisi.client.wire.time.monotonic", lambda: now)
    patience, looks = Patience(), 0
    while now < WINDOW_SECONDS:
        now += patience.pause("it runs")
        looks += 1
    assert 10 * looks < Settings().requests_per_minute


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((200, {}, "<html>something else"), InputError, "is the address right"),
        ((200, {}, '["a list"]'), InputError, "is the address right"),
        ((301, {"Location": "https://choir.example/v1/jobs"}, ""), InputError, "leads on to https://choir.example/v1"),
        ((400, {}, '["a list"]'), InputError, "the server answered 400"),
        ((502, {}, "<html>bad gateway"), UnavailableError, "the server answered 502"),
    ],
)
def test_an_answer_that_is_not_divisis_is_told_in_words(
    answer: tuple[int, dict[str, str], str], error: type[Exception], message: str
) -> None:
    with answering(answer) as url, Client(url) as client, pytest.raises(error, match=message):
        client.jobs()


def test_when_one_download_fails_the_others_are_not_left_running(tmp_path: Path) -> None:
    stems = [{"name": name, "href": f"/{name}", "file_name": f"{name}.wav", "sha256": ""} for name in "ab"]

    async def tasks_left() -> int:
        async with AsyncClient("http://nowhere") as client:
            never = asyncio.Event()

            async def fetch(arrival: Arrival) -> None:
                if arrival.address == "/b":
                    raise NotFoundError("gone")
                await never.wait()

            client._fetch = fetch  # type: ignore[method-assign]
            with pytest.raises(NotFoundError):
                await client.download_stems(cast(Job, {"stems": stems}), tmp_path)
        return len(asyncio.all_tasks()) - 1

    assert asyncio.run(tasks_left()) == 0


def test_a_redirected_erasure_is_not_taken_for_done() -> None:
    with (
        answering((301, {"Location": "https://choir.example/"}, "")) as url,
        Client(url) as client,
        pytest.raises(InputError, match="leads on"),
    ):
        client.delete("a")


def test_waiting_ends_when_the_time_is_up_and_the_job_goes_on(
    gateway: Gateway, recording: Path, work_off: WorkOff
) -> None:
    async def wait(job_id: str) -> None:
        async with AsyncClient(gateway.url) as client:
            await client.wait(job_id, timeout_seconds=0.2)

    with Client(gateway.url) as client:
        job = client.submit(recording)
        with pytest.raises(TimeoutError, match=rf"job {job['id']} is queued .* after 0\.3 s"):
            client.wait(job["id"], timeout_seconds=0.3)
        with pytest.raises(TimeoutError, match=r"after 0\.2 s"):
            asyncio.run(wait(job["id"]))
        with worker(gateway, work_off, 1):
            assert client.wait(job["id"], timeout_seconds=PATIENCE_SECONDS)["state"] == "succeeded"


@pytest.mark.parametrize(
    ("file_name", "placed"),
    [
        ("soprano.wav", "soprano.wav"),
        ("../../.ssh/authorized_keys", "authorized_keys"),
        ("C:\\Windows\\alto.wav", "alto.wav"),
        ("/etc/passwd", "passwd"),
        ("..", "download"),
        (".hidden\x1b\u202e", "hidden"),
        ("Ave verum – 聖歌.wav", "Ave verum – 聖歌.wav"),
    ],
)
def test_what_a_server_calls_a_file_leads_nowhere_else(file_name: str, placed: str, tmp_path: Path) -> None:
    assert target_of(cast(File, {"file_name": file_name}), tmp_path) == tmp_path / placed
