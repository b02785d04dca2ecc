/* Several models on one recording: a table of voices × systems with a player in each cell, the true sources where they
 * were given, the mixture as each model sings it again, and a blind test. One row plays at a time; its cells share one
 * clock, so that another system is heard at the same place and as loud. The recording has a row to itself.
 */

import { getJson, getJsonIfAny, isFinal, MOST_SILENT, save } from "./api.js";
import { BlindTest } from "./blind_test.js";
import { announce, clockTime, colourOf, h } from "./dom.js";
import { Peaks } from "./drawing.js";
import { CompareWaiting } from "./compare_waiting.js";
import { isEnded } from "./job_view.js";
import { cleanness, currentLanguage, duration, modelTitle, number, partName, t } from "./language.js";
import { loadTracks, Player, playingRate } from "./player.js";
import { showProblem } from "./problem_view.js";
import { shareButton } from "./share.js";

const RECORDING = "recording";
const SUNG_AGAIN = "resynthesis";
const ORIGINAL = "original";
const [NARROW_REM, WIDE_REM, MOST_WIDE] = [9, 10, 5]; // least widths of many columns and of few
const LOOK_SECONDS = 1;

export class CompareView {
  /** @param {string} path of the group, or a shared link to it */
  constructor(path, { isShared = false } = {}) {
    this.path = path;
    this.isShared = isShared;
    this.closing = new AbortController();
    this.rows = new Map();
    this.peaks = new Map();
    this.heard = null; // the cell that plays, or played last
    this.player = /** @type {Player | null} */ (null);
    this.playing = null; // the row of that player
    this.loading = /** @type {{voice: string, giveUp: AbortController, player: Promise<Player>} | null} */ (null);
    this.frame = 0;
    this.shown = null;
    this.shownPlaying = false;
    this.element = h("div", { className: "compare" }, h("p", {}, t("loading")));
    this.start().catch((error) => {
      this.element.replaceChildren(h("p", {}, h("a", { href: "#/" }, t("job.another"))));
      showProblem(error);
    });
  }

  close() {
    this.closing.abort();
    this.loading?.giveUp.abort();
    cancelAnimationFrame(this.frame);
    this.resizing?.disconnect();
    this.player?.close();
  }

