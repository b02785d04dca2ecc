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


def test_bars_are_a_ruler_to_go_by_and_to_loop_by(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    ruler = tab.page.get_by_role("slider", name="Bars")
    beats = httpx.get(bars_of(tab)).json()["beats"]
    lines = {beat["bar"]: beat["seconds"] for beat in beats if beat["beat"] == 1}
    first, second, *_, last = lines
    ruler.focus()
    tab.page.keyboard.press("End")
    tab.until(lambda: tab.position == pytest.approx(lines[last], abs=0.01))
    expect(ruler).to_have_attribute("aria-valuetext", f"Bar {last}")
    tab.page.get_by_label("From bar").fill(str(second))
    tab.page.get_by_label("From bar").press("Enter")
    tab.until(lambda: tab.position == pytest.approx(lines[second], abs=0.01))
    # From a bar to the next, a little beside their lines, over a waveform: the loop ends at the lines.
    lane = tab.page.get_by_role("slider", name="Position in Tenor").bounding_box()
    length = tab.page.evaluate("Number(document.querySelector('.position').max)")
    assert lane is not None
    for seconds, press in ((lines[first] + 0.1, tab.page.mouse.down), (lines[last] - 0.1, tab.page.mouse.up)):
        tab.page.mouse.move(lane["x"] + lane["width"] * seconds / length, lane["y"] + 20, steps=4)
        press()
    tab.until(lambda: tab.position == pytest.approx(lines[first], abs=0.01))
    tab.page.get_by_label("Name of the passage").fill("Refrain")
    tab.page.get_by_role("button", name="Keep this loop").click()
    expect(tab.page.get_by_role("button", name="Refrain 0:")).to_be_visible()
    (passage,) = httpx.get(rehearsal_of(tab)).json()["passages"]
    found = [passage["start_seconds"], passage["start_seconds"] + passage["duration_seconds"]]
    assert found == pytest.approx([lines[first], lines[last]], abs=0.01)


def bars_of(tab: Tab) -> str:
    job = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}").json()
    return tab.service.url + next(file["href"] for file in job["pitch"] if file["name"] == "bars.json")
