"""How fast the listening page is: first paint on loopback, weight, and a long stereo job opened and drawn in Chromium.

    python benchmarks/page.py [--minutes 10] [--model chorus] [--loads 5]

Starts a service of its own on a free port, separates a made-up recording, and opens pages in fresh profiles (nothing is
cached). Needs a `chromium` (tests/system_packages.sh). The bars: first paint under 1 s, the job drawn under 2 s after
its address was opened, its first sound under 1.5 s after the press of play (medians of the loads), 40 MB fetched to
play five stems of ten minutes (as much for each minute of each stem that there is), 200 kB with the words of one
language. Memory is the largest renderer's, when all is there. Exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from long_recording import write_recording
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from divisi.client import Client
from divisi.gateway.open_routes import static_files
from divisi.settings import load_settings
from divisi.standalone import Standalone

MOST_BYTES, MOST_PAINT_SECONDS, MOST_DRAW_SECONDS = 200_000, 1.0, 2.0
MOST_SOUND_SECONDS = 1.5
MOST_STEM_MINUTE_BYTES = 40e6 / (5 * 10)  # five stems of ten minutes
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
# Notes when the waveform and the confidence of every row have been drawn; milliseconds since the address was opened.
WATCH = """
const isInked = (canvas) => {
  const { width, height } = canvas;
  if (!canvas.clientWidth) return false;
  return canvas.getContext("2d").getImageData(Math.floor(width / 3), 0, 1, height).data.some((value) => value > 0);
};
const look = () => {
  const waves = [...document.querySelectorAll(".row canvas.wave")];
  const strips = [...document.querySelectorAll(".row canvas.strip:not([hidden])")];
  const all = [...waves, ...strips];
  if (waves.length && strips.length && all.every(isInked)) window.drawnAt = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
# Notes when the loudspeaker first gets something, milliseconds since the press of play.
LISTEN = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (target, ...places) {
  if (target instanceof AudioDestinationNode && !window.heard) {
    window.heard = new AnalyserNode(this.context, { fftSize: 2048 });
    connect.call(this, window.heard);
  }
  return connect.call(this, target, ...places);
};
const samples = new Float32Array(2048);
setInterval(() => {
  if (window.soundedAt || !window.heard) return;
  window.heard.getFloatTimeDomainData(samples);
  if (samples.some((sample) => Math.abs(sample) > 1e-3)) window.soundedAt = performance.now();
}, 5);
addEventListener("click", () => (window.pressedAt = performance.now()), { capture: true });
"""
PAINTED = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
PICTURED = """() => [...document.querySelectorAll(".row img.spectrogram")].every((image) => image.naturalWidth > 0)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", default=load_settings().default_model)
    parser.add_argument("--loads", type=int, default=5)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium here; tests/system_packages.sh names what is needed")
    table = Table("what", "median", "worst", "bar", "")
    sizes = {name: len(body) for name, body in static_files("page").items()}
    words = [size for name, size in sizes.items() if name.startswith("words.")]
    weight = sum(sizes.values()) - sum(words) + max(words)
    is_missed = weight >= MOST_BYTES
    kilobytes = f"{weight / 1000:.1f}", "", f"{MOST_BYTES / 1000:.0f}"
    table.add_row("weight, kB", *kilobytes, "MISSED" if is_missed else "holds")
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
        probe.close()
        settings = load_settings().model_copy(update={"port": port, "log_level": "warning"})
        with Standalone(settings, Path(folder) / "data") as machine, sync_playwright() as playwright:
            job, num_stems = _separate(machine.url, Path(folder) / "long.wav", arguments.minutes, arguments.model)
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            paints = [_paint(browser, machine.url) for _ in range(arguments.loads)]
            opened = [_open(browser, f"{machine.url}/#/jobs/{job}") for _ in range(arguments.loads)]
            played = [_play(browser, f"{machine.url}/#/jobs/{job}") for _ in range(arguments.loads)]
            browser.close()
    most_fetched = MOST_STEM_MINUTE_BYTES * num_stems * arguments.minutes
    rows = [
        ("first paint, s", paints, MOST_PAINT_SECONDS),
        (f"{arguments.minutes:g} min stereo job drawn, s", [drawn for drawn, _ in opened], MOST_DRAW_SECONDS),
        ("all its spectrograms shown after the click, s", [pictured for _, pictured in opened], None),
        ("its first sound after the press of play, s", [one.sounded_seconds for one in played], MOST_SOUND_SECONDS),
        (f"fetched to play its {num_stems} stems, MB", [one.num_bytes / 1e6 for one in played], most_fetched / 1e6),
        ("memory of the tab then, MB", [one.resident_bytes / 1e6 for one in played], None),
    ]
    for what, seconds, bar in rows:
        median = statistics.median(seconds)
        is_over = bar is not None and median >= bar
        is_missed |= is_over
        verdict = "" if bar is None else "MISSED" if is_over else "holds"
        table.add_row(what, f"{median:.2f}", f"{max(seconds):.2f}", f"{bar:g}" if bar else "", verdict)
    Console().print(table)
    sys.exit(int(is_missed))


def _separate(url: str, recording: Path, minutes: float, model: str) -> tuple[str, int]:
    """Id of a job, and how many stems it has, the residual among them."""
    write_recording(recording, minutes)
    with Client(url) as client:
        job = client.wait(client.submit(recording, model=model, stem_format="flac")["id"])
    return job["id"], len(job["stems"])


def _paint(browser: Browser, url: str) -> float:
    """Seconds from asking for the page to its first contents, in a fresh profile."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.locator(".models input").first.wait_for(state="attached")
        return float(page.evaluate(PAINTED)) / 1000


def _open(browser: Browser, url: str) -> tuple[float, float]:
    """Seconds until the mixer of a job is drawn, and until its spectrograms are shown after a click."""
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(url)
        while (drawn := page.evaluate("window.drawnAt")) is None:
            page.wait_for_timeout(20)
        began = time.monotonic()
        page.get_by_label("All spectrograms").check()
        while not page.evaluate(PICTURED):
            page.wait_for_timeout(20)
        return float(drawn) / 1000, time.monotonic() - began


@dataclass(frozen=True)
class _Played:
    sounded_seconds: float
    num_bytes: int
    resident_bytes: int


def _play(browser: Browser, url: str) -> _Played:
    """Presses play, and waits until all previews are there."""
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(LISTEN)
        sizes: list[int] = []
        page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
        page.goto(url)
        page.get_by_role("button", name="Play", exact=True).click()
        while not page.evaluate("window.soundedAt"):
            page.wait_for_timeout(20)
        sounded = page.evaluate("window.soundedAt - window.pressedAt") / 1000
        seen = -1
        while len(sizes) > seen:  # nothing more comes
            seen = len(sizes)
            page.wait_for_timeout(5000)
        renderers = [
            process.memory_info().rss
            for process in psutil.Process().children(recursive=True)
            if "--type=renderer" in process.cmdline()
        ]
        return _Played(float(sounded), sum(sizes), max(renderers))


if __name__ == "__main__":
    main()
