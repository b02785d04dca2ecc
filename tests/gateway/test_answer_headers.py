"""What browsers are told with every answer, and which pages elsewhere may call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from tests.gateway.keyed import keyed_gateway

from divisi.bundles.store import BundleStore
from divisi.gateway.answer_headers import security_headers
from divisi.gateway.app import create_app
from divisi.jobs.queue import JobQueue
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
    assert "unsafe" not in policy
    assert "strict-transport-security" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_the_answer_to_an_unforeseen_error_is_guarded_too(settings: Settings, serve: Serve) -> None:
    store = open_object_store("memory://")
    app = create_app(settings, JobQueue(settings.redis_url), store, BundleStore(settings.model_store))

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


@pytest.mark.parametrize("origins", ["*", "choir.example", "https://choir.example/path", "https://*.example"])
def test_what_is_no_origin_is_refused_at_the_start(origins: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        Settings(cors_origins=origins)
