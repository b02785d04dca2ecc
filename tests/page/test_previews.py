"""Previews are heard at once: pieces of them fit to the sample, sound where the stems would, and are waited for."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Route
    from tests.page.conftest import Tab

AUDIBLE = 1e-3
STEMS = ("soprano", "alto", "tenor", "bass", "residual")
PREVIEW_RATE = 32_000
BESIDE_SAMPLES = 2

# All pieces of one preview, each fetched and decoded by itself, put together: base64 of float32.
PIECES = """async ([href, seconds, ahead]) => {
  const { PreviewStream } = await import("/page/preview_stream.js");
  const stream = new PreviewStream([{ name: "one", href }], seconds, new AbortController().signal);
  await stream.open(({ sample_rate }) => sample_rate);
  const whole = new Float32Array(stream.length);
  for (let piece = 0; piece < stream.isHere.length; piece += ahead) {
    const { start, tracks } = await stream.bring(piece, ahead);
    whole.set(tracks[0][0], start);
  }
  const bytes = new Uint8Array(whole.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return [btoa(text), stream.rate, stream.isHere.every(Boolean)];
}"""


def stem_at_32_khz(tab: Tab, name: str) -> np.ndarray:
    """The stem's first channel as it was delivered, at the previews' rate."""
    answer = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}/stems/{name}")
    stem, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32", always_2d=True)
    return soxr.resample(stem[:, 0], rate, PREVIEW_RATE)


def decoded_pieces(tab: Tab, name: str, ahead: int) -> np.ndarray:
    href = f"/v1/jobs/{tab.service.jobs[0]}/previews/{name}.mp3"
    seconds = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}").json()["input"]["duration_seconds"]
    text, rate, is_all_here = tab.page.evaluate(PIECES, [href, seconds, ahead])
    assert rate == PREVIEW_RATE
    assert is_all_here
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_pieces_of_a_preview_add_up_to_what_was_delivered(tab: Tab) -> None:
    tab.page.goto(tab.service.url)
    one_by_one = decoded_pieces(tab, "tenor", 1)
    at_once = decoded_pieces(tab, "tenor", 100)
    assert np.abs(one_by_one - at_once).max() < 1e-4  # no seam is heard
    stem = stem_at_32_khz(tab, "tenor")
    length = min(len(stem), len(at_once))
    size = 1 << (2 * length).bit_length()
    products = np.fft.irfft(np.fft.rfft(at_once[:length], size) * np.conj(np.fft.rfft(stem[:length], size)), size)
    lag = int(np.argmax(products))
    assert min(lag, size - lag) <= BESIDE_SAMPLES
    error = at_once[:length] - stem[:length]
    assert 10 * np.log10(np.mean(stem**2) / np.mean(error**2)) > 15  # 96 kbit/s


def test_previews_play_before_a_stem_is_fetched_and_all_of_them_come_in_the_end(tab: Tab) -> None:
    tab.open_mixer()
    tab.until(lambda: tab.level() > AUDIBLE)
    previews = httpx.get(f"{tab.service.url}/v1/jobs/{tab.service.jobs[0]}").json()["stems"]
    assert [stem["name"] for stem in previews] == list(STEMS)
    assert not [url for url in tab.requests if "/stems/" in url]
    before = tab.position
    tab.page.get_by_label("Full quality").check()
    tab.until(lambda: [url for url in tab.requests if "/stems/residual" in url])
    tab.until(lambda: tab.position > before and tab.level() > AUDIBLE)
    expect(tab.page.get_by_role("alert")).to_be_hidden()


def test_what_is_not_here_yet_is_waited_for_and_played_in_its_place(tab: Tab) -> None:
    """All that lies beyond the first piece is held back; then it is let through."""
    held: list[Route] = []

    def hold_later(route: Route) -> None:
        first = int(route.request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if first > 10_000 and held is not None:
            held.append(route)
        else:
            route.continue_()

    tab.page.route("**/previews/*.mp3", hold_later)
    tab.open_mixer()
    tab.until(lambda: len(held) == len(STEMS))
    tab.until(lambda: 1.5 < tab.position <= 2.1)
    tab.until(lambda: tab.level() < AUDIBLE)
    expect(tab.page.get_by_text("Loading")).to_be_visible()
    assert tab.position <= 2.1
    for route in held:
        route.continue_()
    tab.page.unroute_all(behavior="ignoreErrors")
    tab.until(lambda: tab.position > 2.5 and tab.level() > AUDIBLE)
    expect(tab.page.get_by_text("Loading")).to_have_count(0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ([0xFF, 0xFB, 0x78, 0x00], {"rate": 32000, "numBytes": 432, "numChannels": 2}),
        ([0xFF, 0xFB, 0x58, 0xC0], {"rate": 32000, "numBytes": 288, "numChannels": 1}),
        ([0xFF, 0xFB, 0x90, 0x64], {"rate": 44100, "numBytes": 417, "numChannels": 2}),
    ],
)
def test_the_header_of_a_frame_says_how_long_it_is(tab: Tab, header: list[int], expected: dict[str, int]) -> None:
    tab.page.goto(tab.service.url)
    script = 'async (header) => (await import("/page/preview_stream.js")).frameOf(header)'
    assert tab.page.evaluate(script, header) == expected
