"""Nothing moves when pictures or sound arrive: a press begun on a button ends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Route
    from tests.page.conftest import Tab

# Whether a waveform is drawn; strips of confidence need no further file.
INKED = """() => [...document.querySelectorAll("main canvas:not(.strip)")].some((canvas) => {
  const { width, height } = canvas;
  return width && height && canvas.getContext("2d").getImageData(0, 0, width, height).data.some((value) => value > 0);
})"""
PLACES = """() => [...document.querySelectorAll("main button")].map((button) => {
  const { x, y, width, height } = button.getBoundingClientRect();
  return [button.ariaLabel ?? button.textContent, x, y + scrollY, width, height];
})"""
# What is drawn anew for another width of the window has been drawn.
PLACES_LATER = f"""async () => {{
  for (let frame = 0; frame < 4; frame++) await new Promise(requestAnimationFrame);
  return ({PLACES})();
}}"""


@pytest.mark.parametrize("kind", ["jobs", "groups"])
def test_no_button_moves_when_the_waveforms_arrive(tab: Tab, kind: str) -> None:
    held: list[Route] = []
    tab.page.route("**/peaks.json", lambda route: held.append(route))
    address = {"jobs": tab.service.job_url, "groups": f"{tab.service.url}/#/groups/{tab.service.group}"}[kind]
    tab.page.goto(address)
    expect(tab.page.get_by_role("button", name="Share a link")).to_be_visible()
    tab.until(lambda: len(held) == (1 if kind == "jobs" else len(tab.service.jobs)))
    places = tab.page.evaluate(PLACES)
    assert not tab.page.evaluate(INKED)
    for route in held:
        route.continue_()
    tab.until(lambda: tab.page.evaluate(INKED))
    assert tab.page.evaluate(PLACES) == places


def places_by_width(tab: Tab) -> dict[int, list[list[Any]]]:
    """Where buttons are in windows as wide as those of a telephone, a tablet and a computer."""
    places = {}
    for width in (360, 900, 1280):
        tab.page.set_viewport_size({"width": width, "height": 800})
        tab.until(lambda: tab.page.evaluate(PLACES) == tab.page.evaluate(PLACES_LATER))
        places[width] = tab.page.evaluate(PLACES)
    return places


def unnamed(places: dict[int, list[list[Any]]]) -> dict[int, list[list[Any]]]:
    return {width: [place[1:] for place in found] for width, found in places.items()}


@pytest.mark.parametrize("kind", ["jobs", "groups"])
def test_no_button_moves_while_tracks_load_and_when_they_play(tab: Tab, kind: str) -> None:
    held: list[Route] = []
    if kind == "jobs":
        tab.page.route("**/previews/soprano.mp3", lambda route: held.append(route))
        tab.open_mixer(playing=False)
        tab.page.get_by_role("button", name="Loop", exact=True).click()
        play = tab.page.get_by_role("button", name="Play", exact=True)
    else:
        tab.page.route("**/references/bass", lambda route: held.append(route))
        tab.page.goto(f"{tab.service.url}/#/groups/{tab.service.group}")
        play = tab.page.get_by_role("button", name="Hear Bass, Original")
    expect(play).to_be_visible()
    tab.until(lambda: tab.page.evaluate(INKED))
    places = places_by_width(tab)
    play.click()
    expect(tab.page.get_by_text("Loading")).to_be_visible()
    assert places_by_width(tab) == places
    for route in held:
        route.continue_()
    tab.page.unroute_all(behavior="ignoreErrors")
    expect(tab.page.get_by_text("❚❚").first).to_be_visible()
    expect(tab.page.get_by_text("Loading")).to_have_count(0)
    assert unnamed(places_by_width(tab)) == unnamed(places)  # Play is now Pause
