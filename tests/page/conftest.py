"""A running divisi, a real Chromium, and ears: what the page's audio graph puts out, as samples."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.conftest import free_port

from divisi.bundles.checksums import read_checksums, write_checksums
from divisi.sample import SOURCES, mixture_path, source_path
from divisi.settings import Settings, default_model_store
from divisi.standalone import Standalone

CHROMIUM = shutil.which("chromium")
# The sandbox wants rights that root in a container lacks; the rest keeps the browser from calling home.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
]
SCREENSHOTS = Path(__file__).parents[2] / "out" / "page"
JOB_SECONDS = 300
# For one step of the page, on a machine that is busy with other tests.
PATIENCE_MILLISECONDS = 60_000
MODEL, TWIN = "satb-small", "satb-twin"

# Runs in the page before its own scripts: keeps the transport node, and hears what reaches the loudspeaker.
EARS = """
const connect = AudioNode.prototype.connect;
const ears = { node: null, analyser: null };
AudioNode.prototype.connect = function (target, ...places) {
  if (this instanceof AudioWorkletNode) ears.node = this;
  if (target instanceof AudioDestinationNode) {
    ears.analyser = new AnalyserNode(this.context, { fftSize: 8192 });
    connect.call(this, ears.analyser);
  }
  return connect.call(this, target, ...places);
};
ears.level = () => {
  if (!ears.analyser) return 0;
  const samples = new Float32Array(8192);
  ears.analyser.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
};
ears.record = (frames) => new Promise((resolve) => {
  const { context, numberOfOutputs: count } = ears.node;
  const merger = new ChannelMergerNode(context, { numberOfInputs: count });
  for (let track = 0; track < count; track++) connect.call(ears.node, merger, track, track);
  const recorder = context.createScriptProcessor(frames, count, 1);
  connect.call(merger, recorder);
  connect.call(recorder, context.destination);
  let skipped = false;
  recorder.onaudioprocess = ({ inputBuffer }) => {
    if (!skipped) return void (skipped = true);  // the first block began before the wires were in place
    recorder.onaudioprocess = null;
    recorder.disconnect();
    merger.disconnect();
    const bytes = new Uint8Array(new Float32Array(
      Array.from({ length: count }, (_, track) => [...inputBuffer.getChannelData(track)]).flat()).buffer);
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    resolve(btoa(text));
  };
});
window.ears = ears;
"""


@dataclass(frozen=True)
class Service:
    """A running divisi with two models, and jobs of the sample that have ended: both, with true sources."""

    url: str
    group: str
    jobs: tuple[str, ...]

    @property
    def job_url(self) -> str:
        return f"{self.url}/#/jobs/{self.jobs[0]}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(
        port=free_port(), model_store=_two_models(folder / "models"), default_model=MODEL, log_level="warning"
    )
    with Standalone(settings, folder / "data") as machine, httpx.Client(base_url=machine.url) as http:
        form = {"model": [MODEL, TWIN], "stem_format": "flac"}
        files = {f"reference_{voice}": (f"{voice}.flac", source_path(voice).read_bytes()) for voice in SOURCES}
        files["file"] = ("chorale.flac", mixture_path().read_bytes())
        body = http.post("/v1/jobs", data=form, files=files, timeout=60).json()
        jobs = tuple(job["id"] for job in body["jobs"])
        deadline = time.monotonic() + JOB_SECONDS
        while any(http.get(f"/v1/jobs/{job}").json()["state"] != "succeeded" for job in jobs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Service(machine.url, body["group"], jobs)


def _two_models(store: Path) -> Path:
    """The shipped model, and the same weights under another name."""
    source = next((default_model_store() / MODEL).iterdir())
    shutil.copytree(source, store / MODEL / source.name)
    twin = store / TWIN / source.name
    shutil.copytree(source, twin)
    card = (
        (twin / "card.yaml").read_text().replace(f"id: {MODEL}", f"id: {TWIN}").replace("choir, small", "choir, twin")
    )
    (twin / "card.yaml").write_text(card)
    write_checksums(twin, read_checksums(source))
    return store


@pytest.fixture(scope="module")  # not longer: while Playwright runs, asynchronous tests of other rooms cannot
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here; tests/system_packages.sh names what the tests need")
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser, service: Service) -> Iterator[Tab]:
    """A fresh profile's tab. The test fails when a script breaks or anything is asked of another origin."""
    with ExitStack() as opened:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        opened.callback(context.close)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        tab = Tab(page, service)
        page.add_init_script(EARS)
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("request", lambda request: tab.requests.append(request.url))
        yield tab
        assert tab.complaints == []
        foreign = [url for url in tab.requests if not url.startswith((service.url, "blob:", "data:"))]
        assert foreign == []


class Tab:
    """A tab of the browser with the page in it."""

    def __init__(self, page: Page, service: Service) -> None:
        self.page = page
        self.service = service
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open_mixer(self, *, playing: bool = True) -> None:
        """The finished job's mixer; the first press of play fetches and decodes the stems."""
        self.page.goto(self.service.job_url)
        self.page.get_by_role("region", name="Mixer").wait_for()
        if playing:
            self.page.get_by_role("button", name="Play", exact=True).click()
            self.until(lambda: self.position > 0.2)

    @property
    def position(self) -> float:
        """Where the page says that it plays, in seconds."""
        return float(self.page.get_by_role("slider", name="Position", exact=True).input_value())

    def level(self) -> float:
        """RMS of what reaches the loudspeaker now."""
        return float(self.page.evaluate("ears.level()"))

    def record(self, frames: int = 16384) -> np.ndarray:
        """What the transport puts out next: float32 (tracks, frames), all tracks at the same instants."""
        text = self.page.evaluate("frames => ears.record(frames)", frames)
        return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, frames)

    def until(self, is_true: Any, seconds: float = 60) -> None:
        """Waits for a condition. (The page's policy forbids the evaluation that the driver's own waiting needs.)"""
        deadline = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < deadline
            self.page.wait_for_timeout(30)

    def picture(self, name: str) -> None:
        """Keeps a screenshot of the whole page."""
        keep_picture(self.page, name)


def keep_picture(page: Page, name: str) -> None:
    """A screenshot in a window as high as the page: bars that stick to the window's edge hide nothing."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size
    assert size is not None
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(height, size["height"])})
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    page.set_viewport_size(size)


def serious_violations(page: Page) -> list[str]:
    """What axe-core finds on the page that is serious or worse."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
