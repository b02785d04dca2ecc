/* Play, position, loop, speed, A/B and volume of a mixer; and the keys that do the same. */

import { clockTime, h } from "./dom.js";
import { percent, t } from "./language.js";
import { canTranspose, SEMITONES } from "./transposer.js";

const LEAST_LOOP_SECONDS = 0.1;
const SPEEDS = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25];

export class TransportBar {
  constructor(mixer, { seconds, canCompare }) {
    this.mixer = mixer;
    this.seconds = seconds;
    this.canCompare = canCompare;
    this.loop = /** @type {[number, number] | null} */ (null);
    this.speed = 1;
    this.semitones = 0;
    this.volume = 1;
    this.playButton = h("button", { className: "play", "aria-label": t("bar.play"), title: t("bar.play-hint"), onclick: () => mixer.toggle() }, "▶");
    this.clock = h("span", { className: "clock" }, clockTime(0));
    this.slider = h("input", { type: "range", min: 0, max: seconds, step: 0.01, className: "position", "aria-label": t("bar.position") });
    this.slider.value = "0";
    this.slider.addEventListener("input", () => mixer.seek(Number(this.slider.value)));
    this.loopButton = h("button", { className: "toggle", "aria-pressed": "false", title: t("bar.loop-hint"), onclick: () => this.toggleLoop() }, t("bar.loop"));
    this.speedChoice = h(
      "select",
      { onchange: () => mixer.setSpeed((this.speed = Number(this.speedChoice.value))) },
      SPEEDS.map((speed) => h("option", { value: speed, selected: speed === 1 }, percent(speed))),
    );
    this.keyChoice = h(
      "select",
      { title: t("bar.transpose-hint"), disabled: !canTranspose(), onchange: () => mixer.setSemitones((this.semitones = Number(this.keyChoice.value))) },
      SEMITONES.map((semitones) => h("option", { value: semitones, selected: semitones === 0 }, signed(semitones))),
    );
    this.mixtureButton = h("button", { className: "toggle", "aria-pressed": "false", title: t("bar.original-hint"), onclick: () => this.toggleMixture() }, t("bar.original"));
    const volume = h("input", { type: "range", min: 0, max: 1.5, step: 0.01, "aria-label": t("bar.volume") });
    volume.value = "1";
    volume.addEventListener("input", () => mixer.setVolume((this.volume = Number(volume.value))));
    this.message = h("span", { className: "message", role: "status" });
    this.element = h(
      "div",
      { className: "transport", role: "group", "aria-label": t("bar") },
      this.playButton,
      this.clock,
      this.slider,
      h("span", { className: "clock total" }, clockTime(seconds)),
      this.loopButton,
      h("label", {}, `${t("bar.speed")} `, this.speedChoice),
      h("label", {}, `${t("bar.transpose")} `, this.keyChoice),
      canCompare && this.mixtureButton,
      h("label", { className: "volume" }, t("bar.volume"), volume),
      h("div", { className: "hints" }, this.message, h("span", { className: "keys" }, t("bar.keys"))),
    );
  }

  say(text) {
    this.message.textContent = text;
  }

  show(position, playing) {
    if (document.activeElement !== this.slider || playing) this.slider.value = String(position);
    const time = clockTime(position);
    if (this.clock.textContent !== time) {
      this.clock.textContent = time;
      this.slider.setAttribute("aria-valuetext", time);
    }
    if (playing === this.playing) return;
    this.playing = playing;
    this.playButton.textContent = playing ? "❚❚" : "▶";
    this.playButton.setAttribute("aria-label", t(playing ? "bar.pause" : "bar.play"));
  }

  showLoop(loop) {
    this.loop = loop;
    this.loopButton.setAttribute("aria-pressed", String(loop !== null));
  }

  showMixture(hears) {
    this.mixtureButton.setAttribute("aria-pressed", String(hears));
  }

  toggleLoop() {
    this.mixer.setLoop(this.loop ? null : [0, this.seconds]);
  }

  toggleMixture() {
    const hears = this.mixtureButton.getAttribute("aria-pressed") !== "true";
    this.showMixture(hears);
    this.mixer.hearMixture(hears);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const { tagName, type } = event.target;
    const isTyping = (tagName === "INPUT" && type !== "range" && type !== "checkbox") || tagName === "SELECT" || tagName === "TEXTAREA";
    const isPressing = ["BUTTON", "A", "SUMMARY"].includes(tagName) || type === "checkbox";
    if (isTyping || (event.key === " " && isPressing)) return;
    const at = this.mixer.position;
    const isFree = tagName !== "INPUT" && event.target.getAttribute("role") !== "slider";
    const step = event.shiftKey ? 5 : 1;
    const action = {
      " ": () => this.mixer.toggle(),
      "[": () => this.setEdgeHere(0),
      "]": () => this.setEdgeHere(1),
      Escape: () => this.mixer.setLoop(null),
      x: () => this.canCompare && this.toggleMixture(),
      X: () => this.canCompare && this.toggleMixture(),
      ArrowLeft: isFree && (() => this.mixer.seek(at - step)),
      ArrowRight: isFree && (() => this.mixer.seek(at + step)),
    }[event.key] ?? (/^[1-9tT]$/.test(event.key) && isFree && (() => this.mixer.rehearsal.key(event.key)));
    if (!action) return;
    event.preventDefault();
    if (!event.repeat || event.key.startsWith("Arrow")) action(); // a key held down is one press
  }

  /** The loop begins (0) or ends (1) where it plays now. */
  setEdgeHere(edge) {
    const at = this.mixer.position;
    const [start, end] = edge === 0 ? [at, this.loop?.[1] ?? this.seconds] : [this.loop?.[0] ?? 0, at];
    if (end - start > LEAST_LOOP_SECONDS) this.mixer.setLoop([start, end]);
  }
}

const signed = (semitones) => (semitones > 0 ? `+${semitones}` : String(semitones).replace("-", "−"));
