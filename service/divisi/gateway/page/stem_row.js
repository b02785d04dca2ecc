/* One stem's row: name, mute, solo, volume, pan, meter; waveform or spectrogram to seek in and to drag a loop on. */

import { getBlob, save } from "./api.js";
import { clockTime, h, title } from "./dom.js";
import { drawConfidence, drawPitch } from "./drawing.js";
import { showProblem } from "./problem_view.js";

const LEAST_LOOP_SECONDS = 0.15; // a shorter drag is a click
const [QUIETEST_DB, LOUDEST_DB] = [-60, -6]; // ends of the meter

export class StemRow {
  /** @param mixer told of everything that changes what is heard */
  constructor(track, colour, mixer) {
    this.track = track;
    this.name = track.name;
    this.mixer = mixer;
    this.mute = false;
    this.solo = false;
    this.volume = 1;
    this.pan = 0;
    this.pictured = false;
    this.score = /** @type {number | null} */ (null); // dB
    this.confidence = null;
    this.spectrogram = /** @type {string | undefined} */ (undefined);
    const called = track.isResidual ? "Residual" : title(track.name);
    this.muteButton = this.toggleButton("M", `Mute ${called}`, "mute");
    this.soloButton = this.toggleButton("S", `Solo ${called}`, "solo");
    this.volumeSlider = this.slider(`Volume of ${called}`, 0, 1.5, 1, (value) => (this.volume = value));
    this.panSlider = this.slider(`Pan of ${called}`, -1, 1, 0, (value) => (this.pan = value));
    this.meter = h("span", {});
    this.note = h("span", { className: "note" });
    this.wave = h("canvas", { className: "wave", "aria-hidden": "true" });
    this.pitchLine = h("canvas", { className: "pitch", hidden: true, "aria-hidden": "true" });
    this.strip = h("canvas", { className: "strip", hidden: true, role: "img" });
    this.picture = h("img", { className: "spectrogram", hidden: true, alt: `Spectrogram of ${called}`, draggable: false });
    this.pictureButton = h("button", { className: "toggle small", "aria-pressed": "false", "aria-label": `Spectrogram of ${called}`, title: "Spectrogram", hidden: true, onclick: () => this.showSpectrogram(!this.pictured) }, "≋");
    this.playhead = h("div", { className: "playhead" });
    this.loopArea = h("div", { className: "loop", hidden: true });
    this.lane = h(
      "div",
      { className: "lane", tabIndex: 0, role: "slider", "aria-label": `Position in ${called}`, "aria-valuemin": "0", "aria-valuemax": mixer.seconds.toFixed(1), onkeydown: (event) => this.key(event) },
      h("div", { className: "drawing" }, this.picture, this.wave, this.pitchLine, this.loopArea, this.playhead),
      this.strip,
    );
    this.listenToPointer();
    this.element = h(
      "div",
      { className: `row voice-${colour}`, role: "group", "aria-label": called },
      h(
        "div",
        { className: "strip-controls" },
        h("div", { className: "name" }, h("strong", {}, called), this.note),
        h(
          "div",
          { className: "buttons" },
          this.muteButton,
          this.soloButton,
          this.pictureButton,
          h("button", { className: "toggle small", "aria-label": `Download ${called}`, title: "Download", onclick: () => save(track.href, track.fileName).catch(showProblem) }, "↓"),
        ),
        h("label", { className: "knob" }, "Vol", this.volumeSlider),
        h("label", { className: "knob" }, "Pan", this.panSlider),
        h("div", { className: "meter", "aria-hidden": "true" }, this.meter),
      ),
      this.lane,
    );
  }

  toggleButton(letter, label, property) {
    const toggle = () => {
      this.set({ [property]: !this[property] });
      this.mixer.balance();
    };
    return h("button", { className: `toggle ${property}`, "aria-pressed": "false", "aria-label": label, title: label, onclick: toggle }, letter);
  }

  slider(label, min, max, value, change) {
    const input = h("input", { type: "range", min, max, step: 0.01, "aria-label": label });
    input.value = value;
    input.addEventListener("input", () => {
      change(Number(input.value));
      this.mixer.balance();
    });
    input.addEventListener("dblclick", () => {
      input.value = value;
      input.dispatchEvent(new Event("input"));
    });
    return input;
  }

