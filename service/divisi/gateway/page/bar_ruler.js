/* Bars on a ruler above the waveforms: go to one, drag from one to another to loop; loops dragged on waveforms end at bars. */

import { getJsonIfAny } from "./api.js";
import { announce, h } from "./dom.js";
import { t } from "./language.js";

const LEAST_PIXELS = 34; // between two numbers
const REACH_SECONDS = 0.02; // who is so near to a line is there

export class BarRuler {
  /** @param {string | undefined} href of the bars; a job without has no ruler */
  constructor(mixer, href) {
    this.mixer = mixer;
    this.href = href;
    this.beats = /** @type {{seconds: number, bar: number, beat: number, beats_a_minute: number}[]} */ ([]);
    this.lines = this.beats;
    this.field = h("input", { type: "number", className: "bar-number", "aria-label": t("ruler.from"), onkeydown: ({ key }) => key === "Enter" && this.go(this.lines.findIndex(({ bar }) => bar >= Number(this.field.value))) });
    this.snaps = h("input", { type: "checkbox", checked: true });
    this.scale = h("div", { className: "scale", tabIndex: 0, role: "slider", "aria-label": t("ruler"), title: t("ruler.hint"), onkeydown: (event) => this.key(event) });
    const controls = h("div", { className: "ruler-controls" }, h("label", {}, `${t("ruler.from")} `, this.field), h("label", { className: "check" }, this.snaps, t("ruler.snap")));
    // Its room is kept from the start: nothing moves when bars come. Until then, and without any, nobody can press it.
    this.element = h("div", { className: "ruler", hidden: !href }, controls, this.scale);
    this.element.style.visibility = "hidden";
    this.listenToPointer();
  }

  async fetch() {
    const found = this.href ? await getJsonIfAny(this.href).catch(() => null) : null;
    this.beats = found?.beats ?? [];
    this.lines = this.beats.filter(({ beat }) => beat === 1);
    if (!this.lines.length) return;
    this.element.style.visibility = "";
    this.scale.setAttribute("aria-valuemin", String(this.lines[0].bar));
    this.scale.setAttribute("aria-valuemax", String(this.lines.at(-1).bar));
    this.draw();
  }

  draw() {
    const { seconds: length } = this.mixer;
    const fitting = (this.scale.clientWidth * (this.lines.at(-1)?.seconds ?? 0)) / length / LEAST_PIXELS;
    const step = 2 ** Math.max(0, Math.ceil(Math.log2(this.lines.length / fitting)));
    const marks = this.lines.filter((_, place) => place % step === 0).map(({ bar, seconds }) => {
      const mark = h("span", {}, String(bar));
      mark.style.left = `${(100 * seconds) / length}%`;
      return mark;
    });
    this.scale.replaceChildren(...marks);
  }

  /** Says which bar it plays. */
  show(position) {
    const bar = this.lines[this.placeAt(position)]?.bar;
    if (bar === this.bar) return;
    this.bar = bar;
    this.scale.setAttribute("aria-valuenow", String(bar));
    this.scale.setAttribute("aria-valuetext", t("ruler.bar", { number: bar }));
    if (document.activeElement !== this.field) this.field.value = String(bar);
  }

  /** The place of the last bar that has begun by then; the first before any has. */
  placeAt(seconds) {
    return Math.max(0, this.lines.findLastIndex((line) => line.seconds <= seconds + REACH_SECONDS));
  }

  /** A loop that was dragged, moved to the nearest bar lines where that is wanted and leaves anything. */
  snapped(loop) {
    if (!this.lines.length || !this.snaps.checked) return loop;
    const ends = [...this.lines.map(({ seconds }) => seconds), this.mixer.seconds];
    const [from, to] = loop.map((at) => ends.reduce((best, end) => (Math.abs(end - at) < Math.abs(best - at) ? end : best)));
    return to > from ? [from, to] : loop;
  }

  /** Beats a minute as sung there; undefined where no bars were found. */
  tempoAt(seconds) {
    return (this.beats.findLast((beat) => beat.seconds <= seconds + REACH_SECONDS) ?? this.beats[0])?.beats_a_minute;
  }

  go(place) {
    const line = this.lines.at(Math.min(place, this.lines.length - 1)); // the last one for -1, too
    if (!line) return;
    this.mixer.seek(line.seconds);
    announce(t("ruler.bar", { number: line.bar }));
  }

  key(event) {
    const place = this.placeAt(this.mixer.position);
    const to = { ArrowLeft: Math.max(0, place - 1), ArrowRight: place + 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.go(to);
  }

  listenToPointer() {
    const placeOf = ({ clientX }) => {
      const { left, width } = this.scale.getBoundingClientRect();
      return this.placeAt(((clientX - left) / width) * this.mixer.seconds);
    };
    let from = /** @type {number | null} */ (null);
    this.scale.onpointerdown = (event) => {
      if (event.button !== 0) return;
      from = placeOf(event);
      this.scale.setPointerCapture(event.pointerId);
    };
    this.scale.onpointerup = (event) => {
      if (from === null) return;
      const [first, last] = [from, placeOf(event)].sort((a, b) => a - b);
      from = null;
      if (first === last) this.go(first);
      else this.mixer.setLoop([this.lines[first].seconds, this.lines[last + 1]?.seconds ?? this.mixer.seconds]);
    };
    this.scale.onpointercancel = () => (from = null);
  }
}
