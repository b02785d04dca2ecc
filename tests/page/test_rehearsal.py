"""Rehearsing on the page: passages that stay with the job, a count-in, starting notes and entry cues, as they sound."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Route
    from tests.page.conftest import Tab

AUDIBLE = 1e-3
NOTHING = {"passages": [], "beats_per_minute": None, "count_in_beats": 0}
LATE_SECONDS = 0.06  # of the music after the last click: one grain's fade, and two blocks of the audio thread


@pytest.fixture(autouse=True)
def _nothing_is_kept(tab: Tab) -> Iterator[None]:
    yield
    httpx.put(rehearsal_of(tab), json=NOTHING).raise_for_status()


def rehearsal_of(tab: Tab) -> str:
    return f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}/rehearsal"


def keep(tab: Tab, **kept: object) -> None:
    httpx.put(rehearsal_of(tab), json={**NOTHING, **kept}).raise_for_status()


def test_a_named_loop_is_kept_shared_and_exported(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    tab.open_mixer(playing=False)
    expect(page.get_by_role("button", name="Keep this loop")).to_be_disabled()
    lane = page.get_by_role("slider", name="Position in Bass")
    lane.press("Home")
    lane.press("Shift+ArrowRight")
    page.get_by_role("button", name="Loop to here").click()
    page.get_by_label("Name of the passage").fill("Amen")
    keep(tab, beats_per_minute=72)  # somebody else, meanwhile
    page.get_by_role("button", name="Keep this loop").click()
    expect(page.get_by_role("button", name="Amen 0:00–0:05")).to_be_visible()
    amen = {"name": "Amen", "start_seconds": 0, "duration_seconds": 5}
    kept = httpx.get(rehearsal_of(tab)).json()
    assert kept == {**NOTHING, "passages": [amen], "beats_per_minute": 72}
    with page.expect_download() as download:
        page.get_by_role("button", name="Save with settings").click()
    assert json.loads(download.value.path().read_text()) == kept
    with page.expect_download() as download:
        page.get_by_role("button", name="Save passages").click()
    download.value.save_as(tmp_path / "labels.txt")
    assert (tmp_path / "labels.txt").read_text() == "0.000000\t5.000000\tAmen\n"
    tab.picture("rehearsal")
    page.get_by_role("button", name="Share a link").click()
    link = page.get_by_label("Link", exact=True).input_value()
    page.goto("about:blank")
    page.goto(link)
    page.get_by_role("button", name="Amen 0:00–0:05").click()
    expect(page.get_by_role("button", name="Loop", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Keep this loop")).to_have_count(0)  # visitors use what was kept
    page.keyboard.press("Escape")
    page.get_by_role("heading").first.click()
    page.keyboard.press("1")
    expect(page.get_by_role("button", name="Loop", exact=True)).to_have_attribute("aria-pressed", "true")


def test_a_passage_that_cannot_be_kept_is_not_shown_as_if_it_were(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    tab.page.route("**/rehearsal", lambda route: route.abort())
    tab.page.keyboard.press("[")
    tab.page.get_by_label("Name of the passage").fill("Amen")
    tab.page.get_by_role("button", name="Keep this loop").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(tab.page.get_by_role("button", name="Amen")).to_have_count(0)
    expect(tab.page.get_by_label("Name of the passage")).to_have_value("Amen")


def test_a_count_in_clicks_on_the_beat_and_the_music_comes_in_after_it(tab: Tab) -> None:
    keep(tab, beats_per_minute=150, count_in_beats=3)
    tab.open_mixer(playing=False)
    page = tab.page
    page.keyboard.press("[")  # plays on while a busy machine takes its time
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position > 0.2)
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("slider", name="Position in Bass").press("Home")
    page.get_by_label("Speed").select_option(label="80 %")
    beat = 60 / 150 / 0.8
    heard, rate = tab.record_all(0.3 + 4 * beat, "Play")
    clicks = onsets(heard, rate)
    assert len(clicks) >= 3
    assert np.diff(clicks[:3]) == pytest.approx([beat, beat], abs=0.005)
    between = heard[round((clicks[2] + 0.1) * rate) : round((clicks[2] + beat - 0.02) * rate)]
    assert np.abs(between).max() < AUDIBLE  # nothing of the music before its beat
    music = heard[round((clicks[2] + beat + LATE_SECONDS) * rate) :]
    assert np.sqrt(np.mean(music**2)) > AUDIBLE


def onsets(heard: np.ndarray, rate: int) -> list[float]:
    """Seconds at which a sound follows silence."""
    loud = np.flatnonzero(np.abs(heard) > 0.05)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > 0.1 * rate)]
    return [float(start) / rate for start in starts]


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


@pytest.mark.parametrize("semitones", [0, 2])
def test_a_starting_note_sounds_at_the_pitch_that_the_part_sings(tab: Tab, semitones: int) -> None:
    tab.open_mixer(playing=False)
    page = tab.page
    page.get_by_label("Transpose").select_option(label=f"+{semitones}" if semitones else "0")
    page.get_by_role("button", name="♪ Alto").click()  # the first press opens the sound
    tab.until(lambda: tab.level() > AUDIBLE)
    heard, rate = tab.record_all(1.2, "♪ Alto")
    pitch = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}/pitch.json").json()
    note = pitch["voices"]["alto"]["notes"][0]
    steady = heard[round(0.2 * rate) :]
    magnitude = np.abs(np.fft.rfft(steady * np.hanning(len(steady)), 1 << 20))
    found = np.argmax(magnitude) * rate / (1 << 20)
    assert 1200 * np.log2(found / (note["f0_hz"] * 2 ** (semitones / 12))) == pytest.approx(0, abs=3)
    assert not [url for url in tab.requests if "/stems/" in url or "/previews/" in url]


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
