"""A director's path: a recording in, learning tracks out, a link on the singers' phones; measured in what sounds."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
from playwright.sync_api import expect
from tests.page.conftest import opened_tab, serious_violations

from divisi.sample import mixture_path

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser
    from tests.page.conftest import Service, Tab

PHONE = {"width": 360, "height": 740}
AUDIBLE = 1e-3
SPEED, SEMITONES = 0.8, -2
BEATS_PER_MINUTE, BEATS = 150, 3
LATE_SECONDS = 0.06  # of the music after the last click: one grain's fade, and two blocks of the audio thread
MOST_CENTS = 10  # of a sung note, which is no steady tone
KEPT = """async () => {
  const cache = await caches.open("divisi-jobs");
  return (await cache.keys()).map(({ url }) => new URL(url).pathname);
}"""


def test_from_a_recording_to_singers_who_rehearse_without_a_network(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    with opened_tab(browser, service) as director:
        job = separate(director)
        page = director.page
        page.get_by_label("Speed").select_option(label="80 %")
        page.get_by_label("Transpose").select_option(label="−2")
        note = max(note_list(service, job, "alto"), key=lambda note: note["end_seconds"] - note["start_seconds"])
        check_starting_note(director, note_list(service, job, "alto")[0]["f0_hz"])
        check_tracks(director, job, note, tmp_path)
        check_count_in(director)
        keep_passage(director, job)
        page.get_by_role("button", name="Keep for good").click()
        expect(page.get_by_text("kept for good")).to_be_visible()
        page.get_by_role("button", name="Share a link").click()
        expect(page.get_by_text("as long as the result is kept")).to_be_visible()
        link = page.get_by_label("Link", exact=True).input_value()
        expect(page.get_by_role("img", name="QR code of the link")).to_be_visible()
        assert serious_violations(page) == []
    with opened_tab(browser, service, service_workers="allow") as singer:
        rehearse(singer, link)
        make_own_tracks(singer)
        rehearse_offline(singer, link)
        assert serious_violations(singer.page) == []
    assert httpx.delete(f"{service.url}/v1/jobs/{job['id']}").status_code == 204


def separate(tab: Tab) -> dict[str, Any]:
    """The job of an MP3 file that was chosen on the start page."""
    samples, rate = soundfile.read(mixture_path())
    recording = io.BytesIO()
    soundfile.write(recording, samples, rate, format="MP3")
    page = tab.page
    page.goto(tab.service.url)
    file = {"name": "Ave verum.mp3", "mimeType": "audio/mpeg", "buffer": recording.getvalue()}
    page.locator("#file").set_input_files(file)
    page.get_by_role("button", name="Separate").click()
    page.get_by_role("region", name="Mixer").wait_for()
    job: dict[str, Any] = httpx.get(f"{tab.service.url}/v1/jobs/{page.url.rsplit('/', 1)[1]}").json()
    return job


def note_list(service: Service, job: dict[str, Any], part: str) -> list[dict[str, float]]:
    notes: list[dict[str, float]] = httpx.get(f"{service.url}/v1/jobs/{job['id']}/pitch.json").json()["voices"][part][
        "notes"
    ]
    return notes


def check_starting_note(tab: Tab, f0_hz: float) -> None:
    """It sounds in the key chosen, and nothing of the stems is loaded for it."""
    tab.page.get_by_role("button", name="♪ Alto").click()  # the first press opens the sound
    tab.until(lambda: tab.level() > AUDIBLE)
    heard, rate = tab.record_all(1.2, "♪ Alto")
    steady = heard[round(0.2 * rate) :]
    magnitude = np.abs(np.fft.rfft(steady * np.hanning(len(steady)), 1 << 20))
    found = np.argmax(magnitude) * rate / (1 << 20)
    assert 1200 * np.log2(found / (f0_hz * 2 ** (SEMITONES / 12))) == pytest.approx(0, abs=3)
    assert not [url for url in tab.requests if "/stems/" in url or "/previews/" in url]


def check_tracks(tab: Tab, job: dict[str, Any], note: dict[str, float], folder: Path) -> None:
    """The altos' set by one button: its names, channels, length and pitch."""
    page = tab.page
    tracks = page.get_by_role("region", name="Learning tracks")
    tracks.get_by_label("Part").select_option(label="Alto")
    with page.expect_download() as download:
        tracks.get_by_role("button", name="Make the set").click()
    asked = next(url for url in tab.requests if "/tracks?" in url)
    assert asked.endswith("/tracks?format=mp3&parts=alto&speed=80&semitones=-2")
    assert download.value.suggested_filename == "Ave verum - learning tracks (80 percent, 2 down).zip"
    download.value.save_as(folder / "tracks.zip")
    with zipfile.ZipFile(folder / "tracks.zip") as opened:
        read = {name: soundfile.read(io.BytesIO(opened.read(name)), always_2d=True) for name in opened.namelist()}
    titles = ["01 all parts", *(f"{number:02d} {words}" for number, words in enumerate(ALTO_TRACKS, 6))]
    assert list(read) == [f"{title} (80 percent, 2 down).mp3" for title in titles]
    left = next(name for name in read if "alto left" in name)
    for name, (samples, rate) in read.items():
        assert len(samples) / rate == pytest.approx(job["input"]["duration_seconds"] / SPEED, abs=0.001), name
        assert samples.shape[1] == (2 if name == left or "right" in name else job["input"]["num_channels"])
    samples, rate = read[left]
    stem, stem_rate = soundfile.read(io.BytesIO(httpx.get(f"{tab.service.url}{stem_of(job, 'alto')}").content))
    begin, end = note["start_seconds"], note["end_seconds"]
    sung = centre(stem[round(begin * stem_rate) : round(end * stem_rate)].mean(axis=1), stem_rate, note["f0_hz"])
    lowered = note["f0_hz"] * 2 ** (SEMITONES / 12)
    heard = centre(samples[round(begin / SPEED * rate) : round(end / SPEED * rate), 0], rate, lowered)
    assert 1200 * np.log2(heard / sung) == pytest.approx(100 * SEMITONES, abs=MOST_CENTS)


