"""docker-compose.yml brought up for real, one job through it, torn down; prints how long each step took.

    python tests/deployment/compose_job.py [--engine podman|docker] [--recording FILE] [--worker SERVICE]

The images must be there (`service/images/build.sh`). With podman: root, podman-compose on PATH (or beside this Python),
and the Debian packages that build.sh names. Ports are free ones of the loopback interface; volumes are made for this
run and removed after it. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table
from stack import WORKERS, Stack, find_engine

from divisi.cli.out_folder import NOTE_NAME
from divisi.client import Client
from divisi.sample import mixture_path

READY_SECONDS = 60.0


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file by its name, but for the command line's note of them."""
    paths = sorted(path for path in folder.iterdir() if path.name != NOTE_NAME)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def separate_in_worker(stack: Stack, recording: Path, folder: Path) -> dict[str, str]:
    """`divisi separate` with a worker's image, settings and engine, past gateway, queue and store."""
    worker = stack.containers(stack.worker)[0]
    stack.ask("cp", str(recording), f"{worker}:/work/{recording.name}")
    asked = ["separate", f"/work/{recording.name}", "--out", "/work/alone", "--format", "flac", "--residual"]
    stack.ask("exec", worker, "divisi", *asked)
    stack.ask("cp", f"{worker}:/work/alone", str(folder))
    return hashes(folder)


def one_job(stack: Stack, recording: Path, folder: Path) -> tuple[dict[str, str], dict[str, str], str]:
    """A job through the gateway: hashes of stems by link, hashes in the zip, and whom the links lead to."""
    with Client(stack.url) as client:
        job = client.wait(client.submit(recording, stem_format="flac", include_residual=True)["id"])
        client.download_stems(job, folder)
        first = httpx.get(f"{stack.url}{job['stems'][0]['href']}")
        archive = httpx.get(f"{stack.url}/v1/jobs/{job['id']}/archive.zip").raise_for_status()
        with zipfile.ZipFile(io.BytesIO(archive.content)) as zipped:
            in_zip = {Path(name).name: hashlib.sha256(zipped.read(name)).hexdigest() for name in zipped.namelist()}
        client.delete(job["id"])
    return hashes(folder), in_zip, httpx.URL(first.headers.get("location", "")).netloc.decode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["podman", "docker"])
    parser.add_argument("--recording", type=Path, default=mixture_path())
    parser.add_argument("--worker", choices=WORKERS, default="worker", help="the service that separates")
    options = parser.parse_args()
    stack = find_engine(options.engine, options.worker)
    table = Table(title=f"docker-compose.yml with {stack.engine}, {stack.worker}, {options.recording.name}")
    for heading in ("step", "figure", "bar", ""):
        table.add_column(heading, justify="right" if heading == "figure" else "left")
    missed = 0

    def row(step: str, figure: str, bar: str = "", is_met: bool | None = None) -> None:
        nonlocal missed
        missed += is_met is False
        table.add_row(step, figure, bar, {None: "", True: "met", False: "MISSED"}[is_met])

    stopping = threading.Event()
    checking = threading.Thread(target=stack.keep_checking, args=(stopping,), daemon=True)
    with tempfile.TemporaryDirectory() as name:
        try:
            began = time.monotonic()
            if stack.engine == "podman":
                checking.start()
            stack.start()
            ready = time.monotonic() - began
            what = f"up to ready (gateway, Redis, store, {WORKERS[stack.worker]} × {stack.worker})"
            row(what, f"{ready:.1f} s", "< 60 s", ready < READY_SECONDS)
            wanted = separate_in_worker(stack, options.recording, Path(name) / "alone")
            began = time.monotonic()
            stems, in_zip, host = one_job(stack, options.recording, Path(name) / "there")
            row("one job, upload to zip", f"{time.monotonic() - began:.1f} s")
            row("stems come from", host, "the store", host == f"127.0.0.1:{stack.store_port}")
            equal = sum(stems.get(file) == digest for file, digest in wanted.items())
            is_equal = len(wanted) > 1 and stems == wanted
            row("stems equal to `divisi separate`", f"{equal} of {len(wanted)}", "all, by SHA-256", is_equal)
            equal = sum(in_zip.get(file) == digest for file, digest in wanted.items())
            row("of them in the zip", str(equal), "all", equal == len(wanted))
            left = stack.stream_length()
            row("entries left in the streams", str(left), "0", left == 0)
        finally:
            stopping.set()
            if checking.is_alive():
                checking.join()
            began = time.monotonic()
            stack.stop()
            row("down", f"{time.monotonic() - began:.1f} s")
    Console(width=110).print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
