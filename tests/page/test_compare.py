"""The comparison of two models on one recording: a table of players on one clock, and the blind test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from tests.page.conftest import long_recording

if TYPE_CHECKING:
    from tests.page.conftest import Tab

AUDIBLE = 1e-3


def open_comparison(tab: Tab) -> None:
    tab.page.goto(f"{tab.service.url}/#/groups/{tab.service.group}")
    expect(tab.page.get_by_role("table")).to_be_visible()


def test_every_voice_has_a_player_for_each_model(tab: Tab) -> None:
    open_comparison(tab)
    for voice in ("Soprano", "Alto", "Tenor", "Bass"):
        expect(tab.page.get_by_role("rowheader", name=voice)).to_be_visible()
        for model in ("choir, small", "choir, twin"):
            expect(tab.page.get_by_role("button", name=f"Hear {voice}, Four voices of a {model}")).to_be_visible()


def test_true_sources_have_a_column_and_every_estimate_its_score(tab: Tab) -> None:
    open_comparison(tab)
    for voice in ("Soprano", "Alto", "Tenor", "Bass"):
        expect(tab.page.get_by_role("button", name=f"Hear {voice}, Original")).to_be_visible()
        row = tab.page.get_by_role("row").filter(has_text=voice)
        expect(row.get_by_text(re.compile(r"^-?\d+\.\d dB$"))).to_have_count(2)


def test_a_shared_link_opens_the_same_table(tab: Tab) -> None:
    open_comparison(tab)
    tab.page.get_by_role("button", name="Share a link").click()
    link = tab.page.get_by_label("Link", exact=True).input_value()
    assert link.startswith(f"{tab.service.url}/#/shared=")
    tab.page.goto("about:blank")
    tab.page.goto(link)
    expect(tab.page.get_by_role("button", name="Hear Bass, Original")).to_be_visible()
    expect(tab.page.get_by_role("columnheader").get_by_role("link")).to_have_count(0)  # jobs ask for a key
    tab.page.get_by_role("button", name="Hear Bass, Original").click()
    tab.until(lambda: tab.level() > AUDIBLE)


@pytest.mark.parametrize("end", ["", "%", "%2", "%E0%A4%A"])
def test_a_shared_link_that_was_cut_short_says_so(tab: Tab, end: str) -> None:
    tab.page.goto(f"{tab.service.url}/#/shared=%2Fv1%2Fgroups%2F{tab.service.group}%2Fshared%3Fsignature%3Da{end}")
    expect(tab.page.get_by_role("alert")).to_contain_text("Open the whole link")


def test_the_clock_follows_the_slider_while_nothing_plays(tab: Tab) -> None:
    open_comparison(tab)
    tab.page.get_by_role("slider", name="Position").fill("5")
    expect(tab.page.get_by_role("group", name="Playing").get_by_text("0:05")).to_be_visible()


def test_another_model_is_heard_from_the_same_place(tab: Tab) -> None:
    open_comparison(tab)
    tab.page.get_by_role("button", name="Hear Alto, Four voices of a choir, small").click()
    tab.until(lambda: tab.position > 0.5 and tab.level() > AUDIBLE)
    before = tab.position
    tab.page.get_by_role("button", name="Hear Alto, Four voices of a choir, twin").click()
    tab.until(lambda: tab.position > before and tab.level() > AUDIBLE)
    _original, first, second = tab.record()
    assert first == pytest.approx(second, abs=1e-6)  # the twin has the same weights
    tab.picture("comparison")


def test_a_comparison_can_be_cancelled_while_it_runs(tab: Tab) -> None:
    page = tab.page
    tab.open_start()
    page.get_by_role("checkbox", name="choir, twin").check()
    recording = {"name": "chorale.flac", "mimeType": "audio/flac", "buffer": long_recording(12)}
    page.locator("#file").set_input_files(recording)
    page.get_by_role("button", name="Compare 2 models").click()
    expect(page.get_by_role("progressbar", name="Progress of Four voices of a choir, twin")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Four voices of a choir, twin cancelled.")).to_be_visible()


def test_the_blind_test_counts_answers_and_tells_what_guessing_would_give(tab: Tab) -> None:
    open_comparison(tab)
    tab.page.get_by_role("button", name="Begin").click()
    tab.page.get_by_role("button", name="X", exact=True).click()
    tab.until(lambda: tab.level() > AUDIBLE)
    tab.page.get_by_role("button", name="X is A").click()
    expect(tab.page.get_by_role("region", name="Blind test").get_by_text("of 1. By guessing alone")).to_be_visible()
    tab.picture("blind-test")
    tab.page.get_by_role("button", name="End").click()
    expect(tab.page.get_by_role("button", name="Begin")).to_be_visible()
