"""A running divisi, a real Chromium, and ears: what the page's audio graph puts out, as samples."""

from __future__ import annotations

import base64
import io
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright
from tests.conftest import free_port
from tests.patience import PATIENCE_SECONDS

from divisi.models.bundle import read_checksums, write_checksums
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
# For one step of the page.
PATIENCE_MILLISECONDS = 1000 * PATIENCE_SECONDS
MODEL, TWIN, TOLD_WHO_SINGS = "satb-small", "satb-twin", "chorus"

# Runs in the page before its own scripts: keeps the transport node, and hears what reaches the loudspeaker. The
# recorder is on the audio thread beside the transport: however busy the machine is, it misses no sample.
EARS = """
const recorderModule = `
registerProcessor("recorder", class extends AudioWorkletProcessor {
  constructor({ numberOfInputs, processorOptions: { frames } }) {
    super();
    Object.assign(this, { frames, at: 0, wait: Infinity });
    this.kept = new Float32Array(numberOfInputs * frames);
    this.port.onmessage = () => (this.wait = 64);  // until the wires and what was asked before are in place
  }
  process(inputs) {
    if (this.at >= this.frames) return false;
    if (this.wait-- > 0) {
      if (this.wait === 0) this.port.postMessage("begun");
      return true;
    }
    inputs.forEach(([channel], track) => {
      const room = Math.min(128, this.frames - this.at);
      if (channel) this.kept.set(channel.subarray(0, room), track * this.frames + this.at);
    });
    this.at += 128;
    if (this.at >= this.frames) this.port.postMessage(this.kept, [this.kept.buffer]);
    return true;
  }
});
`;
const connect = AudioNode.prototype.connect;
const ears = { node: null, sums: new Map(), context: null };
AudioNode.prototype.connect = function (target, ...places) {
  if (this instanceof AudioWorkletNode && this.numberOfInputs === 0) ears.node = this;
  if (target instanceof AudioDestinationNode) {
    ears.context = this.context;
    if (!ears.sums.has(this.context)) ears.sums.set(this.context, new AnalyserNode(this.context, { fftSize: 8192 }));
    connect.call(this, ears.sums.get(this.context));  // all that reaches the loudspeaker
  }
  return connect.call(this, target, ...places);
};
ears.level = () => {
  if (!ears.context) return 0;
  const samples = new Float32Array(8192);
  ears.sums.get(ears.context).getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
};
ears.record = (frames) => {
  const { node } = ears;
  return ears.recordOutputs(frames, Array.from({ length: node.numberOfOutputs }, (_, track) => [node, track]));
};
/** All that the loudspeaker gets, as one track; `then` is called once the recorder runs. */
ears.recordAll = (frames, then) => ears.recordOutputs(frames, [[ears.sums.get(ears.context), 0]], then);
ears.recordOutputs = async (frames, outputs, then = () => {}) => {
  const [[{ context }]] = outputs;
  const numberOfInputs = outputs.length;
  if (ears.heard !== context) {
    ears.heard = context;
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([recorderModule], { type: "text/javascript" })));
  }
  const recorder = new AudioWorkletNode(context, "recorder", {
    numberOfInputs, channelCount: 1, channelCountMode: "explicit", processorOptions: { frames } });
  outputs.forEach(([node, output], track) => connect.call(node, recorder, output, track));
  connect.call(recorder, context.destination);  // its output is silent; what leads nowhere is not run
  const kept = await new Promise((resolve) => {
    recorder.port.onmessage = ({ data }) => (data === "begun" ? then() : resolve(data));
    recorder.port.postMessage("start");
  });
  recorder.disconnect();
  outputs.forEach(([node, output], track) => node.disconnect(recorder, output, track));
  const bytes = new Uint8Array(kept.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
};
window.ears = ears;
"""


@dataclass(frozen=True)
class Service:
    """A running divisi with some models, and jobs of the sample that have ended: both, with true sources."""

    url: str
    group: str
    jobs: tuple[str, ...]
    settings: Settings
    data: Path

    @property
    def job_url(self) -> str:
        return f"{self.url}/#/jobs/{self.jobs[0]}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(
        port=free_port(), model_store=_some_models(folder / "models"), default_model=MODEL, log_level="warning"
    )
    with Standalone(settings, folder / "data") as machine, httpx.Client(base_url=machine.url) as http:
        form = {"model": [MODEL, TWIN], "stem_format": "flac"}
        files = {f"reference_{voice}": (f"{voice}.flac", source_path(voice).read_bytes()) for voice in SOURCES}
        files["file"] = ("chorale.flac", mixture_path().read_bytes())
        body = http.post("/v1/jobs", data=form, files=files).json()
        jobs = tuple(job["id"] for job in body["jobs"])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(http.get(f"/v1/jobs/{job}").json()["state"] != "succeeded" for job in jobs):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Service(machine.url, body["group"], jobs, settings, folder / "data")


