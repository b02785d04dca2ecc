"""`divisi up` as a person runs it: start, separate over REST, stop; and start again without losing what was queued."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import soundfile
from mcp import Client as Agent
from mcp import StdioServerParameters
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.cli.out_folder import NOTE_NAME
from divisi.cli.terminal import EXIT_BAD_INPUT
from divisi.client import Client
from divisi.contract.errors import NotFoundError
from divisi.gateway.app import STOP_SECONDS
from divisi.sample import mixture_path
from divisi.standalone import GATEWAY_STOP_SECONDS, redis_executable


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def divisi_up(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "divisi.cli", "up", "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_ready(f"http://127.0.0.1:{port}"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)


@dataclass(frozen=True)
class Machine:
    """A running service."""

    data: Path
    port: int

    @property
    def objects(self) -> list[Path]:
        """What rests in its store."""
        return [path for path in (self.data / "store").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One with the models as shipped; it stops as asked."""
    machine = Machine(tmp_path_factory.mktemp("machine") / "data", free_port())
    with divisi_up(machine.data, machine.port) as process:
        yield machine
    assert process.returncode == 0


def test_a_recording_goes_in_over_rest_and_its_stems_come_back(machine: Machine, tmp_path: Path) -> None:
    with Client(f"http://127.0.0.1:{machine.port}") as client:
        seen: list[float] = []
        job = client.submit(mixture_path(), stem_format="wav32f")
        job = client.wait(job["id"], on_progress=lambda now: seen.append(now["progress"]))
        paths = client.download_stems(job, tmp_path / "stems")
        assert seen == sorted(seen)
        assert seen[-1] == 1.0
        assert {path.name for path in paths} >= {"soprano.wav", "alto.wav", "tenor.wav", "bass.wav"}

        recording, rate = soundfile.read(mixture_path())
        total = np.zeros_like(recording)
        for path in paths:
            stem, stem_rate = soundfile.read(path)
            assert stem_rate == rate
            total += stem
        assert {path.name for path in paths} >= {"residual.wav"}
        assert 20 * np.log10(np.abs(total - recording).max() + 1e-12) <= -90

        client.delete(job["id"])
        with pytest.raises(NotFoundError):
            client.get(job["id"])
        assert machine.objects == []


def over_the_recording(folder: Path, port: int) -> subprocess.CompletedProcess[str]:
    """The sample, called like one of its stems, separated by the server into its own folder; without what only workers
    have installed.
    """
    (folder / "alto.wav").write_bytes(mixture_path().read_bytes())
    bare = "import sys; sys.modules.update(PIL=None, onnxruntime=None); from divisi.cli.app import main; main()"
    options = ["--stems", "alto", "-o", str(folder), "--server", f"http://127.0.0.1:{port}"]
    command = [sys.executable, "-c", bare, "separate", str(folder / "alto.wav"), *options]
    return subprocess.run(command, timeout=PATIENCE_SECONDS, check=False, capture_output=True, text=True)


def test_the_command_line_separates_through_a_server_as_it_does_without(machine: Machine, tmp_path: Path) -> None:
    separate = [sys.executable, "-m", "divisi.cli", "separate", str(mixture_path()), "--stems", "alto", "--pitch", "-o"]
    through_server = [*separate, str(tmp_path / "there"), "--server", f"http://127.0.0.1:{machine.port}"]
    assert subprocess.run(through_server, timeout=PATIENCE_SECONDS, check=False).returncode == 0
    assert machine.objects == []
    refused = over_the_recording(tmp_path, machine.port)
    assert refused.returncode == EXIT_BAD_INPUT
    assert "is the recording itself" in refused.stderr
    assert (tmp_path / "alto.wav").read_bytes() == mixture_path().read_bytes()
    assert subprocess.run([*separate, str(tmp_path / "here")], timeout=PATIENCE_SECONDS, check=False).returncode == 0
    there, here = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != NOTE_NAME}
        for name in ("there", "here")
    )
    assert sorted(there) == [
        *("alto.musicxml", "alto.wav", "bars.json", "intonation.csv", "intonation.json"),
        *("notes.mid", "pitch.csv", "pitch.json", "score.musicxml"),
    ]
    assert there == here


