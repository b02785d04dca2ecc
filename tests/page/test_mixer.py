"""The mixer as a visitor hears it: the levels are measured at the loudspeaker of the audio graph."""

from __future__ import annotations

import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Route
    from tests.page.conftest import Tab

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
AUDIBLE = 1e-3  # RMS; the quietest voice of the sample sings at 2e-2
SILENT = 1e-5


def loop(tab: Tab, start: float, end: float) -> None:
    """Drags over the soprano's waveform; both in shares of the recording."""
    box = tab.page.get_by_role("slider", name="Position in Soprano").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 3
    tab.page.mouse.move(box["x"] + start * box["width"], y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + (start + end) / 2 * box["width"], y)
    tab.page.mouse.move(box["x"] + end * box["width"], y)
    tab.page.mouse.up()


def test_each_stem_is_heard_alone_through_solo_and_none_when_all_are_mute(tab: Tab) -> None:
    tab.open_mixer()
    loop(tab, 0.2, 0.8)
    for voice in VOICES:
        solo = tab.page.get_by_role("button", name=f"Solo {voice}")
        solo.click()
        tab.until(lambda: tab.level() > AUDIBLE)
        others = [name for name in VOICES if name != voice]
        for other in others:
            expect(tab.page.get_by_role("group", name=other, exact=True)).to_have_class(
                f"row voice-{VOICES.index(other)} silent"
            )
        solo.click()
    for name in (*VOICES, "Residual"):
        tab.page.get_by_role("button", name=f"Mute {name}").click()
    tab.until(lambda: tab.level() < SILENT)
    tab.page.get_by_role("button", name="Mute Alto").click()
    tab.until(lambda: tab.level() > AUDIBLE)
    tab.picture("mixer")


def test_a_dragged_loop_repeats_and_a_click_seeks(tab: Tab) -> None:
    tab.open_mixer()
    loop(tab, 0.5, 0.58)
    positions: list[float] = []

    def has_come_round() -> bool:
        positions.append(tab.position)
        return any(later < earlier - 0.3 for earlier, later in pairwise(positions))

    tab.until(lambda: 5.0 < tab.position < 6.1)
    tab.until(has_come_round)
    assert max(positions) < 6.2
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("slider", name="Position in Alto").click(position={"x": 5, "y": 20})
    tab.until(lambda: tab.position < 2)


def test_the_original_is_as_loud_as_the_stems(tab: Tab) -> None:
    tab.open_mixer()
    tab.page.get_by_role("button", name="Original").click()
    recorded = tab.record()
    stems, mixture = recorded[:-1].sum(0), recorded[-1]
    assert mixture.std() == pytest.approx(stems.std(), rel=1e-3)
    tab.until(lambda: tab.level() > AUDIBLE)
    tab.page.get_by_role("button", name="Solo Bass").click()
    tab.until(lambda: tab.level() > AUDIBLE)


def test_a_volume_set_before_the_first_press_of_play_is_heard(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    tab.page.get_by_role("slider", name="Volume", exact=True).fill("0")
    tab.page.get_by_role("button", name="Loop", exact=True).click()
    tab.page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position > 0.5)
    assert tab.level() < SILENT
    tab.page.get_by_role("slider", name="Volume", exact=True).fill("1")
    tab.until(lambda: tab.level() > AUDIBLE)


def test_presets_put_a_part_in_front_or_leave_it_out(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    tab.page.get_by_label("Rehearse").select_option(label="Everything but tenor")
    expect(tab.page.get_by_role("button", name="Mute Tenor")).to_have_attribute("aria-pressed", "true")
    tab.page.get_by_label("Rehearse").select_option(label="Alto in front")
    expect(tab.page.get_by_role("button", name="Mute Tenor")).to_have_attribute("aria-pressed", "false")
    assert float(tab.page.get_by_role("slider", name="Volume of Alto").input_value()) == 1
    assert float(tab.page.get_by_role("slider", name="Volume of Bass").input_value()) == pytest.approx(0.25, abs=0.01)


def test_one_stem_and_all_of_them_can_be_downloaded(tab: Tab, tmp_path: Path) -> None:
    tab.open_mixer(playing=False)
    with tab.page.expect_download() as stem:
        tab.page.get_by_role("button", name="Download Alto").click()
    stem.value.save_as(tmp_path / "alto.flac")
    assert (tmp_path / "alto.flac").read_bytes()[:4] == b"fLaC"
    with tab.page.expect_download() as archive:
        tab.page.get_by_role("button", name="All stems (ZIP)").click()
    archive.value.save_as(tmp_path / "stems.zip")
    with zipfile.ZipFile(tmp_path / "stems.zip") as opened:
        assert {"soprano.flac", "residual.flac"} <= {name.rsplit("/", 1)[-1] for name in opened.namelist()}


INKED = """canvas => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.some((value) => value > 0);
}"""


def test_waveforms_spectrograms_and_pitch_are_drawn_before_any_stem_is_fetched(tab: Tab) -> None:
    tab.open_mixer(playing=False)
    row = tab.page.get_by_role("group", name="Tenor", exact=True)
    tab.until(lambda: row.locator("canvas.wave").evaluate(INKED))
    row.get_by_role("button", name="Spectrogram of Tenor").click()
    picture = row.get_by_role("img", name="Spectrogram of Tenor")
    tab.until(lambda: picture.evaluate("image => image.naturalWidth") > 0)
    tab.until(lambda: row.locator("canvas.pitch").evaluate(INKED))
    tuning = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}/pitch.json").json()["tuning"]
    expect(tab.page.get_by_text(f"A4 = {tuning['a4_hz']:.1f} Hz")).to_be_visible()
    tab.page.get_by_label("All spectrograms").check()
    expect(tab.page.get_by_role("img", name="Spectrogram of Bass")).to_be_visible()
    assert not [url for url in tab.requests if "/stems/" in url or "/previews/" in url]
    tab.picture("spectrograms")


def test_what_to_know_of_a_result_stands_above_the_mixer(tab: Tab) -> None:
    message = "3 samples of alto were cut at full scale, by up to 1.2 dB; the format wav32f keeps <them>."

    def with_a_warning(route: Route) -> None:
        answer = route.fetch()
        job = answer.json()
        job["report"]["warnings"].append({"code": "cut-at-full-scale", "message": message, "facts": {}})
        route.fulfill(response=answer, json=job)

    job_path = f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}"
    tab.open_mixer(playing=False)
    expect(tab.page.get_by_role("list", name="Good to know")).to_have_count(0)
    tab.page.route(job_path, with_a_warning)
    tab.page.reload()
    expect(tab.page.get_by_role("list", name="Good to know").get_by_role("listitem")).to_have_text([message])