ALTO_TRACKS = ("alto in front", "without alto", "alto left, the rest right", "alto right, the rest left")


def stem_of(job: dict[str, Any], part: str) -> str:
    return next(stem["href"] for stem in job["stems"] if stem["name"] == part)


def centre(samples: np.ndarray, rate: int, f0_hz: float) -> float:
    """Hz: where the power around a fundamental is, three quarters of a semitone to both sides."""
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19)) ** 2
    hertz = np.fft.rfftfreq(1 << 19, 1 / rate)
    inside = np.abs(1200 * np.log2(np.maximum(hertz, 1) / f0_hz)) < 75
    return float((hertz * power)[inside].sum() / power[inside].sum())


def check_count_in(tab: Tab) -> None:
    """It clicks on the beat, slower as the music is, which comes in after it and not before."""
    page = tab.page
    page.get_by_label("Beats a minute").fill(str(BEATS_PER_MINUTE))
    page.get_by_label("Beats a minute").press("Tab")
    page.get_by_label("Count-in").select_option(label=f"{BEATS} beats")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Loop", exact=True).click()  # plays on while a busy machine takes its time
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position > 0.2)
    page.get_by_role("button", name="Pause", exact=True).click()
    page.get_by_role("slider", name="Position in Bass").press("Home")
    page.get_by_label("Transpose").select_option(label="0")  # which would come a little later
    beat = 60 / BEATS_PER_MINUTE / SPEED
    heard, rate = tab.record_all(0.3 + (BEATS + 1) * beat, "Play")
    clicks = onsets(heard, rate)
    assert len(clicks) >= BEATS
    assert np.diff(clicks[:BEATS]) == pytest.approx([beat] * (BEATS - 1), abs=0.005)
    between = heard[round((clicks[2] + 0.1) * rate) : round((clicks[2] + beat - 0.02) * rate)]
    assert np.abs(between).max() < AUDIBLE
    music = heard[round((clicks[2] + beat + LATE_SECONDS) * rate) :]
    assert np.sqrt(np.mean(music**2)) > AUDIBLE
    page.get_by_role("button", name="Pause", exact=True).click()


