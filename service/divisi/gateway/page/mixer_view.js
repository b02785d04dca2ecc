/* The mixer of one finished job: a row for each stem and the residual, one transport for all, presets, A/B, loop, speed. */

import { getJsonIfAny } from "./api.js";
import { BarRuler } from "./bar_ruler.js";
import { announce, clockTime, colourOf, h } from "./dom.js";
import { downloads, figures } from "./downloads.js";
import { Peaks } from "./drawing.js";
import { number, partName, partWithin, t } from "./language.js";
import { learningTracks } from "./learning_tracks.js";
import { LockScreen } from "./lock_screen.js";
import { MIXTURE, openPreviews, openStems } from "./mixer_sound.js";
import { showProblem } from "./problem_view.js";
import { RehearsalPanel } from "./rehearsal.js";
import { StemRow } from "./stem_row.js";
import { TransportBar } from "./transport_bar.js";

const BEHIND = 10 ** (-12 / 20); // as the service's practice mixes lower the others

export class MixerView {
  /**
   * @param job that succeeded
   * @param kept what it keeps to rehearse from, with its tag, if the service keeps such
   * @param {{canKeep: boolean}} rights whether the visitor may change that
   */
  constructor(job, kept, rights) {
    this.job = job;
    this.hasPitch = Boolean(pitchFileOf(job, "pitch.json"));
    this.seconds = job.input.duration_seconds || 1;
    this.hearsMixture = false;
    this.waits = false;
    this.wasPlaying = false;
    this.player = null;
    this.loading = /** @type {AbortController | null} */ (null);
    this.opening = null;
    this.ownContext = /** @type {AudioContext | null} */ (null);
    this.closing = new AbortController();
    const tracks = job.stems.map(({ name, href, file_name: fileName, is_residual: isResidual, preview }) => ({ name, href, fileName, isResidual, preview: preview?.href }));
    this.hasPreviews = tracks.every(({ preview }) => preview);
    this.isWhole = !this.hasPreviews; // plays the stems themselves
    this.rows = tracks.map((track, place) => new StemRow(track, colourOf(track.name, place), this));
    this.ruler = new BarRuler(this, pitchFileOf(job, "bars.json"));
    this.bar = new TransportBar(this, { seconds: this.seconds, canCompare: tracks.some(({ isResidual }) => isResidual) });
    this.rehearsal = new RehearsalPanel(this, kept, rights);
    this.element = h(
      "section",
      { className: "mixer", "aria-label": t("mixer") },
      this.presets(),
      this.ruler.element,
      h("div", { className: "rows" }, this.rows.map(({ element }) => element)),
      this.bar.element,
      this.rehearsal.element,
      downloads(job),
      learningTracks(this, { canChoose: rights.canKeep }),
      figures(job),
    );
    this.lockScreen = new LockScreen({ title: job.file_name, toggle: () => this.toggle(), skip: (seconds) => this.seek(this.position + seconds), seek: (seconds) => this.seek(seconds) });
    this.onkey = (event) => this.bar.key(event);
    document.addEventListener("keydown", this.onkey);
    this.resizing = new ResizeObserver(() => this.draw());
    this.resizing.observe(this.element);
    this.frame = requestAnimationFrame(() => this.tick());
    this.fetchPictures();
    this.ruler.fetch();
  }