  async start() {
    const { signal } = this.closing;
    let group = await getJson(this.path, signal);
    let waiting = null;
    let silent = 0;
    while (!group.systems.every(({ job }) => isEnded(job.state))) {
      (waiting ??= this.showWaiting(group)).show(group.systems);
      await new Promise((resolve) => setTimeout(resolve, LOOK_SECONDS * 1000));
      try {
        group = await getJson(this.path, signal);
        silent = 0;
      } catch (error) {
        silent += 1;
        if (isFinal(error) || silent === MOST_SILENT) throw error;
      }
    }
    this.group = group;
    this.seconds = group.input.duration_seconds || 1;
    this.showTable();
    announce(t("compare.ready"));
    this.tick();
    await this.fetchPeaks();
    if (signal.aborted) return;
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this.element);
  }

  showWaiting({ file_name: name, systems }) {
    const waiting = new CompareWaiting(systems, { canCancel: !this.isShared });
    this.element.replaceChildren(h("h1", {}, name), waiting.element);
    return waiting;
  }

  // The table

  showTable() {
    const { group } = this;
    const columns = [
      ...(group.references.length ? [{ key: ORIGINAL, words: t("compare.original") }] : []),
      ...group.systems.map(({ job, title, mean_si_sdr_db: mean }) => ({ key: job.id, words: modelTitle(job.model, title), mean, job })),
    ];
    this.columns = columns;
    const whole = this.recordingRow();
    const rows = group.voices.map((voice, place) => this.row(voice, partName(voice), colourOf(voice, place)));
    if (group.systems.some(({ resynthesis }) => resynthesis)) rows.push(this.row(SUNG_AGAIN, t("compare.sung"), "rest"));
    this.slider = h("input", { type: "range", min: 0, max: this.seconds, step: 0.01, className: "position", "aria-label": t("bar.position") });
    this.slider.value = "0";
    this.slider.addEventListener("input", () => this.seek(Number(this.slider.value)));
    this.playButton = h("button", { className: "play", "aria-label": t("bar.play-or-pause"), onclick: () => this.toggle() }, "▶");
    this.clock = h("span", { className: "clock" }, clockTime(0));
    this.message = h("span", { className: "message", role: "status" });
    const head = (column) => h("th", { scope: "col" }, column.job && !this.isShared ? h("a", { href: `#/jobs/${column.job.id}` }, column.words) : column.words, column.mean != null && h("small", {}, ` ${t("compare.mean", { number: number(column.mean, 1) })}`));
    const failed = group.systems.filter(({ job }) => job.state !== "succeeded");
    const table = h("table", { className: "comparison" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("compare.voice")), columns.map(head))), h("tbody", {}, rows));
    table.style.minWidth = `${7 + (columns.length > MOST_WIDE ? NARROW_REM : WIDE_REM) * columns.length}rem`;
    this.blind = new BlindTest(this);
    this.element.replaceChildren(
      h("h1", {}, group.file_name),
      h("p", { className: "facts" }, [t("compare.systems", { count: group.systems.length }), t("job.of-sound", { time: duration(this.seconds) })].join(" · ")),
      ...failed.map(({ job, title }) => h("p", {}, endOf(modelTitle(job.model, title), job))),
      whole,
      h("div", { className: "scroller", tabIndex: 0, role: "region", "aria-label": t("compare.table") }, table),
      h("div", { className: "transport", role: "group", "aria-label": t("bar") }, this.playButton, this.clock, this.slider, h("span", { className: "clock" }, clockTime(this.seconds)), h("div", { className: "hints" }, this.message)),
      this.blind.element,
      this.downloads(),
      this.isShared ? "" : shareButton({ links: { self: this.path } }),
    );
  }

  downloads() {
    const button = (words, path, fileName, hint) => h("button", { className: "plain", title: hint, onclick: () => save(path, fileName).catch(showProblem) }, words);
    return h(
      "p",
      { className: "presets" },
      button(t("compare.folder"), `${this.group.folder}${this.isShared ? "" : `?language=${currentLanguage()}`}`, "comparison.zip", t("compare.folder-hint")),
      button(t("compare.csv"), this.group.table, "comparison.csv"),
    );
  }

  recordingRow() {
    const file = this.recording();
    if (!file) return "";
    const cell = this.cell(RECORDING, { key: RECORDING, words: t("compare.recording") }, file, "mixture", t("compare.hear-recording"));
    this.rows.set(RECORDING, { voice: RECORDING, words: t("compare.recording"), cells: [cell] });
    return h("section", { className: "whole voice-rest", "aria-label": t("compare.recording") }, h("strong", {}, t("compare.recording")), cell.element);
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
    if (column.key === ORIGINAL) {
      const file = voice === SUNG_AGAIN ? this.recording() : this.group.references.find(({ name }) => name === voice);
      return file ? this.cell(voice, column, file, voice === SUNG_AGAIN ? "mixture" : `true ${voice}`) : null;
    }
    const { cells, resynthesis } = this.group.systems.find(({ job }) => job.id === column.key);
    if (voice === SUNG_AGAIN) return resynthesis && this.cell(voice, column, resynthesis, SUNG_AGAIN);
    const { stem, si_sdr_db: decibels } = cells.find((one) => one.voice === voice) ?? {};
    return stem ? this.cell(voice, column, stem, voice, undefined, decibels) : null;
  }

  /** A player; `track` is what peaks.json calls it. */
  cell(voice, column, file, track, label = t("compare.hear", { voice: voice === SUNG_AGAIN ? t("compare.sung") : partName(voice), system: column.words }), decibels = null) {
    const cell = { voice, name: column.key, words: column.words, href: file.href, job: column.job, track };
    const drawn = column.job ? [column.job] : this.group.systems.map(({ job }) => job);
    // Its room is kept from the start: what moves when the pictures come would take a press away from its button.
    cell.canvas = h("canvas", { "aria-hidden": "true", hidden: !drawn.some(({ views }) => views?.peaks) });
    cell.button = h("button", { className: "toggle", "aria-pressed": "false", "aria-label": label, onclick: () => this.hear(cell) }, "▶");
    const best = Math.max(...this.group.systems.flatMap(({ cells }) => cells.filter((one) => one.voice === voice).map(({ si_sdr_db: score }) => score ?? -Infinity)));
    const isBest = decibels === best && this.group.systems.length > 1;
    const share = column.job?.confidence?.find(({ stem }) => stem === voice)?.mean ?? null;
    const words = decibels !== null ? `${number(decibels, 1)} dB` : share !== null ? cleanness(share) : null;
    const figure = words && h("span", { className: isBest ? "figure best" : "figure" }, words);
    cell.element = h(column.key === RECORDING ? "div" : "td", {}, h("div", { className: "cell" }, cell.button, figure, cell.canvas));
    return cell;
  }

  recording() {
    return this.group.systems.map(({ job }) => job.recording).find(Boolean);
  }

  // What is drawn

  async fetchPeaks() {
    const found = await Promise.all(this.group.systems.map(({ job }) => (job.views?.peaks ? getJsonIfAny(job.views.peaks).catch(() => null) : null)));
    found.forEach((body, place) => body && this.peaks.set(this.group.systems[place].job.id, new Peaks(body)));
  }

  draw() {
    for (const { cells } of this.rows.values()) {
      for (const cell of cells) {
        const own = cell.job ? [this.peaks.get(cell.job.id)] : [...this.peaks.values()];
        const peaks = own.find((one) => one?.has(cell.track));
        peaks?.draw(cell.canvas, cell.track);
      }
    }
  }

  // Hearing

  /** Plays a cell from where the last one was; the same cell again stops. */
  async hear(cell) {
    try {
      if (this.heard === cell && this.player?.playing) this.player.pause();
      else await this.play(cell);
    } catch (error) {
      showProblem(error);
    }
  }

  async play(cell) {
    const player = await this.playerOf(cell.voice);
    this.select(cell);
    await player.play();
  }

  toggle() {
    const cell = this.heard ?? [...this.rows.values()][0]?.cells[0];
    if (cell) this.hear(cell);
  }

  /** A player of one row's cells. What loads for another row is given up: the last wish is heard. */
  async playerOf(voice) {
    if (this.loading?.voice === voice) return this.loading.player;
    this.loading?.giveUp.abort();
    this.loading = null;
    this.message.textContent = "";
    if (this.playing === voice) return this.player;
    const giveUp = new AbortController();
    const loading = (this.loading = { voice, giveUp, player: this.load(voice, giveUp.signal) });
    try {
      return await loading.player;
    } finally {
      if (this.loading === loading) {
        this.loading = null;
        this.message.textContent = "";
      }
    }
  }

  /** Loads a row's cells and takes them in the place of the last row's, where that one was. */
  async load(voice, signal) {
    const { cells } = this.rows.get(voice);
    const rate = playingRate(this.group.input, cells.length);
    const onProgress = (place, count) => (this.message.textContent = t("loading.count", { place: place + 1, count }));
    const tracks = await loadTracks(cells, rate, { signal, onProgress });
    const player = await Player.open(tracks, rate, signal);
    const at = this.player?.position ?? Number(this.slider.value);
    this.player?.close();
    this.player = player;
    this.playing = voice;
    if (at < this.seconds - 0.1) player.seek(at);
    return player;
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
    this.clock.textContent = clockTime(seconds);
  }

  tick() {
    this.frame = requestAnimationFrame(() => this.tick());
    const isPlaying = this.player?.playing ?? false;
    if (isPlaying) {
      this.slider.value = String(this.player.position);
      this.clock.textContent = clockTime(this.player.position);
    }
    if (this.shown === this.heard && this.shownPlaying === isPlaying) return;
    [this.shown, this.shownPlaying] = [this.heard, isPlaying];
    this.playButton.textContent = isPlaying ? "❚❚" : "▶";
    for (const { cells } of this.rows.values()) {
      for (const cell of cells) {
        const heard = cell === this.heard && isPlaying && !this.blind.isRunning;
        cell.button.textContent = heard ? "❚❚" : "▶";
        cell.button.setAttribute("aria-pressed", String(heard));
        cell.element.classList.toggle("heard", heard);
      }
    }
  }
}

/** How a system ended that delivered nothing. */
function endOf(name, { state, problem }) {
  if (state === "cancelled") return t("compare.cancelled", { name });
  return problem ? t("compare.failed-why", { name, why: problem.detail }) : t("compare.failed", { name });
}