  set(state) {
    Object.assign(this, state);
    this.muteButton.setAttribute("aria-pressed", String(this.mute));
    this.soloButton.setAttribute("aria-pressed", String(this.solo));
    this.volumeSlider.value = String(this.volume);
  }

  /** Says what is known of the stem, before its waveform is there: what moved then would take presses away. */
  describe() {
    this.pictureButton.hidden = !this.spectrogram;
    this.strip.hidden = !this.confidence;
    const parts = [];
    if (this.score !== undefined && this.score !== null) parts.push(`SI-SDR ${this.score.toFixed(1)} dB`);
    if (this.confidence?.mean !== undefined && this.confidence?.mean !== null) {
      const percent = Math.round(this.confidence.mean * 100);
      parts.push(`${percent} % sure`);
      const label = `Confidence of ${this.name}, second by second; ${percent} % on the whole`;
      this.strip.setAttribute("aria-label", label);
      this.strip.title = label;
    }
    this.note.textContent = parts.join(" · ");
  }

  draw() {
    this.mixer.peaks?.draw(this.wave, this.name);
    if (this.pictured) drawPitch(this.pitchLine, this.mixer.pitch, this.name, this.mixer.seconds);
    if (this.confidence) drawConfidence(this.strip, this.confidence.values, this.confidence.step_seconds, this.mixer.seconds);
  }

  async showSpectrogram(shows) {
    if (!this.spectrogram) return;
    this.pictured = shows;
    this.pictureButton.setAttribute("aria-pressed", String(shows));
    try {
      if (shows) await (this.fetching ??= this.fetchPicture());
    } catch (error) {
      this.fetching = null;
      this.pictured = false;
      showProblem(error);
    }
    // While it was fetched the button may have been pressed again.
    this.pictureButton.setAttribute("aria-pressed", String(this.pictured));
    this.lane.classList.toggle("pictured", this.pictured);
    this.picture.hidden = this.pitchLine.hidden = !this.pictured;
    if (this.pictured) this.mixer.fetchPitch();
    this.draw();
  }

  async fetchPicture() {
    const address = URL.createObjectURL(await getBlob(this.spectrogram, this.mixer.closing.signal));
    this.picture.onload = () => URL.revokeObjectURL(address);
    this.picture.src = address;
  }

  /** Playhead, loop and meter as they are now. */
  show(position, loop, levelDb) {
    const { seconds } = this.mixer;
    this.playhead.style.left = `${(100 * position) / seconds}%`;
    const area = this.dragged ?? loop;
    this.loopArea.hidden = !area;
    if (area) {
      this.loopArea.style.left = `${(100 * area[0]) / seconds}%`;
      this.loopArea.style.width = `${(100 * (area[1] - area[0])) / seconds}%`;
    }
    const level = Math.min(1, Math.max(0, (levelDb - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB)));
    this.meter.style.transform = `scaleX(${level.toFixed(3)})`;
    const now = position.toFixed(1);
    if (this.told !== now) {
      this.told = now;
      this.lane.setAttribute("aria-valuenow", now);
      this.lane.setAttribute("aria-valuetext", clockTime(position));
    }
  }

  key(event) {
    const position = this.mixer.player?.position ?? this.mixer.wanted ?? 0;
    const step = event.shiftKey ? 5 : 1;
    const target = { ArrowLeft: position - step, ArrowRight: position + step, Home: 0, End: this.mixer.seconds }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.mixer.seek(target);
  }

  listenToPointer() {
    const secondsAt = (event) => {
      const { left, width } = this.lane.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - left) / width)) * this.mixer.seconds;
    };
    let start = /** @type {number | null} */ (null);
    this.lane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      start = secondsAt(event);
      this.lane.setPointerCapture(event.pointerId);
    });
    this.lane.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const edges = [start, secondsAt(event)].sort((a, b) => a - b);
      this.dragged = edges[1] - edges[0] >= LEAST_LOOP_SECONDS ? edges : null;
    });
    this.lane.addEventListener("pointerup", () => {
      if (start === null) return;
      if (this.dragged) this.mixer.setLoop(this.dragged);
      this.mixer.seek(this.dragged ? this.dragged[0] : start);
      start = this.dragged = null;
    });
    this.lane.addEventListener("pointercancel", () => (start = this.dragged = null));
  }
}
