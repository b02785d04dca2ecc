"""Recordings to be fetched from servers that are slow, lie or never end, many at once, with good ones between them.

    python tests/chaos/bad_sources.py [--jobs 110] [--good 10] [--seconds 5] [--workers 2]

A fetch that finds too many under way (503) is asked for again, as clients do. Whatever a server does, the answer names
it, nothing stays behind, and good recordings get through.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress

import httpx
from bars import Row, at_most, exactly, noted, report, rows_of
from deployment import LONGEST_SECONDS, deployment, noise_wav

AUDIO_SECONDS = 2.0
# What an answer may take beyond the limit on its fetch, while a hundred of them are under way.
MARGIN_SECONDS = 5.0
EXPECTED = {"slow": "source-too-slow", "short": "source-failed", "endless": "upload-too-large"}
MAX_UPLOAD_BYTES = 4_000_000


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recording: bytes) -> None:
    """One answer, by the name of the path."""
    with suppress(ConnectionError, asyncio.CancelledError):  # whoever asked has left, or the script ends
        kind = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().strip("/")
        length = b"" if kind == "endless" else b"Content-Length: %d\r\n" % len(recording)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + b"\r\n")
        if kind == "good":
            writer.write(recording)
        elif kind == "short":  # says more than it sends
            writer.write(recording[: len(recording) // 2])
        elif kind == "endless":
            while True:
                writer.write(recording)
                await writer.drain()
        else:  # slow: a byte now and then
            for byte in recording:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.5)
        await writer.drain()
        writer.close()


async def bad_sources(num_jobs: int, num_good: int, limit_seconds: float, num_workers: int) -> list[Row]:
    recording = noise_wav(AUDIO_SECONDS)
    web = await asyncio.start_server(lambda reader, writer: serve(reader, writer, recording), "127.0.0.1", 0)
    address = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}"
    limits = {"source_seconds": limit_seconds, "max_upload_bytes": MAX_UPLOAD_BYTES}
    async with deployment(source_allowed_networks="127.0.0.0/8", **limits) as cruel:
        url = await cruel.start_gateway()
        for _ in range(num_workers):
            cruel.start_worker()
        await cruel.wait_for_workers(num_workers)
        pids = [worker.pid for worker in cruel.workers]

        async def submit(http: httpx.AsyncClient, kind: str) -> tuple[str, str, float]:
            while True:
                began = time.monotonic()
                answer = await http.post(f"{url}/v1/jobs", params={"source_url": f"{address}/{kind}"})
                body = answer.json()
                if body.get("code") != "queue-full":
                    return kind, body.get("code") or body["id"], time.monotonic() - began
                await asyncio.sleep(0.5)

        kinds = [list(EXPECTED)[number % len(EXPECTED)] for number in range(num_jobs)]
        kinds[:: max(1, num_jobs // num_good)] = ["good"] * len(kinds[:: max(1, num_jobs // num_good)])
        limits_of_http = httpx.Limits(max_connections=num_jobs)
        async with httpx.AsyncClient(timeout=LONGEST_SECONDS, limits=limits_of_http) as http:
            answers = await asyncio.gather(*(submit(http, kind) for kind in kinds))
            is_ready = (await http.get(f"{url}/readyz")).status_code == httpx.codes.OK
        cruel.accepted += [said for kind, said, _ in answers if kind == "good"]
        await cruel.wait_for_ends(LONGEST_SECONDS)
        audit = await cruel.audit()
        left = len(list((cruel.folder / "work").rglob("divisi-upload-*")))
        stored = len(await cruel.store.list_folders("jobs"))
        same = sum(worker.poll() is None and worker.pid in pids for worker in cruel.workers)
    web.close()
    bad = [(kind, said, seconds) for kind, said, seconds in answers if kind != "good"]
    return [
        noted("fetches from bad servers", len(bad)),
        noted("by what they do", ", ".join(f"{kind} {count}" for kind, count in Counter(kinds).items())),
        exactly("answers that name the cause", sum(EXPECTED[kind] == said for kind, said, _ in bad), len(bad)),
        at_most("longest answer", max(seconds for *_, seconds in answers), limit_seconds + MARGIN_SECONDS),
        exactly("gateways ready afterwards", int(is_ready), 1),
        exactly("the same workers at work", same, num_workers),
        exactly("files of fetches left", left, 0),
        exactly("recordings in the store", stored, len(cruel.accepted)),
        *rows_of(audit),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=110)
    parser.add_argument("--good", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="the limit on one fetch")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--busy", action="store_true", help="other work runs: do not judge times")
    given = parser.parse_args()
    rows = asyncio.run(bad_sources(given.jobs, given.good, given.seconds, given.workers))
    sys.exit(report("Recordings from bad servers", rows, is_busy=given.busy))


if __name__ == "__main__":
    main()