  close() {
    this.closing.abort();
    this.lockScreen.close();
    document.removeEventListener("keydown", this.onkey);
    cancelAnimationFrame(this.frame);
    this.resizing.disconnect();
    this.player?.close();
    this.ownContext?.close();
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

  /** Pitch tracks are long: fetched when a spectrogram or a note first needs them. */
  fetchPitch() {
    const href = pitchFileOf(this.job, "pitch.json");
    this.fetchingPitch ??= (href ? getJsonIfAny(href) : Promise.resolve(null)).then(
      (pitch) => {
        this.pitch = pitch;
        if (pitch?.tuning) this.tuning.textContent = tuningText(pitch.tuning); // older jobs have none
        this.draw();
        return pitch;
      },
      () => (this.fetchingPitch = null),
    );
    return this.fetchingPitch;
  }

  draw() {
    for (const row of this.rows) row.draw();
    this.ruler.draw();
  }

  tick() {
    this.frame = requestAnimationFrame(() => this.tick());
    const { position } = this;
    this.sayWhether(this.player?.clock.waits ?? false);
    const playing = this.player?.playing ?? false;
    this.bar.show(position, playing);
    this.ruler.show(position);
    if (playing !== this.wasPlaying) this.showOnLockScreen(playing);
    for (const row of this.rows) row.show(position, this.bar.loop, this.player?.playing ? this.player.level(row.name) : -120);
  }

  showOnLockScreen(playing = this.player?.playing ?? false) {
    this.wasPlaying = playing;
    this.lockScreen.show({ playing, position: this.position, seconds: this.seconds, speed: this.bar.speed });
  }

  /** Says that a piece is waited for, as long as it is. */
  sayWhether(waits) {
    if (waits === this.waits) return;
    this.waits = waits;
    this.bar.say(waits ? t("loading") : "");
  }

  // What is heard

  /** Seconds into the recording. */
  get position() {
    return Math.min(this.player?.position ?? this.wanted ?? 0, this.seconds);
  }

  /** Where clicks and tones sound: beside the stems, or by themselves before these are loaded. */
  soundContext() {
    if (this.player) return this.player.context;
    return (this.ownContext ??= new AudioContext());
  }

  /** The player, opened at the first wish to hear something: nothing is fetched or decoded before. */
  async open() {
    this.opening ??= this.load().catch((error) => {
      this.opening = null;
      throw error;
    });
    return this.opening;
  }

  async load() {
    const { bar } = this;
    this.loading = new AbortController();
    const signal = AbortSignal.any([this.closing.signal, this.loading.signal]);
    const player = (this.player = await (this.isWhole ? openStems(this, signal) : openPreviews(this, signal)));
    player.onclock = () => this.rehearsal.passed(player.position, player.context);
    player.setVolume(bar.volume);
    player.setSpeed(bar.speed);
    player.setLoop(bar.loop);
    if (bar.semitones) await this.setSemitones(bar.semitones);
    if (this.wanted) player.seek(this.wanted);
    this.balance();
    return player;
  }

  /** The stems themselves in the place of previews, or back; it goes on where it was. */
  async playWhole(isWhole) {
    const { player, position } = this;
    const wasPlaying = player?.playing ?? false;
    this.loading?.abort();
    player?.close();
    Object.assign(this, { isWhole, player: null, opening: null, wanted: position });
    if (wasPlaying) await this.toggle();
  }

  async toggle() {
    try {
      const player = await this.open();
      if (player.playing) {
        player.pause();
        this.rehearsal.silence();
      } else {
        await player.play((context) => this.rehearsal.countIn(context));
      }
    } catch (error) {
      this.bar.say("");
      showProblem(error);
    }
  }

  seek(seconds) {
    this.wanted = Math.min(Math.max(0, seconds), this.seconds);
    this.player?.seek(this.wanted);
    this.showOnLockScreen();
  }

  setLoop(loop) {
    this.bar.showLoop(loop);
    this.player?.setLoop(loop);
    this.rehearsal.showLoop(loop);
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
      this.hasPreviews && h("label", { className: "check", title: t("mixer.whole-hint") }, h("input", { type: "checkbox", onchange: (event) => this.playWhole(event.target.checked) }), ` ${t("mixer.whole")}`),
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
}

const pitchFileOf = ({ pitch }, wanted) => pitch?.find(({ name }) => name === wanted)?.href;

/** What the choir is tuned to, as a musician says it: "A4 = 452.9 Hz (+50 cents)". */
function tuningText({ a4_hz: hz, cents }) {
  const sign = cents > 0 ? "+" : cents < 0 ? "−" : "±";
  return t("mixer.tuning", { hertz: number(hz, 1), cents: sign + number(Math.abs(cents)) });
}
