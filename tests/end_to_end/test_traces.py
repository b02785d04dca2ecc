"""One trace from the request that submits a job to the engine's process, over real processes and a collector."""

from __future__ import annotations

import gzip
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.client import Client
from divisi.client.records import Job
from divisi.sample import mixture_path
from divisi.settings import Settings, child_environment

CALLERS_TRACE = "0af7651916cd43dd8448eb211c80319c"
STAGES = {"download", "separate", "upload"}


@dataclass(frozen=True)
class Received:
    """One span as the collector got it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    job_id: str


class Collector:
    """Takes spans over OTLP/HTTP, as a context manager."""

    def __init__(self) -> None:
        spans: queue.SimpleQueue[Received] = queue.SimpleQueue()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                for one in _spans(ExportTraceServiceRequest.FromString(body)):
                    spans.put(one)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.spans = spans
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Received]:
    for resource in request.resource_spans:
        service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
        for scope in resource.scope_spans:
            for one in scope.spans:
                job_ids = [entry.value.string_value for entry in one.attributes if entry.key == "divisi.job_id"]
                yield Received(
                    service,
                    one.name,
                    one.trace_id.hex(),
                    one.span_id.hex(),
                    one.parent_span_id.hex(),
                    job_ids[0] if job_ids else "",
                )


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def server(collector: Collector, redis_url: str, tmp_path: Path) -> Iterator[str]:
    """Address of a ready gateway with one worker behind it, both traced; logs in tmp_path."""
    settings = Settings(
        redis_url=redis_url,
        store_url=f"file://{tmp_path / 'store'}",
        work_dir=tmp_path / "work",
        port=free_port(),
        engine="passthrough",
        log_format="json",
        otel_endpoint=collector.url,
    )
    url = f"http://127.0.0.1:{settings.port}"
    with ExitStack() as stack:
        for process in ("worker", "gateway"):
            log = stack.enter_context((tmp_path / f"{process}.log").open("wb"))
            command = [sys.executable, "-m", "divisi.cli", process]
            running = stack.enter_context(subprocess.Popen(command, env=child_environment(settings), stderr=log))
            stack.callback(running.terminate)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _is_ready(url):
            assert time.monotonic() < deadline, "the gateway was not ready in time"
            time.sleep(0.1)
        yield url


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_gateway_worker_and_engine_process_share_one_trace_which_their_logs_name(
    server: str, collector: Collector, tmp_path: Path
) -> None:
    traceparent = f"00-{CALLERS_TRACE}-b7ad6b7169203331-01"
    with mixture_path().open("rb") as song:
        answer = httpx.post(f"{server}/v1/jobs", content=song, headers={"traceparent": traceparent})
    job_id = answer.json()["id"]
    deadline = time.monotonic() + PATIENCE_SECONDS

    def lose_patience(_: Job) -> None:
        assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()

    with Client(server) as client:
        client.wait(job_id, on_progress=lose_patience)

    spans: list[Received] = []
    while not {"attempt", "work", "POST /v1/jobs"} <= {one.name for one in spans}:
        spans.append(collector.spans.get(timeout=PATIENCE_SECONDS))
    mine = {one.name: one for one in spans if one.trace_id == CALLERS_TRACE}
    assert {one.service for one in mine.values()} == {"divisi-gateway", "divisi-worker", "divisi-worker-child"}
    assert mine["attempt"].parent_id == mine["POST /v1/jobs"].span_id
    assert mine["work"].parent_id == mine["attempt"].span_id
    assert {name for name in STAGES if mine[name].parent_id == mine["work"].span_id} == STAGES
    assert mine["attempt"].job_id == mine["work"].job_id == job_id

    for process, event in (("gateway", "job accepted"), ("worker", "job claimed"), ("worker", "attempt ended")):
        lines = [json.loads(line) for line in (tmp_path / f"{process}.log").read_text().splitlines()]
        (line,) = [line for line in lines if line["event"] == event]
        assert (line["job_id"], line["trace_id"]) == (job_id, CALLERS_TRACE)
