/* Several models on one recording: a table of voices × systems with a player in each cell, the true sources where they
 * were given, the mixture as each model sings it again, and a blind test. One row plays at a time; its cells share one
 * clock, so that another system is heard at the same place and as loud.
 */

import { getJson, getJsonIfAny, save } from "./api.js";
import { BlindTest } from "./blind_test.js";
import { announce, clockTime, colourOf, duration, h, title } from "./dom.js";
import { Peaks } from "./drawing.js";
import { isEnded } from "./job_view.js";
import { loadTracks, Player, playingRate } from "./player.js";
import { showProblem } from "./problem_view.js";
import { shareButton } from "./share.js";

const RECORDING = "recording";
const ORIGINAL = "original";
const LOOK_SECONDS = 1;

export class CompareView {
  /** @param {string} path of the group, or a shared link to it */
  constructor(path, { isShared = false } = {}) {
    Object.assign(this, { path, isShared, rows: new Map(), heard: null, closed: false });
    this.element = h("div", { className: "compare" }, h("p", {}, "Loading …"));
    this.start().catch((error) => {
      this.element.replaceChildren(h("p", {}, h("a", { href: "#/" }, "Separate a recording")));
      showProblem(error);
    });
  }

  close() {
    this.closed = true;
    cancelAnimationFrame(this.frame);
    this.player?.close();
  }

  async start() {
    let group = await getJson(this.path);
    while (!group.systems.every(({ job }) => isEnded(job.state))) {
      this.showWaiting(group);
      await new Promise((resolve) => setTimeout(resolve, LOOK_SECONDS * 1000));
      if (this.closed) return;
      group = await getJson(this.path);
    }
    this.group = group;
    this.seconds = group.input.duration_seconds || 1;
    this.showTable();
    announce("The comparison is ready");
    await this.drawPeaks();
    this.tick();
  }

  showWaiting({ file_name: name, systems }) {
    this.element.replaceChildren(
      h("h1", {}, name),
      h("div", { className: "waiting" }, systems.map(({ job, title: words }) =>
        h("label", {}, `${words} · ${job.state}`, h("progress", { max: 1, value: job.progress, "aria-label": `Progress of ${words}` })),
      )),
    );
  }

  // The table

