"""Traces in one process; tests/end_to_end/test_traces.py follows one through gateway and worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from divisi.telemetry import configure_tracing, current_traceparent, span, stop_tracing


@pytest.fixture
def exported() -> Iterator[InMemorySpanExporter]:
    """Tracing is on; what ends here."""
    exporter = InMemorySpanExporter()
    assert configure_tracing("divisi-test", None, exporter)
    yield exporter
    stop_tracing()


def test_spans_of_one_process_nest(exported: InMemorySpanExporter) -> None:
    with span("attempt", kind="consumer", job_id="j1", attempt=2) as attempt:
        attempt.set(ending="succeeded")
        with span("upload", stem="alto"):
            pass
    inner, outer = exported.get_finished_spans()
    assert (inner.name, outer.name) == ("upload", "attempt")
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert dict(outer.attributes or {}) == {"divisi.job_id": "j1", "divisi.attempt": 2, "divisi.ending": "succeeded"}
    assert outer.resource.attributes["service.name"] == "divisi-test"


def test_a_traceparent_carries_the_trace_to_another_process(exported: InMemorySpanExporter) -> None:
    with span("request", kind="server"):
        carried = current_traceparent()
    assert carried is not None
    with span("work", parent=carried):
        pass
    request, work = exported.get_finished_spans()
    assert work.context.trace_id == request.context.trace_id
    assert work.parent is not None
    assert work.parent.span_id == request.context.span_id


@pytest.mark.parametrize("parent", [None, "", "no traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_what_is_no_traceparent_begins_a_trace_of_its_own(exported: InMemorySpanExporter, parent: str | None) -> None:
    with span("work", parent=parent):
        pass
    (work,) = exported.get_finished_spans()
    assert work.parent is None


def test_a_request_is_named_by_its_route_and_fails_with_a_status_of_500(exported: InMemorySpanExporter) -> None:
    with span("GET", kind="server") as now:
        now.answered("GET", "/v1/jobs/{job_id}", 503)
    (request,) = exported.get_finished_spans()
    assert request.name == "GET /v1/jobs/{job_id}"
    assert (request.attributes or {})["http.response.status_code"] == 503
    assert not request.status.is_ok


def test_an_exception_marks_its_span_as_failed(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ZeroDivisionError), span("work"):
        _ = 1 / 0
    (work,) = exported.get_finished_spans()
    assert not work.status.is_ok


def test_log_lines_inside_a_span_carry_its_trace(exported: InMemorySpanExporter) -> None:
    with span("work"):
        bound = structlog.contextvars.get_contextvars()
    (work,) = exported.get_finished_spans()
    assert bound["trace_id"] == f"{work.context.trace_id:032x}"


def test_without_an_endpoint_nothing_is_traced_and_nothing_of_opentelemetry_is_loaded() -> None:
    program = """
import sys
from divisi.telemetry import configure_tracing, current_traceparent, span
assert not configure_tracing("divisi-test", None)
with span("work", parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", job_id="j") as now:
    now.set(bytes=1)
    now.answered("GET", "/", 500)
    assert current_traceparent() is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_extra_there_is_a_warning_and_no_trace() -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None  # as if it were not installed
from divisi.telemetry import configure_tracing, current_traceparent, span
assert not configure_tracing("divisi-test", "http://127.0.0.1:9")
with span("work"):
    assert current_traceparent() is None
"""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "the extra otel is not installed" in run.stdout + run.stderr
