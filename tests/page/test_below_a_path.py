"""The page below a path that a proxy serves: nothing is asked for beside it (a tab fails its test otherwise)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect
from tests.gateway.conftest import Served
from tests.page.conftest import opened_tab
from tests.path_proxy import proxy_below

from divisi.bootstrap import open_bundles, open_door, open_store
from divisi.gateway.app import create_app
from divisi.standalone import redis_url_of

if TYPE_CHECKING:
    from tests.page.conftest import Service, Tab

PATH = "/choir/divisi"
AUDIBLE = 1e-3


@pytest.fixture
def below(request: pytest.FixtureRequest, service: Service, browser: Browser) -> Iterator[Tab]:
    """A tab of the service below a path: the gateway never sees it, has it as a setting, or has both."""
    with ExitStack() as opened:
        target, settings = service.url, service.settings
        if request.param != "stripped":
            settings = settings.model_copy(
                update={
                    "root_path": PATH,
                    "redis_url": redis_url_of(service.data),
                    "store_url": f"file://{service.data / 'store'}",
                }
            )
            app = create_app(settings, open_door(settings), open_store(settings), open_bundles(settings))
            target = opened.enter_context(Served(app)).url
        url = opened.enter_context(proxy_below(PATH, target, strips=request.param != "kept"))
        yield opened.enter_context(opened_tab(browser, replace(service, url=url, settings=settings)))


@pytest.mark.parametrize("below", ["stripped"], indirect=True)
def test_the_sample_is_sent_heard_saved_and_shared(below: Tab) -> None:
    page, url = below.page, below.service.url
    page.goto(f"{url}/")
    page.get_by_role("button", name="sample").click()
    page.get_by_role("button", name="Separate").click()
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()
    # Another service at the same host, which is the same origin, keeps its own.
    assert page.evaluate("Object.keys(localStorage)") == [f"divisi.recent{PATH}"]
    page.get_by_role("button", name="Play", exact=True).click()
    below.until(lambda: below.level() > AUDIBLE)
    with page.expect_download() as stem:
        page.get_by_role("button", name="Download Alto").click()
    assert stem.value.url.startswith(f"{url}/v1/jobs/")
    share(below)
    page.get_by_role("button", name="Play", exact=True).click()
    below.until(lambda: below.level() > AUDIBLE)
    page.get_by_role("link", name="divisi").click()
    page.get_by_role("listitem").get_by_role("link", name="chorale.flac").click()
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()


@pytest.mark.parametrize("below", ["stripped", "stripped and known", "kept"], indirect=True)
def test_a_comparison_is_opened_shared_heard_and_exported(below: Tab) -> None:
    page, service = below.page, below.service
    # Where the gateway knows the path, the page is also at what is typed without the last slash.
    start = service.url if service.settings.root_path else f"{service.url}/"
    page.goto(f"{start}#/groups/{service.group}")
    expect(page.get_by_role("button", name="Hear Bass, Original")).to_be_visible()
    share(below)
    page.get_by_role("button", name="Hear Bass, Original").click()
    below.until(lambda: below.level() > AUDIBLE)
    with page.expect_download() as folder:
        page.get_by_role("button", name="Folder that opens from disk").click()
    assert folder.value.url.startswith(f"{service.url}/v1/groups/")


@pytest.mark.parametrize("below", ["stripped"], indirect=True)
def test_a_link_leads_nowhere_but_to_this_service(below: Tab) -> None:
    shared = f"//elsewhere.example/v1/groups/{below.service.group}/shared".replace("/", "%2F")
    with below.page.expect_request("**/v1/models"):  # the start
        below.page.goto(f"{below.service.url}/#/shared={shared}")


def share(below: Tab) -> None:
    """Opens the link that the page makes, elsewhere."""
    below.page.get_by_role("button", name="Share a link").click()
    link = below.page.get_by_label("Link", exact=True).input_value()
    assert link.startswith(f"{below.service.url}/#/shared=")
    below.page.goto("about:blank")
    below.page.goto(link)