def test_jobs_that_wait_at_a_stop_are_done_after_the_next_start(tmp_path: Path) -> None:
    port = free_port()
    data = tmp_path / "data"
    with divisi_up(data, port) as process, Client(f"http://127.0.0.1:{port}") as client:
        jobs = [client.submit(mixture_path())["id"] for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
    with divisi_up(data, port), Client(f"http://127.0.0.1:{port}") as client:
        for job in jobs:
            assert client.wait(job)["state"] == "succeeded"


def test_the_gateway_has_the_time_to_end_downloads_before_it_is_killed() -> None:
    assert GATEWAY_STOP_SECONDS >= STOP_SECONDS + 5


def test_a_killed_service_leaves_no_process_behind_and_loses_no_job(tmp_path: Path) -> None:
    port = free_port()
    data = tmp_path / "data"
    with divisi_up(data, port) as process, Client(f"http://127.0.0.1:{port}") as client:
        job = client.submit(mixture_path())["id"]
        others = psutil.Process(process.pid).children(recursive=True)
        assert len(others) >= 3  # Redis, the worker and its engine's process
        process.kill()
        process.wait(PATIENCE_SECONDS)
        assert psutil.wait_procs(others, PATIENCE_SECONDS)[1] == []
    with divisi_up(data, port), Client(f"http://127.0.0.1:{port}") as client:
        assert client.wait(job)["state"] == "succeeded"


def test_a_data_folder_serves_one_service_at_a_time(machine: Machine) -> None:
    command = [sys.executable, "-m", "divisi.cli", "up", "--data", str(machine.data), "--port", str(free_port())]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert second.returncode == 2
    assert "in use" in second.stderr


def test_there_is_a_redis_server_to_start() -> None:
    assert Path(redis_executable()).is_file()


def test_an_agent_separates_and_saves_over_standard_input_and_output(machine: Machine, tmp_path: Path) -> None:
    server = f"http://127.0.0.1:{machine.port}"
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "divisi.cli", "mcp", "--server", server], env=dict(os.environ)
    )

    async def call(client: Agent, tool: str, **arguments: object) -> Any:
        answer = await client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        said = answer.structured_content
        return said["result"] if set(said) == {"result"} else said

    async def work() -> None:
        async with Agent(command) as client:
            assert "chorus" in [model["id"] for model in await call(client, "models")]
            begun = await call(
                client, "separate", recording=str(mixture_path()), model="satb-small", stem_format="flac"
            )
            done = begun
            while done["state"] not in ("succeeded", "failed"):
                done = await call(client, "job", job_id=begun["job_id"], wait_seconds=30)
            assert set(done["stems"]) == {"soprano", "alto", "tenor", "bass", "residual"}
            saved = await call(client, "save_stems", job_id=begun["job_id"], folder=str(tmp_path / "stems"))
            assert sorted(Path(path).name for path in saved) == sorted(f"{name}.flac" for name in done["stems"])
            folder = str(tmp_path / "tracks")
            tracks = await call(client, "save_learning_tracks", job_id=begun["job_id"], folder=folder, parts=["alto"])
            assert all(Path(path).stat().st_size for path in tracks)
            missing = await client.call_tool("separate", {"recording": str(tmp_path / "none.wav")})
            assert missing.is_error
            assert "is not a file" in missing.content[0].text

    asyncio.run(work())


TYPESCRIPT = """
import { openAsBlob } from "node:fs";
import { Client } from "CLIENT";
const client = new Client("SERVER");
const recording = new File([await openAsBlob("RECORDING")], "Ave verum.flac");
const stems = await client.separate(recording, { model: "satb-small", stems: ["alto", "bass"], stem_format: "flac" });
const sizes = Object.fromEntries(Array.from(stems, ([name, stem]) => [name, stem.size]));
const job = await client.submit(recording, { lane: "batch" });
await client.cancel(job.id);
const states = [];
for await (const { state } of client.progress(job.id)) states.push(state);
const facts = ({ code, status, advice }) => ({ code, status, advice });
const refused = await client.submit(recording, { voices: ["flute"] }).catch(facts);
const failed = await client.wait(job.id).catch(({ code }) => code);
console.log(JSON.stringify({ sizes, name: job.file_name, states, refused, failed }));
"""


def test_the_typescript_client_separates_as_the_others_do(machine: Machine, tmp_path: Path) -> None:
    client = Path(__file__).resolve().parents[2] / "service" / "clients" / "typescript" / "src" / "client.ts"
    named = {"CLIENT": str(client), "SERVER": f"http://127.0.0.1:{machine.port}", "RECORDING": str(mixture_path())}
    program = TYPESCRIPT
    for name, value in named.items():
        program = program.replace(name, value)
    (tmp_path / "separate.mjs").write_text(program)
    node = Path(sys.executable).with_name("node")
    ran = subprocess.run([node, tmp_path / "separate.mjs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert set(said["sizes"]) == {"alto", "bass", "residual"}
    assert min(said["sizes"].values()) > 10_000
    assert (said["name"], said["states"], said["failed"]) == ("Ave verum.flac", ["cancelled"], "job-cancelled")
    assert (said["refused"]["code"], said["refused"]["status"]) == ("unknown-voice", 422)
    assert said["refused"]["advice"]


def test_over_http_agents_neither_read_nor_write_files_of_this_machine(machine: Machine) -> None:
    port = free_port()
    server = ["--server", f"http://127.0.0.1:{machine.port}"]
    command = [sys.executable, "-m", "divisi.cli", "mcp", "--http", "--port", str(port), *server]

    async def work() -> None:
        async with Agent(f"http://127.0.0.1:{port}/mcp") as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert names == ["models", "separate", "job", "cancel"]
            for recording, says in (("/etc/passwd", "is no address"), ("http://127.0.0.1/a.wav", "is refused")):
                answer = await client.call_tool("separate", {"recording": recording})
                assert answer.is_error
                assert says in answer.content[0].text

    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not is_open(port):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            asyncio.run(work())
        finally:
            process.send_signal(signal.SIGINT)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
