/* The mixer of one finished job: a row for each stem and the residual, one transport for all, presets, A/B, loop, speed. */

import { getJsonIfAny, save } from "./api.js";
import { announce, clockTime, colourOf, h } from "./dom.js";
import { Peaks } from "./drawing.js";
import { number, partName, partWithin, percent, t } from "./language.js";
import { loadTracks, Player, playingRate, sumOf } from "./player.js";
import { showProblem } from "./problem_view.js";
import { StemRow } from "./stem_row.js";
import { TransportBar } from "./transport_bar.js";

const MIXTURE = "mixture";
const BEHIND = 10 ** (-12 / 20); // as the service's practice mixes lower the others

export class MixerView {
  constructor(job) {
    this.job = job;
    this.seconds = job.input.duration_seconds || 1;
    this.hearsMixture = false;
    this.player = null;
    this.closing = new AbortController();
    const tracks = job.stems.map(({ name, href, file_name: fileName, is_residual: isResidual }) => ({ name, href, fileName, isResidual }));
    this.rows = tracks.map((track, place) => new StemRow(track, colourOf(track.name, place), this));
    this.bar = new TransportBar(this, { seconds: this.seconds, canCompare: tracks.some(({ isResidual }) => isResidual) });
    this.element = h(
      "section",
      { className: "mixer", "aria-label": t("mixer") },
      this.presets(),
      h("div", { className: "rows" }, this.rows.map(({ element }) => element)),
      this.bar.element,
      this.downloads(),
      this.figures() ?? "",
    );
    this.onkey = (event) => this.bar.key(event);
    document.addEventListener("keydown", this.onkey);
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this.element);
    this.frame = requestAnimationFrame(() => this.tick());
    this.fetchPictures();
  }

  close() {
    this.closing.abort();
    document.removeEventListener("keydown", this.onkey);
    cancelAnimationFrame(this.frame);
    this.resizing.disconnect();
    this.player?.close();
  }

  // What is drawn

  async fetchPictures() {
    const { views, confidence } = this.job;
    for (const row of this.rows) {
      row.confidence = confidence?.find(({ stem }) => stem === row.name);
      row.spectrogram = views?.spectrograms?.find(({ name }) => name === row.name)?.href;
      row.describe();
    }
    const peaks = views?.peaks ? await getJsonIfAny(views.peaks).catch(() => null) : null;
    this.peaks = peaks ? new Peaks(peaks) : this.peaks;
    this.draw();
  }

  /** Pitch tracks are long, and shown with spectrograms only: fetched when the first one is. */
  fetchPitch() {
    const href = this.job.pitch?.find(({ name }) => name === "pitch.json")?.href;
    this.fetchingPitch ??= (href ? getJsonIfAny(href) : Promise.resolve(null)).then(
      (pitch) => {
        this.pitch = pitch;
        if (pitch?.tuning) this.tuning.textContent = tuningText(pitch.tuning); // older jobs have none
        this.draw();
      },
      () => (this.fetchingPitch = null),
    );
  }

  draw() {
    for (const row of this.rows) row.draw();
  }

  tick() {
    this.frame = requestAnimationFrame(() => this.tick());
    const position = this.player ? Math.min(this.player.position, this.seconds) : (this.wanted ?? 0);
    this.bar.show(position, this.player?.playing ?? false);
    for (const row of this.rows) row.show(position, this.bar.loop, this.player?.playing ? this.player.level(row.name) : -120);
  }

  // What is heard

  /** The player, opened at the first wish to hear something: nothing is fetched or decoded before. */
  async open() {
    this.opening ??= this.load().catch((error) => {
      this.opening = null;
      throw error;
    });
    return this.opening;
  }

  async load() {
    const { signal } = this.closing;
    const rate = playingRate(this.job.input, this.rows.length + 1);
    const onProgress = (place, count) => this.bar.say(t("loading.count", { place: place + 1, count }));
    const tracks = await loadTracks(this.rows.map(({ track }) => track), rate, { signal, onProgress });
    if (!this.peaks) {
      this.peaks = Peaks.of(tracks);
      this.draw();
    }
    if (this.bar.canCompare) tracks.push(sumOf(MIXTURE, tracks));
    this.player = await Player.open(tracks, rate, signal);
    this.player.setVolume(this.bar.volume);
    this.player.setSpeed(this.bar.speed);
    this.player.setLoop(this.bar.loop);
    if (this.bar.semitones) await this.setSemitones(this.bar.semitones);
    if (this.wanted) this.player.seek(this.wanted);
    this.bar.say(rate < (this.job.input.sample_rate ?? 0) / 1.5 ? t("mixer.less-treble") : "");
    this.balance();
    return this.player;
  }

  async toggle() {
    try {
      const player = await this.open();
      if (player.playing) player.pause();
      else await player.play();
    } catch (error) {
      this.bar.say("");
      showProblem(error);
    }
  }

  seek(seconds) {
    this.wanted = Math.min(Math.max(0, seconds), this.seconds);
    this.player?.seek(this.wanted);
  }

  setLoop(loop) {
    this.bar.showLoop(loop);
    this.player?.setLoop(loop);
    announce(loop ? t("mixer.loop-set", { from: clockTime(loop[0]), to: clockTime(loop[1]) }) : t("mixer.loop-off"));
  }

  setSpeed(speed) {
    this.player?.setSpeed(speed);
  }

  async setSemitones(semitones) {
    try {
      await this.player?.setSemitones(semitones);
    } catch (error) {
      showProblem(error);
    }
  }

  setVolume(gain) {
    this.player?.setVolume(gain);
  }

  hearMixture(hears) {
    this.hearsMixture = hears;
    this.balance();
    announce(t(hears ? "mixer.original" : "mixer.stems"));
  }

  /** Gains of all tracks from the rows' controls; the mixture is as loud as the stems it is compared with. */
  balance() {
    const hasSolo = this.rows.some(({ solo }) => solo);
    const gains = new Map(this.rows.map((row) => [row.name, row.mute || (hasSolo && !row.solo) ? 0 : row.volume]));
    for (const row of this.rows) row.element.classList.toggle("silent", gains.get(row.name) === 0);
    if (!this.player) return;
    for (const row of this.rows) {
      this.player.setGain(row.name, this.hearsMixture ? 0 : gains.get(row.name));
      this.player.setPan(row.name, row.pan);
    }
    if (!this.bar.canCompare) return;
    const whole = this.player.loudness(new Map([[MIXTURE, 1]]));
    const matched = whole > 0 ? Math.min(2, this.player.loudness(gains) / whole) : 1;
    this.player.setGain(MIXTURE, this.hearsMixture ? matched || 1 : 0);
  }

  // Presets and files

  presets() {
    const voices = this.rows.filter(({ track }) => !track.isResidual);
    const options = voices.flatMap(({ name }) => [
      h("option", { value: `front:${name}` }, t("mixer.front", { part: partName(name) })),
      h("option", { value: `without:${name}` }, t("mixer.without", { part: partWithin(name) })),
    ]);
    this.preset = h("select", { id: "preset", onchange: () => this.applyPreset() }, h("option", { value: "" }, t("mixer.full")), options);
    this.pictures = h("input", { type: "checkbox", id: "pictures", onchange: () => this.rows.forEach((row) => row.showSpectrogram(this.pictures.checked)) });
    return h(
      "div",
      { className: "presets" },
      h("label", {}, `${t("mixer.rehearse")} `, this.preset),
      this.job.views?.spectrograms?.length && h("label", { className: "check" }, this.pictures, ` ${t("mixer.pictures")}`),
      (this.tuning = h("span", { className: "note", role: "status" })),
    );
  }

  applyPreset() {
    const [kind, part] = this.preset.value.split(":");
    for (const row of this.rows) {
      const isPart = row.name === part;
      row.set({ mute: kind === "without" && isPart, solo: false, volume: kind === "front" && !isPart ? BEHIND : 1 });
    }
    this.hearsMixture = false;
    this.bar.showMixture(false);
    this.balance();
    announce(this.preset.selectedOptions[0].textContent);
  }

  /** What was measured, for whoever wants decibels. */
  figures() {
    const { scores, confidence } = this.job;
    if (!scores?.length && !confidence?.length) return null;
    const clean = (stem) => confidence?.find((one) => one.stem === stem)?.mean ?? null;
    const score = (stem) => scores?.find((one) => one.stem === stem)?.si_sdr_db ?? null;
    const cell = (value, words) => h("td", {}, value === null ? "–" : words(value));
    const row = ({ name }) => h("tr", {}, h("th", { scope: "row" }, partName(name)), cell(clean(name), percent), scores?.length && cell(score(name), (value) => `${number(value, 1)} dB`));
    return h(
      "details",
      { className: "downloads" },
      h("summary", {}, t("figures")),
      h(
        "table",
        { className: "figures" },
        h("thead", {}, h("tr", {}, ["figures.part", "figures.clean", ...(scores?.length ? ["figures.si-sdr"] : [])].map((name) => h("th", { scope: "col" }, t(name))))),
        h("tbody", {}, this.rows.filter(({ name }) => clean(name) !== null || score(name) !== null).map(row)),
      ),
    );
  }

  downloads() {
    const { links, mixes, resynthesis, pitch, views } = this.job;
    const stem = this.job.file_name.replace(/\.[^.]+$/, "");
    const button = (label, href, fileName) =>
      h("button", { className: "plain", onclick: () => save(href, fileName).catch(showProblem) }, label);
    return h(
      "details",
      { className: "downloads", open: true },
      h("summary", {}, t("downloads")),
      h(
        "p",
        {},
        links.archive && button(t("downloads.all"), links.archive, `${stem} - stems.zip`),
        resynthesis && button(t("downloads.sung"), resynthesis.href, resynthesis.file_name),
        pitch?.map(({ name, href, file_name: fileName }) => button(name, href, fileName)),
        views?.report && button(t("downloads.report"), views.report, `${stem} - report.png`),
      ),
      mixes?.length
        ? h(
            "table",
            { className: "mixes" },
            h("caption", {}, t("downloads.mixes")),
            h("tbody", {}, mixes.map(({ part, in_front: front, without }) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, partName(part)),
                h("td", {}, front && button(t("downloads.front"), front, `${stem} - ${part} in front`)),
                h("td", {}, without && button(t("downloads.without"), without, `${stem} - without ${part}`)),
              ),
            )),
          )
        : null,
    );
  }
}

/** What the choir is tuned to, as a musician says it: "A4 = 452.9 Hz (+50 cents)". */
function tuningText({ a4_hz: hz, cents }) {
  const sign = cents > 0 ? "+" : cents < 0 ? "−" : "±";
  return t("mixer.tuning", { hertz: number(hz, 1), cents: sign + number(Math.abs(cents)) });
}
