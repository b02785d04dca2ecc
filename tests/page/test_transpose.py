"""Another key on the page: pitch and formants measured at the transposer's output; it comes only when it is wanted."""

from __future__ import annotations

import base64
import gzip
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from divisi.gateway import open_routes

if TYPE_CHECKING:
    from tests.page.conftest import Tab

RATE = 44_100
FUNDAMENTAL = 220.0  # Hz
FORMANTS = (700.0, 1220.0, 2600.0)  # Hz, of an open vowel
BANDWIDTHS = (90.0, 110.0, 160.0)
MOST_CENTS = 3
MOST_FORMANT_SHIFT = 0.05
AUDIBLE = 1e-3
FOLDER = Path(open_routes.__file__).parent / "vendored"

# Samples through the page's own transposer; base64 of float32.
TRANSPOSED = """async ([text, rate, semitones]) => {
  const { openTransposer } = await import("/page/transposer.js");
  const samples = new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  const context = new OfflineAudioContext(1, samples.length, rate);
  const transposer = await openTransposer(context);
  const buffer = new AudioBuffer({ length: samples.length, numberOfChannels: 1, sampleRate: rate });
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(transposer.node).connect(context.destination);
  await transposer.set(semitones);
  source.start();
  const heard = (await context.startRendering()).getChannelData(0);
  const bytes = new Uint8Array(heard.buffer);
  let out = "";
  for (let i = 0; i < bytes.length; i += 32768) out += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(out);
}"""


def vowel(fundamental: float = FUNDAMENTAL) -> np.ndarray:
    """float32 (T,): 4 s of a steady vowel with all its partials up to 5 kHz."""
    time = np.arange(4 * RATE) / RATE
    partials = np.arange(1, int(5000 / fundamental) + 1) * fundamental
    weights = envelope(partials)
    return (0.1 * weights @ np.sin(2 * np.pi * partials[:, None] * time)).astype(np.float32)


def envelope(hertz: np.ndarray) -> np.ndarray:
    """Gains of three resonances."""
    return sum(1 / (1 + ((hertz - centre) / width) ** 2) for centre, width in zip(FORMANTS, BANDWIDTHS, strict=True))


def transposed(tab: Tab, samples: np.ndarray, semitones: int) -> np.ndarray:
    text = base64.b64encode(samples.tobytes()).decode()
    answer = tab.page.evaluate(TRANSPOSED, [text, RATE, semitones])
    return np.frombuffer(base64.b64decode(answer), "<f4")[RATE:]  # past what the transposer needs to begin


def spectrum(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = 1 << 20
    return np.fft.rfftfreq(size, 1 / RATE), np.abs(np.fft.rfft(samples * np.hanning(len(samples)), size))


def near(hertz: np.ndarray, magnitude: np.ndarray, centre: float, reach: float) -> tuple[float, float]:
    """Frequency and height of the largest peak around a frequency."""
    inside = np.flatnonzero(np.abs(hertz - centre) < reach)
    best = inside[np.argmax(magnitude[inside])]
    return float(hertz[best]), float(magnitude[best])


def centres(samples: np.ndarray, fundamental: float) -> list[float]:
    """Centre of gravity, in Hz, of the partials around each formant: where a listener places it."""
    hertz, magnitude = spectrum(samples)
    partials = np.arange(1, int(4500 / fundamental)) * fundamental
    power = np.array([near(hertz, magnitude, one, fundamental / 4)[1] for one in partials]) ** 2
    found = []
    for low, high in ((350, 960), (960, 1800), (1900, 3400)):
        inside = (partials > low) & (partials < high)
        found.append(float((partials * power)[inside].sum() / power[inside].sum()))
    return found


@pytest.mark.parametrize("semitones", [-12, -3, 2, 3, 12])
def test_a_voice_is_moved_to_the_pitch_asked_for(tab: Tab, semitones: int) -> None:
    tab.page.goto(tab.service.url)
    wanted = FUNDAMENTAL * 2 ** (semitones / 12)
    hertz, magnitude = spectrum(transposed(tab, vowel(), semitones))
    numbers = np.arange(1, int(4000 / wanted))
    found = [near(hertz, magnitude, number * wanted, 0.04 * wanted) for number in numbers]
    cents = [1200 * np.log2(partial / (number * wanted)) for (partial, _), number in zip(found, numbers, strict=True)]
    assert abs(np.average(cents, weights=[height**2 for _, height in found])) < MOST_CENTS


@pytest.mark.parametrize("semitones", [-5, -3, 3])
def test_formants_stay_when_it_is_more_than_two_half_tones(tab: Tab, semitones: int) -> None:
    tab.page.goto(tab.service.url)
    wanted = FUNDAMENTAL * 2 ** (semitones / 12)
    sung_there = centres(vowel(wanted)[RATE:], wanted)
    assert centres(transposed(tab, vowel(), semitones), wanted) == pytest.approx(sung_there, rel=MOST_FORMANT_SHIFT)


def test_another_key_is_heard_and_loads_nothing_before_it_is_chosen(tab: Tab) -> None:
    tab.open_mixer()
    page = tab.page
    assert not [url for url in tab.requests if "vendored" in url]
    page.get_by_label("Transpose").select_option(label="−2")
    tab.until(lambda: [url for url in tab.requests if url.endswith("SignalsmithStretch.mjs")])
    page.get_by_label("Speed").select_option(label="80 %")
    before = tab.position
    tab.until(lambda: tab.position != before and tab.level() > AUDIBLE)
    page.get_by_label("Transpose").select_option(label="0")
    tab.until(lambda: tab.level() > AUDIBLE)
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.parametrize("name", ["SignalsmithStretch", "uqr"])
def test_what_others_made_is_as_they_published_it(tab: Tab, name: str) -> None:
    data = gzip.decompress((FOLDER / f"{name}.mjs.gz").read_bytes())
    assert f"{hashlib.sha256(data).hexdigest()}  {name}.mjs" in (FOLDER / "README.md").read_text("utf-8")
    assert "MIT License" in (FOLDER / f"{name}.LICENSE").read_text("utf-8")
    assert httpx.get(f"{tab.service.url}/page/vendored/{name}.mjs").content == data