  showTable() {
    const { group } = this;
    const columns = [
      ...(group.references.length ? [{ key: ORIGINAL, words: "Original" }] : []),
      ...group.systems.map(({ job, title: words, mean_si_sdr_db: mean }) => ({ key: job.id, words, mean, job })),
    ];
    this.columns = columns;
    const rows = group.voices.map((voice, place) => this.row(voice, title(voice), colourOf(voice, place)));
    if (group.systems.some(({ resynthesis }) => resynthesis)) rows.push(this.row(RECORDING, "Mixture, sung again", "rest"));
    this.slider = h("input", { type: "range", min: 0, max: this.seconds, step: 0.01, className: "position", "aria-label": "Position" });
    this.slider.value = 0;
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.clock = h("span", { className: "clock" }, clockTime(0));
    this.message = h("span", { className: "message", role: "status" });
    const head = (column) => h("th", { scope: "col" }, column.job ? h("a", { href: `#/jobs/${column.job.id}` }, column.words) : column.words, column.mean != null && h("small", {}, ` mean ${column.mean.toFixed(1)} dB`));
    const failed = group.systems.filter(({ job }) => job.state !== "succeeded");
    const table = h("table", { className: "comparison" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Voice"), columns.map(head))), h("tbody", {}, rows));
    table.style.minWidth = `${7 + 10 * columns.length}rem`;
    this.blind = new BlindTest(this);
    this.element.replaceChildren(
      h("h1", {}, group.file_name),
      h("p", { className: "facts" }, `${group.systems.length} systems · ${duration(this.seconds)} of sound`),
      failed.map(({ job, title: words }) => h("p", {}, `${words} ${job.state}${job.problem ? `: ${job.problem.detail}` : ""}.`)),
      h("div", { className: "scroller", tabIndex: 0, role: "region", "aria-label": "Voices and systems" }, table),
      h("div", { className: "transport", role: "group", "aria-label": "Playing" }, h("button", { className: "play", "aria-label": "Play or pause", onclick: () => this.toggle() }, "▶"), this.clock, this.slider, h("span", { className: "clock" }, clockTime(this.seconds)), this.message),
      this.blind.element,
      group.table ? h("p", {}, h("button", { className: "plain", onclick: () => save(group.table, "comparison.csv").catch(showProblem) }, "Table as CSV")) : "",
      this.isShared ? "" : shareButton(this.path),
    );
  }

  row(voice, words, colour) {
    const cells = this.columns.map((column) => this.cellOf(voice, column));
    this.rows.set(voice, { voice, words, cells: cells.filter(Boolean) });
    return h(
      "tr",
      { className: `voice-${colour}` },
      h("th", { scope: "row" }, words),
      cells.map((cell) => cell?.element ?? h("td", {}, "–")),
    );
  }

  cellOf(voice, column) {
    const found = column.key === ORIGINAL ? { file: this.originalOf(voice) } : this.estimateOf(voice, column.key);
    if (!found.file) return null;
    const cell = { voice, name: column.key, words: column.words, href: found.file.href, job: column.job };
    cell.canvas = h("canvas", { "aria-hidden": "true", hidden: true });
    cell.button = h("button", { className: "toggle", "aria-pressed": "false", "aria-label": `Hear ${title(voice)}, ${column.words}`, onclick: () => this.hear(cell) }, "▶");
    cell.element = h(
      "td",
      {},
      h("div", { className: "cell" }, cell.button, found.decibels != null && h("span", { className: "figure" }, `${found.decibels.toFixed(1)} dB`), cell.canvas),
    );
    return cell;
  }

  originalOf(voice) {
    return voice === RECORDING ? this.recording() : this.group.references.find(({ name }) => name === voice);
  }

  recording() {
    return this.group.systems.map(({ job }) => job.recording).find(Boolean);
  }

  estimateOf(voice, jobId) {
    const system = this.group.systems.find(({ job }) => job.id === jobId);
    if (voice === RECORDING) return { file: system.resynthesis };
    const cell = system.cells.find((one) => one.voice === voice);
    return { file: cell?.stem, decibels: cell?.si_sdr_db };
  }

  async drawPeaks() {
    for (const { job } of this.group.systems) {
      const body = job.views?.peaks && (await getJsonIfAny(job.views.peaks).catch(() => null));
      if (!body) continue;
      const peaks = new Peaks(body);
      for (const { cells } of this.rows.values()) {
        for (const cell of cells.filter((one) => one.job?.id === job.id && peaks.has(one.voice))) {
          cell.canvas.hidden = false;
          peaks.draw(cell.canvas, cell.voice);
        }
      }
    }
  }

  // Hearing

  /** Plays a cell from where the last one was; the same cell again stops. */
  async hear(cell) {
    try {
      if (this.heard === cell && this.player?.playing) this.player.pause();
      else {
        const player = await this.playerOf(cell.voice);
        this.select(cell);
        await player.play();
      }
    } catch (error) {
      this.message.textContent = "";
      showProblem(error);
    }
  }

  toggle() {
    const cell = this.heard ?? [...this.rows.values()][0]?.cells[0];
    if (cell) this.hear(cell);
  }

  /** A player of one row's cells, at the place where the last row's was. */
  async playerOf(voice) {
    if (this.playing === voice) return this.player;
    const { cells } = this.rows.get(voice);
    const rate = playingRate(this.group.input, cells.length);
    const tracks = await loadTracks(cells, rate, (place, count) => (this.message.textContent = `Loading ${place + 1} of ${count} …`));
    this.message.textContent = "";
    const at = this.player?.position ?? Number(this.slider.value);
    this.player?.close();
    this.player = await Player.open(tracks, rate);
    this.playing = voice;
    if (at < this.seconds - 0.1) this.player.seek(at);
    return this.player;
  }

  /** One cell heard, the others silent; all as loud as the quietest, so that louder does not win. */
  select(cell) {
    this.heard = cell;
    const { cells } = this.rows.get(cell.voice);
    const loudness = (name) => this.player.loudness(new Map([[name, 1]]));
    const levels = cells.map(({ name }) => loudness(name)).filter((level) => level > 1e-5);
    const quietest = Math.min(...levels, 1);
    for (const { name } of cells) {
      const own = loudness(name);
      this.player.setGain(name, name === cell.name ? (own > 1e-5 ? quietest / own : 1) : 0);
    }
  }

  seek(seconds) {
    this.player?.seek(seconds);
  }

  tick() {
    if (this.closed) return;
    this.frame = requestAnimationFrame(() => this.tick());
    const isPlaying = this.player?.playing ?? false;
    if (isPlaying) {
      this.slider.value = this.player.position;
      this.clock.textContent = clockTime(this.player.position);
    }
    if (this.shown === this.heard && this.shownPlaying === isPlaying) return;
    [this.shown, this.shownPlaying] = [this.heard, isPlaying];
    for (const { cells } of this.rows.values()) {
      for (const cell of cells) {
        const heard = cell === this.heard && isPlaying && !this.blind.isRunning;
        cell.button.textContent = heard ? "❚❚" : "▶";
        cell.button.setAttribute("aria-pressed", heard);
        cell.element.classList.toggle("heard", heard);
      }
    }
  }
}