def _some_models(store: Path) -> Path:
    """Shipped models, and the weights of one of them under another name."""
    for model in (MODEL, TOLD_WHO_SINGS):
        shutil.copytree(default_model_store() / model, store / model)
    source = next((store / MODEL).iterdir())
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
    """A fresh profile's tab, see `opened_tab`."""
    with opened_tab(browser, service) as tab:
        yield tab


@contextmanager
def opened_tab(
    browser: Browser, service: Service, locale: str = "en-GB", service_workers: Literal["allow", "block"] = "block"
) -> Iterator[Tab]:
    """A fresh profile's tab. The test fails when a script breaks or anything is asked of any other place."""
    with ExitStack() as opened:
        context = browser.new_context(
            viewport={"width": 1280, "height": 900},
            locale=locale,
            accept_downloads=True,
            service_workers=service_workers,
        )
        opened.callback(context.close)
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()
        tab = Tab(page, service)
        page.add_init_script(EARS)
        page.route(f"{service.url}/", _allow_the_recorder)
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("request", lambda request: tab.requests.append(request.url))
        yield tab
        assert tab.complaints == []
        foreign = [url for url in tab.requests if not url.startswith((service.url, "blob:", "data:"))]
        assert foreign == []


def _allow_the_recorder(route: Route) -> None:
    """The page with its policy, to which the recorder's module is added."""
    answer = route.fetch()
    policy = answer.headers["content-security-policy"].replace("script-src 'self'", "script-src 'self' blob:")
    route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})


class Tab:
    """A tab of the browser with the page in it."""

    def __init__(self, page: Page, service: Service) -> None:
        self.page = page
        self.service = service
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open_mixer(self, *, playing: bool = True, whole: bool = False) -> None:
        """The finished job's mixer; the first press of play fetches and decodes. It plays in a loop, so that it
        does not come to its end while a busy machine takes its time. `whole`: the stems themselves, not previews.
        """
        self.page.goto(self.service.job_url)
        self.page.get_by_role("region", name="Mixer").wait_for()
        if whole:
            self.page.get_by_label("Full quality").check()
        if playing:
            self.page.get_by_role("button", name="Loop", exact=True).click()
            self.page.get_by_role("button", name="Play", exact=True).click()
            self.until(lambda: self.position > 0.2)

    def open_start(self) -> None:
        """The first view, with what stands behind "more"."""
        self.page.goto(self.service.url)
        self.page.get_by_text("More: models").click()

    @property
    def position(self) -> float:
        """Where the page says that it plays, in seconds."""
        return float(self.page.get_by_role("slider", name="Position", exact=True).input_value())

    def level(self) -> float:
        """RMS of what reaches the loudspeaker now."""
        return float(self.page.evaluate("ears.level()"))

    def record(self, frames: int = 16384) -> np.ndarray:
        """What the transport puts out next: float32 (tracks, frames), mono, all tracks at the same instants."""
        text = self.page.evaluate("frames => ears.record(frames)", frames)
        return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, frames)

    def record_all(self, seconds: float, press: str) -> tuple[np.ndarray, int]:
        """What reaches the loudspeaker from the press of a button on: float32 (T,), mono, and its rate in Hz."""
        script = """async ([seconds, press]) => {
          const { sampleRate } = ears.context;
          const button = [...document.querySelectorAll("button")].find(
            (one) => (one.ariaLabel ?? one.textContent) === press);
          const frames = 128 * Math.ceil((seconds * sampleRate) / 128);
          return [await ears.recordAll(frames, () => button.click()), sampleRate];
        }"""
        text, rate = self.page.evaluate(script, [seconds, press])
        return np.frombuffer(base64.b64decode(text), "<f4"), int(rate)

    def record_without_jump(self) -> np.ndarray:
        """The same, of a stretch in which playing did not come round to the start of a loop."""
        for _ in range(10):
            before = self.position
            recorded = self.record()
            if self.position > before:
                return recorded
        raise AssertionError(f"nothing plays at {before} s")

    def until(self, is_true: Any, seconds: float = PATIENCE_SECONDS) -> None:
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


def long_recording(times: int) -> bytes:
    """The sample again and again, FLAC: its job lasts long enough to be seen at work, however slow the browser is."""
    samples, rate = soundfile.read(mixture_path(), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, (times, 1)), rate, format="FLAC")
    return file.getvalue()


def serious_violations(page: Page) -> list[str]:
    """What axe-core finds on the page that is serious or worse."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
