"""Everybody gets at it: by keyboard, on a phone, with a screen reader; it weighs little and needs nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect
from tests.page.conftest import serious_violations

from divisi.gateway import open_routes
from divisi.gateway.open_routes import static_files

if TYPE_CHECKING:
    from tests.page.conftest import Tab

MOST_BYTES = 200_000  # all modules, and the words of one language
PHONE = {"width": 360, "height": 740}
AUDIBLE = 1e-3  # RMS; the quietest voice of the sample sings at 2e-2


def tab_to(tab: Tab, name: str) -> None:
    """Presses Tab until the element of that accessible name has the focus."""
    told = """() => document.activeElement.getAttribute("aria-label")
        ?? document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent"""
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        if name in (tab.page.evaluate(told) or ""):
            return
    raise AssertionError(f"Tab never reached {name}")


def test_the_keyboard_alone_plays_solos_loops_and_seeks(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    page = tab.page
    page.keyboard.press("[")  # from the beginning to the end: it plays on while a busy machine takes its time
    page.keyboard.press("Space")
    tab.until(lambda: tab.position > 0.2)
    tab_to(tab, "Solo Soprano")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Solo Soprano")).to_have_attribute("aria-pressed", "true")
    tab_to(tab, "Position in Soprano")
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    tab.until(lambda: tab.position > 4)
    expect(page.get_by_role("button", name="Loop", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Original")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Loop", exact=True)).to_have_attribute("aria-pressed", "false")


def test_a_key_that_is_held_down_is_one_press(tab: Tab) -> None:
    tab.open_mixer()
    tab.page.get_by_role("slider", name="Position in Alto").focus()  # buttons have a press of their own
    for _ in range(4):  # of which the last three are repeats, as long as it is not let go
        tab.page.keyboard.down("Space")
        tab.page.wait_for_timeout(200)
    tab.page.keyboard.up("Space")
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    at = tab.position
    tab.page.wait_for_timeout(500)
    assert tab.position == at


def test_the_keyboard_alone_leads_from_the_sample_to_stems_that_are_heard_and_saved(tab: Tab) -> None:
    page = tab.page
    page.goto(tab.service.url)
    expect(page.get_by_role("radio", name="Everybody")).to_be_checked()
    tab_to(tab, "Take the sample")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Separate")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()
    page.keyboard.press("[")
    tab_to(tab, "Solo Tenor")
    page.keyboard.press("Enter")
    tab_to(tab, "Play")
    page.keyboard.press("Enter")
    tab.until(lambda: tab.position > 0.2 and tab.level() > AUDIBLE)
    tab_to(tab, "All stems (ZIP)")
    with page.expect_download() as archive:
        page.keyboard.press("Enter")
    assert archive.value.suggested_filename == "chorale - stems.zip"


def test_a_phone_leads_from_the_sample_to_stems_that_are_heard_and_saved(tab: Tab) -> None:
    page = tab.page
    page.set_viewport_size(PHONE)
    page.goto(tab.service.url)
    page.get_by_role("button", name="Take the sample").click()
    page.get_by_role("button", name="Separate").click()
    expect(page.get_by_role("region", name="Mixer")).to_be_visible()
    page.get_by_role("button", name="Loop", exact=True).click()
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position > 0.2)
    page.get_by_role("button", name="Solo Alto").click()
    page.get_by_role("slider", name="Position in Alto").click(position={"x": 60, "y": 20})
    page.get_by_label("Speed").select_option(label="80 %")
    tab.until(lambda: tab.level() > AUDIBLE)
    page.get_by_role("button", name="Original").click()
    tab.until(lambda: tab.level() > AUDIBLE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tab.picture("phone-playing")
    with page.expect_download() as stem:
        page.get_by_role("button", name="Download Alto").click()
    assert stem.value.suggested_filename == "chorale - alto.wav"


@pytest.mark.parametrize("view", ["start", "mixer", "comparison"])
def test_a_phone_shows_all_of_a_view_without_scrolling_sideways(tab: Tab, view: str) -> None:
    tab.page.set_viewport_size(PHONE)
    open_view(tab, view)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    tab.picture(f"phone-{view}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["start", "mixer", "comparison"])
def test_axe_finds_nothing_serious(tab: Tab, view: str, scheme: str) -> None:
    tab.page.emulate_media(color_scheme=scheme)
    open_view(tab, view)
    tab.picture(f"{scheme}-{view}")
    assert serious_violations(tab.page) == []


def open_view(tab: Tab, view: str) -> None:
    if view == "mixer":
        tab.open_mixer(playing=False)
    elif view == "comparison":
        tab.page.goto(f"{tab.service.url}/#/groups/{tab.service.group}")
        tab.page.get_by_role("table").wait_for()
    else:
        tab.open_start()
        tab.page.get_by_role("checkbox", name="choir, small").wait_for()


def test_the_page_weighs_little() -> None:
    sizes = {name: len(body) for name, body in static_files("page").items()}
    words = {name: size for name, size in sizes.items() if name.startswith("words.")}
    assert sum(sizes.values()) - sum(words.values()) + max(words.values()) < MOST_BYTES
    page = Path(open_routes.__file__).parent / "page"
    assert {entry.name for entry in page.iterdir()} == set(static_files("page"))


def test_an_unchanged_file_is_not_sent_twice_and_an_unknown_one_is_a_problem(service) -> None:
    first = httpx.get(f"{service.url}/page/main.js")
    assert first.headers["content-type"].startswith("text/javascript")
    again = httpx.get(first.url, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    unknown = httpx.get(f"{service.url}/page/page_routes.py")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
