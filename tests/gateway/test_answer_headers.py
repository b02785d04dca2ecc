"""What browsers are told with every answer, and which pages elsewhere may call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.gateway.keyed import BOTH, keyed_gateway
from tests.patience import PATIENCE_SECONDS

from divisi.gateway import middleware
from divisi.gateway.app import create_app
from divisi.gateway.middleware import CROSS_ORIGIN, REQUEST_ID_HEADER, security_headers
from divisi.models.bundle import BundleStore
from divisi.queue.redis_door import RedisDoor
from divisi.settings import Settings
from divisi.storage.object_store import open_object_store

if TYPE_CHECKING:
    from tests.gateway.conftest import Serve

ORIGIN = "https://choir.example"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/nothing", 404),
        ("PATCH", "/v1/jobs", 405),
        ("GET", "/v1/jobs?limit=0", 422),
        ("POST", "/v1/jobs", 415),
    ],
)
def test_every_answer_is_guarded(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path, headers={"Content-Type": "text/plain"})
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval'; style-src 'self';" in policy
    assert "'unsafe-" not in policy
    assert "strict-transport-security" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_the_answer_to_an_unforeseen_error_is_guarded_too(settings: Settings, serve: Serve) -> None:
    store = open_object_store("memory://")
    app = create_app(settings, RedisDoor(settings.redis_url), store, BundleStore(settings.model_store))

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a bug")

    with serve(app) as served:
        answer = httpx.get(f"{served.url}/broken")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_browsers_remember_https_only_where_all_come_by_it(settings: Settings) -> None:
    behind_tls = settings.model_copy(update={"behind_tls": True})
    assert "Strict-Transport-Security" not in security_headers(settings)
    assert security_headers(behind_tls)["Strict-Transport-Security"].startswith("max-age=")


@pytest.mark.parametrize(
    ("endpoints", "origin"),
    [
        ({"s3_endpoint": "http://garage:3900"}, "http://garage:3900"),
        (
            {"s3_endpoint": "http://garage:3900", "s3_public_endpoint": "https://audio.example/x"},
            "https://audio.example",
        ),
        ({}, "https://*.amazonaws.com"),
    ],
)
def test_the_page_may_fetch_stems_where_the_store_hands_them_out(
    settings: Settings, endpoints: dict, origin: str
) -> None:
    on_s3 = settings.model_copy(update={"store_url": "s3://recordings", **endpoints})
    policy = security_headers(on_s3)["Content-Security-Policy"]
    assert f"connect-src 'self' {origin};" in policy
    assert f"media-src 'self' {origin} blob:;" in policy
    assert origin not in security_headers(settings)["Content-Security-Policy"]


def test_pages_elsewhere_may_not_call_unless_they_are_named(settings: Settings, serve: Serve) -> None:
    asking = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    with keyed_gateway(settings, serve) as closed, closed.caller() as page:
        assert page.options("/v1/jobs", headers=asking).status_code == 405
    with (
        keyed_gateway(settings, serve, cors_origins=f"{ORIGIN}, https://other.example") as opened,
        opened.caller() as page,
    ):
        allowed = page.options("/v1/jobs", headers=asking)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "access-control-allow-credentials" not in allowed.headers
        assert page.options("/v1/jobs", headers=asking | {"Origin": "https://evil.example"}).status_code == 400
        refused = page.get("/v1/jobs", headers={"Origin": ORIGIN})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        assert "Retry-After" in refused.headers["access-control-expose-headers"]
        other = page.get("/livez", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


# What is read of a request in the text of the gateway, and set of an answer.
READ = re.compile(r"""(?:request\.headers|Headers\(scope=scope\))\.get\(\s*["']([\w-]+)["']""")
SET = re.compile(r"""headers\[["']([\w-]+)["']\] =""")
# The browser's own business, and what it may always send or lets pages read always.
NOBODYS = {"host", "content-length", "accept", "accept-encoding", "connection", "origin"}
ALWAYS_READABLE = {"cache-control", "content-type", "strict-transport-security"}
# For browsers alone: how an answer travels, and what its scripts may do.
TRAVEL = {"content-encoding", "service-worker-allowed", "vary"}


@pytest.fixture
def document(settings: Settings) -> dict[str, Any]:
    store = open_object_store("memory://")
    return create_app(settings, RedisDoor(settings.redis_url), store, BundleStore(settings.model_store)).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in document["paths"].values():
        yield from path.items()


def matches(pattern: re.Pattern[str]) -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in Path(middleware.__file__).parent.rglob("*.py")]
    return {name.lower() for text in texts for found in pattern.finditer(text) for name in found.groups() if name}


def test_a_preflight_allows_every_header_and_method_that_is_honoured(
    settings: Settings, serve: Serve, document: dict[str, Any]
) -> None:
    declared = {
        parameter["name"].lower()
        for _, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "header"
    }
    assert {"range", "if-range", "if-none-match", "idempotency-key", "last-event-id"} <= declared
    honoured = (declared | matches(READ) | {REQUEST_ID_HEADER.lower()}) - NOBODYS
    assert {"authorization", "content-type", "x-request-id", "traceparent"} <= honoured
    others = {"tracestate", "baggage", "if-match", "if-modified-since", "content-disposition"}
    methods = {method.upper() for method, _ in operations(document)}
    assert methods == {"GET", "HEAD", "POST", "PUT", "DELETE"}
    with keyed_gateway(settings, serve, cors_origins=ORIGIN) as opened, opened.caller() as page:
        for method in methods:
            for name in sorted(honoured | others):
                asking = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": f"{name},range"}
                answer = page.options("/v1/jobs", headers={"Origin": ORIGIN, **asking})
                assert answer.status_code == 200, (method, name)
                allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
                assert name in allowed
                assert method in answer.headers["access-control-allow-methods"]
        assert int(answer.headers["access-control-max-age"]) >= 600
        assert "Origin" in answer.headers["vary"]
        unknown = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-of-nobody"}
        assert page.options("/v1/jobs", headers={"Origin": ORIGIN, **unknown}).status_code == 400


def test_a_page_of_the_internet_may_call_a_service_of_the_local_network(settings: Settings, serve: Serve) -> None:
    asking = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Private-Network": "true"}
    with keyed_gateway(settings, serve, cors_origins=ORIGIN) as opened, opened.caller() as page:
        named = page.options("/v1/jobs", headers={"Origin": ORIGIN, **asking})
        assert named.headers["access-control-allow-private-network"] == "true"
        other = page.options("/v1/jobs", headers={"Origin": "https://evil.example", **asking})
        assert other.status_code == 400
        assert "access-control-allow-origin" not in other.headers


def test_pages_may_read_every_header_that_an_answer_has(document: dict[str, Any]) -> None:
    documented = {
        name.lower()
        for _, operation in operations(document)
        for answer in operation["responses"].values()
        for name in answer.get("headers", {})
    }
    assert {"etag", "location", "retry-after", "content-range", "www-authenticate", "ratelimit"} <= documented
    readable = {name.lower() for name in CROSS_ORIGIN["expose_headers"]} | ALWAYS_READABLE
    assert documented | (matches(SET) - TRAVEL) | {"content-length"} <= readable


def test_pages_read_refusals_too_whoever_made_them(settings: Settings, serve: Serve, song: bytes) -> None:
    changes = {"cors_origins": ORIGIN, "requests_per_minute": 12, "max_upload_bytes": 1000}
    with keyed_gateway(settings, serve, **changes) as opened:
        key = opened.make_key(*BOTH)
        with opened.caller() as nobody, opened.caller(key, Origin=ORIGIN) as page:
            job = "/v1/jobs/01m82509an0z2za7kt3a89vjd6"
            answers = [
                nobody.get("/v1/jobs", headers={"Origin": ORIGIN}),
                page.get("/nothing"),
                page.patch("/v1/jobs"),
                page.get(job),
                page.post("/v1/jobs", content=song),
                page.post("/v1/jobs", headers={"Content-Type": "text/plain"}),
                page.get("/v1/jobs?limit=0"),
                page.get(f"{job}/shared?expires=1&signature=x"),
                *(page.get("/v1/jobs") for _ in range(12)),
            ]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:8] == [401, 404, 405, 404, 413, 415, 422, 403]
    assert statuses[-1] == 429
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == ORIGIN, answer
        assert "Origin" in answer.headers["vary"]
        assert "Retry-After" in answer.headers["access-control-expose-headers"]


def test_pages_read_outages_and_unforeseen_errors_too(settings: Settings, serve: Serve) -> None:
    alone = settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0", "cors_origins": ORIGIN})
    app = create_app(alone, RedisDoor(alone.redis_url), open_object_store("memory://"), BundleStore(alone.model_store))

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a bug")

    with (
        serve(app) as served,
        httpx.Client(base_url=served.url, headers={"Origin": ORIGIN}, timeout=PATIENCE_SECONDS) as page,
    ):
        for path, status in (("/v1/jobs", 503), ("/readyz", 503), ("/broken", 500)):
            answer = page.get(path)
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("origins", ["*", "choir.example", "https://choir.example/path", "https://*.example"])
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        Settings(cors_origins=origins)
