"""Rehearsing on the page: what the director's path does not come by, of passages, count-in and entry cues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Route
    from tests.page.conftest import Tab

AUDIBLE = 1e-3
NOTHING = {"passages": [], "beats_per_minute": None, "count_in_beats": 0}


@pytest.fixture(autouse=True)
def _nothing_is_kept(tab: Tab) -> Iterator[None]:
    yield
    httpx.put(rehearsal_of(tab), json=NOTHING).raise_for_status()


def rehearsal_of(tab: Tab) -> str:
    return f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}/rehearsal"


def keep(tab: Tab, **kept: object) -> None:
    httpx.put(rehearsal_of(tab), json={**NOTHING, **kept}).raise_for_status()


def test_a_passage_that_cannot_be_kept_is_not_shown_as_if_it_were(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    tab.page.route("**/rehearsal", lambda route: route.abort())
    tab.page.keyboard.press("[")
    tab.page.get_by_label("Name of the passage").fill("Amen")
    tab.page.get_by_role("button", name="Keep this loop").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(tab.page.get_by_role("button", name="Amen")).to_have_count(0)
    expect(tab.page.get_by_label("Name of the passage")).to_have_value("Amen")


def test_a_count_in_can_be_stopped(tab: Tab) -> None:
    keep(tab, beats_per_minute=30, count_in_beats=8)
    tab.open_mixer(playing=False)
    tab.page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.level() > AUDIBLE)
    tab.page.get_by_role("button", name="Pause", exact=True).click()
    expect(tab.page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    tab.until(lambda: tab.level() < 1e-5)
    assert tab.position == 0


def test_the_tempo_is_tapped(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    taps = """async () => {
      const { Taps } = await import("/page/cues.js");
      const taps = new Taps();
      return [0, 10, 10.5, 11, 11.5, 30, 31].map((seconds) => taps.tap(seconds));
    }"""
    assert tab.page.evaluate(taps) == [None, None, 120, 120, 120, None, 60]
    tap = tab.page.get_by_role("button", name="Tap")
    for _ in range(3):
        tap.click()
    tab.until(lambda: httpx.get(rehearsal_of(tab)).json()["beats_per_minute"] is not None)
    expect(tab.page.get_by_label("Beats a minute")).not_to_have_value("")


def test_an_entry_after_a_long_rest_is_announced_by_its_note(tab: Tab) -> None:
    def rest_first(route: Route) -> None:
        answer = route.fetch()
        pitch = answer.json()
        pitch["voices"]["bass"]["notes"] = [{"start_seconds": 5.0, "end_seconds": 6.0, "midi": 81, "f0_hz": 880.0}]
        route.fulfill(response=answer, json=pitch)

    tab.page.route("**/pitch.json", rest_first)
    tab.open_mixer()
    tab.page.get_by_label("Entry cue").select_option(label="Bass")
    expect(tab.page.get_by_text("Bass enters in 2 s", exact=False)).to_be_visible()
    assert tab.position < 6
