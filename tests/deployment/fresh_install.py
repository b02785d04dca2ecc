"""The wheels in an empty environment, in an empty folder, away from any checkout; prints how long each step took.

    python tests/deployment/fresh_install.py [--cache] [--python python3.13]

Builds both wheels, installs `divisi-choir[standalone]` with pip, separates the sample in that environment alone, then
runs `divisi up` there and separates through it. Without `--cache` pip's cache is filled first, unmeasured. Exits with 1
when a bar is missed: installing and separating take less than 60 s, no torch comes along, and what needs an extra that
is not installed is refused before a recording is sent.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 60.0
READY_SECONDS = 120.0
STEMS = ["alto.flac", "bass.flac", "soprano.flac", "tenor.flac"]
# One that is fitted to the recording, which needs torch.
FITTED = "fastmnmf2"
SEPARATE = ("separate", "chorale.flac", "--format", "flac")

# What, measured, bar, whether it holds.
Row = tuple[str, str, str, bool]


class Environment:
    """A virtual environment of its own, an empty folder to work in, and nothing of this process's environment."""

    def __init__(self, folder: Path, python: str) -> None:
        self._bin = folder / "venv" / "bin"
        self.folder = folder / "empty"
        self.folder.mkdir(parents=True)
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP", "http"))}
        self._environment = kept | {
            "PATH": f"{self._bin}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "LC_ALL": "C.UTF-8",
        }
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)

    def start(self, *command: str | Path, **settings: str) -> subprocess.Popen[str]:
        """A program of the environment, with what it writes in a pipe."""
        name, *arguments = map(str, command)
        return subprocess.Popen(
            [str(self._bin / name), *arguments],
            cwd=self.folder,
            env=self._environment | settings,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str | Path) -> tuple[int, str]:
        """Its exit status and what it wrote."""
        process = self.start(*command)
        written, _ = process.communicate()
        return process.returncode, written

    def install(self, wheels: list[Path]) -> None:
        """With all that one machine needs."""
        (service,) = (wheel for wheel in wheels if wheel.name.startswith("divisi_choir-"))
        others = [wheel for wheel in wheels if wheel != service]
        status, written = self.run(
            "pip", "install", "--quiet", f"divisi-choir[standalone] @ {service.as_uri()}", *others
        )
        assert status == 0, written

    def contents(self, name: str) -> list[tuple[str, bytes]]:
        """The stems in one of its folders."""
        return [(path.name, path.read_bytes()) for path in sorted((self.folder / name).glob("*.flac"))]


def build_wheels(folder: Path) -> list[Path]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
    ]
    subprocess.run([*command, ROOT, ROOT / "service"], check=True)
    return sorted(folder.glob("*.whl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", action="store_true", help="pip's cache holds everything already")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environment")
    arguments = parser.parse_args()
    table, is_missed = Table("what", "measured", "bar", ""), False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels = build_wheels(folder / "wheels")
        if not arguments.cache:
            Environment(folder / "first", arguments.python).install(wheels)
        fresh = Environment(folder / "fresh", arguments.python)
        for what, measured, bar, holds in (*alone(fresh, wheels), *through_the_service(fresh)):
            is_missed |= not holds
            table.add_row(what, escape(measured), bar, "holds" if holds else "MISSED")
    Console().print(table)
    sys.exit(is_missed)


def alone(fresh: Environment, wheels: list[Path]) -> Iterator[Row]:
    """Install, separate, and look at what was installed."""
    shutil.copy(ROOT / "service/divisi/sample/chorale.flac", fresh.folder)
    computed = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    fresh.install(wheels)
    installed = time.monotonic()
    status, _ = fresh.run("divisi", *SEPARATE, "--out", "alone")
    seconds = time.monotonic() - began
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    computing = spent.ru_utime + spent.ru_stime - computed.ru_utime - computed.ru_stime
    measured = f"{seconds:.1f} s, of it {installed - began:.1f} s to install; {computing:.1f} s of computing"
    is_whole = status == 0 and [name for name, _ in fresh.contents("alone")] == STEMS
    yield "install and separate 10 s", measured, f"{MOST_SECONDS:g} s", is_whole and seconds < MOST_SECONDS
    _, packages = fresh.run("pip", "list", "--format=freeze")
    with_torch = [package for package in packages.split() if package.startswith("torch")]
    yield "packages", f"{len(packages.split())}, torch: {len(with_torch)}", "no torch", not with_torch


def through_the_service(fresh: Environment) -> Iterator[Row]:
    """`divisi up` with every model of the repository, a separation through it, and one that it cannot do."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    service = fresh.start("divisi", "up", "--port", str(port), DIVISI_MODEL_STORE=str(ROOT / "model_store"))
    try:
        while not is_ready(url):
            assert service.poll() is None, "divisi up has ended"
            assert time.monotonic() - began < READY_SECONDS, "divisi up is not ready"
            time.sleep(0.1)
        yield "divisi up: ready", f"{time.monotonic() - began:.1f} s", "", True
        began = time.monotonic()
        status, _ = fresh.run("divisi", *SEPARATE, "--out", "served", "--server", url)
        same = status == 0 and fresh.contents("served") == fresh.contents("alone")
        yield "divisi separate --server", f"{time.monotonic() - began:.1f} s", "the same stems", same
        before = uploaded_bytes(url)
        status, written = fresh.run("divisi", *SEPARATE, "--out", "fitted", "--server", url, "--model", FITTED)
        sent = uploaded_bytes(url) - before
        measured = f"{sent:g} bytes sent; {' '.join(written.split())}"
        is_early = status != 0 and "torch" in written and before > 0 == sent
        yield f"divisi separate --server --model {FITTED}", measured, "refused, nothing sent", is_early
    finally:
        service.terminate()
        service.communicate()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def uploaded_bytes(url: str) -> float:
    """What the gateway received of recordings."""
    (count,) = re.findall(r"^divisi_gateway_upload_bytes_total (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    return float(count)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
