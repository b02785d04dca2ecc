"""The client's wheel in an environment that holds what it requires and nothing else: it separates by a gateway."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.sample import mixture_path

Ran = subprocess.CompletedProcess[str]


def required(lines: Iterable[str]) -> set[str]:
    """The distributions that requirements bring, their own requirements included."""
    wanted = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""})]
    theirs = [required(distribution(one.name).requires or ()) for one in wanted]
    return {canonicalize_name(one.name) for one in wanted}.union(*theirs)


@pytest.fixture(scope="module")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install divisi-choir-client` makes, with the libraries linked from here in place of a download."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    install = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--no-index", wheels["divisi-choir-client"]], check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (installed,) = packages.glob("divisi_choir_client-*.dist-info")
    for name in required(Distribution.at(installed).requires or ()):
        library = distribution(name)
        for part in {file.parts[0] for file in library.files or ()} - {"..", "__pycache__"}:
            (packages / part).symlink_to(Path(str(library.locate_file(part))).resolve())
    return folder


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Callable[..., Ran]:
    """Runs a program of the environment in an empty folder, without any of our settings."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("DIVISI_", "PYTHON"))}

    def run(program: str, *arguments: str) -> Ran:
        command = [environment / "bin" / program, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running service."""
    port, data = free_port(), tmp_path_factory.mktemp("data")
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "divisi.cli", "up", "--port", str(port), "--data", data]
    with subprocess.Popen(command, env={**os.environ, "DIVISI_ENGINE": "passthrough"}) as machine:
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not is_ready(url):
                assert machine.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield url
        finally:
            machine.send_signal(signal.SIGTERM)
            machine.wait(PATIENCE_SECONDS)


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def test_the_client_requires_httpx_pydantic_and_typer(environment: Path) -> None:
    (installed,) = environment.glob("lib/python*/site-packages/divisi_choir_client-*.dist-info")
    required = [Requirement(line) for line in Distribution.at(installed).requires or ()]
    assert {one.name for one in required if one.marker is None} == {"httpx", "pydantic", "typer"}
    assert {one.name for one in required if one.marker is not None} == {"mcp"}  # for those who ask for the extra


def test_there_is_nothing_of_the_service(run: Callable[..., Ran]) -> None:
    program = "import pkgutil, divisi; print(*sorted(part.name for part in pkgutil.iter_modules(divisi.__path__)))"
    found = run("python", "-c", program)
    assert found.stdout.split() == ["cli", "client", "contract", "whole_files"], found.stderr
    commands = run("divisi", "--help").stdout
    assert all(f" {name} " in commands for name in ("separate", "compare", "jobs", "models"))
    assert not any(f" {name} " in commands for name in ("up", "gateway", "worker", "doctor", "keys"))


def test_without_a_server_it_says_what_to_do(run: Callable[..., Ran]) -> None:
    for arguments in (("separate", str(mixture_path())), ("models",)):
        done = run("divisi", *arguments)
        assert done.returncode == 1
        assert "name a server with --server" in done.stderr


def test_the_command_separates_by_a_running_gateway(run: Callable[..., Ran], server: str, tmp_path: Path) -> None:
    options = ("-o", "stems", "--format", "flac", "--server", server)
    done = run("divisi", "separate", str(mixture_path()), *options)
    assert done.returncode == 0, done.stderr
    stems = sorted(path.name for path in (tmp_path / "stems").glob("*.flac"))
    assert stems == ["accompaniment.flac", "alto.flac", "bass.flac", "soprano.flac", "tenor.flac"]
    assert "chorus" in run("divisi", "models", "--server", server).stdout
    assert "no jobs yet" in run("divisi", "jobs", "--server", server).stdout  # the job was erased when all was here


def test_a_program_separates_by_a_running_gateway(run: Callable[..., Ran], server: str, tmp_path: Path) -> None:
    program = """
import sys, asyncio, pathlib
from divisi.client import AsyncClient
async def separate(server, recording):
    async with AsyncClient(server) as client:
        job = await client.wait((await client.submit(pathlib.Path(recording)))["id"])
        await client.download_stems(job, pathlib.Path("stems"))
asyncio.run(separate(*sys.argv[1:]))
"""
    done = run("python", "-c", program, server, str(mixture_path()))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "stems" / "residual.wav").stat().st_size > 0
