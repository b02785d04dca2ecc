"""On the phone: installable, without a network once opened, controls on the locked screen, a QR code for the link."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect
from tests.page.conftest import opened_tab

from divisi.gateway.open_routes import static_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from tests.page.conftest import Service, Tab

# Keeps what the page tells the locked screen, and the actions that it takes from there.
LOCKED = """window.locked = { actions: {} };
const { mediaSession } = navigator;
const setActionHandler = mediaSession.setActionHandler.bind(mediaSession);
mediaSession.setActionHandler = (name, action) => {
  locked.actions[name] = action;
  setActionHandler(name, action);
};
mediaSession.setPositionState = (state) => { locked.position = state; };"""
KEPT = """async () => {
  const cache = await caches.open("divisi-jobs");
  return (await cache.keys()).map(({ url }) => new URL(url).pathname);
}"""


@pytest.fixture
def worked(browser: Browser, service: Service) -> Iterator[Tab]:
    """A tab with a service worker; the other tests block it, to hold requests back themselves."""
    with opened_tab(browser, service, service_workers="allow") as tab:
        yield tab


def test_it_can_be_installed(service: Service) -> None:
    index = httpx.get(f"{service.url}/").text
    assert 'rel="manifest" href="page/manifest.webmanifest"' in index
    answer = httpx.get(f"{service.url}/page/manifest.webmanifest")
    assert answer.headers["content-type"] == "application/manifest+json"
    manifest = json.loads(answer.text)
    assert (manifest["display"], manifest["start_url"]) == ("standalone", "../")
    for icon in manifest["icons"]:
        shown = httpx.get(f"{service.url}/page/{icon['src']}")
        assert shown.headers["content-type"] == icon["type"]
    assert static_files("page")["icon.png"][16:24] == (512).to_bytes(4, "big") * 2
    worker = httpx.get(f"{service.url}/page/service_worker.js")
    assert worker.headers["service-worker-allowed"] == "../"


def test_another_key_forgets_what_was_kept(worked: Tab) -> None:
    page = worked.page
    page.goto(worked.service.job_url)
    page.get_by_role("region", name="Mixer").wait_for()
    worked.until(lambda: page.evaluate("navigator.serviceWorker.controller !== null"))
    page.reload()
    page.get_by_role("region", name="Mixer").wait_for()
    worked.until(lambda: any("peaks" in path for path in page.evaluate(KEPT)))
    page.evaluate('async () => (await import("/page/api.js")).apiKey.set("dv_another")')
    worked.until(lambda: page.evaluate(KEPT) == [])


def test_what_was_kept_of_a_job_goes_when_the_service_has_erased_it(worked: Tab) -> None:
    page = worked.page
    page.goto(worked.service.url)
    worked.until(lambda: page.evaluate("navigator.serviceWorker.controller !== null"))
    erased, other = (f"/v1/jobs/{letter * 26}" for letter in "yz")
    keep = "async (path) => (await caches.open('divisi-jobs')).put(path, new Response('kept'))"
    for path in (erased, f"{erased}/peaks.json", f"{erased}/previews/alto.mp3", f"{other}/peaks.json"):
        page.evaluate(keep, path)
    assert page.evaluate("async (path) => (await fetch(path)).status", erased) == 404
    worked.until(lambda: not [path for path in page.evaluate(KEPT) if erased in path])
    assert [path for path in page.evaluate(KEPT) if other in path]
    over = """async (path) => (await caches.open('divisi-jobs')).put(
      path, new Response('{"expires_at": "2026-01-01T00:00:00Z"}', { headers: { Date: new Date().toUTCString() } }))"""
    current = over.replace("2026", "3026")
    page.evaluate(over, f"{other}/shared")
    page.evaluate(current, erased)
    page.reload()
    worked.until(lambda: page.evaluate(KEPT) == [erased])
    page.evaluate("caches.delete('divisi-jobs')")


def test_the_locked_screen_shows_the_piece_and_controls_it(tab: Tab) -> None:
    page = tab.page
    page.add_init_script(LOCKED)
    tab.open_mixer()
    assert page.evaluate("navigator.mediaSession.metadata.title") == "chorale.flac"
    assert page.evaluate("navigator.mediaSession.playbackState") == "playing"
    assert page.evaluate("locked.position.duration") == pytest.approx(10, abs=1)
    page.evaluate("locked.actions.pause()")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    tab.until(lambda: page.evaluate("navigator.mediaSession.playbackState") == "paused")
    page.evaluate("locked.actions.seekto({ seekTime: 6 })")
    tab.until(lambda: tab.position == pytest.approx(6, abs=0.1))
    page.evaluate("locked.actions.play()")
    tab.until(lambda: tab.position > 6.1)
    page.get_by_role("link", name="divisi", exact=True).click()
    page.get_by_role("button", name="Separate").wait_for()
    assert page.evaluate("navigator.mediaSession.metadata") is None


def test_a_link_comes_with_its_qr_code(tab: Tab) -> None:
    page = tab.page
    tab.open_mixer(playing=False)
    assert not [url for url in tab.requests if "uqr" in url]
    page.get_by_role("button", name="Share a link").click()
    code = page.get_by_role("img", name="QR code of the link")
    expect(code).to_be_visible()
    link = page.get_by_label("Link", exact=True).input_value()
    drawn = code.locator("path").get_attribute("d") or ""
    size = int((code.get_attribute("viewBox") or "").split()[-1]) - 8
    script = """async (link) => (await import("/page/vendored/uqr.mjs")).encode(link, { border: 0 }).data"""
    modules = page.evaluate(script, link)
    dark = {f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, is_dark in enumerate(row) if is_dark}
    assert len(modules) == size
    assert {f"M{part}" for part in drawn.split("M")[1:]} == dark
    box = code.bounding_box()
    assert box is not None
    assert box["width"] / (size + 8) > 1.5  # pixels a module
    tab.picture("qr")
