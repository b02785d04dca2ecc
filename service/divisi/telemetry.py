"""What a process reports of itself: logs as events with fields, and traces of one job through all processes.

    log = get_logger(__name__)
    log.info("job claimed", job_id=…, attempt=…)
    with span("attempt", job_id=…):
        ...

Entry points call `configure_logging` and `configure_tracing` once. Traces go out by OpenTelemetry where a collector's
address is set and the extra `otel` is installed; else every call here costs next to nothing. The job's record carries
their context (`Job.trace`, a W3C traceparent) from the request that submitted it to whoever works on it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import structlog
from structlog.typing import Processor

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

Kind = Literal["internal", "server", "consumer"]
Attribute = str | int | float | bool

# A killed process takes the spans of this last moment with it: children are killed as a matter of course.
EXPORT_EVERY_MS = 500
# A collector that hangs must not hold up the end of a process for long.
EXPORT_SECONDS = 2.0

_provider: Any = None


def configure_logging(level: str, log_format: str, **bound: str) -> None:
    """Sends every log line, ours and the libraries', to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: `json`, `console`, or `auto` (console on a terminal).
        bound: fields that every line carries, such as `process="worker"`.
    """
    use_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer() if use_console else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # It reports every request: with a model server that is every segment.
    logging.getLogger("httpx").setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger for one module; call it with the module's `__name__`."""
    return structlog.stdlib.get_logger(name)


class Span:
    """A piece of work that is under way; does nothing when tracing is off."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def set(self, **attributes: Attribute) -> None:
        """Adds attributes; `job_id` becomes `divisi.job_id`."""
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def answered(self, method: str, route: str, status: int) -> None:
        """Names a request by its route, which is not known at its beginning."""
        if self._span is not None:
            self._span.update_name(f"{method} {route}")
            names = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            self._span.set_attributes(names)
            if status >= 500:
                self.fail(f"answered {status}")

    def fail(self, reason: str) -> None:
        """Marks it as failed."""
        if self._span is not None:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, reason))


def configure_tracing(service: str, endpoint: str | None, exporter: SpanExporter | None = None) -> bool:
    """Turns tracing on for this process; without endpoint and exporter it stays off. Called once by entry points.

    Args:
        service: name of the process in traces, such as `divisi-gateway`.
        endpoint: base address of a collector that speaks OTLP over HTTP, such as `http://collector:4318`.
        exporter: takes spans in place of the collector, at once.

    Returns:
        Whether tracing is on; False with a warning in the log when the extra is missing.
    """
    global _provider
    if endpoint is None and exporter is None:
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ModuleNotFoundError as error:
        get_logger(__name__).warning("no traces: the extra otel is not installed", missing=error.name)
        return False
    provider = TracerProvider(resource=Resource.create({"service.name": service, "service.namespace": "divisi"}))
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    elif endpoint is not None:
        sender = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(sender, schedule_delay_millis=EXPORT_EVERY_MS))
    _provider = provider
    return True


def stop_tracing() -> None:
    """Sends what is left and turns tracing off."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
        _provider = None


@contextmanager
def span(name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: Attribute) -> Iterator[Span]:
    """A piece of work, within the one that is under way here or, from another process, within `parent`.

    Log lines inside carry its `trace_id`; an exception that leaves it marks it as failed.

    Args:
        parent: a traceparent, see `current_traceparent`; what is none is ignored.
        attributes: what to know it by; `job_id=…` becomes `divisi.job_id`.
    """
    if _provider is None:
        yield Span()
        return
    from opentelemetry.trace import SpanKind, format_trace_id

    tracer = _provider.get_tracer("divisi")
    with tracer.start_as_current_span(
        name, context=_context_of(parent), kind=SpanKind[kind.upper()], attributes=_named(attributes)
    ) as current:
        trace_id = format_trace_id(current.get_span_context().trace_id)
        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            yield Span(current)


def current_traceparent() -> str | None:
    """The work under way here, as a W3C traceparent for another process; None when tracing is off."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _context_of(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"divisi.{name}": value for name, value in attributes.items()}
