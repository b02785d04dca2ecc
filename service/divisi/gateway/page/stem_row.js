/* One stem's row: name, mute, solo, volume, pan, meter; waveform or spectrogram to seek in and to drag a loop on. */

import { getBlob, save } from "./api.js";
import { clockTime, h } from "./dom.js";
import { drawConfidence, drawPitch } from "./drawing.js";
import { cleanness, partName, percent, t } from "./language.js";
import { showProblem } from "./problem_view.js";

const LEAST_LOOP_SECONDS = 0.15; // a shorter drag is a click
const [QUIETEST_DB, LOUDEST_DB] = [-60, -6]; // ends of the meter

export class StemRow {
  /** @param mixer called when anything changes what is heard */
  constructor(track, colour, mixer) {
    this.track = track;
    this.name = track.name;
    this.mixer = mixer;
    this.mute = false;
    this.solo = false;
    this.volume = 1;
    this.pan = 0;
    this.pictured = false;
    this.confidence = null;
    this.spectrogram = /** @type {string | undefined} */ (undefined);
    const part = (this.called = partName(track.name));
    this.muteButton = this.toggleButton("M", t("row.mute", { part }), "mute");
    this.soloButton = this.toggleButton("S", t("row.solo", { part }), "solo");
    this.volumeSlider = this.slider(t("row.volume-of", { part }), 0, 1.5, 1, (value) => (this.volume = value));
    this.panSlider = this.slider(t("row.pan-of", { part }), -1, 1, 0, (value) => (this.pan = value));
    this.meter = h("span", {});
    this.note = h("span", { className: "note" });
    this.wave = h("canvas", { className: "wave", "aria-hidden": "true" });
    this.pitchLine = h("canvas", { className: "pitch", hidden: true, "aria-hidden": "true" });
    this.strip = h("canvas", { className: "strip", hidden: true, role: "img" });
    this.picture = h("img", { className: "spectrogram", hidden: true, alt: t("row.picture-of", { part }), draggable: false });
    this.pictureButton = h("button", { className: "toggle small", "aria-pressed": "false", "aria-label": t("row.picture-of", { part }), title: t("row.picture"), hidden: true, onclick: () => this.showSpectrogram(!this.pictured) }, "≋");
    this.playhead = h("div", { className: "playhead" });
    this.loopArea = h("div", { className: "loop", hidden: true });
    this.lane = h(
      "div",
      { className: "lane", tabIndex: 0, role: "slider", "aria-label": t("row.position-in", { part }), "aria-valuemin": "0", "aria-valuemax": mixer.seconds.toFixed(1), onkeydown: (event) => this.key(event) },
      h("div", { className: "drawing" }, this.picture, this.wave, this.pitchLine, this.loopArea, this.playhead),
      this.strip,
    );
    this.listenToPointer();
    this.element = h(
      "div",
      { className: `row voice-${colour}`, role: "group", "aria-label": part },
      h(
        "div",
        { className: "strip-controls" },
        h("div", { className: "name" }, h("strong", {}, part), this.note),
        h(
          "div",
          { className: "buttons" },
          this.muteButton,
          this.soloButton,
          this.pictureButton,
          h("button", { className: "toggle small", "aria-label": t("row.download-of", { part }), title: t("row.download"), onclick: () => save(track.href, track.fileName).catch(showProblem) }, "↓"),
        ),
        h("label", { className: "knob" }, t("row.volume"), this.volumeSlider),
        h("label", { className: "knob" }, t("row.pan"), this.panSlider),
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
    const mean = this.confidence?.mean ?? null;
    if (mean === null) return;
    this.note.textContent = cleanness(mean);
    const label = t("clean.explained", { part: this.called, clean: percent(mean) });
    this.strip.setAttribute("aria-label", label);
    this.note.title = this.strip.title = label;
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
    if (this.shownTime !== now) {
      this.shownTime = now;
      this.lane.setAttribute("aria-valuenow", now);
      this.lane.setAttribute("aria-valuetext", clockTime(position));
    }
  }

  key(event) {
    const position = this.mixer.position;
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
      const loop = this.dragged && this.mixer.ruler.snapped(this.dragged);
      if (loop) this.mixer.setLoop(loop);
      this.mixer.seek(loop ? loop[0] : start);
      start = this.dragged = null;
    });
    this.lane.addEventListener("pointercancel", () => (start = this.dragged = null));
  }
}
