"""Nothing moves when pictures arrive: a press begun on a button ends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
