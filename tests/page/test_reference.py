"""The API reference in a browser, at the top of a host and below a path: it works, and loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.gateway.conftest import Served
from tests.page.conftest import PATIENCE_MILLISECONDS
from tests.path_proxy import proxy_below

from divisi.bootstrap import open_bundles, open_door, open_store
from divisi.gateway.app import create_app
from divisi.settings import Settings


@pytest.fixture(params=["", "/choir/divisi"], ids=["at the top", "below a path"])
def served(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[str]:
    settings = Settings(
        redis_url=redis_url, store_url=f"file://{tmp_path / 'store'}", work_dir=tmp_path, root_path=request.param
    )
    app = create_app(settings, open_door(settings), open_store(settings), open_bundles(settings))
    with ExitStack() as opened:
        url = opened.enter_context(Served(app)).url
        yield opened.enter_context(proxy_below(request.param, url, strips=False)) if request.param else url


def test_an_operation_is_tried_and_nothing_is_asked_elsewhere_or_blocked(served: str, browser: Browser) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))  # what the policy blocks, among others
    page.goto(f"{served}/docs")
    operation = page.locator("#operations-models-list_models")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_have_text("200")
    expect(operation.locator(".request-url")).to_contain_text(f"{served}/v1/models")
    page.locator("#operations-jobs-submit_job").get_by_role("button").first.click()
    expect(page.locator("#operations-jobs-submit_job")).to_contain_text("stem_format")
    assert [url for url in requests if not url.startswith((f"{served}/", "data:"))] == []
    assert complaints == []
    context.close()