def onsets(heard: np.ndarray, rate: int) -> list[float]:
    """Seconds at which a sound follows silence."""
    loud = np.flatnonzero(np.abs(heard) > 0.05)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > 0.1 * rate)]
    return [float(start) / rate for start in starts]


def keep_passage(tab: Tab, job: dict[str, Any]) -> None:
    """A named loop, from the keyboard, while somebody else keeps another; exported as labels and with its settings."""
    page, address = tab.page, f"{tab.service.url}/v1/jobs/{job['id']}/rehearsal"
    coda = {"name": "Coda", "start_seconds": 6, "duration_seconds": 2}
    httpx.put(address, json={**httpx.get(address).json(), "passages": [coda]}).raise_for_status()
    page.keyboard.press("Escape")
    lane = page.get_by_role("slider", name="Position in Bass")
    lane.press("Home")
    lane.press("Shift+ArrowRight")
    page.get_by_role("button", name="Loop to here").click()
    page.get_by_label("Name of the passage").fill("Amen")
    page.get_by_role("button", name="Keep this loop").click()
    expect(page.get_by_role("button", name="Amen 0:00–0:05")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save passages").click()
    assert download.value.path().read_text() == "0.000000\t5.000000\tAmen\n6.000000\t8.000000\tCoda\n"
    with page.expect_download() as download:
        page.get_by_role("button", name="Save with settings").click()
    amen = {"name": "Amen", "start_seconds": 0, "duration_seconds": 5}
    kept = {"passages": [amen, coda], "beats_per_minute": BEATS_PER_MINUTE, "count_in_beats": BEATS}
    assert json.loads(download.value.path().read_text()) == httpx.get(address).json() == kept
    tab.picture("rehearsal")


def rehearse(tab: Tab, link: str) -> None:
    """Another visitor, on a phone: uses what was kept, and changes nothing."""
    page = tab.page
    page.set_viewport_size(PHONE)
    page.goto(tab.service.url)
    tab.until(lambda: page.evaluate("navigator.serviceWorker.controller !== null"))
    page.goto("about:blank")
    page.goto(link)
    page.get_by_role("button", name="Amen 0:00–0:05").click()
    is_looping = page.get_by_role("button", name="Loop", exact=True)
    expect(is_looping).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(is_looping).to_have_attribute("aria-pressed", "false")
    page.get_by_role("heading").first.click()
    page.keyboard.press("1")
    expect(is_looping).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Keep this loop")).to_have_count(0)
    expect(page.get_by_role("button", name="Keep for good")).to_have_count(0)
    page.get_by_role("button", name="♪ Alto").click()
    expect(page.get_by_text("Alto: ")).to_be_visible()
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position > 0.2)
    tab.until(lambda: sum("/previews/" in path for path in page.evaluate(KEPT)) == 5)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def make_own_tracks(tab: Tab) -> None:
    """The usual set, by the link: the files of one part to take along."""
    tracks = tab.page.get_by_role("region", name="Learning tracks")
    expect(tracks.get_by_label("Format")).to_have_count(0)
    tracks.get_by_label("Part").select_option(label="Alto")
    tracks.get_by_role("button", name="Make the set").click()
    files = tracks.get_by_role("listitem")
    expect(files).to_have_text([f"{number:02d} {words}.mp3" for number, words in enumerate(ALTO_TRACKS, 6)])
    tab.picture("phone-shared")
    with tab.page.expect_download() as download:
        files.first.get_by_role("button").click()
    assert soundfile.info(download.value.path()).duration == pytest.approx(
        float(tab.page.get_by_role("slider", name="Position", exact=True).get_attribute("max") or 0), abs=0.1
    )


def rehearse_offline(tab: Tab, link: str) -> None:
    """All of it once more without a network."""
    page = tab.page
    page.context.set_offline(True)
    page.goto("about:blank")
    page.goto(link)
    page.get_by_role("button", name="Amen 0:00–0:05").click()
    page.get_by_role("button", name="Play", exact=True).click()
    tab.until(lambda: tab.position > 2.5)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("slider", name="Bars")).to_be_visible()
    page.get_by_role("button", name="♪ Alto").click()
    expect(page.get_by_text("Alto: ")).to_be_visible()
